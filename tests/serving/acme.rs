//! Certificates that an authority issues to us.

use std::os::unix::fs::PermissionsExt;

use crate::support::acme::Acme;
use crate::support::tls::Clients;
use crate::support::{Client, Folder, Server, ports, until};

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

#[test]
fn an_authority_that_refuses_is_asked_again_later() {
    let site = Site::new();
    // Challenges are looked for where nobody answers them.
    let acme = Acme::start(&site.folder, site.secure);
    let _server = site.start(&acme);
    until("the log says so", || {
        site.log().contains(
            "has issued nothing for one.test, two.test: it has refused: the answer was another; next try in 60 s",
        )
    });
    // Until then there is one that nobody vouches for.
    let answer = Clients::trusting_anybody().get(site.secure, "one.test", "/");
    assert!(answer.ends_with("home"), "{answer}");
    assert!(site.clients().connect(site.secure, "one.test").is_err());
}
