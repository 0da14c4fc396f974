//! The `use` directive.

use rustix::process::Signal;

use super::Site;
use crate::support::{Client, get, proc, until};

/// How many epoll instances a process has.
fn epolls(pid: u32) -> usize {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    folder
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_str() == Some("anon_inode:[eventpoll]"))
        .count()
}

fn with_type(config: &str, name: &str) -> String {
    config.replace("events {}", &format!("events {{ use {name}; }}"))
}

#[test]
fn every_event_type_serves_and_a_reload_changes_it() {
    let site = Site::new();
    let config = site.config("daemon off; worker_threads 2;", "");
    let server =
        crate::support::Server::start(&site.folder, &with_type(&config, "epoll"), &[site.port]);
    let mut last = server.workers_once(1)[0];
    assert_eq!(epolls(last), 3);
    let says = |name: &str| {
        site.log()
            .contains(&format!("using the \"{name}\" event method"))
    };
    assert!(says("epoll") && !says("poll") && !says("select"));
    for name in ["poll", "select"] {
        site.folder.write("nginx.conf", with_type(&config, name));
        server.signal(Signal::HUP);
        until("the worker is replaced", || !proc::is_alive(last));
        last = server.workers_once(1)[0];
        assert_eq!(epolls(last), 0, "{name}");
        assert!(says(name), "{name}");
        let mut kept = Client::connect(site.port);
        for _ in 0..20 {
            assert_eq!(kept.get("/").text(), "home\n");
            assert_eq!(get(site.port, "/").text(), "home\n");
        }
    }
}

#[test]
fn the_log_names_what_is_used() {
    for name in ["poll", "select"] {
        let site = Site::new();
        let config = with_type(&site.config("daemon off;", ""), name);
        let server = crate::support::Server::start(&site.folder, &config, &[site.port]);
        assert_eq!(epolls(server.workers_once(1)[0]), 0);
        let log = site.log();
        assert!(
            log.contains(&format!("using the \"{name}\" event method")),
            "{log}"
        );
        assert!(!log.contains("\"epoll\""), "{log}");
    }
}
