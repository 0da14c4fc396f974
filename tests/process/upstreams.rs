//! What all workers know of the servers behind them, and what an operator says of one.

use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::Site;
use super::upgrade::Upgraded;
use crate::support::server::REVOLVE;
use crate::support::{Client, Run, Server, Upstream, get, ports, proc, until, until_some};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn config(site: &Site, top: &str, upstreams: &str, server: &str) -> String {
    let here = site.folder.path().display();
    let port = site.port;
    format!(
        "{top}\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nevents {{}}\nhttp {{\n\
         access_log off;\n{upstreams}\nserver {{\nlisten 127.0.0.1:{port};\n{server}\n}}\n}}\n"
    )
}

fn ctl(site: &Site, arguments: &[&str]) -> Run {
    let mut command = Command::new(REVOLVE);
    let socket = site.folder.file("pid.ctl");
    command.arg("ctl").args(arguments).arg("-s").arg(socket);
    Run::of(&mut command)
}

/// What is told of the peer at a place of the first group.
fn peer(site: &Site, place: usize) -> Value {
    let run = ctl(site, &["upstreams", "--json"]);
    let answer: Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}", run.err));
    answer["upstreams"][0]["peers"][place].clone()
}

#[track_caller]
fn start(site: &Site, upstreams: &str, server: &str) -> Server {
    let config = config(site, "daemon off; worker_processes 2;", upstreams, server);
    let started = Server::start(&site.folder, &config, &[site.port]);
    site.settle(2);
    started
}

#[test]
fn an_operator_takes_a_server_out_and_back_for_all_workers_and_over_a_reload() {
    let (one, two) = (Upstream::answering(OK), Upstream::answering(OK));
    let site = Site::new();
    let server = start(
        &site,
        &format!(
            "upstream app {{ zone app 64k; server {}; server {}; }}",
            one.address, two.address
        ),
        "location / { proxy_pass http://app; }",
    );
    let (first, second) = (one.address.to_string(), two.address.to_string());
    let table = ctl(&site, &["upstreams"]).out;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..4], ["UPSTREAM", "SERVER", "ADDRESS", "STATE"]);
    assert_eq!(
        rows[1][..6],
        ["app", first.as_str(), first.as_str(), "up", "1", "0"]
    );
    let run = ctl(&site, &["upstream", "app", "server", &first, "down"]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(peer(&site, 0)["state"], "down");
    let is_out = || {
        (0..12).for_each(|_| assert_eq!(get(site.port, "/").text(), "ok"));
        one.is_quiet()
    };
    assert!(is_out());
    let run = Run::of(
        Command::new(REVOLVE)
            .args(["ctl", "reload", "-s"])
            .arg(site.folder.file("pid.ctl")),
    );
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(peer(&site, 0)["state"], "down", "a reload forgets nothing");
    assert!(is_out());
    // Nor does it matter that a worker comes new.
    proc::signal(server.workers_once(2)[0], Signal::KILL);
    until("another is there", || {
        site.log().contains("serves configuration 2\n") && server.workers().len() == 2
    });
    assert!(is_out());
    ctl(&site, &["upstream", "app", "server", &first, "up"]);
    ctl(&site, &["upstream", "app", "server", &second, "drain"]);
    ctl(&site, &["upstream", "app", "server", &first, "weight", "7"]);
    assert_eq!(
        (&peer(&site, 0)["state"], &peer(&site, 0)["weight"]),
        (&"up".into(), &7.into())
    );
    assert_eq!(peer(&site, 1)["state"], "draining");
    assert_eq!(get(site.port, "/").text(), "ok");
    one.seen();
    let run = ctl(&site, &["upstream", "app", "server", "nobody:1", "down"]);
    assert_eq!(run.code, 1);
    assert!(
        run.err
            .contains("there is no server \"nobody:1\" in a group \"app\""),
        "{}",
        run.err
    );
}

