//! Certificates that an authority issues to us.

use std::os::unix::fs::PermissionsExt;

use crate::support::acme::Acme;
use crate::support::server::REVOLVE;
use crate::support::tls::Clients;
use crate::support::{Client, Folder, Run, Server, ports, until};

struct Site {
    folder: Folder,
    /// In the clear, and by TLS.
    plain: u16,
    secure: u16,
}

impl Site {
    fn new() -> Site {
        let folder = Folder::new();
        folder.write("state/.keep", "");
        // Workers are somebody else where root starts us.
        let mode = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.file("state"), mode).expect("a mode");
        Site {
            folder,
            plain: ports::free(),
            secure: ports::free(),
        }
    }

    #[track_caller]
    fn start(&self, acme: &Acme) -> Server {
        self.start_with(acme, "", "one.test two.test *.test")
    }

    /// The same with these lines for the issuer, and these names.
    #[track_caller]
    fn start_with(&self, acme: &Acme, issuer: &str, names: &str) -> Server {
        let here = self.folder.path().display();
        let (plain, secure, port) = (self.plain, self.secure, acme.port);
        let text = format!(
            "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nworker_processes 2;\nevents {{}}\n\
             http {{ access_log off;\n\
             acme_issuer test {{ uri https://127.0.0.1:{port}/directory; contact admin@one.test;\n\
               state_path {here}/state; accept_terms_of_service; ssl_trusted_certificate ca.crt; {issuer} }}\n\
             server {{ listen 127.0.0.1:{plain}; return 301 https://$host$request_uri; }}\n\
             server {{ listen 127.0.0.1:{secure} ssl; server_name {names}; acme_certificate test;\n\
               ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 200 home; }} }}\n"
        );
        Server::start(&self.folder, &text, &[plain, secure])
    }

    /// Clients that trust the authority alone.
    fn clients(&self) -> Clients {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let text = self.folder.read("ca.crt");
        let root = CertificateDer::from_pem_slice(text.as_bytes()).expect("a certificate");
        Clients::trusting(&[root])
    }

    fn log(&self) -> String {
        self.folder.read("logs/error.log")
    }
}

#[test]
fn a_certificate_is_got_and_kept() {
    let site = Site::new();
    let acme = Acme::start(&site.folder, site.plain);
    let server = site.start(&acme);
    let clients = site.clients();
    let is_served = || {
        ["one.test", "two.test"]
            .iter()
            .all(|host| clients.connect(site.secure, host).is_ok())
    };
    until("the certificate is there", is_served);
    assert_eq!(acme.complaints(), Vec::<String>::new());
    assert_eq!(acme.orders(), 1, "one of the workers has ordered");
    // Both workers have it.
    for _ in 0..10 {
        assert!(clients.get(site.secure, "one.test", "/").ends_with("home"));
    }
    until("the log says so", || {
        site.log()
            .contains("acme issuer \"test\" has issued a certificate for one.test, two.test")
    });
    for name in ["one.test.pem", "account.key"] {
        let metadata = std::fs::metadata(site.folder.file("state").join(name)).expect(name);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert!(!site.log().contains("PRIVATE"));
    let mut command = std::process::Command::new(REVOLVE);
    let socket = site.folder.file("pid.ctl");
    let listed = Run::of(command.args(["ctl", "certificates", "-s"]).arg(socket));
    assert_eq!(listed.code, 0, "{}{}", listed.out, listed.err);
    let is_shown =
        listed.out.contains(" one.test, two.test ") && listed.out.contains("acme issuer test");
    assert!(is_shown, "{}", listed.out);
    // What nobody has asked for is a request like any other.
    let mut client = Client::connect(site.plain);
    client.send("GET /.well-known/acme-challenge/token_0-0 HTTP/1.1\r\nHost: one.test\r\n\r\n");
    assert_eq!(client.response().status, 301);
    // It lies there for the next time.
    drop(server);
    let _server = site.start(&acme);
    assert!(is_served());
    assert_eq!(acme.orders(), 1);
}

/// The authority shakes hands with whichever worker accepts; one of them has ordered.
#[test]
fn a_name_is_shown_to_be_ours_by_a_handshake() {
    let site = Site::new();
    let acme = Acme::start(&site.folder, site.secure);
    let names = "one.test two.test three.test four.test";
    let _server = site.start_with(&acme, "challenge tls-alpn-01;", names);
    let clients = site.clients();
    std::thread::sleep(std::time::Duration::from_secs(8));
    eprintln!(
        "{} {:?} {:?}",
        site.log(),
        acme.complaints(),
        acme.challenges()
    );
    until("the certificate is there", || {
        clients.connect(site.secure, "four.test").is_ok()
    });
    assert_eq!(acme.complaints(), Vec::<String>::new());
    assert_eq!(acme.challenges(), ["tls-alpn-01"; 4]);
    // Whoever is no authority, or comes too late, gets no such certificate.
    let authority = Clients::trusting_anybody().offering(&[b"acme-tls/1"]);
    let refused = authority.connect(site.secure, "one.test");
    let refused = refused.err().expect("no handshake").to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    assert!(clients.get(site.secure, "one.test", "/").ends_with("home"));
}

/// A program that keeps records in a file, and says what it does; the lines of an issuer that runs it.
fn recorder(site: &Site) -> String {
    let text = "#!/bin/sh\n\
        echo \"as $(id -u): $2 $3\" >&2\n\
        case $2 in\n\
        add) echo \"$3 $4\" >> \"$1\" ;;\n\
        remove) grep -v -x \"$3 $4\" \"$1\" > \"$1.new\"; cat \"$1.new\" > \"$1\" ;;\n\
        *) exit 64 ;;\n\
        esac\n";
    site.folder.write("recorder", text);
    for (name, mode) in [
        ("recorder", 0o755),
        ("records", 0o666),
        ("records.new", 0o666),
    ] {
        if name != "recorder" {
            site.folder.write(name, "");
        }
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(site.folder.file(name), mode).expect("a mode");
    }
    let here = site.folder.path().display();
    format!("challenge dns-01; dns_command {here}/recorder {here}/records;")
}

#[test]
fn a_wildcard_is_got_by_records_that_a_command_sets() {
    let site = Site::new();
    let acme = Acme::start(&site.folder, site.plain);
    let issuer = recorder(&site);
    let _server = site.start_with(&acme, &issuer, ".one.test two.test ~pattern");
    let clients = site.clients();
    let is_served = |host| clients.connect(site.secure, host).is_ok();
    until("the certificate is there", || {
        ["one.test", "any.one.test", "two.test"]
            .into_iter()
            .all(is_served)
    });
    assert_eq!(acme.complaints(), Vec::<String>::new());
    assert_eq!(acme.challenges(), ["dns-01"; 3]);
    assert_eq!(site.folder.read("records"), "", "they are taken back");
    let log = site.log();
    for said in [
        "add _acme-challenge.one.test",
        "remove _acme-challenge.two.test",
    ] {
        let said = format!(": {said}");
        assert!(log.contains(&said), "{said}: {log}");
    }
    // It runs as whom the workers run as, which is nobody's where root starts us.
    let uid = rustix::process::getuid().as_raw();
    let expected = if uid == 0 {
        "as 65534: add"
    } else {
        &format!("as {uid}: add")
    };
    assert!(log.contains(expected), "{log}");
}

#[test]
fn a_command_that_fails_is_an_order_that_fails() {
    let site = Site::new();
    let acme = Acme::start(&site.folder, site.plain);
    let issuer = "challenge dns-01; dns_command /bin/sh -c 'echo no such zone; exit 7' sh;";
    let _server = site.start_with(&acme, issuer, "one.test");
    until("the log says so", || {
        let log = site.log();
        log.contains("\"/bin/sh\" says: no such zone")
            && log.contains(
                "has issued nothing for one.test: \"/bin/sh add\" has ended with exit status: 7; next try in ",
            )
    });
    assert_eq!(acme.challenges(), Vec::<String>::new());
}

/// The time in seconds since 1970.
fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock that is set").as_secs() as i64
}

