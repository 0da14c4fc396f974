//! A TCP proxy: every connection is carried to one target, bytes both ways.
//!
//! ```text
//! cargo run -p revolve-reactor --example proxy -- [ADDRESS] [TARGET]
//! ```
//!
//! A connection costs two streams and one task. Half-closing is passed on: a client that ends its
//! side and still waits for the answer gets it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use revolve_reactor::{Address, Stream, TcpServer, timeout};

mod relay;

/// How long the target may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(10);

async fn carry(client: Stream, target: Address) -> io::Result<()> {
    let upstream = timeout(CONNECT_MAX, Stream::connect(&target)).await??;
    // Small pieces are passed on as they come.
    upstream.set_nodelay(true)?;
    client.set_nodelay(true)?;
    relay::relay(&client, &upstream).await
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7001".into());
    let target = arguments.next().unwrap_or_else(|| "127.0.0.1:7000".into());
    let address: SocketAddr = address.parse()?;
    let target: SocketAddr = target.parse()?;

    // The handler is called on the reactors' threads, so that it owns what it needs.
    let server = TcpServer::builder()
        .bind(address)
        .serve(move |client, peer| async move {
            if let Err(error) = carry(client, target.into()).await {
                eprintln!("{peer}: {error}");
            }
        })?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.join()?)
}