#[test]
fn what_an_operator_says_is_kept_over_a_restart() {
    let (one, two) = (Upstream::answering(OK), Upstream::answering(OK));
    let site = Site::new();
    let file = site.folder.file("app.state");
    let upstreams = format!(
        "upstream app {{ server {}; state {}; }}",
        one.address,
        file.display()
    );
    let (first, second) = (one.address.to_string(), two.address.to_string());
    // A file as NGINX Plus writes it brings servers of its own.
    site.folder
        .write("app.state", format!("server {second} max_fails=3;\n"));
    let location = "location / { proxy_pass http://app; }";
    let server = start(&site, &upstreams, location);
    let run = ctl(&site, &["upstream", "app", "server", &first, "down"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    ctl(
        &site,
        &["upstream", "app", "server", &second, "weight", "4"],
    );
    let kept = format!("server {second} max_fails=3 weight=4;\nserver {first} down;\n");
    assert_eq!(site.folder.read("app.state"), kept);
    drop(server);
    site.folder.write("logs/error.log", "");
    let _server = start(&site, &upstreams, location);
    assert_eq!(peer(&site, 0)["state"], "down");
    assert_eq!(peer(&site, 1)["weight"], 4);
    assert_eq!(get(site.port, "/").text(), "ok");
    assert!(one.is_quiet());
}

#[test]
fn all_workers_leave_a_server_alone_that_one_has_found_failing() {
    let good = Upstream::answering(OK);
    let site = Site::new();
    let dead = ports::free();
    let _server = start(
        &site,
        &format!(
            "upstream app {{ server 127.0.0.1:{dead} fail_timeout=60s; server {}; }}",
            good.address
        ),
        "location / { proxy_pass http://app; }",
    );
    for _ in 0..40 {
        assert_eq!(get(site.port, "/").text(), "ok");
    }
    assert_eq!(
        site.log().matches("connect() failed").count(),
        1,
        "{}",
        site.log()
    );
    assert_eq!(peer(&site, 0)["state"], "unavail");
    assert_eq!(peer(&site, 0)["failures"], 1);
    assert_eq!(peer(&site, 1)["requests"], 40);
}

#[test]
fn what_a_killed_worker_had_under_way_is_taken_back() {
    let silent = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        asked.wait_closed();
    });
    let site = Site::new();
    let server = start(
        &site,
        &format!("upstream app {{ server {} max_conns=2; }}", silent.address),
        "location / { proxy_pass http://app; }",
    );
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(site.port)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        silent.seen();
    }
    assert_eq!(peer(&site, 0)["connections"], 2);
    assert_eq!(
        get(site.port, "/").status,
        502,
        "there is room for two, whoever has them"
    );
    for worker in server.workers_once(2) {
        proc::signal(worker, Signal::KILL);
    }
    until("other workers serve", || {
        site.log().matches("serves configuration 1\n").count() == 4
    });
    until("nothing is under way", || {
        peer(&site, 0)["connections"] == 0
    });
}

#[test]
fn a_new_binary_knows_what_the_old_one_knew() {
    let good = Upstream::answering(OK);
    let site = Site::new();
    // The configuration of the other tests has no place for a group: it stands in an included file.
    site.folder.write(
        "app.conf",
        format!(
            "upstream app {{ zone app 64k; server {0} down; server 127.0.0.1:1 backup; }}",
            good.address
        ),
    );
    let here = site.folder.path().display().to_string();
    let server = format!(
        "location / {{ proxy_pass http://app; }} }} include {here}/app.conf; server {{ listen unix:{here}/s;"
    );
    let upgraded = Upgraded::start(&site, "worker_processes 1;", &server);
    until("it can be asked", || site.folder.file("pid.ctl").exists());
    assert_eq!(get(site.port, "/").status, 502);
    let address = good.address.to_string();
    until("it is up", || {
        ctl(&site, &["upstream", "app", "server", &address, "up"]).code == 0
    });
    assert_eq!(get(site.port, "/").text(), "ok");
    upgraded.replace_binary();
    let pid = until_some("the pid", || {
        site.folder.read("pid").trim().parse::<u32>().ok()
    });
    proc::signal(pid, Signal::USR2);
    until("the new one serves", || {
        let now = site.folder.read("pid").trim().parse::<u32>().ok();
        now.is_some_and(|now| now != pid)
    });
    proc::signal(pid, Signal::QUIT);
    until("the old one is gone", || !proc::is_alive(pid));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(get(site.port, "/").text(), "ok");
    assert_eq!(peer(&site, 0)["state"], "up");
}

#[test]
fn a_budget_bounds_what_is_tried_again() {
    // Three that are down, so that each request would be asked three times.
    let asked = || {
        Upstream::start(|mut asked, seen| {
            if asked.try_head().is_some() {
                let _ = seen.send(String::new());
                asked
                    .say("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy");
            }
        })
    };
    let upstreams = [asked(), asked(), asked()];
    let [one, two, three] = upstreams.each_ref().map(|it| it.address);
    let site = Site::new();
    let _server = start(
        &site,
        &format!(
            "upstream app {{ proxy_retry_budget 10% min=4;
             server {one} max_fails=0; server {two} max_fails=0; server {three} max_fails=0; }}"
        ),
        "proxy_next_upstream error timeout http_503; location / { proxy_pass http://app; }",
    );
    for _ in 0..100 {
        // What goes beyond the budget is the answer at hand, not an error of ours.
        let answer = get(site.port, "/");
        assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    }
    let requests: usize = upstreams
        .iter()
        .map(|it| std::iter::from_fn(|| it.try_seen()).count())
        .sum();
    // A new span of time may begin once in between, with a tenth, or four, of its own.
    assert!(
        (104..=124).contains(&requests),
        "{requests} tries of 100 requests"
    );
    let run = ctl(&site, &["upstreams", "--json"]);
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    let budget = &answer["upstreams"][0]["retry_budget"];
    assert_eq!(
        (&budget["percent"], &budget["min"]),
        (&10.into(), &4.into())
    );
    assert!(budget["refused"].as_u64().unwrap() >= 80, "{budget}");
    let shown = ctl(&site, &["upstreams"]).out;
    assert!(shown.contains("at most 10% or 4;"), "{shown}");
    let log = site.folder.read("logs/error.log");
    assert!(log.contains("proxy_retry_budget of \"app\" is spent"));
}
