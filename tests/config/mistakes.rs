//! Every kind of mistake, and the first line that it gets. Tools read that line, so it has nginx's
//! form: `revolve: [emerg] what is wrong in FILE:LINE`. Where nginx finds the same mistake it is
//! asked too, and must use the same words.

use crate::support::{Folder, Run, nginx, revolve};

/// A mistake.
pub(super) struct Mistake {
    /// The configuration, `FOLDER` standing for its folder.
    text: &'static str,
    /// What is wrong with it, with the line.
    says: &'static str,
    /// What else must be somewhere in what is said.
    and: &'static str,
    /// Whether nginx says the same.
    nginx_too: bool,
}

/// A mistake that nginx finds too.
pub(super) const fn same(text: &'static str, says: &'static str, and: &'static str) -> Mistake {
    let nginx_too = true;
    Mistake {
        text,
        says,
        and,
        nginx_too,
    }
}

/// A mistake for which we have other words, or that nginx does not take for one.
pub(super) const fn ours(text: &'static str, says: &'static str, and: &'static str) -> Mistake {
    let nginx_too = false;
    Mistake {
        text,
        says,
        and,
        nginx_too,
    }
}

const GRAMMAR: &[Mistake] = &[
    ours(
        "events {}\nhttp { server { listen 1 }\n}\n",
        "unexpected \"}\" in FILE:2",
        "^",
    ),
    same(
        "events {}\nhttp {\n  server {\n",
        "unexpected end of file, expecting \"}\" in FILE:4",
        "",
    ),
    same("events {}\n}\nhttp {}\n", "unexpected \"}\" in FILE:2", ""),
    same("events {};\nhttp {}\n", "unexpected \";\" in FILE:1", ""),
    same(
        "events {\n",
        "unexpected end of file, expecting \"}\" in FILE:2",
        "",
    ),
    same(
        "events {}\nworker_processes 1",
        "unexpected end of file, expecting \";\" or \"}\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { log_format a \"x; }\n",
        "unexpected end of file, expecting \";\" or \"}\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { log_format a \"x\"y; }\n",
        "unexpected \"y\" in FILE:2",
        "",
    ),
    same("{ }\n", "unexpected \"{\" in FILE:1", ""),
    ours(
        "events\nhttp {}\n",
        "invalid number of arguments in \"events\" directive in FILE:1",
        "is a `;` missing",
    ),
    same(
        "events;\n",
        "directive \"events\" has no opening \"{\" in FILE:1",
        "expected a block",
    ),
    same(
        "events {}\nhttp { server_tokens {} }\n",
        "directive \"server_tokens\" is not terminated by \";\" in FILE:2",
        "",
    ),
];

const NAMES: &[Mistake] = &[
    same(
        "events {}\nhttp {\n  serve {}\n}\n",
        "unknown directive \"serve\" in FILE:3",
        "did you mean `server`?",
    ),
    same(
        "events {}\nhttp { server { lisen 80; } }\n",
        "unknown directive \"lisen\" in FILE:2",
        "did you mean `listen`?",
    ),
    same(
        "events {}\nhttp { aio maybe; }\n",
        "\"aio\" directive invalid value in FILE:2",
        "expected on, off, threads or threads=POOL",
    ),
    same(
        "events {}\nhttp { directio large; }\n",
        "\"directio\" directive invalid value in FILE:2",
        "expected off, or a size like 512k or 4m",
    ),
    ours(
        "events {}\nhttp { http3 on; }\n",
        "unknown directive \"http3\" in FILE:2",
        "Revolve does not have it yet",
    ),
    ours(
        "events {}\nhttp { xslt_types text/x; }\n",
        "unknown directive \"xslt_types\" in FILE:2",
        "let the application transform its XML",
    ),
    same(
        "events {}\nxyzzy on;\n",
        "unknown directive \"xyzzy\" in FILE:2",
        "",
    ),
    same(
        "events {}\nlisten 80;\n",
        "\"listen\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { worker_processes 1; }\n",
        "\"worker_processes\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { listen 1; }\n",
        "\"listen\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { server {} } }\n",
        "\"server\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events { root x; }\n",
        "\"root\" directive is not allowed here in FILE:1",
        "",
    ),
    same(
        "events {}\nhttp { internal; }\n",
        "\"internal\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "worker_connections 5;\nevents {}\n",
        "\"worker_connections\" directive is not allowed here in FILE:1",
        "",
    ),
    same(
        "worker_processes 1;\n",
        "no \"events\" section in configuration",
        "",
    ),
];

