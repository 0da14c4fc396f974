//! Names of upstreams: asked for while requests are served, and again while a configuration is in force.

use std::net::Ipv4Addr;

use super::Site;
use crate::support::{Client, NameServer, Upstream, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_name_that_a_request_makes_is_asked_for() {
    let names = NameServer::start(|name, _| (name == "app.invalid").then_some(Ipv4Addr::LOCALHOST));
    let upstream = Upstream::answering(OK);
    let port = upstream.address.port();
    let site = Site::start(
        &format!(
            "resolver {} valid=60s ipv6=off; resolver_timeout 5s;",
            names.address
        ),
        &format!("location / {{ proxy_pass http://$arg_host:{port}/there; }}"),
    );
    let mut client = Client::connect(site.port);
    for _ in 0..3 {
        assert_eq!(client.get("/?host=app.invalid").text(), "ok");
        assert!(
            upstream
                .seen()
                .starts_with("GET /there HTTP/1.1\r\nHost: app.invalid:")
        );
    }
    assert_eq!(names.count("app.invalid"), 1);
    assert_eq!(client.get("/?host=none.invalid").status, 502);
    assert_eq!(client.get("/?host=a..b").status, 502);
    let logged = |line: &str| site.folder.read("logs/error.log").contains(line);
    for name in ["none.invalid", "a..b"] {
        let line = format!("{name} could not be resolved (3: Host not found), client:");
        until("that there is none is logged", || logged(&line));
    }
}

#[test]
fn a_name_that_the_start_does_not_find_is_asked_for_until_it_is_found() {
    let names = NameServer::start(|name, before| match (name, before) {
        ("late.invalid", 0) => None,
        ("late.invalid" | "group.invalid", _) => Some(Ipv4Addr::LOCALHOST),
        _ => None,
    });
    let upstream = Upstream::answering(OK);
    let port = upstream.address.port();
    let site = Site::start(
        &format!(
            "resolver {} ipv6=off; upstream group {{ server group.invalid:{port}; }}",
            names.address
        ),
        &format!(
            "location / {{ proxy_pass http://late.invalid:{port}; }}
             location /group {{ proxy_pass http://group; }}"
        ),
    );
    let mut client = Client::connect(site.port);
    until("the group's name is found", || {
        client.get("/group").status == 200
    });
    until("the other name is asked for", || {
        names.count("late.invalid") == 1
    });
    assert_eq!(client.get("/").status, 502);
    until("it is found", || client.get("/").status == 200);
    assert!(names.count("late.invalid") >= 2);
    let errors = site.folder.read("logs/error.log");
    assert!(errors.contains("late.invalid could not be resolved (3: Host not found)"));
    assert!(errors.contains("no live upstreams while connecting to upstream"));
}
