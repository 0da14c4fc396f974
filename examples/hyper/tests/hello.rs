//! hyper's server on our loops, asked by hand over HTTP/1 and by hyper's own client over HTTP/2.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use revolve_hyper::{LoopExecutor, LoopIo, LoopTimer};
use revolve_reactor::{EventLoop, Stream, spawn, timeout};

/// No step of a test takes longer.
const STEP_MAX: Duration = Duration::from_secs(20);

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(version: &str) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_revolve-hyper"));
        command.args(["127.0.0.1:0", version, "2"]);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("a line");
        let address = line.trim_end().strip_prefix("listening on ");
        let address = address.and_then(|address| address.parse().ok());
        Server {
            address: address.expect("an address"),
            child,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream.set_read_timeout(Some(STEP_MAX)).expect("a timeout");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn http1_answers_pipelined_requests_and_large_bodies() {
    let server = Server::start("http1");
    let mut stream = server.connect();
    let body = "x".repeat(700_000);
    let get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = format!(
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let requests = format!("{get}{get}{post}");
    let mut writer = stream.try_clone().expect("clone");
    let writer = std::thread::spawn(move || writer.write_all(requests.as_bytes()));
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers");
    writer.join().expect("no panic").expect("written");
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 3);
    assert_eq!(answers.matches("hello, world\n").count(), 2);
    assert!(answers.ends_with(&format!("\r\n\r\n{body}")));
}

#[test]
fn a_head_that_does_not_come_is_given_up_by_our_timer() {
    let server = Server::start("http1");
    let mut stream = server.connect();
    stream.write_all(b"GET / HTT").expect("write");
    let begun = Instant::now();
    let mut answer = String::new();
    // It may say 408 before it closes, or not.
    stream.read_to_string(&mut answer).expect("the end");
    assert!(begun.elapsed() >= Duration::from_millis(1900), "{answer}");
    // One that has ended its side is not waited for.
    let mut stream = server.connect();
    stream.shutdown(Shutdown::Write).expect("shutdown");
    stream.read_to_string(&mut answer).expect("the end");
}

#[test]
fn http2_serves_many_streams_of_one_connection() {
    let server = Server::start("http2");
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let all = timeout(STEP_MAX, ask_all(server.address));
        all.await.expect("the test hangs");
    });
}

async fn ask_all(address: SocketAddr) {
    let stream = Stream::connect(&address.into()).await.expect("connect");
    let mut client = http2::Builder::new(LoopExecutor);
    client.timer(LoopTimer);
    let handshake = client
        .handshake::<_, Full<Bytes>>(LoopIo::new(stream))
        .await;
    let (sender, connection) = handshake.expect("a handshake");
    spawn(connection);
    let asked: Vec<_> = (0..50)
        .map(|number| {
            let mut sender = sender.clone();
            spawn(async move {
                let body = Bytes::from(format!("{number} ").repeat(5_000));
                let request = Request::post("http://x/echo").body(Full::new(body.clone()));
                let response = sender.send_request(request.expect("a request")).await;
                let response = response.expect("a response");
                assert_eq!(response.status(), 200);
                let echoed = response.into_body().collect().await.expect("a body");
                assert!(echoed.to_bytes() == body, "{number}");
            })
        })
        .collect();
    for task in asked {
        task.await.expect("an answer");
    }
}
