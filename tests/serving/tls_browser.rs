//! A real browser.

use std::process::{Command, Stdio};

use super::config;
use crate::support::left_out::left_out;
use crate::support::tls::certificate;
use crate::support::{Folder, Server, ports};

#[test]
fn a_browser_is_served_by_the_newest_that_both_know() {
    let is_there = Command::new("chromium")
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !is_there {
        return left_out("there is no chromium (apt-get install chromium)");
    }
    let folder = Folder::new();
    certificate(&folder, "one", "localhost");
    let port = ports::free();
    let server = "server_name localhost; ssl_certificate one.crt; ssl_certificate_key one.key;\n\
        http2 on; default_type text/html;\n\
        return 200 \"<p>$ssl_protocol $ssl_curve $server_protocol</p>\";";
    let text = config(&folder, port, "", server).replace(
        &format!("listen 127.0.0.1:{port};"),
        &format!("listen 127.0.0.1:{port} ssl;"),
    );
    let _server = Server::start(&folder, &text, &[port]);
    let profile = folder.file("profile");
    let output = Command::new("timeout")
        .args([
            "120",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
        ])
        .args(["--disable-dev-shm-usage", "--ignore-certificate-errors"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--dump-dom")
        .arg(format!("https://localhost:{port}/"))
        .output()
        .expect("timeout runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    let expected = "<p>TLSv1.3 X25519MLKEM768 HTTP/2.0</p>";
    assert!(
        shown.contains(expected),
        "{shown}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
