//! Health checks: who is found well, by one worker for all, and by another when that one is gone.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::Site;
use crate::support::server::REVOLVE;
use crate::support::tls::Authority;
use crate::support::{Client, Run, Server, Upstream, get, ports, proc, revolve, until};

/// A server whose health a test sets, and how often it was asked for that.
struct Patient {
    upstream: Upstream,
    status: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
}

impl Patient {
    fn start(name: &'static str) -> Patient {
        let (status, checks) = (
            Arc::new(AtomicUsize::new(200)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (says, counts) = (status.clone(), checks.clone());
        let upstream = Upstream::start(move |mut asked, _| {
            let head = asked.head();
            let (status, body) = match head.starts_with("GET /health HTTP/1.1\r\n") {
                true => {
                    counts.fetch_add(1, Ordering::SeqCst);
                    (
                        says.load(Ordering::SeqCst),
                        format!("host={} ok", head.contains("Host: app\r\n")),
                    )
                }
                false => (200, name.to_owned()),
            };
            asked.say(format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\nX-Is: {name}\r\n\r\n{body}",
                body.len()
            ));
        });
        Patient {
            upstream,
            status,
            checks,
        }
    }

    fn says(&self, status: usize) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }
}

#[track_caller]
fn start(site: &Site, http: &str, location: &str) -> Server {
    let here = site.folder.path().display();
    let port = site.port;
    let config = format!(
        "daemon off; worker_processes 2; pid {here}/pid; error_log {here}/logs/error.log info; events {{}}\n\
         http {{ access_log off; {http}\n server {{ listen 127.0.0.1:{port};\n\
         location / {{ proxy_pass http://app; {location} }} }} }}"
    );
    let started = Server::start(&site.folder, &config, &[port]);
    site.settle(2);
    started
}

/// What the workers say of the first group, once they say it: a busy one may take longer than is waited for it.
fn states(site: &Site) -> Vec<String> {
    let mut states = Vec::new();
    until("a worker tells of its groups", || {
        let mut command = Command::new(REVOLVE);
        let run = Run::of(
            command
                .args(["ctl", "upstreams", "--json", "-s"])
                .arg(site.folder.file("pid.ctl")),
        );
        let answer: Value =
            serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}", run.err));
        let peers = answer["upstreams"][0]["peers"].as_array();
        let state = |peer: &Value| peer["state"].as_str().unwrap().to_owned();
        states = peers.into_iter().flatten().map(state).collect();
        !states.is_empty()
    });
    states
}

#[test]
fn a_server_that_is_not_well_is_not_asked_until_it_is() {
    let (one, two) = (Patient::start("one"), Patient::start("two"));
    let site = Site::new();
    let _server = start(
        &site,
        &format!(
            "upstream app {{ server {}; server {}; }}",
            one.upstream.address, two.upstream.address
        ),
        "health_check interval=100ms fails=2 passes=2 uri=/health;",
    );
    until("it is checked", || one.checks() > 2 && two.checks() > 2);
    assert_eq!(states(&site), ["up", "up"]);
    one.says(503);
    until("it is found", || states(&site) == ["unhealthy", "up"]);
    for _ in 0..10 {
        assert_eq!(get(site.port, "/").text(), "two");
    }
    until("it is logged", || {
        site.log()
            .contains("peer is unhealthy: status 503, health check of peer")
    });
    one.says(302);
    until("it is well again", || states(&site) == ["up", "up"]);
    let mut answers: Vec<String> = (0..8).map(|_| get(site.port, "/").text()).collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers, ["one", "two"]);
}

#[test]
fn answers_are_looked_at_as_a_match_says() {
    let (one, two) = (Patient::start("one"), Patient::start("two"));
    let site = Site::new();
    let _server = start(
        &site,
        &format!(
            "upstream app {{ server {}; server {}; }}
             match good {{
                 status 200-299; header X-Is != two; header X-Is ~ ^o; header ! X-None; header X-Is;
                 body ~ 'host=true ok$';
             }}",
            one.upstream.address, two.upstream.address
        ),
        "health_check interval=100ms uri=/health match=good;",
    );
    until("one is not as it should be", || {
        states(&site) == ["up", "unhealthy"]
    });
    until("why is logged", || {
        site.log()
            .contains("peer is unhealthy: header \"X-Is\" is not as expected")
    });
}

#[test]
fn nobody_is_sent_to_a_server_that_must_be_found_well_first() {
    let one = Patient::start("one");
    one.says(500);
    let site = Site::new();
    let _server = start(
        &site,
        &format!("upstream app {{ server {}; }}", one.upstream.address),
        "health_check interval=100ms passes=2 uri=/health mandatory;",
    );
    until("it was checked", || one.checks() > 1);
    assert_eq!(get(site.port, "/").status, 502);
    one.says(200);
    until("it is well", || {
        Client::connect(site.port).get("/").status == 200
    });
}

#[test]
fn one_worker_checks_and_another_takes_over() {
    let one = Patient::start("one");
    let site = Site::new();
    let server = start(
        &site,
        &format!("upstream app {{ server {}; }}", one.upstream.address),
        "health_check interval=200ms uri=/health;",
    );
    until("it is checked", || one.checks() > 0);
    let before = one.checks();
    thread::sleep(Duration::from_secs(2));
    let made = one.checks() - before;
    assert!(
        (5..=12).contains(&made),
        "{made} in two seconds are those of one worker"
    );
    for worker in server.workers_once(2) {
        let before = one.checks();
        proc::signal(worker, Signal::KILL);
        until("somebody goes on", || one.checks() >= before + 3);
    }
}

