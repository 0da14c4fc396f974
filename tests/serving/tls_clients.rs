//! Clients that show who they are.

use rustls::version::{TLS12, TLS13};

use crate::support::tls::{Authority, Clients, Identity, certificate};
use crate::support::{Folder, Server, ports, until};

struct Site {
    folder: Folder,
    port: u16,
    authority: Authority,
    certificate: rustls::pki_types::CertificateDer<'static>,
    server: Server,
}

/// Servers on one port: `on.test` and its alias, `open.test`, which asks for nothing, `maybe.test` and
/// `any.test`; `more` is a line for each.
fn start(more: &str) -> Site {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    let shown = certificate(&folder, "site", "*.test.test");
    let port = ports::free();
    let here = folder.path().display();
    let show = "\"$ssl_client_verify $ssl_client_s_dn $ssl_client_serial\"";
    let block = |names: &str, lines: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; server_name {names}; {lines} {more}\n\
             location / {{ return 200 {show}; }} location /page {{ return 200 \"page $status {show_status}\"; }} }}\n",
            show_status = "$ssl_client_verify",
        )
    };
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nworker_processes 2;\nevents {{}}\n\
         http {{ access_log off; ssl_certificate site.crt; ssl_certificate_key site.key;\n\
         ssl_client_certificate ca.crt;\n{}{}{}{}}}\n",
        block("on.test.test alias.test.test", "ssl_verify_client on;"),
        block("open.test.test", ""),
        block("maybe.test.test", "ssl_verify_client optional;"),
        block("any.test.test", "ssl_verify_client optional_no_ca;"),
    );
    let server = Server::start(&folder, &text, &[port]);
    Site {
        folder,
        port,
        authority,
        certificate: shown,
        server,
    }
}

impl Site {
    fn clients(&self, identity: Option<&Identity>) -> Clients {
        Clients::showing(
            std::slice::from_ref(&self.certificate),
            &[&TLS13, &TLS12],
            identity,
        )
    }

    fn answer(&self, clients: &Clients, name: &'static str, host: &str) -> (String, bool) {
        let mut client = clients.connect(self.port, name).expect("a handshake");
        client.request(host, "/", "close");
        let answer = client.rest().expect("an end that is said");
        (
            String::from_utf8_lossy(&answer).into_owned(),
            client.is_resumed(),
        )
    }

    #[track_caller]
    fn says(&self, clients: &Clients, host: &'static str, status: &str, end: &str) {
        let (answer, _) = self.answer(clients, host, host);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(end),
            "{host}: {answer}"
        );
    }
}

#[test]
fn who_has_a_certificate_is_let_in_and_known() {
    let site = start("");
    let identity = site
        .authority
        .issue(&site.folder, "client", "client.test", 7);
    let known = site.clients(Some(&identity));
    for host in ["on.test.test", "maybe.test.test", "any.test.test"] {
        site.says(&known, host, "200", "SUCCESS CN=client 07");
    }
    site.says(&known, "open.test.test", "200", "NONE  ");
    let unknown = site.clients(None);
    site.says(
        &unknown,
        "on.test.test",
        "400",
        "No required SSL certificate was sent",
    );
    for host in ["open.test.test", "maybe.test.test", "any.test.test"] {
        site.says(&unknown, host, "200", "NONE");
    }
    let others = Authority::new(&Folder::new(), "others");
    let identity = others.issue(&site.folder, "stranger", "client.test", 8);
    let stranger = site.clients(Some(&identity));
    for host in ["on.test.test", "maybe.test.test"] {
        site.says(&stranger, host, "400", "The SSL certificate error");
    }
    let failed = "FAILED:unable to verify the first certificate CN=stranger 08";
    site.says(&stranger, "any.test.test", "200", failed);
    until("the log says why", || {
        let log = site.folder.read("logs/error.log");
        log.contains(
            "client SSL certificate verify error: (21:unable to verify the first certificate)",
        ) && log.contains("client sent no required SSL certificate")
    });
}

#[test]
fn an_error_page_may_be_written_for_it() {
    let site = start("error_page 495 496 =403 /page;");
    let unknown = site.clients(None);
    site.says(&unknown, "on.test.test", "403", "page 403 NONE");
}

#[test]
fn who_is_on_the_list_is_not_let_in() {
    let site = start("ssl_crl ca.crl;");
    let good = site
        .authority
        .issue(&site.folder, "client", "client.test", 7);
    let bad = site
        .authority
        .issue(&site.folder, "other", "client.test", 9);
    site.says(&site.clients(Some(&good)), "on.test.test", "200", "SUCCESS");
    site.says(&site.clients(Some(&bad)), "on.test.test", "200", "SUCCESS");
    site.authority.revoke(&site.folder, "ca", &[9]);
    site.server.signal(rustix::process::Signal::HUP);
    until("the list is in force", || {
        let (answer, _) = site.answer(&site.clients(Some(&bad)), "on.test.test", "on.test.test");
        answer.starts_with("HTTP/1.1 400")
    });
    site.says(&site.clients(Some(&good)), "on.test.test", "200", "SUCCESS");
    until("the log says why", || {
        let log = site.folder.read("logs/error.log");
        log.contains("(23:certificate revoked)")
    });
}

/// Whoever was let in by one server has not been let in by another.
#[test]
fn a_server_that_asks_is_not_reached_by_way_of_one_that_does_not() {
    let site = start("");
    let identity = site
        .authority
        .issue(&site.folder, "client", "client.test", 7);
    let known = site.clients(Some(&identity));
    let unknown = site.clients(None);
    for (clients, met, host, status) in [
        (&unknown, "open.test.test", "on.test.test", "421"),
        (&known, "open.test.test", "on.test.test", "421"),
        (&known, "any.test.test", "on.test.test", "421"),
        (&unknown, "maybe.test.test", "on.test.test", "421"),
        (&known, "on.test.test", "alias.test.test", "200"),
        (&known, "on.test.test", "open.test.test", "200"),
    ] {
        let (answer, _) = site.answer(clients, met, host);
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{met} {host}: {answer}");
    }
}

/// A session that is resumed has the certificate with it that it began with, and is judged anew.
#[test]
fn sessions_are_resumed_with_who_the_client_is() {
    let site = start("");
    let identity = site
        .authority
        .issue(&site.folder, "client", "client.test", 7);
    for version in [&TLS12, &TLS13] {
        let known = Clients::showing(
            std::slice::from_ref(&site.certificate),
            &[version],
            Some(&identity),
        );
        for round in 0..6 {
            let (answer, is_resumed) = site.answer(&known, "on.test.test", "on.test.test");
            assert!(answer.ends_with("SUCCESS CN=client 07"), "{answer}");
            assert_eq!(is_resumed, round > 0, "{version:?} {round}");
        }
    }
}
