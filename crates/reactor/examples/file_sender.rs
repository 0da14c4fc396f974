//! Sends one file to everybody who connects, by `sendfile(2)`.
//!
//! ```text
//! cargo run -p revolve-reactor --example file_sender -- ADDRESS FILE
//! ```
//!
//! The bytes go from the page cache to the socket and are never in this program. The file is
//! opened once; a chunk is a range of it. One turn sends 2 MiB to one connection at most, so that a
//! fast reader does not keep the loop to itself, and a reader that takes nothing for a while is
//! given up.

use std::error::Error;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use revolve_reactor::{Chunk, SendQueue, Stream, TcpServer};

/// How long a reader may take nothing.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How long we wait for the reader to close after the last byte.
const LINGER_MAX: Duration = Duration::from_secs(5);

async fn send(stream: Stream, file: Arc<File>) -> std::io::Result<u64> {
    // The length is asked for each time: a file that has grown is sent whole.
    let len = file.metadata()?.len();
    let range = Chunk::File {
        file,
        offset: 0,
        len,
    };
    let (result, _queue) = stream
        .send(SendQueue::from(range))
        .stall_max(STALL_MAX)
        .await;
    result?;
    stream.shutdown_write()?;
    while !stream.recv().within(LINGER_MAX).await?.is_empty() {}
    Ok(len)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: file_sender ADDRESS FILE".into());
    };
    let address: SocketAddr = address.parse()?;
    let file = Arc::new(File::open(&path).map_err(|error| format!("{path}: {error}"))?);

    let server = TcpServer::builder()
        .bind(address)
        .serve(move |stream, peer| {
            let file = Arc::clone(&file);
            async move {
                match send(stream, file).await {
                    Ok(bytes) => println!("{peer}: {bytes} bytes sent"),
                    Err(error) => eprintln!("{peer}: {error}"),
                }
            }
        })?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.join()?)
}
