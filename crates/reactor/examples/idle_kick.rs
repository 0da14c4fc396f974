//! An echo server that closes connections which say nothing: first a warning, then the end.
//!
//! ```text
//! cargo run -p revolve-reactor --example idle_kick -- [ADDRESS] [SILENCE_MS]
//! ```
//!
//! A deadline of a receive is a number in the connection's channel: moving it with each message
//! touches no timer. The loop's heap of timers holds one entry a connection, which fires at the
//! old time, sees the new one, and is put back. So a hundred thousand connections may have one.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use revolve_reactor::{Address, SendQueue, Stream, TcpServer};

async fn serve(stream: Stream, peer: Address, silence: Duration) {
    let mut warned = false;
    loop {
        // `within` counts from the time of the turn, which the loop has read already.
        match stream.recv().within(silence).await {
            Ok(received) if received.is_empty() => return,
            Ok(received) => {
                warned = false;
                if stream.send_all(received).await.is_err() {
                    return;
                }
            }
            // The receive is over, the connection is not: one may go on as before.
            Err(error) if error.kind() == ErrorKind::TimedOut && !warned => {
                warned = true;
                let question = SendQueue::from(&b"are you still there?\n"[..]);
                if stream.send(question).await.0.is_err() {
                    return;
                }
            }
            Err(error) => {
                println!("{peer}: closed: {error}");
                return;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7007".into());
    let address: SocketAddr = address.parse()?;
    let silence_ms = arguments.next().map_or(Ok(10_000), |ms| ms.parse())?;
    let silence = Duration::from_millis(silence_ms);
    let server = TcpServer::builder()
        .bind(address)
        .serve(move |stream, peer| serve(stream, peer, silence))?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.join()?)
}
