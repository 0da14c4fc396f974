# What the tests of packages have in common; to be sourced. The one that does sets `address`.
# shellcheck shell=bash

say() { printf '\n-- %s\n' "$*"; }
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    tail -n 20 /var/log/revolve/error.log 2>/dev/null >&2 || true
    exit 1
}
# Tries a command for ten seconds.
soon() {
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    fail "in vain: $*"
}
is() { [ "$1" = "$2" ] || fail "expected \"$2\", got \"$1\""; }
has() { case $1 in *"$2"*) ;; *) fail "expected \"$2\" in: $1" ;; esac; }
master() { cat /run/revolve/revolve.pid; }
gone() { ! kill -0 "$1" 2>/dev/null; }
health() { curl -sf --max-time 10 "$address/health"; }

# One client that keeps asking until the file named $1 goes; what failed is counted.
load() {
    local asked=0 failed=0
    while [ -e "$1" ]; do
        asked=$((asked + 1))
        health >/dev/null || failed=$((failed + 1))
    done
    echo "$asked $failed" >"$1.result"
}
# Begins to ask without pause, and ends it: no request may have failed.
begin_load() {
    touch /tmp/load
    load /tmp/load &
    load_pid=$!
}
end_load() {
    rm /tmp/load
    wait "$load_pid"
    echo "requests, failed: $(cat /tmp/load.result)"
    is "$(cut -d' ' -f2 /tmp/load.result)" 0
}