const COUNTS: &[Mistake] = &[
    same(
        "events {}\nhttp { root; }\n",
        "invalid number of arguments in \"root\" directive in FILE:2",
        "expected 1 argument",
    ),
    same(
        "events {}\nhttp { root a b; }\n",
        "invalid number of arguments in \"root\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { sendfile on off; }\n",
        "invalid number of arguments in \"sendfile\" directive in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp {\n root a\n index b;\n}\n",
        "invalid number of arguments in \"root\" directive in FILE:3",
        "is a `;` missing at the end of line 3?",
    ),
    same(
        "events x {}\n",
        "invalid number of arguments in \"events\" directive in FILE:1",
        "",
    ),
    same(
        "events {}\nhttp { server { return; } }\n",
        "invalid number of arguments in \"return\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location {} } }\n",
        "invalid number of arguments in \"location\" directive in FILE:2",
        "",
    ),
    same(
        "pid a b;\nevents {}\n",
        "invalid number of arguments in \"pid\" directive in FILE:1",
        "",
    ),
    same(
        "events {}\nhttp { log_format x; }\n",
        "invalid number of arguments in \"log_format\" directive in FILE:2",
        "",
    ),
];

const VALUES: &[Mistake] = &[
    same(
        "events {}\nhttp { sendfile yes; }\n",
        "invalid value \"yes\" in \"sendfile\" directive, it must be \"on\" or \"off\" in FILE:2",
        "",
    ),
    same(
        "daemon maybe;\nevents {}\n",
        "invalid value \"maybe\" in \"daemon\" directive, it must be \"on\" or \"off\" in FILE:1",
        "",
    ),
    same(
        "events {}\nhttp { client_max_body_size 1q; }\n",
        "\"client_max_body_size\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { client_body_buffer_size -1; }\n",
        "\"client_body_buffer_size\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { client_header_timeout 1x; }\n",
        "\"client_header_timeout\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { send_timeout 1s 2s; }\n",
        "invalid number of arguments in \"send_timeout\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { send_timeout 1s1m; }\n",
        "\"send_timeout\" directive invalid value in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { keepalive_requests many; }\n",
        "\"keepalive_requests\" directive invalid number in FILE:2",
        "",
    ),
    same(
        "events { worker_connections x; }\n",
        "invalid number \"x\" in FILE:1",
        "",
    ),
    same(
        "worker_cpu_affinity 0x1;\nevents {}\n",
        "invalid character \"x\" in \"worker_cpu_affinity\" in FILE:1",
        "0 and 1",
    ),
    same(
        "worker_processes x;\nevents {}\n",
        "\"worker_processes\" directive invalid value in FILE:1",
        "",
    ),
    ours(
        "worker_rlimit_nofile x;\nevents {}\n",
        "\"worker_rlimit_nofile\" directive invalid number in FILE:1",
        "",
    ),
    same(
        "events { use carrier_pigeon; }\n",
        "invalid event type \"carrier_pigeon\" in FILE:1",
        "epoll",
    ),
    same(
        "error_log FOLDER/e loud;\nevents {}\n",
        "invalid log level \"loud\" in FILE:1",
        "",
    ),
    same(
        "events {}\nhttp { server { listen 80 frobnicate; } }\n",
        "invalid parameter \"frobnicate\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen 127.0.0.1:99999; } }\n",
        "invalid port in \"127.0.0.1:99999\" of the \"listen\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen 0; } }\n",
        "invalid port in \"0\" of the \"listen\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen [::1; } }\n",
        "invalid host in \"[::1\" of the \"listen\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen no.such.host.invalid:80; } }\n",
        "host not found in \"no.such.host.invalid:80\" of the \"listen\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen 80 backlog=x; } }\n",
        "invalid backlog \"backlog=x\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen 80 rcvbuf=x; } }\n",
        "invalid rcvbuf \"rcvbuf=x\" in FILE:2",
        "a size like 64k",
    ),
    same(
        "events {}\nhttp { server { listen [::]:80 ipv6only=x; } }\n",
        "invalid parameter \"ipv6only=x\" in FILE:2",
        "on or off",
    ),
    same(
        "events {}\nhttp { server { listen :80; } }\n",
        "no host in \":80\" of the \"listen\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen http://127.0.0.1:80; } }\n",
        "invalid host in \"http://127.0.0.1:80\" of the \"listen\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen [1.2.3.4]:80; } }\n",
        "invalid IPv6 address in \"[1.2.3.4]:80\" of the \"listen\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen unix:; } }\n",
        "no path in the unix domain socket in \"unix:\" of the \"listen\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { if_modified_since never; }\n",
        "invalid value \"never\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { satisfy some; }\n",
        "invalid value \"some\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { lingering_close maybe; }\n",
        "invalid value \"maybe\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { return abc; } }\n",
        "invalid return code \"abc\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { return 1000 x; } }\n",
        "invalid return code \"1000\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { error_page 200 /x; }\n",
        "value \"200\" must be between 300 and 599 in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { large_client_header_buffers x 8k; }\n",
        "\"large_client_header_buffers\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { error_page x /x; }\n",
        "invalid value \"x\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { expires soon; }\n",
        "\"expires\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { expires @25h; }\n",
        "\"expires\" directive daily time value must be less than 24 hours in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { expires modified @1h; }\n",
        "\"expires\" directive daily time cannot be used with \"modified\" parameter in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { large_client_header_buffers 4 x; }\n",
        "\"large_client_header_buffers\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { open_file_cache max=x; }\n",
        "invalid \"open_file_cache\" parameter \"max=x\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { open_file_cache inactive=5s; }\n",
        "\"open_file_cache\" must have the \"max\" parameter in FILE:2",
        "",
    ),
];

