//! An HTTP/1.1 server that says hello, on the protocol crate `revolve-http`.
//!
//! ```text
//! cargo run --release -p revolve-reactor --example http_hello -- [ADDRESS] [LOOPS]
//! ```
//!
//! The protocol crate knows no sockets: it is shown bytes and says what they mean. So a connection
//! is: receive, show, answer. Requests that came in one piece (pipelining) are answered in one send.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use revolve_http::h1::{HeadLimits, HeadParser, Progress, writer};
use revolve_http::{Framing, Head};
use revolve_reactor::{AcceptMode, Address, SendQueue, Stream, TcpServer};

const KEEPALIVE_MAX: Duration = Duration::from_secs(75);
const STALL_MAX: Duration = Duration::from_secs(60);
const BODY: &[u8] = b"hello, world\n";

/// Answers requests until the client has no more, or one is wrong.
async fn serve(stream: Stream) -> io::Result<()> {
    let limits = HeadLimits::default();
    let mut parser = HeadParser::new();
    let mut head = Head::default();
    // What is received and not understood yet: a head may come in any pieces.
    let mut pending = Vec::new();
    loop {
        let received = stream.recv().within(KEEPALIVE_MAX).await?;
        if received.is_empty() {
            return Ok(());
        }
        pending.extend_from_slice(&received);
        let mut answers = Vec::new();
        let mut open = true;
        while open {
            let status = match parser.parse(&mut head, &pending, &limits) {
                Ok(Progress::Partial) => break,
                Ok(Progress::Complete { head_bytes }) => {
                    // This service wants no bodies: what follows one cannot be found then.
                    let bare = matches!(head.framing, Framing::None | Framing::Length(0));
                    open = bare && head.keep_alive.is_on();
                    pending.drain(..head_bytes);
                    parser.reset(&mut head);
                    if bare { 200 } else { 413 }
                }
                Err(error) => {
                    open = false;
                    error.status()
                }
            };
            answer(&mut answers, status, open);
        }
        if !answers.is_empty() {
            let queue = SendQueue::from(Bytes::from(answers));
            stream.send(queue).stall_max(STALL_MAX).await.0?;
        }
        if !open {
            return stream.shutdown_write();
        }
    }
}

fn answer(out: &mut Vec<u8>, status: u16, open: bool) {
    let body = if status == 200 { BODY } else { b"" };
    writer::status_line(out, status);
    writer::header(out, b"Content-Type", b"text/plain");
    writer::header(out, b"Content-Length", body.len().to_string().as_bytes());
    writer::header(
        out,
        b"Connection",
        if open { b"keep-alive" } else { b"close" },
    );
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let address: SocketAddr = address.parse()?;
    let loops = arguments.next().map_or(Ok(1), |loops| loops.parse())?;
    let server = TcpServer::builder()
        .bind(address)
        .loops(loops)
        .accept(AcceptMode::PerReactor { reuse_port: false })
        .serve(|stream: Stream, _: Address| async move {
            // A client that goes away in the middle is nothing to tell.
            let _ = serve(stream).await;
        })?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.join()?)
}
