//! What OpenSSL's own client says of us.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::Signal;

use super::config;
use crate::support::left_out::left_out;
use crate::support::tls::certificate;
use crate::support::wait::PATIENCE;
use crate::support::{Folder, Server, ports, proc, until};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n";

/// A server with a certificate of ECDSA and one of RSA; none where there is no `openssl`.
fn start(folder: &Folder, main: &str) -> Option<(Server, u16)> {
    if Command::new("openssl").arg("version").output().is_err() {
        left_out("there is no openssl");
        return None;
    }
    folder.write("html/index.html", "home\n");
    certificate(folder, "one", "one.test");
    let made = Command::new("openssl")
        .current_dir(folder.path())
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9",
        ])
        .args([
            "-subj",
            "/CN=one.test",
            "-keyout",
            "rsa.key",
            "-out",
            "rsa.crt",
        ])
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl runs").success());
    let port = ports::free();
    let server = "server_name one.test; ssl_certificate one.crt; ssl_certificate_key one.key;\n\
        ssl_certificate rsa.crt; ssl_certificate_key rsa.key;";
    let text = config(folder, port, "", server).replace(
        &format!("listen 127.0.0.1:{port};"),
        &format!("listen 127.0.0.1:{port} ssl;"),
    );
    let text = format!("{main}\n{text}");
    Some((Server::start(folder, &text, &[port]), port))
}

fn s_client(port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .args(["-servername", "one.test"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// All that it says of a request.
fn ask(port: u16, arguments: &[&str]) -> String {
    let mut child = s_client(port, arguments)
        .arg("-ign_eof")
        .spawn()
        .expect("openssl runs");
    let mut input = child.stdin.take().expect("a pipe");
    // It may have ended, where the handshake fails.
    let _ = input.write_all(REQUEST.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    drop(input);
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn every_suite_and_curve_is_spoken() {
    let folder = Folder::new();
    let Some((_server, port)) = start(&folder, "") else {
        return;
    };
    let new = [
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];
    for suite in new {
        let said = ask(port, &["-tls1_3", "-ciphersuites", suite]);
        assert!(
            said.contains(&format!("New, TLSv1.3, Cipher is {suite}\n")),
            "{said}"
        );
        assert!(said.contains("home"), "{said}");
    }
    for key in ["ECDSA", "RSA"] {
        for cipher in [
            "AES256-GCM-SHA384",
            "AES128-GCM-SHA256",
            "CHACHA20-POLY1305",
        ] {
            let suite = format!("ECDHE-{key}-{cipher}");
            let said = ask(port, &["-tls1_2", "-cipher", &suite]);
            assert!(
                said.contains(&format!("New, TLSv1.2, Cipher is {suite}\n")),
                "{said}"
            );
            assert!(said.contains("home"), "{said}");
        }
    }
    for (curve, key) in [
        ("X25519", "X25519"),
        ("P-256", "prime256v1"),
        ("P-384", "secp384r1"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            // In TLS 1.2 the curve of a certificate has to be among them: RSA has none.
            let suites = ["-cipher", "ECDHE-RSA-AES128-GCM-SHA256"];
            let said = ask(port, &[version, "-curves", curve, suites[0], suites[1]]);
            let is_it = said
                .lines()
                .any(|line| line.starts_with("Server Temp Key") && line.contains(key));
            assert!(is_it && said.contains("home"), "{curve} {version}: {said}");
        }
    }
}

/// What is not to be had is refused with the alert that OpenSSL's server has for it.
#[test]
fn what_is_not_spoken_is_refused() {
    let folder = Folder::new();
    let Some((_server, port)) = start(&folder, "") else {
        return;
    };
    for (arguments, alert) in [
        (
            &["-tls1_2", "-cipher", "AES128-SHA"][..],
            "handshake failure",
        ),
        (
            &["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"],
            "handshake failure",
        ),
        (&["-tls1_3", "-curves", "P-521"], "handshake failure"),
        (&["-alpn", "nonsense"], "no application protocol"),
    ] {
        let said = ask(port, arguments);
        assert!(
            said.contains(&format!("alert {alert}")),
            "{arguments:?} {said}"
        );
        assert!(
            said.contains("Cipher is (NONE)") || !said.contains("home"),
            "{said}"
        );
    }
    assert!(ask(port, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).contains("Cipher is (NONE)"));
}

#[test]
fn a_session_is_resumed_by_every_worker_after_a_reload_and_by_a_new_binary() {
    let folder = Folder::new();
    let Some((mut server, port)) = start(&folder, "worker_processes 3;") else {
        return;
    };
    server.workers_once(3);
    let session = |name: &str| folder.file(name).to_string_lossy().into_owned();
    for version in ["-tls1_3", "-tls1_2"] {
        let file = session(version);
        let said = ask(port, &[version, "-sess_out", &file]);
        assert!(said.contains("New, TLSv1."), "{said}");
        for _ in 0..6 {
            let said = ask(port, &[version, "-sess_in", &file]);
            assert!(
                said.contains("Reused, TLSv1.") && said.contains("home"),
                "{said}"
            );
        }
    }
    let log = || folder.read("logs/error.log");
    server.signal(Signal::HUP);
    until("the workers have the new configuration", || {
        log().matches("serves configuration 2\n").count() == 3
    });
    let all = |what: &str| {
        for version in ["-tls1_3", "-tls1_2"] {
            let said = ask(port, &[version, "-sess_in", &session(version)]);
            assert!(said.contains("Reused, TLSv1."), "{what} {said}");
        }
    };
    all("after a reload");
    let old = server.pid();
    server.signal(Signal::USR2);
    until("the new master serves", || {
        let pid = folder.read("pid");
        !pid.is_empty() && pid.trim() != old.to_string()
    });
    let new: u32 = folder.read("pid").trim().parse().expect("a pid");
    server.signal(Signal::QUIT);
    assert!(server.wait().success());
    all("after an upgrade");
    proc::signal(new, Signal::TERM);
    until("it ends", || !proc::is_alive(new));
}

/// A client that is typed into: what it says is read as it comes.
struct Typed {
    child: Child,
    said: mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Typed {
    fn start(port: u16, arguments: &[&str]) -> Typed {
        let mut child = s_client(port, arguments).spawn().expect("openssl runs");
        let (sender, said) = mpsc::channel();
        let pipes: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("a pipe")),
            Box::new(child.stderr.take().expect("a pipe")),
        ];
        for mut pipe in pipes {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut memory = [0; 4096];
                while let Ok(read @ 1..) = pipe.read(&mut memory) {
                    if sender.send(memory[..read].to_vec()).is_err() {
                        break;
                    }
                }
            });
        }
        Typed {
            child,
            said,
            text: String::new(),
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str) {
        while !self.text.contains(what) {
            match self.said.recv_timeout(PATIENCE) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("it has not said {what}: {}", self.text),
            }
        }
    }

    fn send(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        input.write_all(text.as_bytes()).expect("it reads");
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_are_updated_and_nothing_is_negotiated_again() {
    let folder = Folder::new();
    let Some((_server, port)) = start(&folder, "") else {
        return;
    };
    // `K` updates its key and asks for ours to be.
    let mut client = Typed::start(port, &["-tls1_3"]);
    client.until("Verify return code");
    for _ in 0..3 {
        client.send("K\n");
        client.until("KEYUPDATE");
        client.text.clear();
    }
    client.send(REQUEST);
    client.until("home");
    let mut client = Typed::start(port, &["-tls1_2"]);
    client.until("Verify return code");
    client.send("R\n");
    client.until("no renegotiation");
}