const MEANING: &[Mistake] = &[
    same(
        "pid a;\npid b;\nevents {}\n",
        "\"pid\" directive is duplicate in FILE:2",
        "second time",
    ),
    same(
        "events {}\nhttp { root a; root b; }\n",
        "\"root\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nevents {}\n",
        "\"events\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp {}\nhttp {}\n",
        "\"http\" directive is duplicate in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { root a; alias b; } } }\n",
        "\"alias\" directive is duplicate, \"root\" directive was specified earlier in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / {} location / {} } }\n",
        "duplicate location \"/\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location = / { location /x {} } } }\n",
        "location \"/x\" cannot be inside the exact location \"/\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location /a { location /b {} } } }\n",
        "location \"/b\" is outside location \"/a\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location @a { location /b {} } } }\n",
        "location \"/b\" cannot be inside the named location \"@a\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location ! / {} } }\n",
        "invalid location modifier \"!\" in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { server { location ~ ( {} } }\n",
        "invalid regular expression \"(\" in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { server { server_name ~[; } }\n",
        "invalid regular expression \"[\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { return 200 $nonsense; } }\n",
        "unknown \"nonsense\" variable",
        "",
    ),
    ours(
        "events {}\nhttp { server { return 200 ${x; } }\n",
        "invalid variable name in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen 127.0.0.1:81 default_server; }\nserver { listen 127.0.0.1:81 default_server; } }\n",
        "a duplicate default server for 127.0.0.1:81 in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { server { listen 81; listen 81; } }\n",
        "a duplicate listen 0.0.0.0:81 in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { listen 81 backlog=5; } server { listen 81 backlog=6; } }\n",
        "duplicate listen options for 0.0.0.0:81 in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/a none_such; }\n",
        "unknown log format \"none_such\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log off x; }\n",
        "invalid parameter \"x\" in FILE:2",
        "nothing follows",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/a if=$arg_x; }\n",
        "unknown log format \"if=$arg_x\" in FILE:2",
        "a format stands before",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/a combined bufer=1k; }\n",
        "invalid parameter \"bufer=1k\" in FILE:2",
        "expected buffer=",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/a combined buffer=0; }\n",
        "invalid buffer size \"0\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/a combined buffer=1k flush=0; }\n",
        "invalid flush time \"0\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/a combined gzip=10; }\n",
        "invalid compression level \"10\" in FILE:2",
        "from 1 to 9",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/a combined flush=1s; }\n",
        "no buffer is defined for access_log \"FOLDER/a\" in FILE:2",
        "buffer=64k",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/$arg_a combined buffer=1k; }\n",
        "buffered logs cannot have variables in name in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=127.0.0.1 combined buffer=1k; }\n",
        "logs to syslog cannot be buffered in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log FOLDER/a combined buffer=1k; access_log FOLDER/a combined buffer=2k; }\n",
        "access_log \"FOLDER/a\" already defined with conflicting parameters in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=127.0.0.1:99999; }\n",
        "invalid port in syslog server \"127.0.0.1:99999\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=unix:; }\n",
        "no path in the unix domain socket in syslog server \"unix:\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=; }\n",
        "no host in syslog server \"\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:tag=a; }\n",
        "no syslog server specified in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=127.0.0.1,server=127.0.0.2; }\n",
        "duplicate syslog \"server\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=127.0.0.1,facility=local8; }\n",
        "unknown syslog facility \"local8\" in FILE:2",
        "local7",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=127.0.0.1,severity=err; }\n",
        "unknown syslog severity \"err\" in FILE:2",
        "expected emerg, alert",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=127.0.0.1,tag=a-b; }\n",
        "syslog \"tag\" only allows alphanumeric characters and underscore in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=127.0.0.1,tag=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; }\n",
        "syslog tag length exceeds 32 in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { access_log syslog:server=127.0.0.1,colour=red; }\n",
        "unknown syslog parameter \"colour=red\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { open_log_file_cache inactive=5s; }\n",
        "\"open_log_file_cache\" must have \"max\" parameter in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { open_log_file_cache max=x; }\n",
        "invalid \"open_log_file_cache\" parameter \"max=x\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { open_log_file_cache max=1; open_log_file_cache off; }\n",
        "\"open_log_file_cache\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "error_log syslog:server=127.0.0.1,tag=.;\nevents {}\n",
        "syslog \"tag\" only allows alphanumeric characters and underscore in FILE:1",
        "",
    ),
    same(
        "error_log FOLDER/e warn info;\nevents {}\n",
        "duplicate log level \"info\" in FILE:1",
        "",
    ),
    ours(
        "error_log memory:1m debug;\nevents {}\n",
        "\"memory:\" logs are not supported in FILE:1",
        "/dev/shm",
    ),
    same(
        "events {}\nhttp { log_format a x; log_format a y; }\n",
        "duplicate \"log_format\" name \"a\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { log_format a escape=c x; }\n",
        "unknown log format escaping \"c\" in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { server { server_name \"\" ~; } }\n",
        "server name \"~\" is invalid in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { server { server_name a*b; } }\n",
        "server name \"a*b\" is invalid in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { server { server_name *.; } }\n",
        "server name \"*.\" is invalid in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { try_files $uri; } }\n",
        "invalid number of arguments in \"try_files\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { try_files $uri =x; } }\n",
        "invalid code \"=x\" in FILE:2",
        "",
    ),
];

