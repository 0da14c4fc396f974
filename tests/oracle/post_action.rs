//! What a request goes on with once its answer has left: what is asked behind it, and what the log says.

use std::time::Duration;

use super::pair::{ask, start_on};
use super::request::{Case, get, head, post};
use super::site;
use crate::support::until;

const CONFIG: &str = r#"
daemon off;
worker_processes 1;
pid ROOT/NAME.pid;
error_log ROOT/logs/NAME-error.log error;
events {}
http {
  NGINX_ONLY
  LOGS
  log_format f '$uri $status $body_bytes_sent $request_completion $upstream_status $request_method $args';
  log_format up '$request_method $request_uri';
  access_log ROOT/logs/NAME-access.log f;
  server {
    listen 127.0.0.1:PORT;
    root ROOT/html;
    location /named/ { alias ROOT/html/; post_action @told; }
    location /uri { post_action /after; return 200 "body of $uri"; }
    location /literal { post_action /after?x=1; return 200 ok; }
    location /error { post_action @told; return 404 "error"; }
    location /page { post_action @told; error_page 404 =200 @page; return 404; }
    location @page { post_action @told; return 404 "page"; }
    location /closed { post_action @told; return 444; }
    location /chain { post_action /uri; return 200 chain; }
    location /outer { post_action @outer; return 200 outer; }
    location /if { if ($arg_n) { post_action @told; } return 200 if; }
    location = /after { internal; return 204; }
    location @outer { return 202 "nobody gets this"; }
    location @told {
      proxy_pass http://127.0.0.1:PORT/up/told?u=$uri&s=$status&b=$body_bytes_sent&c=$request_completion&m=$request_method;
    }
    location /up/ { access_log ROOT/logs/NAME-up.log up; return 202 "up"; }
    location / { }
  }
}
"#;

#[test]
fn requests_go_on_as_in_nginx() {
    let Some(pair) = start_on(CONFIG, site::write, "") else {
        return;
    };
    let requests = [
        get("/named/small.txt?n=1"),
        get("/uri?n=2"),
        get("/literal?n=3"),
        get("/error?n=4"),
        get("/closed?n=5"),
        get("/outer?n=6"),
        get("/if?n=7"),
        get("/small.txt?n=8"),
        head("/named/small.txt?n=9"),
        post("/uri?n=10", "body"),
        get("/page?n=11"),
    ];
    let count = requests.len();
    for case in requests.map(Case::from) {
        let answers = [&pair.nginx, &pair.ours].map(|side| {
            let answer = ask(side, &case, Duration::from_secs(4));
            let text = String::from_utf8_lossy(&answer.bytes).into_owned();
            // What is told of the server and the time is looked at elsewhere.
            let head = text.split_once("\r\n").map(|(status, _)| status.to_owned());
            (head, answer.end)
        });
        assert_eq!(answers[0], answers[1], "{case}");
    }
    // Line by line what was asked for is in the order of the requests: each waits for what goes before.
    for log in ["access.log", "up.log"] {
        let read = |name: &str| pair.folder.read(&format!("logs/{name}-{log}"));
        let lines = read("nginx").lines().count();
        until("as many lines", || read("revolve").lines().count() >= lines);
        let normal = |text: String| text.replace(&pair.ours.who.port.to_string(), "PORT");
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(
            sorted(normal(read("nginx"))),
            sorted(normal(read("revolve"))),
            "{log}"
        );
        assert!(log != "access.log" || lines == count, "{}", read("nginx"));
    }
}
