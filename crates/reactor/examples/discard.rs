//! The discard protocol (RFC 863): everything that comes in is thrown away.
//!
//! ```text
//! cargo run -p revolve-reactor --example discard -- [ADDRESS]
//! ```
//!
//! The smallest service there is: a connection is one `async` function that receives until there
//! is nothing more. The buffer goes back to the loop's pool at the end of each round.

use std::error::Error;
use std::net::SocketAddr;

use revolve_reactor::{Address, Stream, TcpServer};

async fn discard(stream: Stream, peer: Address) {
    let mut bytes = 0;
    while let Ok(received) = stream.recv().await {
        // An empty buffer is the end of the stream.
        if received.is_empty() {
            break;
        }
        bytes += received.len();
    }
    println!("{peer}: {bytes} bytes discarded");
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7009").parse()?;
    let server = TcpServer::builder().bind(address).serve(discard)?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.join()?)
}
