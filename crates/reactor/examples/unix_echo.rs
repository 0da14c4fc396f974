//! Echo over a Unix socket, with its client: `unix_echo PATH` serves, `unix_echo PATH TEXT` asks.
//!
//! ```text
//! cargo run -p revolve-reactor --example unix_echo -- /tmp/echo.sock
//! cargo run -p revolve-reactor --example unix_echo -- /tmp/echo.sock hello
//! ```
//!
//! A path of the file system outlives the server that bound it, so that a server which was killed
//! leaves one behind. It is removed if nobody listens there, and only then.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use bytes::Bytes;
use revolve_reactor::signal::{SIGINT, SIGTERM, Signals};
use revolve_reactor::{Address, EventLoop, Stream, TcpServer};

async fn echo(stream: Stream, _peer: Address) {
    while let Ok(received) = stream.recv().await {
        if received.is_empty() || stream.send_all(received).await.is_err() {
            return;
        }
    }
}

/// Removes the socket of a server that is gone.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match Stream::connect(&Address::Unix(path.into())).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

async fn ask(path: &Path, text: String) -> io::Result<()> {
    let stream = Stream::connect(&Address::Unix(path.into())).await?;
    stream.send_all(Bytes::from(text)).await?;
    stream.shutdown_write()?;
    loop {
        let received = stream.recv().await?;
        if received.is_empty() {
            println!();
            return Ok(());
        }
        io::stdout().write_all(&received)?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: unix_echo PATH [TEXT]")?;
    let path = Path::new(&path);
    let mut event_loop = EventLoop::new()?;
    if let Some(text) = arguments.next() {
        return Ok(event_loop.block_on(ask(path, text))?);
    }
    let mut signals = event_loop.block_on(async {
        remove_stale(path).await?;
        Signals::new(&[SIGTERM, SIGINT])
    })?;
    let server = TcpServer::builder()
        .bind(Address::Unix(path.into()))
        .serve(echo)?;
    println!("listening on {}", server.addresses()[0]);
    event_loop.block_on(signals.next());
    std::fs::remove_file(path)?;
    server.stop();
    Ok(server.join()?)
}