const INCLUDES: &[Mistake] = &[
    same(
        "events {}\ninclude FOLDER/missing.conf;\n",
        "open() \"FOLDER/missing.conf\" failed (2: No such file or directory) in FILE:2",
        "",
    ),
    same(
        "events {}\ninclude missing.conf;\n",
        "open() \"FOLDER/missing.conf\" failed (2: No such file or directory) in FILE:2",
        "",
    ),
    ours("events {}\ninclude nginx.conf;\n", "", "nginx.conf"),
    ours("events {}\ninclude ring.d/a;\n", "", "ring.d"),
    same(
        "events {}\ninclude bad.d/*.conf;\n",
        "unknown directive \"wrong_here\" in FOLDER/bad.d/two.conf:2",
        "",
    ),
    ours(
        "events {}\ninclude html;\n",
        "pread() \"FOLDER/html\" failed (21: Is a directory) in FILE:2",
        "",
    ),
];

fn first_emerg(run: &Run, program: &str) -> String {
    let start = format!("{program}: [emerg] ");
    let line = run.err.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_default().to_owned()
}

/// What is wrong with one mistake's report, if anything.
fn check(folder: &Folder, mistake: &Mistake) -> Option<String> {
    let here = folder.path().to_str().expect("a path in UTF-8");
    let fill = |text: &str| {
        text.replace("FILE", &format!("{here}/nginx.conf"))
            .replace("FOLDER", here)
    };
    folder.write("nginx.conf", fill(mistake.text));
    let run = Run::of(revolve(folder).arg("-t"));
    let said = first_emerg(&run, "revolve");
    let says = fill(mistake.says);
    let expected = said == says || (!mistake.nginx_too && said.contains(&says));
    let mut problems = Vec::new();
    // nginx says where for what has a place.
    if !(expected || said.starts_with(&format!("{says} in {here}/"))) {
        problems.push(format!("should say: {says}"));
    }
    if !run.err.contains(mistake.and) {
        problems.push(format!("should have in it: {}", mistake.and));
    }
    if run.code != 1 || run.err.contains("panicked") || run.err.contains("syntax is ok") {
        problems.push(format!("exit code {}", run.code));
    }
    let last = format!("revolve: configuration file {here}/nginx.conf test failed");
    if run.err.lines().next_back() != Some(&last) {
        problems.push(format!("should end with: {last}"));
    }
    if mistake.nginx_too && nginx::is_here() {
        let theirs = Run::of(nginx::command(folder, "nginx.conf").arg("-t"));
        let theirs = first_emerg(&theirs, "nginx");
        if said != theirs && !said.starts_with(&format!("{theirs} in {here}/")) {
            problems.push(format!("nginx says: {theirs}"));
        }
    }
    let shown = fill(mistake.text);
    (!problems.is_empty())
        .then(|| format!("=== {shown}{}\n--- {}", run.err, problems.join("\n--- ")))
}

#[track_caller]
pub(super) fn check_all(mistakes: &[Mistake]) {
    let folder = Folder::new();
    folder.write("bad.d/one.conf", "worker_processes 1;\n");
    folder.write("bad.d/two.conf", "\nwrong_here on;\n");
    folder.write("ring.d/a", "include ring.d/b;\n");
    folder.write("ring.d/b", "include ring.d/a;\n");
    let problems: Vec<String> = mistakes
        .iter()
        .filter_map(|it| check(&folder, it))
        .collect();
    assert!(
        problems.is_empty(),
        "{} of {}\n{}",
        problems.len(),
        mistakes.len(),
        problems.join("\n\n")
    );
}

#[test]
fn mistakes_of_grammar_are_named() {
    check_all(GRAMMAR);
}

#[test]
fn wrong_names_and_places_are_named() {
    check_all(NAMES);
}

#[test]
fn wrong_counts_are_named() {
    check_all(COUNTS);
}

#[test]
fn wrong_values_are_named() {
    check_all(VALUES);
}

#[test]
fn what_cannot_be_meant_is_named() {
    check_all(MEANING);
}

#[test]
fn includes_that_lead_nowhere_are_named() {
    check_all(INCLUDES);
}
