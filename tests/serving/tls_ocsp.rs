//! What authorities say of certificates.

use rustls::version::{TLS12, TLS13};

use crate::support::ocsp::responder;
use crate::support::tls::{Authority, Clients, Identity, certificate};
use crate::support::{Folder, Server, Upstream, ports, until};

/// A server for those whom `ca` has issued certificates, with these lines.
fn start(folder: &Folder, lines: &str) -> (Server, u16) {
    certificate(folder, "site", "one.test");
    let port = ports::free();
    let here = folder.path().display();
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nworker_processes 2;\nevents {{}}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:{port} ssl; server_name one.test;\n\
         ssl_certificate site.crt; ssl_certificate_key site.key; {lines}\n\
         return 200 \"$ssl_client_verify\"; }} }}\n"
    );
    (Server::start(folder, &text, &[port]), port)
}

fn get(port: u16, identity: &Identity) -> String {
    let clients = Clients::anybody_showing(&[&TLS13, &TLS12], identity);
    clients.get(port, "one.test", "/")
}

#[test]
fn clients_whose_certificate_was_revoked_are_not_let_in() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    let [good, revoked, unknown] =
        [7, 8, 100].map(|serial| authority.issue(&folder, "client", "client.test", serial));
    let asked = responder(authority, &[8]);
    let lines = format!(
        "ssl_verify_client on; ssl_client_certificate ca.crt; ssl_ocsp on;\n\
         ssl_ocsp_responder http://{}/status; ssl_ocsp_cache shared:answers:1m;",
        asked.address
    );
    let (_server, port) = start(&folder, &lines);
    for _ in 0..3 {
        let answer = get(port, &good);
        assert!(answer.ends_with("SUCCESS"), "{answer}");
        for identity in [&revoked, &unknown] {
            let answer = get(port, identity);
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
    }
    // What was answered once is known by all workers.
    assert_eq!(
        [asked.seen(), asked.seen(), asked.seen()],
        ["7", "8", "100"]
    );
    assert!(asked.is_quiet());
    until("the log says why", || {
        let log = folder.read("logs/error.log");
        log.contains("certificate revoked)") && log.contains("certificate status unknown)")
    });
}

#[test]
fn nobody_is_believed_who_may_not_say_it() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    let client = authority.issue(&folder, "client", "client.test", 7);
    let liar = responder(Authority::new(&folder, "liar"), &[]);
    let silent = Upstream::answering("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    for (address, says) in [
        (liar.address, "not signed by who may"),
        (silent.address, "it answers 500"),
    ] {
        let lines = format!(
            "ssl_verify_client optional; ssl_client_certificate ca.crt; ssl_ocsp leaf; ssl_ocsp_responder http://{address};"
        );
        let (_server, port) = start(&folder, &lines);
        let answer = get(port, &client);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        until("the log says why", || {
            folder.read("logs/error.log").contains(says)
        });
    }
}

#[test]
fn what_an_authority_says_is_stapled() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    authority.issue(&folder, "issued", "one.test", 9);
    let asked = responder(authority, &[]);
    let lines = format!(
        "ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate ca.crt;\n\
         ssl_stapling_responder http://{}/;",
        asked.address
    );
    certificate(&folder, "site", "one.test");
    let port = ports::free();
    let here = folder.path().display();
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nevents {{}}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:{port} ssl; {lines}\n\
         ssl_certificate issued.crt; ssl_certificate_key issued.key; return 200 x; }} }}\n"
    );
    let _server = Server::start(&folder, &text, &[port]);
    let (clients, stapled) = Clients::noting_staples();
    until("it is stapled", || {
        clients.get(port, "one.test", "/");
        !stapled.lock().expect("nobody panics with it").is_empty()
    });
    assert_eq!(asked.seen(), "9");
    assert!(asked.is_quiet(), "one answer is enough");
}
