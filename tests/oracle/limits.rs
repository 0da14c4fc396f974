//! `limit_conn`, `limit_req` and `stub_status`: what is let in, refused, and said.
//!
//! Limits have a memory, so each side gets the same requests in the same order, from a start of
//! its own.

use std::time::Duration;

use crate::support::{Client, Folder, Server, client, nginx, ports, revolve, until};

const CONFIG: &str = r#"
daemon off;
worker_processes 1;
pid ROOT/NAME.pid;
error_log ROOT/logs/NAME-error.log info;
events {}
http {
  NGINX_ONLY
  access_log off;
  limit_conn_zone $arg_k zone=conn:1m;
  limit_conn_zone $server_name zone=server:1m;
  limit_req_zone $arg_k zone=req:1m rate=1r/m;
  limit_req_zone $arg_j zone=req2:1m rate=2r/m;
  limit_req_zone $arg_k zone=slow:1m rate=60r/m;
  limit_req_zone $server_name zone=bad:1m rate=60r/m;
  limit_req_zone $server_name zone=left:1m rate=1r/m;
  log_format left "$request $status $body_bytes_sent $limit_req_status";
  add_header X-Conn $limit_conn_status always;
  add_header X-Req $limit_req_status always;
  server {
    listen 127.0.0.1:PORT;
    server_name limits.example;
    root ROOT/html;
    location /c2/ { limit_conn conn 2; alias ROOT/html/; }
    location /c1/ { limit_conn conn 1; limit_conn_status 429; limit_conn_log_level warn; alias ROOT/html/; }
    location /both/ { limit_conn conn 3; limit_conn server 2; alias ROOT/html/; }
    location /dry/ { limit_conn conn 1; limit_conn_dry_run on; alias ROOT/html/; }
    location /cpage/ { limit_conn conn 1; error_page 503 /small.txt; alias ROOT/html/; }
    location /r0/ { limit_req zone=req; alias ROOT/html/; }
    location /r2/ { limit_req zone=req burst=2 nodelay; alias ROOT/html/; }
    location /r429/ { limit_req zone=req; limit_req_status 429; limit_req_log_level notice; alias ROOT/html/; }
    location /rdry/ { limit_req zone=req burst=1; limit_req_dry_run on; alias ROOT/html/; }
    location /rtwo/ { limit_req zone=req burst=3 nodelay; limit_req zone=req2 burst=1 nodelay; alias ROOT/html/; }
    location /rdelay/ { limit_req zone=slow burst=5 delay=1; alias ROOT/html/; }
    error_page 400 /bad/small.txt;
    location /bad/ { limit_req zone=bad burst=5; alias ROOT/html/; }
    location /rcheck/ { limit_req zone=req burst=9 nodelay; limit_conn conn 1; alias ROOT/html/; }
    location /left/ { limit_req zone=left burst=9; access_log ROOT/logs/NAME-left.log left; alias ROOT/html/; }
    location = /status { stub_status; }
    location = /numbers { add_header X-Numbers "$connections_active $connections_reading $connections_writing $connections_waiting"; try_files /small.txt =404; }
    location /status/on { stub_status on; }
  }
}
"#;

struct Side {
    name: &'static str,
    port: u16,
    folder: Folder,
    _server: Server,
}

fn start(name: &'static str) -> Side {
    let folder = Folder::new();
    folder.write("html/small.txt", "0123456789");
    folder.write("html/large", "");
    let large = std::fs::File::options()
        .write(true)
        .open(folder.file("html/large"));
    large.unwrap().set_len(64 << 20).unwrap();
    let port = ports::free();
    let only = match name {
        "nginx" => nginx::private_folders(&folder),
        _ => String::new(),
    };
    let text = CONFIG
        .replace("NGINX_ONLY", &only)
        .replace("ROOT", folder.path().to_str().expect("a path in UTF-8"))
        .replace("NAME", name)
        .replace("PORT", &port.to_string());
    folder.write(&format!("{name}.conf"), text);
    folder.make("logs");
    let server = if name == "nginx" {
        nginx::start(&folder, "nginx.conf", &[port])
    } else {
        let mut command = revolve(&folder);
        command.arg("-c").arg("revolve.conf");
        Server::run(&mut command, folder.file("revolve-stderr.txt"), &[port])
    };
    Side {
        name,
        port,
        folder,
        _server: server,
    }
}

impl Side {
    /// The status of a response and what the variables said, read to its end.
    fn ask(&self, path: &str) -> String {
        let response = client::get(self.port, path);
        let shown = |name| response.header(name).unwrap_or("-").to_owned();
        format!(
            "{path} {} {} {}",
            response.status,
            shown("x-conn"),
            shown("x-req")
        )
    }

