//! The floors of every crate, from the bottom up. A new room gets its place here, so that it is a
//! decision and not an accident; rooms that are still to come have theirs already.

/// One crate's rooms.
pub(super) struct House {
    /// Its `src/`, from the root of the checkout.
    pub(super) folder: &'static str,
    /// From the bottom up, rooms of one floor with a space between.
    pub(super) floors: &'static [&'static str],
    /// Arrows that may point up: who, whom, and why.
    pub(super) upward: &'static [(&'static str, &'static str, &'static str)],
}

pub(super) const HOUSES: &[House] = &[
    House {
        folder: "crates/shm/src/",
        floors: &[
            "error words",
            "identity map",
            "zone",
            "lock",
            "shard",
            "array counters table",
            "lib",
        ],
        upward: &[],
    },
    House {
        folder: "crates/conf/src/",
        floors: &[
            "shown",
            "span glob secrets",
            "word files",
            "lexer",
            "diagnostic",
            "value",
            "directive",
            "parser",
            "lib",
        ],
        upward: &[],
    },
    House {
        folder: "crates/http/src/",
        floors: &[
            "date status span method version body token",
            "fastcgi scgi uwsgi memcached proxy_protocol",
            "target header",
            "head trailers",
            "response_head hpack",
            "h1",
            "h2",
            "lib",
        ],
        upward: &[],
    },
    // The loop stands in the middle: what it is built of is below it, what runs on it above.
    House {
        folder: "crates/reactor/src/",
        floors: &[
            "net::address sys::fork paged_slab mailbox stats sync trigger unwind",
            "timer_queue watchdog",
            "buffer",
            "send_queue",
            "op",
            "scheduler",
            "channel task",
            "sys hook",
            "event_loop",
            "time give_way",
            "semaphore interval local",
            "net job_queue",
            "builder signal thread_pool piece",
            "reactors",
            "server codec",
            "delimited",
            "lib",
        ],
        upward: &[],
    },
    House {
        folder: "crates/tls/src/",
        floors: &[
            "der error hello ciphers names schemes tickets versions",
            "signatures",
            "judge ocsp pem",
            "encrypted",
            "keys",
            "client server session",
            "seal",
            "stream",
            "lib",
        ],
        upward: &[],
    },
    // The configuration says what logs, zones, sockets and caches there are, so that it is above
    // them, who know nothing of it. Within http, what every request has (head, phases, response) is
    // below what speaks one version, and modules are above both: a module is added without either
    // knowing it by name.
    House {
        folder: "crates/server/src/",
        floors: &[
            "clock version simulated",
            "log zones file_cache net metrics",
            "config",
            "tls",
            "upstream acme",
            "runtime",
            "http stream",
            "http::h1",
            "http::h2 http::h3",
            "http::cache",
            "http::proxy",
            "http::modules stream::modules",
            "app",
            "lib",
        ],
        upward: &[(
            "http",
            "http::modules",
            "the one list of modules makes settings, handlers and variables without a table at run time",
        )],
    },
    House {
        folder: "crates/revolve/src/",
        floors: &[
            "role changes control privilege paths self_made",
            "title version process",
            "cli log pid_file",
            "source message",
            "report folder inboxes",
            "handover",
            "resources daemon systemd::activation systemd::notify",
            "starter",
            "service",
            "expiry",
            "ctl",
            "systemd worker",
            "worker_process upgrade check signal_process successor",
            "single master",
            "lib",
        ],
        upward: &[],
    },
    House {
        folder: "xtask/src/",
        floors: &["bench tidy sanitize", "lib"],
        upward: &[],
    },
];