#[test]
fn what_is_wrong_with_checks_is_said() {
    for (http, location, says) in [
        (
            "",
            "proxy_pass http://app; health_check match=none;",
            "match \"none\" not found",
        ),
        (
            "",
            "return 200; health_check;",
            "\"health_check\" needs \"proxy_pass\"",
        ),
        (
            "",
            "proxy_pass http://app; health_check interval=0;",
            "invalid parameter \"interval=0\"",
        ),
        (
            "match a { status 99; }",
            "return 200;",
            "invalid status \"99\"",
        ),
        (
            "match a { status 200; } match a { }",
            "return 200;",
            "duplicate match \"a\"",
        ),
        (
            "match a { body = x; }",
            "return 200;",
            "invalid parameter \"=\"",
        ),
        ("match a { require $x; }", "return 200;", "require"),
    ] {
        let site = Site::new();
        let config = format!(
            "events {{}} http {{ upstream app {{ server 127.0.0.1:1; }} {http} server {{ listen 127.0.0.1:{}; \
             location / {{ {location} }} }} }}",
            site.port
        );
        site.folder.write("nginx.conf", config);
        let run = Run::of(revolve(&site.folder).arg("-t"));
        assert!(
            run.code == 1 && run.err.contains(says),
            "{says}: {}",
            run.err
        );
    }
}

/// A record of FastCGI, of request 1.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    [&[1, kind, 0, 1, high, low, 0, 0], content].concat()
}

#[test]
fn applications_are_asked_in_their_own_protocols() {
    let fastcgi = |status: &str| {
        let said = format!("Status: {status}\r\n\r\nwell");
        [record(6, said.as_bytes()), record(3, &[0; 8])].concat()
    };
    let cgi = |status: &str| format!("Status: {status}\r\n\r\nwell").into_bytes();
    for (pass, asked, well, ill) in [
        (
            "fastcgi_pass",
            "REQUEST_URI/health?a",
            fastcgi("200 OK"),
            fastcgi("500 No"),
        ),
        (
            "scgi_pass",
            "REQUEST_URI\0/health?a\0",
            cgi("200 OK"),
            cgi("500 No"),
        ),
        (
            "uwsgi_pass",
            "PATH_INFO\u{7}\0/health",
            cgi("200 OK"),
            cgi("500 No"),
        ),
        (
            "memcached_pass",
            "version\r\n",
            b"VERSION 1\r\n".to_vec(),
            b"ERROR\r\n".to_vec(),
        ),
    ] {
        let saying = |answer: Vec<u8>| {
            Upstream::start(move |mut it, seen| {
                let heard = it.any().unwrap_or_default();
                let _ = seen.send(String::from_utf8_lossy(&heard).into_owned());
                it.say(&answer);
            })
        };
        let (one, two) = (saying(well), saying(ill));
        let site = Site::new();
        let here = site.folder.path().display().to_string();
        let matching = match pass {
            "memcached_pass" => "",
            _ => "match=well",
        };
        let config = format!(
            "daemon off; worker_processes 1; pid {here}/pid; error_log {here}/logs/error.log info; events {{}}\n\
             http {{ access_log off; match well {{ status 200; body ~ well; }}\n\
             upstream app {{ server {}; server {}; }}\n server {{ listen 127.0.0.1:{};\n\
             location / {{ set $memcached_key a; {pass} app; health_check interval=200ms uri=/health?a {matching}; }} }} }}",
            one.address, two.address, site.port
        );
        let _server = Server::start(&site.folder, &config, &[site.port]);
        until(pass, || states(&site) == ["up", "unhealthy"]);
        let heard = one.seen();
        assert!(heard.contains(asked), "{pass}: {heard:?}");
    }
}

#[test]
fn servers_with_tls_are_asked_by_it_and_judged() {
    let site = Site::new();
    let folder = &site.folder;
    Authority::new(folder, "ca").issue(folder, "one", "app.test", 1);
    Authority::new(folder, "others").issue(folder, "two", "app.test", 2);
    let (first, second) = (ports::free(), ports::free());
    let here = folder.path().display();
    let config = format!(
        "daemon off; worker_processes 1; pid {here}/pid; error_log {here}/logs/error.log info; events {{}}\n\
         http {{ access_log off; upstream app {{ server 127.0.0.1:{first}; server 127.0.0.1:{second}; }}\n\
         server {{ listen 127.0.0.1:{first} ssl; ssl_certificate one.crt; ssl_certificate_key one.key; return 200 well; }}\n\
         server {{ listen 127.0.0.1:{second} ssl; ssl_certificate two.crt; ssl_certificate_key two.key; return 200 well; }}\n\
         server {{ listen 127.0.0.1:{};\n\
         location / {{ proxy_pass https://app; proxy_ssl_name app.test; proxy_ssl_verify on;\n\
         proxy_ssl_trusted_certificate ca.crt; health_check interval=200ms; }} }} }}",
        site.port
    );
    let _server = Server::start(folder, &config, &[site.port, first, second]);
    until("one is known and one is not", || {
        states(&site) == ["up", "unhealthy"]
    });
    let log = folder.read("logs/error.log");
    let line = "upstream SSL certificate verify error: (21:unable to verify the first certificate) while SSL handshaking";
    assert!(log.contains(line), "{log}");
    assert_eq!(get(site.port, "/").text(), "well");
}
