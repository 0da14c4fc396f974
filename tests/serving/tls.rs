//! HTTPS.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};

use super::config;
use crate::support::tls::{Clients, certificate};
use crate::support::{Client, End, Folder, Run, Server, ports, revolve, until};

struct Secure {
    folder: Folder,
    port: u16,
    server: Server,
    /// Of `one.test`, and of `two.test`.
    certificates: [CertificateDer<'static>; 2],
}

/// Two servers on one port; `one` stands in the first, and `main` at the top.
#[track_caller]
fn start(main: &str, one: &str) -> Secure {
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let certificates = [
        certificate(&folder, "one", "one.test"),
        certificate(&folder, "two", "two.test"),
    ];
    let port = ports::free();
    let text = text(&folder, port, main, one);
    let server = Server::start(&folder, &text, &[port]);
    Secure {
        folder,
        port,
        server,
        certificates,
    }
}

fn text(folder: &Folder, port: u16, main: &str, one: &str) -> String {
    let here = folder.path().display();
    let second = format!(
        "server {{ listen 127.0.0.1:{port} ssl; server_name two.test; \
         ssl_certificate {here}/two.crt; ssl_certificate_key {here}/two.key; return 200 two; }}\n"
    );
    let first = format!(
        "server_name one.test; ssl_certificate one.crt; ssl_certificate_key one.key;\n{one}"
    );
    let text = config(folder, port, "", &first).replace(
        &format!("listen 127.0.0.1:{port};"),
        &format!("listen 127.0.0.1:{port} ssl;"),
    );
    let text = text.trim_end().strip_suffix('}').expect("an http block");
    format!("{main}\n{text}{second}}}\n")
}

impl Secure {
    fn clients(&self) -> Clients {
        Clients::trusting(&self.certificates)
    }

