//! Small configurations, each of which nginx takes or refuses; so must we, and warn of the same.

use crate::support::{Folder, Run, nginx, revolve};

/// The warnings, without the place that only we give to some of them.
fn warnings(run: &Run) -> Vec<String> {
    let lines = run
        .err
        .lines()
        .filter_map(|line| line.split_once(": [warn] "));
    let mut warnings: Vec<String> = lines
        .map(|(_, text)| match text.rsplit_once(" in /") {
            Some((text, _)) => text.to_owned(),
            None => text.to_owned(),
        })
        .collect();
    warnings.sort();
    warnings
}

/// Asks both for a verdict on each configuration: a snippet between head and tail, and whether it is
/// taken.
#[track_caller]
fn check(head: &str, snippets: &[(&str, bool)], tail: &str) {
    let folder = Folder::new();
    let here = folder.path().display().to_string();
    let mut problems = Vec::new();
    for (snippet, is_taken) in snippets {
        let text = format!("pid {here}/pid;\nerror_log {here}/error.log;\n{head}{snippet}{tail}\n");
        folder.write("nginx.conf", text);
        let ours = Run::of(revolve(&folder).arg("-t"));
        let is_fine = ours.code == i32::from(!is_taken);
        if !is_fine {
            problems.push(format!("{snippet}: exit code {}\n{}", ours.code, ours.err));
        }
        if !nginx::is_here() {
            continue;
        }
        let theirs = Run::of(nginx::command(&folder, "nginx.conf").arg("-t"));
        let is_alike = !*is_taken || warnings(&ours) == warnings(&theirs);
        if theirs.code != i32::from(!is_taken) || !is_alike {
            let said = format!("{}--- we say:\n{}", theirs.err, ours.err);
            problems.push(format!(
                "{snippet}: nginx has exit code {}\n{said}",
                theirs.code
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[track_caller]
pub(super) fn check_in_http(snippets: &[(&str, bool)]) {
    check("events {}\nhttp { access_log off;\n", snippets, " }");
}

#[test]
fn words_to_choose_from_are_taken_in_any_case() {
    check_in_http(&[
        ("satisfy ANY;", true),
        ("server_tokens Off; lingering_close ALWAYS;", true),
        ("if_modified_since Before;", true),
        ("limit_conn_log_level WARN; limit_req_log_level Info;", true),
        ("limit_conn_log_level crit;", false),
        ("server_tokens of;", false),
    ]);
}

#[test]
fn keepalive_disable_adds_up() {
    check_in_http(&[
        ("keepalive_disable MSIE6; keepalive_disable safari;", true),
        ("keepalive_disable none none;", true),
        ("keepalive_disable msie6; keepalive_disable Msie6;", true),
        ("keepalive_disable opera;", false),
    ]);
}

#[test]
fn what_is_only_checked_stands_once_in_a_block_too() {
    for name in ["types_hash_max_size", "types_hash_bucket_size"] {
        let twice = format!("{name} 64; {name} 64;");
        let inside = format!("{name} 64; server {{ {name} 64; location / {{ {name} 64; }} }}");
        check_in_http(&[(&twice, false), (&inside, true)]);
    }
    check_in_http(&[
        ("open_file_cache off; open_file_cache max=1;", false),
        ("open_file_cache_valid 1; open_file_cache_valid 1;", false),
        (
            "open_file_cache_min_uses 1; open_file_cache_min_uses 1;",
            false,
        ),
        (
            "open_file_cache_errors on; open_file_cache_errors on;",
            false,
        ),
        (
            "open_file_cache_events on; open_file_cache_events on;",
            false,
        ),
        (
            "variables_hash_max_size 2048; variables_hash_max_size 2048;",
            false,
        ),
        (
            "variables_hash_bucket_size 64; variables_hash_bucket_size 64;",
            false,
        ),
        (
            "server_names_hash_max_size 64; server_names_hash_max_size 64;",
            false,
        ),
        (
            "server_names_hash_bucket_size 64; server_names_hash_bucket_size 64;",
            false,
        ),
    ]);
    let in_main = [
        ("pcre_jit on; pcre_jit on;", false),
        ("lock_file x; lock_file x;", false),
    ];
    check("", &in_main, "events {}");
    let in_events = [
        ("accept_mutex on; accept_mutex on;", false),
        ("accept_mutex_delay 1s; accept_mutex_delay 1s;", false),
    ];
    check("events { ", &in_events, "}");
}

#[test]
fn names_of_servers_and_groups_are_those_of_nginx() {
    check_in_http(&[
        ("server { server_name http://a b/c; }", true),
        ("server { server_name .; }", false),
        ("server { server_name ~^(?<host>.+)$; }", false),
        ("server { server_name ~^(?<a>.)(?<a>.)$; }", false),
        ("server { location ~ (?<uri>.) {} }", false),
        ("server { location ~ (?<a>.)(?<a>.) {} }", false),
        (
            "server { location ~ (?<a>.) {} location ~ (?<a>..) {} }",
            true,
        ),
        ("server { location ~ (?<args>.) {} }", true),
        ("server { location ~ (?<1a>.) {} }", false),
        ("server { location ~ (?<a-b>.) {} }", false),
    ]);
}

#[test]
fn options_of_a_socket_are_set_once() {
    let servers = |first: &str, second: &str| {
        format!(
            "server {{ listen 19990{first}; }} server {{ listen 19990{second}; server_name b; }}"
        )
    };
    for (first, second, is_taken) in [
        (" backlog=5", "", true),
        (" backlog=5", " default_server", true),
        (" backlog=5", " backlog=5", false),
        (" reuseport", " reuseport", false),
        (" bind", " backlog=5", false),
        (" default_server", " default_server", false),
    ] {
        check_in_http(&[(&servers(first, second), is_taken)]);
    }
    for (option, is_taken) in [
        ("backlog=-1", false),
        ("backlog=0", false),
        ("fastopen=0", true),
        ("so_keepalive=30m", true),
        ("so_keepalive=30m:", true),
        ("so_keepalive=:10", true),
        ("so_keepalive=::10", true),
        ("so_keepalive=0::10", true),
        ("so_keepalive=0:0:0", false),
        ("so_keepalive=::", false),
        ("so_keepalive=", false),
        ("so_keepalive=1:2:3:4", false),
        ("so_keepalive=1x", false),
    ] {
        check_in_http(&[(&format!("server {{ listen 19990 {option}; }}"), is_taken)]);
    }
}

#[test]
fn odd_values_are_taken_or_refused_as_by_nginx() {
    check_in_http(&[
        ("error_page = /x;", false),
        ("error_page =200 /x;", false),
        ("error_page 404 = /x;", true),
        ("types { a/b; }", true),
        ("types { a/b c; a/b c; }", true),
        ("expires @+1s;", false),
        ("expires @-0;", false),
        ("expires @24h;", true),
        ("expires modified $arg_e;", true),
        ("expires modified @1h;", false),
    ]);
    let levels = [
        ("error_log stderr debug_http;", true),
        ("error_log stderr debug_http debug_core;", true),
        ("error_log stderr debug_http info;", false),
        ("error_log stderr debug_nothing;", false),
    ];
    check("", &levels, "events {}");
}

#[test]
fn what_is_warned_of_in_nginx_is_warned_of() {
    check_in_http(&[
        ("index /a b;", true),
        ("index a /b;", true),
        ("types { a/b c; } types { d/e c; }", true),
        ("server { listen 19990; } server { listen 19990; }", true),
        ("server { server_name a a; }", true),
        (
            "server { server_name a a; } server { server_name b; }",
            true,
        ),
        ("server { server_name ~^(.)$ a a; }", true),
        ("server { server_name ~^.$ a a; }", true),
        (
            "server { server_name .a a *.a; } server { server_name b; }",
            true,
        ),
    ]);
    let in_main = [
        ("worker_processes 3; worker_cpu_affinity 1 10;", true),
        ("worker_processes 2; worker_cpu_affinity 1 10;", true),
        ("worker_processes 3; worker_cpu_affinity 1;", true),
    ];
    check("", &in_main, "events {}");
}
