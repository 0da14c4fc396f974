//! Which server of a group answers whom.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use super::Site;
use crate::support::{Client, NameServer, Upstream, until};

/// A server that answers with its name.
fn named(name: &'static str) -> Upstream {
    Upstream::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nSet-Cookie: id={name}-1\r\n\r\n{name}",
        name.len()
    ))
}

/// A server that takes its time.
fn slow(name: &'static str, pause: Duration) -> Upstream {
    Upstream::start(move |mut asked, seen| {
        let _ = seen.send(asked.head());
        thread::sleep(pause);
        let len = name.len();
        asked.say(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{name}"
        ));
    })
}

fn ask(client: &mut Client, path: &str, headers: &str) -> (String, Option<String>) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n"));
    let response = client.response();
    let cookie = response.header("Set-Cookie").map(str::to_owned);
    (response.text(), cookie)
}

#[test]
fn clients_stay_with_the_server_that_they_are_bound_to() {
    let (one, two) = (named("one"), named("two"));
    let servers = format!("server {} route=a; server {};", one.address, two.address);
    let site = Site::start(
        &format!(
            "upstream cookie {{ {servers} sticky cookie srv expires=1h domain=.x.y httponly secure samesite=lax path=/p; }}
             upstream route {{ server {0} route=a; server {1} route=b; sticky route $arg_none $arg_r; }}
             upstream learn {{ server {0}; server {1}; sticky learn create=$upstream_cookie_id lookup=$cookie_id zone=ids:1m; }}
             upstream drain {{ server {0} route=a drain; server {1} route=b; sticky route $arg_r; }}",
            one.address, two.address
        ),
        "location /cookie { proxy_pass http://cookie; } location /route { proxy_pass http://route; }
         location /learn { proxy_pass http://learn; } location /drain { proxy_pass http://drain; }",
    );
    let mut client = Client::connect(site.port);
    // The name of a server is its route, else a hash of its address, as nginx makes it.
    for _ in 0..4 {
        let (name, cookie) = ask(&mut client, "/cookie", "");
        let cookie = cookie.expect("a cookie is set each time");
        let (value, rest) = cookie.split_once(';').unwrap();
        assert!(rest.starts_with(" expires="), "{rest}");
        assert!(
            rest.ends_with(
                " GMT; max-age=3600; domain=.x.y; httponly; secure; samesite=lax; path=/p"
            ),
            "{rest}"
        );
        match name.as_str() {
            "one" => assert_eq!(value, "srv=a"),
            _ => assert_eq!(value.len(), "srv=".len() + 32),
        }
        for _ in 0..3 {
            let (again, _) = ask(&mut client, "/cookie", &format!("Cookie: {value}\r\n"));
            assert_eq!(again, name);
        }
    }
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/route?r=a", "").0, "one");
        assert_eq!(ask(&mut client, "/route?r=b", "").0, "two");
        assert_eq!(ask(&mut client, "/drain?r=a", "").0, "one");
        assert_eq!(
            ask(&mut client, "/drain", "").0,
            "two",
            "it takes nobody new"
        );
    }
    let unknown: BTreeSet<String> = (0..4)
        .map(|_| ask(&mut client, "/route?r=c", "").0)
        .collect();
    assert_eq!(unknown.len(), 2, "who is bound to nobody goes to both");
    let (name, _) = ask(&mut client, "/learn", "");
    for _ in 0..5 {
        assert_eq!(
            ask(&mut client, "/learn", &format!("Cookie: id={name}-1\r\n")).0,
            name
        );
    }
}

#[test]
fn who_is_bound_to_a_server_that_fails_goes_to_another() {
    let two = named("two");
    let site = Site::start(
        &format!(
            "upstream app {{ server 127.0.0.1:{} route=a; server {} route=b; sticky route $arg_r; }}",
            dead(),
            two.address
        ),
        "location / { proxy_pass http://app; }",
    );
    let mut client = Client::connect(site.port);
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/?r=a", "").0, "two");
    }
}