    fn log(&self) -> String {
        self.folder.read("logs/error.log")
    }
}

const SHOW: &str = "location /show { return 200 \
    \"$https $scheme $ssl_protocol $ssl_cipher $ssl_server_name $ssl_session_reused $server_name;\"; }";

#[test]
fn a_name_chooses_the_certificate_and_the_server() {
    let site = start("", SHOW);
    let clients = site.clients();
    for (host, certificate) in ["one.test", "two.test"].into_iter().zip(&site.certificates) {
        let client = clients.connect(site.port, host).expect("a handshake");
        assert_eq!(client.certificate(), Some(&certificate[..]), "{host}");
    }
    clients.get(site.port, "one.test", "/show");
    let shown = clients.get(site.port, "one.test", "/show");
    let expected = "on https TLSv1.3 TLS_AES_256_GCM_SHA384 one.test r one.test;";
    assert!(shown.ends_with(expected), "{shown}");
    assert!(clients.get(site.port, "two.test", "/").ends_with("two"));
    let old = Clients::of(&site.certificates, &[&TLS12]);
    let shown = old.get(site.port, "one.test", "/show");
    let expected = "on https TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 one.test . one.test;";
    assert!(shown.ends_with(expected), "{shown}");
}

/// As in nginx: a host that no server has is served by the one that the handshake has named.
#[test]
fn a_host_that_nobody_has_is_served_by_the_server_of_the_handshake() {
    let site = start("", "return 200 one;");
    let mut client = site
        .clients()
        .connect(site.port, "two.test")
        .expect("a handshake");
    client.request("nobody.test", "/", "close");
    let answer = client.rest().expect("an end that is said");
    assert!(
        answer.ends_with(b"two"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn files_of_any_size_come_whole_on_a_connection_that_stays() {
    let site = start("", "");
    let big: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    site.folder.write("html/big", &big);
    let mut client = site
        .clients()
        .connect(site.port, "one.test")
        .expect("a handshake");
    for _ in 0..3 {
        client.request("one.test", "/", "keep-alive");
        assert!(client.until("home\n").starts_with("HTTP/1.1 200"));
    }
    client.request("one.test", "/big", "close");
    let answer = client.rest().expect("an end that is said");
    assert!(answer.ends_with(&big), "{} bytes", answer.len());
}

#[test]
fn redirects_say_https() {
    let site = start("", "");
    site.folder.write("html/folder/index.html", "x");
    let answer = site.clients().get(site.port, "one.test", "/folder");
    let port = site.port;
    let expected = format!("\r\nLocation: https://one.test:{port}/folder/\r\n");
    assert!(answer.contains(&expected), "{answer}");
}

#[test]
fn plain_http_is_told_so() {
    let site = start(
        "",
        "location = /way { return 302 https://$host$request_uri; }",
    );
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: one.test\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 400);
    let said = "The plain HTTP request was sent to HTTPS port";
    assert!(response.text().contains(said), "{}", response.text());
    until("the log says so", || {
        site.log()
            .contains("client sent plain HTTP request to HTTPS port")
    });
    let site = start("", "error_page 497 =301 https://$host$request_uri;");
    let mut client = Client::connect(site.port);
    client.send("GET /a?b HTTP/1.1\r\nHost: one.test\r\n\r\n");
    let response = client.response();
    let location = response.header("location");
    assert_eq!(
        (response.status, location),
        (301, Some("https://one.test/a?b"))
    );
}

#[test]
fn sessions_are_resumed_by_every_worker() {
    let site = start("worker_processes 3;", "");
    site.server.workers_once(3);
    for version in [&TLS12, &TLS13] {
        let clients = Clients::of(&site.certificates, &[version]);
        for round in 0..12 {
            let mut client = clients.connect(site.port, "one.test").expect("a handshake");
            client.request("one.test", "/", "close");
            client.rest().expect("an end that is said");
            assert_eq!(client.is_resumed(), round > 0, "{version:?} {round}");
        }
    }
}

/// Tickets' keys lie in memory that all share, and change: the one before opens for as long again.
#[test]
fn tickets_outlive_a_reload_and_not_their_time() {
    let site = start("worker_processes 2;", "ssl_session_timeout 3s;");
    for version in [&TLS12, &TLS13] {
        let clients = Clients::of(&site.certificates, &[version]);
        let is_resumed = || {
            let mut client = clients.connect(site.port, "one.test").expect("a handshake");
            client.request("one.test", "/", "close");
            client.rest().expect("an end that is said");
            client.is_resumed()
        };
        is_resumed();
        let before = site.log().matches("serves configuration").count();
        site.server.signal(Signal::HUP);
        until("the workers have the new configuration", || {
            site.log().matches("serves configuration").count() >= before + 2
        });
        // On a machine that is busy three seconds may be over by now: then there is a new one.
        assert!((0..20).any(|_| is_resumed()), "{version:?}");
        std::thread::sleep(std::time::Duration::from_secs(4));
        assert!(!is_resumed(), "{version:?}");
    }
}

#[test]
fn what_was_signed_with_is_known() {
    let show = "location /show { return 200 \"$ssl_sigalg $ssl_client_sigalg $ssl_ech_status;\"; }";
    let site = start("", show);
    let clients = site.clients();
    let shown = clients.get(site.port, "one.test", "/show");
    assert!(
        shown.ends_with("\r\n\r\necdsa_secp256r1_sha256  ;"),
        "{shown}"
    );
    // A session that is resumed needs no signature.
    let shown = clients.get(site.port, "one.test", "/show");
    assert!(shown.ends_with("\r\n\r\n  ;"), "{shown}");
}

#[test]
fn a_session_is_good_for_its_server_alone() {
    let site = start("", "");
    let clients = site.clients();
    clients.get(site.port, "one.test", "/");
    let other = clients.connect(site.port, "two.test").expect("a handshake");
    assert!(!other.is_resumed());
}

#[test]
fn what_is_no_handshake_costs_its_connection_alone() {
    let site = start("", "");
    for garbage in [
        &[0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9][..],
        &[0x80, 1, 2, 3],
        &[0x16, 3, 1, 0xff, 0xff],
    ] {
        let mut client = Client::connect(site.port);
        client.send(garbage);
        let (_, end) = client.rest(std::time::Duration::from_secs(10));
        assert_ne!(end, End::Open);
    }
    until("the log says so", || {
        site.log().contains("SSL_do_handshake() failed")
    });
    assert!(
        site.clients()
            .get(site.port, "one.test", "/")
            .ends_with("home\n")
    );
}

#[test]
fn a_server_may_refuse_handshakes() {
    let site = start("", "ssl_reject_handshake on;");
    let error = site
        .clients()
        .connect(site.port, "one.test")
        .err()
        .expect("no handshake");
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert!(
        site.clients()
            .get(site.port, "two.test", "/")
            .ends_with("two")
    );
}

#[test]
fn a_reload_takes_new_certificates_and_no_bad_ones() {
    let site = start("", "");
    let other = Folder::new();
    let renewed = certificate(&other, "one", "one.test");
    let served = |certificate: &[u8]| {
        let clients = Clients::trusting(&[site.certificates[0].clone(), renewed.clone()]);
        let client = clients.connect(site.port, "one.test").expect("a handshake");
        client.certificate() == Some(certificate)
    };
    assert!(served(&site.certificates[0]));
    // The certificate alone does not fit the key.
    site.folder.write("one.crt", other.read("one.crt"));
    site.server.signal(Signal::HUP);
    until("the reload has failed", || {
        site.log().contains("key values mismatch")
    });
    assert!(served(&site.certificates[0]));
    site.folder.write("one.key", other.read("one.key"));
    site.server.signal(Signal::HUP);
    until("the new one is served", || served(&renewed));
    let log = site.log();
    let changed = format!("{}/one.key changed", site.folder.path().display());
    assert!(log.contains(&changed), "{log}");
    assert!(!log.contains("PRIVATE"), "{log}");
}

#[test]
fn keys_are_read_by_the_master_and_printed_by_nobody() {
    let site = start("user nobody nogroup;", "");
    for name in ["one.key", "two.key"] {
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(site.folder.file(name), mode).expect("a mode");
    }
    let answer = site.clients().get(site.port, "one.test", "/");
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    let dump = Run::of(revolve(&site.folder).arg("-T"));
    assert_eq!(dump.code, 0, "{}", dump.err);
    assert!(dump.out.contains("ssl_certificate_key"), "{}", dump.out);
    assert!(!dump.out.contains("PRIVATE KEY"), "{}", dump.out);
}

/// Tickets are off, so that only a cache that workers share can do it.
#[test]
fn a_shared_cache_is_every_workers_and_outlives_a_reload() {
    let lines = "ssl_session_tickets off; ssl_session_cache shared:one:1m;";
    let site = start("worker_processes 3;", lines);
    site.server.workers_once(3);
    for version in [&TLS12, &TLS13] {
        let clients = Clients::of(&site.certificates, &[version]);
        for round in 0..12 {
            let mut client = clients.connect(site.port, "one.test").expect("a handshake");
            client.request("one.test", "/", "close");
            client.rest().expect("an end that is said");
            assert_eq!(client.is_resumed(), round > 0, "{version:?} {round}");
        }
        let before = site.server.workers_once(3);
        site.server.signal(Signal::HUP);
        until("the workers have the new configuration", || {
            site.log().matches("serves configuration").count() >= 6
                || site.server.workers_once(3) != before
        });
        let client = clients.connect(site.port, "one.test").expect("a handshake");
        assert!(client.is_resumed(), "{version:?}");
        // Another server has no part in it.
        let other = clients.connect(site.port, "two.test").expect("a handshake");
        assert!(!other.is_resumed());
    }
}

#[test]
fn certificates_may_be_named_by_the_handshake() {
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let one = certificate(&folder, "one.test", "one.test");
    let two = certificate(&folder, "two.test", "two.test");
    let port = ports::free();
    let server =
        "server_name _; ssl_certificate $named.crt; ssl_certificate_key $ssl_server_name.key;";
    let text = config(
        &folder,
        port,
        "map $ssl_server_name $named { default $ssl_server_name; }",
        server,
    )
    .replace(
        &format!("listen 127.0.0.1:{port};"),
        &format!("listen 127.0.0.1:{port} ssl;"),
    );
    let _server = Server::start(&folder, &text, &[port]);
    let clients = Clients::trusting(&[one.clone(), two.clone()]);
    for (host, certificate) in [("one.test", &one), ("two.test", &two), ("one.test", &one)] {
        let mut client = clients.connect(port, host).expect("a handshake");
        assert_eq!(client.certificate(), Some(&certificate[..]), "{host}");
        client.request(host, "/", "close");
        let answer = client.rest().expect("an end that is said");
        assert!(answer.ends_with(b"home\n"));
    }
    assert!(clients.connect(port, "three.test").is_err());
    let missing = format!(
        "cannot load certificate \"{}/three.test.crt\"",
        folder.path().display()
    );
    until("the log says so", || {
        let log = folder.read("logs/error.log");
        log.contains(&missing) && log.contains("No such file or directory) while SSL handshaking")
    });
    // What has changed is read again, without a reload.
    let renewed = certificate(&folder, "two.test", "two.test");
    let clients = Clients::trusting(std::slice::from_ref(&renewed));
    let client = clients.connect(port, "two.test").expect("a handshake");
    assert_eq!(client.certificate(), Some(&renewed[..]));
}

#[test]
fn a_certificate_may_stand_in_a_variable() {
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let one = certificate(&folder, "one", "one.test");
    let port = ports::free();
    let (shown, key) = (folder.read("one.crt"), folder.read("one.key"));
    let http = format!(
        "map $host $shown {{ default \"{shown}\"; }} map $host $key {{ default \"{key}\"; }}"
    );
    let server = "ssl_certificate data:$shown; ssl_certificate_key data:$key; ssl_certificate_cache max=10 valid=1m;";
    let text = config(&folder, port, &http, server).replace(
        &format!("listen 127.0.0.1:{port};"),
        &format!("listen 127.0.0.1:{port} ssl;"),
    );
    let _server = Server::start(&folder, &text, &[port]);
    let clients = Clients::trusting(std::slice::from_ref(&one));
    for _ in 0..2 {
        let client = clients.connect(port, "one.test").expect("a handshake");
        assert_eq!(client.certificate(), Some(&one[..]));
    }
}