#[test]
fn an_authority_says_when_to_renew() {
    let site = Site::new();
    let acme = Acme::start(&site.folder, site.plain);
    acme.suggest((now_s() + 86_400, now_s() + 2 * 86_400));
    let server = site.start(&acme);
    until("it is asked", || acme.asked() == 1);
    until("the log says so", || {
        let log = site.log();
        log.contains("acme issuer \"test\" suggests to renew one.test, two.test between ")
            && log.contains(" (https://a.test/why)")
    });
    assert_eq!((acme.orders(), acme.replaced().len()), (1, 0));
    drop(server);
    // A window that is over asks for it at once, though the certificate has most of its time left.
    acme.suggest((now_s() - 20, now_s() - 10));
    let _server = site.start(&acme);
    until("it is renewed", || acme.orders() == 2);
    until("it is asked about the new one", || acme.asked() >= 3);
    assert_eq!(acme.replaced().len(), 1);
    assert_eq!(acme.complaints(), Vec::<String>::new());
}

/// Where an authority says nothing of that, two thirds of the time are what counts.
#[test]
fn a_certificate_is_renewed_when_two_thirds_of_its_time_are_over() {
    let site = Site::new();
    let acme = Acme::start(&site.folder, site.plain);
    // It is valid since yesterday: two of three days are left, or none of one.
    acme.issue_for(2);
    let server = site.start(&acme);
    let is_issued = |times| {
        until("it is issued", || {
            site.log().matches("has issued a certificate").count() >= times
        });
    };
    is_issued(1);
    drop(server);
    acme.issue_for(0);
    std::fs::remove_file(site.folder.file("state/one.test.pem")).expect("it is there");
    let server = site.start(&acme);
    is_issued(2);
    drop(server);
    acme.issue_for(90);
    let _server = site.start(&acme);
    is_issued(3);
    assert_eq!((acme.asked(), acme.replaced().len()), (0, 0));
}

#[test]
fn an_authority_that_knows_us_otherwise_is_told_so() {
    let site = Site::new();
    let acme = Acme::start(&site.folder, site.plain);
    acme.serve_customer("customer 1", b"a secret of both");
    site.folder.write("eab.key", "YSBzZWNyZXQgb2YgYm90aA\n");
    let issuer = "external_account_key \"customer 1\" eab.key;";
    let _server = site.start_with(&acme, issuer, "one.test");
    let clients = site.clients();
    until("the certificate is there", || {
        clients.connect(site.secure, "one.test").is_ok()
    });
    assert_eq!(acme.complaints(), Vec::<String>::new());
}

#[test]
fn an_authority_that_refuses_is_asked_again_later() {
    let site = Site::new();
    // Challenges are looked for where nobody answers them.
    let acme = Acme::start(&site.folder, site.secure);
    let _server = site.start(&acme);
    until("the log says so", || {
        site.log().contains(
            "has issued nothing for one.test, two.test: it has refused: the answer was another; next try in ",
        )
    });
    // Until then there is one that nobody vouches for.
    let answer = Clients::trusting_anybody().get(site.secure, "one.test", "/");
    assert!(answer.ends_with("home"), "{answer}");
    assert!(site.clients().connect(site.secure, "one.test").is_err());
}