/// A port where nobody listens.
fn dead() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn the_faster_and_the_idler_are_preferred() {
    let (fast, lame) = (named("fast"), slow("lame", Duration::from_millis(60)));
    let servers = format!("server {}; server {};", lame.address, fast.address);
    let site = Site::start(
        &format!(
            "upstream header {{ least_time header; {servers} }}
             upstream last {{ least_time last_byte inflight; {servers} }}
             upstream chance {{ random two least_time=header; {servers} }}
             upstream any {{ random; {servers} }}
             upstream conn {{ random two; {servers} }}"
        ),
        "location /header { proxy_pass http://header; } location /last { proxy_pass http://last; }
         location /chance { proxy_pass http://chance; } location /any { proxy_pass http://any; }
         location /conn { proxy_pass http://conn; }",
    );
    let mut client = Client::connect(site.port);
    for path in ["/header", "/last", "/chance"] {
        let answers: Vec<String> = (0..20).map(|_| client.get(path).text()).collect();
        let fast = answers.iter().filter(|it| *it == "fast").count();
        assert!(fast >= 15, "{path}: {answers:?}");
    }
    let drawn: BTreeSet<String> = (0..40).map(|_| client.get("/any").text()).collect();
    assert_eq!(drawn.len(), 2, "both are drawn");
}

#[test]
fn while_one_is_busy_the_other_of_two_is_taken() {
    let (fast, lame) = (named("fast"), slow("lame", Duration::from_millis(500)));
    let site = Site::start(
        &format!(
            "upstream app {{ random two least_conn; server {}; server {}; }}",
            lame.address, fast.address
        ),
        "location / { proxy_pass http://app; }",
    );
    // Drawn again until the slow one has a request.
    let mut busy = Client::connect(site.port);
    loop {
        busy.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        if !lame.is_quiet() {
            break;
        }
        assert_eq!(busy.response().text(), "fast");
    }
    let mut client = Client::connect(site.port);
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "fast");
    }
    assert_eq!(busy.response().text(), "lame");
}

#[test]
fn requests_wait_in_a_queue_until_a_server_has_room() {
    let app = slow("ok", Duration::from_millis(300));
    let site = Site::start(
        &format!(
            "upstream app {{ server {0} max_conns=1; queue 2 timeout=5s; }}
             upstream short {{ server {0} max_conns=1; queue 2 timeout=100ms; }}
             upstream none {{ server {0} max_conns=1; }}",
            app.address
        ),
        "location / { proxy_pass http://app; } location /short { proxy_pass http://short; }
         location /none { proxy_pass http://none; }",
    );
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(site.port)).collect();
    clients[0].send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    app.seen();
    for client in &mut clients[1..] {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        thread::sleep(Duration::from_millis(50));
    }
    // Two wait, and one is too many.
    assert_eq!(clients[3].response().status, 502);
    for client in &mut clients[..3] {
        assert_eq!(client.response().text(), "ok");
    }
    for path in ["/short", "/none"] {
        let mut first = Client::connect(site.port);
        first.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        while app.is_quiet() {}
        assert_eq!(Client::connect(site.port).get(path).status, 502, "{path}");
        assert_eq!(first.response().text(), "ok");
    }
    until("it is logged", || {
        let errors = site.folder.read("logs/error.log");
        errors.contains("no live upstreams while connecting to upstream")
    });
}

#[test]
fn the_places_of_a_service_are_asked_for() {
    let (one, backup) = (named("one"), named("two"));
    let (first, second) = (one.address.port(), backup.address.port());
    let names = NameServer::with_services(
        |name, _| {
            name.ends_with("host.invalid")
                .then_some(Ipv4Addr::LOCALHOST)
        },
        move |name| match name {
            "_http._tcp.app.invalid" => {
                vec![
                    (10, first, "a.host.invalid"),
                    (20, second, "b.host.invalid"),
                ]
            }
            _ => Vec::new(),
        },
    );
    let site = Site::start(
        &format!(
            "upstream app {{ zone app 64k; resolver {} ipv6=off; resolver_timeout 2s;
                 server app.invalid service=http resolve; }}",
            names.address
        ),
        "location / { proxy_pass http://app; }",
    );
    let mut client = Client::connect(site.port);
    until("the service is known", || client.get("/").text() == "one");
    assert_eq!(
        client.get("/").text(),
        "one",
        "the other is of a lower rank"
    );
}
