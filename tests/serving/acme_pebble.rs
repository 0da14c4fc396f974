//! Pebble, the authority that Let's Encrypt has for tests.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use crate::support::left_out::left_out;
use crate::support::tls::{Authority, Clients};
use crate::support::{Folder, Server, ports, until};

/// The running authority.
struct Pebble(Child);

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, with the places where challenges are to be answered; none where it is not installed.
fn start(folder: &Folder, port: u16, (plain, secure): (u16, u16)) -> Option<Pebble> {
    Authority::new(folder, "ca").issue(folder, "pebble", "127.0.0.1", 1);
    let here = folder.path().display();
    let text = format!(
        r#"{{"pebble":{{"listenAddress":"127.0.0.1:{port}","managementListenAddress":"127.0.0.1:{}",
        "certificate":"{here}/pebble.crt","privateKey":"{here}/pebble.key","httpPort":{plain},
        "tlsPort":{secure},"ocspResponderURL":"","externalAccountBindingRequired":false}}}}"#,
        ports::free()
    );
    folder.write("pebble.json", text);
    let started = Command::new("pebble")
        .arg("-config")
        .arg(folder.file("pebble.json"))
        .env("PEBBLE_VA_NOSLEEP", "1")
        // It refuses some nonces that are good.
        .env("PEBBLE_WFE_NONCEREJECT", "20")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let pebble = match started {
        Ok(child) => Pebble(child),
        Err(_) => {
            left_out("there is no pebble (apt-get install pebble)");
            return None;
        }
    };
    until("pebble listens", || ports::is_listening(port));
    Some(pebble)
}

/// By both challenges, for an address, which is asked for by its reverse name in a handshake.
#[test]
fn pebble_issues_certificates_to_us() {
    let folder = Folder::new();
    let [port, plain, secure, other] = [(); 4].map(|()| ports::free());
    let Some(_pebble) = start(&folder, port, (plain, secure)) else {
        return;
    };
    for state in ["state.alpn", "state.http"] {
        folder.write(&format!("{state}/.keep"), "");
        let mode = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.file(state), mode).expect("a mode");
    }
    let here = folder.path().display();
    let issuer = |name: &str, more: &str| {
        format!(
            "acme_issuer {name} {{ uri https://127.0.0.1:{port}/dir; contact a@one.test; {more}\n\
             state_path {here}/state.{name}; accept_terms_of_service; ssl_trusted_certificate ca.crt; }}\n"
        )
    };
    let server = |listen: &str, name: &str| {
        format!(
            "server {{ {listen} acme_certificate {name} 127.0.0.1; return 200 home;\n\
             ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; }}\n"
        )
    };
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nworker_processes 2;\n\
         events {{}}\nhttp {{ access_log off;\n{}{}{}{}}}\n",
        issuer("alpn", "challenge tls-alpn-01;"),
        issuer("http", ""),
        server(&format!("listen 127.0.0.1:{secure} ssl;"), "alpn"),
        server(
            &format!("listen 127.0.0.1:{plain}; listen 127.0.0.1:{other} ssl;"),
            "http"
        ),
    );
    let _server = Server::start(&folder, &text, &[plain, secure, other]);
    for name in ["alpn", "http"] {
        let said = format!("acme issuer \"{name}\" has issued a certificate for 127.0.0.1");
        until("the certificate is there", || {
            folder.read("logs/error.log").contains(&said)
        });
    }
    let answer = Clients::trusting_anybody().get(secure, "127.0.0.1", "/");
    assert!(answer.ends_with("home"), "{answer}");
}