    /// Asks for a large file and does not read it: the status, and the connection.
    fn hold(&self, path: &str) -> (String, Client) {
        let mut client = Client::connect(self.port);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.take(12).expect("a response");
        (
            format!("{path} {}", String::from_utf8_lossy(&head[9..])),
            client,
        )
    }

    /// The same, once nothing more is being written.
    fn settled_log(&self) -> Vec<String> {
        // A line that comes after those of all that was answered before.
        self.ask("/last-of-all");
        let name = format!("logs/{}-error.log", self.name);
        until("the log has the last line", || {
            self.folder.read(&name).contains("/last-of-all\" failed")
        });
        let mut lines = self.log();
        until("the log has it all", || {
            crate::support::wait::stays(Duration::from_millis(50), || true);
            let before = std::mem::replace(&mut lines, self.log());
            before.len() == lines.len()
        });
        lines
    }

    /// The lines of the error log about limits, without time, process and port.
    fn log(&self) -> Vec<String> {
        let text = self.folder.read(&format!("logs/{}-error.log", self.name));
        let says = |line: &&str| line.contains("zone \"") || line.contains("prematurely");
        let lines = text.lines().filter(says);
        let shorten = |line: &str| {
            let (_, rest) = line.split_once(" [")?;
            let (level, rest) = rest.split_once("] ")?;
            let (_, message) = rest.split_once(" *")?;
            let (_, message) = message.split_once(' ')?;
            let message = message.replace(&format!(":{}", self.port), ":PORT");
            Some(format!("[{level}] {}", without_excess(&message)))
        };
        lines.filter_map(shorten).collect()
    }
}

/// The excess depends on the moment.
fn without_excess(message: &str) -> String {
    match (message.find("excess: "), message.find(" by zone")) {
        (Some(start), Some(end)) => {
            let comma = if message[..end].ends_with(',') {
                ","
            } else {
                ""
            };
            format!("{}excess{comma}{}", &message[..start], &message[end..])
        }
        _ => message.to_owned(),
    }
}

/// The same steps on both sides, and what they saw.
fn compare(steps: impl Fn(&Side) -> Vec<String>) {
    if !nginx::is_here() {
        return;
    }
    let [theirs, ours] = ["nginx", "revolve"].map(|name| {
        let side = start(name);
        steps(&side)
    });
    assert_eq!(theirs, ours, "nginx on the left");
    assert!(ours.len() > 3, "{ours:?}");
}

#[test]
fn connections_are_limited_by_key() {
    compare(|side| {
        let mut seen = Vec::new();
        let mut held = Vec::new();
        for path in [
            "/c2/large?k=a",
            "/c2/large?k=a",
            "/c2/large?k=a",
            "/c2/large?k=b",
            "/c2/large",
            "/c2/large?k=",
            "/both/large?k=a",
            "/both/large?k=c",
            "/both/large?k=d",
            "/both/large?k=e",
        ] {
            let (status, client) = side.hold(path);
            seen.push(status);
            held.push(client);
        }
        // Another location counts by the same zone.
        for path in [
            "/c1/small.txt?k=a",
            "/c1/small.txt?k=new",
            "/c1/small.txt",
            "/dry/small.txt?k=a",
            "/dry/small.txt?k=new",
            "/cpage/small.txt?k=a",
            "/c1/nothing?k=a",
            "/c1/nothing?k=new",
        ] {
            seen.push(side.ask(path));
        }
        let long = "x".repeat(255);
        seen.push(side.ask(&format!("/c1/small.txt?k={long}")));
        seen.push(side.ask(&format!("/c1/small.txt?k={long}x")));
        seen.extend(side.settled_log());
        drop(held);
        until("all are given back", || {
            side.ask("/c1/small.txt?k=a").contains(" 200 ")
        });
        seen
    });
}

