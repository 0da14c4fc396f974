//! The daytime protocol (RFC 867): whoever connects is told the time, and the connection closes.
//!
//! ```text
//! cargo run -p revolve-reactor --example daytime -- [ADDRESS]
//! ```
//!
//! It shows how to close well. A socket that is closed while bytes of its peer wait unread resets
//! the connection, and the reset may overtake the answer. So the server ends its own side, and
//! then takes what the peer still has to say, for a while: the lingering close.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use revolve_http::date;
use revolve_reactor::{Address, Buffer, Stream, TcpServer, now};

/// How long a peer may take for its own end of the connection.
const LINGER_MAX: Duration = Duration::from_secs(2);

async fn daytime(stream: Stream, peer: Address) {
    if let Err(error) = tell(&stream).await {
        eprintln!("{peer}: {error}");
    }
}

async fn tell(stream: &Stream) -> io::Result<()> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut text = [0; 29];
    date::format_imf(since.map_or(0, |since| since.as_secs() as i64), &mut text);

    // What is sent is owned: here a buffer out of the loop's pool, filled by hand.
    let mut line = Buffer::take();
    line.fill(&text);
    line.fill(b"\r\n");
    stream.send_all(line).await?;
    close(stream).await
}

/// The lingering close.
async fn close(stream: &Stream) -> io::Result<()> {
    stream.shutdown_write()?;
    // One moment for the whole, and not so long anew with each byte.
    let end = now() + LINGER_MAX;
    while !stream.recv().deadline(end).await?.is_empty() {}
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7013").parse()?;
    let server = TcpServer::builder().bind(address).serve(daytime)?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.join()?)
}
