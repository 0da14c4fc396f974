//! The datagrams that a syslog server gets, byte by byte.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::pair::{Pair, Side, ask, start};
use super::request::{Case, get, raw};
use crate::support::wait::comes;
use crate::support::wait::stays;

const LOGS: &str = r#"
  log_format tiny escape=none '$request|$http_x';
  access_log syslog:server=unix:ROOT/NAME.sock tiny;
  access_log syslog:server=unix:ROOT/NAME.sock,tag=web_1,facility=local3,severity=notice,nohostname tiny;
  access_log syslog:server=unix:ROOT/NAME.sock,facility=kern,severity=emerg tiny if=$arg_log;
  error_log syslog:server=unix:ROOT/NAME.sock,facility=mail,tag=err warn;
  error_log syslog:server=unix:ROOT/NAME.sock,severity=debug,nohostname info;
"#;

fn cases() -> Vec<Case> {
    vec![
        get("/exact").into(),
        get("/exact?log=1").line("X: \"a\tb\\").into(),
        get("/nope").into(),
        get("/x.php").into(),
        raw("BAD\r\n\r\n"),
        raw(format!(
            "GET /exact HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n",
            "a".repeat(3000)
        )),
    ]
}

fn bind(pair: &Pair, side: &Side) -> UnixDatagram {
    let path = pair.folder.file(&format!("{}.sock", side.name));
    let socket = UnixDatagram::bind(&path).expect("a socket");
    // The workers are somebody else where the test is root.
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, everybody).expect("chmod");
    socket.set_nonblocking(true).expect("fcntl");
    socket
}

/// What came, without what is never the same: times, processes, connections and ports.
fn datagrams(socket: &UnixDatagram, side: &Side) -> Vec<String> {
    let mut found = Vec::new();
    let mut bytes = [0; 8192];
    while let Ok(length) = socket.recv(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..length]);
        let (priority, rest) = text.split_once('>').expect("a priority");
        let (time, rest) = rest.split_at("Nov 22 11:00:00".len());
        let form: String = time
            .chars()
            .map(|byte| if byte.is_ascii_digit() { '0' } else { byte })
            .collect();
        assert!(form.ends_with(" 00:00:00"), "{text}");
        let message = match rest.split_once(" [") {
            // A line of an error log, which has a time of its own.
            Some((head, line)) if line.contains('#') => {
                let (level, line) = line.split_once(']').expect("a level");
                let (_, line) = line.split_once('*').expect("a connection");
                let (_, line) = line.split_once(' ').expect("a message");
                let (tag, _) = head.split_once(": ").expect("a tag");
                format!("{tag}: [{level}] {line}")
            }
            _ => rest.to_owned(),
        };
        let message = message.replace(&format!(":{}", side.who.port), ":PORT");
        found.push(format!("{priority}>{message}"));
    }
    found
}

#[test]
fn syslog_gets_the_lines_of_nginx() {
    let Some(pair) = start(LOGS) else { return };
    let sockets = [bind(&pair, &pair.nginx), bind(&pair, &pair.ours)];
    let mut count = 0;
    for case in cases() {
        for side in [&pair.nginx, &pair.ours] {
            ask(side, &case, Duration::from_secs(4));
        }
        // Lines about connections are not the same, and several logs have no order among them.
        let of_requests = |mut lines: Vec<String>| -> Vec<String> {
            lines.retain(|line| !line.contains("keepalive connection"));
            lines.sort();
            lines
        };
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        comes(|| {
            // What else there may be is on its way by then, or comes with the next case.
            stays(Duration::from_millis(20), || true);
            theirs.extend(of_requests(datagrams(&sockets[0], &pair.nginx)));
            ours.extend(of_requests(datagrams(&sockets[1], &pair.ours)));
            theirs.sort();
            ours.sort();
            !ours.is_empty() && ours == theirs
        });
        assert_eq!(theirs, ours, "{case}");
        count += ours.len();
    }
    assert!(count >= 12, "{count}");
}