#[test]
fn requests_are_limited_by_key() {
    compare(|side| {
        let mut seen = Vec::new();
        for path in [
            "/r0/small.txt?k=1",
            "/r0/small.txt?k=1",
            "/r0/small.txt?k=2",
            "/r0/small.txt",
            "/r0/small.txt",
            "/r2/small.txt?k=3",
            "/r2/small.txt?k=3",
            "/r2/small.txt?k=3",
            "/r2/small.txt?k=3",
            "/r2/small.txt?k=3",
            "/r429/small.txt?k=4",
            "/r429/small.txt?k=4",
            "/rdry/small.txt?k=5",
            "/rdry/small.txt?k=5",
            "/rdry/small.txt?k=5",
            "/rtwo/small.txt?k=6&j=6",
            "/rtwo/small.txt?k=6&j=6",
            "/rtwo/small.txt?k=6&j=6",
            "/rtwo/small.txt?k=6&j=7",
            "/rtwo/small.txt?k=6",
            "/rtwo/small.txt?k=6",
            "/rtwo/small.txt?j=8",
            "/rtwo/small.txt?k=6&j=9",
            "/rcheck/small.txt?k=10",
            "/r2/nothing?k=11",
            "/r2/nothing?k=11",
            "/r2/nothing?k=11",
            "/r2/nothing?k=11",
        ] {
            seen.push(side.ask(path));
        }
        seen.extend(side.settled_log());
        seen
    });
}

#[test]
fn what_exceeds_the_delay_waits() {
    compare(|side| {
        let asked = std::time::Instant::now();
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(side.ask("/rdelay/small.txt?k=1"));
        }
        // A refusal whose page has to wait.
        for _ in 0..2 {
            let mut client = Client::connect(side.port);
            client.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
            let (bytes, _) = client.rest(Duration::from_secs(3));
            let text = String::from_utf8_lossy(&bytes);
            let lines = text
                .lines()
                .filter(|line| !line.contains(':') || line.starts_with("X-Req"));
            seen.extend(lines.map(str::to_owned));
        }
        // One a second: the third waits for a second, and the fourth again.
        assert!(asked.elapsed() >= Duration::from_millis(1200));
        seen.extend(side.settled_log());
        seen
    });
}

#[test]
fn a_client_that_goes_while_it_waits_is_noticed_at_once() {
    compare(|side| {
        let log = || side.folder.read(&format!("logs/{}-left.log", side.name));
        side.ask("/left/small.txt");
        let ask = |name: &str| {
            let mut client = Client::connect(side.port);
            client.send(format!("GET /left/{name} HTTP/1.1\r\nHost: a\r\n\r\n"));
            until("it waits", || side.log().concat().contains(name));
            client
        };
        let seen = |count| {
            until("its end is seen", || log().lines().count() == count);
        };
        drop(ask("gone"));
        seen(2);
        let half = ask("half");
        half.half_close();
        seen(3);
        let mut more = ask("more");
        more.send("GET /left/next HTTP/1.1\r\nHost: a\r\n\r\n");
        // So that they come one after the other.
        std::thread::sleep(Duration::from_millis(300));
        drop(more);
        seen(4);
        let mut seen: Vec<_> = log().lines().map(str::to_owned).collect();
        seen.extend(side.settled_log());
        seen
    });
}

#[test]
fn the_status_has_the_form_of_nginx() {
    compare(|side| {
        let mut seen = Vec::new();
        // The start looked for the port, once or more often.
        until("nobody else is connected", || {
            let text = client::get(side.port, "/status").text();
            text.starts_with("Active connections: 1 \n")
        });
        let numbers = |text: &str| -> Vec<u64> {
            let words = text.split_whitespace();
            words.filter_map(|word| word.parse().ok()).collect()
        };
        let before = numbers(&client::get(side.port, "/status").text());
        let mut kept = Client::connect(side.port);
        kept.get("/small.txt");
        let (_, held) = side.hold("/large");
        let mut half = Client::connect(side.port);
        half.send("GET / HTTP/1.1\r\nHo");
        until("all are counted", || {
            let text = client::get(side.port, "/status").text();
            text.ends_with("Reading: 1 Writing: 2 Waiting: 1 \n")
        });
        let response = client::get(side.port, "/status");
        let now = numbers(&response.text());
        seen.push(response.header("content-type").unwrap_or("-").to_owned());
        seen.push(format!("{}", now[0]));
        // How often we asked meanwhile is a matter of luck; what is between them is not.
        seen.push(format!("{}", now[1] - now[2]));
        assert!(now[3] - before[3] >= 4, "{before:?} {now:?}");
        let shape: String = response
            .text()
            .chars()
            .map(|c| if c.is_ascii_digit() { '#' } else { c })
            .collect();
        seen.push(shape.replace("##", "#").replace("##", "#"));
        let numbers = client::get(side.port, "/numbers");
        seen.push(numbers.header("x-numbers").unwrap_or("-").to_owned());
        for request in [
            "HEAD /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "GET /status/on HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET /status/on/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ] {
            let mut client = Client::connect(side.port);
            client.send(request);
            let (bytes, _) = client.rest(Duration::from_secs(2));
            seen.push(String::from_utf8_lossy(&bytes[..12]).into_owned());
        }
        drop((kept, held, half));
        seen
    });
}
