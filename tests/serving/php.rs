//! PHP's own FastCGI server behind us, with the parameters that come with the package.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::Site;
use crate::support::proc;
use crate::support::{Client, Folder, left_out, until};

const SCRIPT: &str = r#"<?php
header('X-Script: ' . $_SERVER['SCRIPT_NAME']);
header('X-Method: ' . $_SERVER['REQUEST_METHOD']);
if (isset($_SERVER['HTTP_PROXY'])) echo 'forged ';
if (isset($_GET['none'])) http_response_code(404);
error_log('told of ' . $_SERVER['REQUEST_URI']);
echo $_SERVER['PATH_INFO'] ?? '-', ' ', $_GET['q'] ?? '-', ' ', strlen(file_get_contents('php://input'));
"#;

/// PHP's process manager, which ends with the test.
struct Php(Child);

impl Drop for Php {
    fn drop(&mut self) {
        if proc::try_signal(self.0.id(), Signal::TERM) {
            let _ = self.0.wait();
        }
    }
}

fn program() -> Option<PathBuf> {
    let folder = Path::new("/usr/sbin").read_dir().ok()?;
    let mut programs = folder.flatten().map(|entry| entry.path());
    programs.find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("php-fpm"))
    })
}

fn start(program: &Path, folder: &Folder) -> Php {
    let here = folder.path().display();
    folder.write(
        "fpm.conf",
        format!(
            "[global]\ndaemonize = no\nerror_log = {here}/fpm.log\npid = {here}/fpm.pid\n\
             [www]\nlisten = {here}/fpm.sock\nlisten.mode = 0666\npm = static\npm.max_children = 2\n\
             catch_workers_output = no\nuser = root\ngroup = root\n"
        ),
    );
    let child = Command::new(program)
        .args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"])
        .arg(folder.file("fpm.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was found");
    let php = Php(child);
    until("PHP listens", || folder.file("fpm.sock").exists());
    php
}

#[test]
fn php_answers_by_fpm() {
    let Some(program) = program().filter(|_| proc::is_root()) else {
        left_out("php-fpm is not installed, or the tests do not run as root");
        return;
    };
    let folder = Folder::new();
    folder.write("html/a/index.php", SCRIPT);
    let _php = start(&program, &folder);
    let params = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/etc/revolve");
    let socket = folder.file("fpm.sock");
    let server = format!(
        "location ~ [^/]\\.php(/|$) {{
             fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
             fastcgi_pass unix:{};
             fastcgi_keep_conn on;
             include {}/fastcgi.conf;
             fastcgi_param PATH_INFO $fastcgi_path_info;
         }}
         location /a/ {{ index index.php; }}",
        socket.display(),
        params.display()
    );
    let site = Site::serve(folder, "", &server);
    let mut client = Client::connect(site.port);
    client.send("GET /a/index.php/x/y?q=1 HTTP/1.1\r\nHost: h\r\nProxy: http://evil/\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, &*response.text()), (200, "/x/y 1 0"));
    assert_eq!(response.header("X-Script"), Some("/a/index.php"));
    let body = "b".repeat(300_000);
    client.send(format!(
        "POST /a/?q=2 HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n{body}"
    ));
    let response = client.response();
    assert_eq!((response.status, &*response.text()), (200, " 2 300000"));
    assert_eq!(response.header("X-Method"), Some("POST"));
    client.send("POST /a/index.php HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), " - 3");
    assert_eq!(client.get("/a/index.php?none=1").status, 404);
    let response = client.get("/a/none.php");
    assert_eq!(
        (response.status, &*response.text()),
        (404, "File not found.\n")
    );
    let logged = |line: &str| site.folder.read("logs/error.log").contains(line);
    until("PHP's own word is logged", || {
        logged(
            "FastCGI sent in stderr: \"PHP message: told of /a/?q=2\" while reading response header",
        )
    });
    until("so is that of its manager", || {
        logged("FastCGI sent in stderr: \"Primary script unknown\"")
    });
}
