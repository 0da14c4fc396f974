//! A SOCKS5 proxy (RFC 1928): CONNECT, without authentication, to IPv4, IPv6 and names.
//!
//! ```text
//! cargo run -p revolve-reactor --example socks5 -- [ADDRESS]
//! curl --proxy socks5h://127.0.0.1:1080 http://example.org/
//! ```

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use revolve_reactor::{Stream, TcpServer, timeout};

mod lookup;
mod relay;

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Exactly `n` bytes: one write is not one read, so that a message is put together of pieces.
async fn read(stream: &Stream, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(n);
    while bytes.len() < n {
        let received = stream.recv().max(n - bytes.len()).await?;
        if received.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&received);
    }
    Ok(bytes)
}

/// Greeting and request (RFC 1928, sections 3 and 4); the error is a reply code (section 6).
async fn handshake(stream: &Stream) -> io::Result<Result<SocketAddr, u8>> {
    let greeting = read(stream, 2).await?;
    let methods = read(stream, greeting[1].into()).await?;
    if greeting[0] != 5 || !methods.contains(&0) {
        stream.send_all(&[5, 0xFF][..]).await?;
        return Err(io::Error::other("no SOCKS5, or not without authentication"));
    }
    stream.send_all(&[5, 0][..]).await?;
    let request = read(stream, 4).await?;
    let address_len = match request[3] {
        1 => 4,
        3 => read(stream, 1).await?[0].into(),
        4 => 16,
        _ => return Ok(Err(8)),
    };
    let address = read(stream, address_len).await?;
    let port = read(stream, 2).await?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    if request[1] != 1 {
        return Ok(Err(7));
    }
    // A name may be an address in words as well: looking that up asks nobody.
    let name = match (request[3], address.as_slice()) {
        (1, &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).to_string(),
        (4, bytes) => <[u8; 16]>::try_from(bytes)
            .map_or_else(|_| String::new(), |v6| Ipv6Addr::from(v6).to_string()),
        (_, name) => String::from_utf8_lossy(name).into_owned(),
    };
    Ok(lookup::lookup(name, port).await.map_err(|_| 4))
}

async fn serve(client: Stream) -> io::Result<()> {
    let asked = timeout(HANDSHAKE_MAX, handshake(&client)).await??;
    let connected = match asked {
        Ok(target) => timeout(CONNECT_MAX, Stream::connect(&target.into())).await,
        Err(code) => return reply(&client, code).await,
    };
    match connected {
        Ok(Ok(upstream)) => {
            reply(&client, 0).await?;
            relay::relay(&client, &upstream).await
        }
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => reply(&client, 5).await,
        Ok(Err(_)) | Err(_) => reply(&client, 4).await,
    }
}

async fn reply(client: &Stream, code: u8) -> io::Result<()> {
    let reply = vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    client.send_all(bytes::Bytes::from(reply)).await
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:1080").parse()?;
    let server = TcpServer::builder()
        .bind(address)
        .serve(|client, peer| async move {
            if let Err(error) = serve(client).await {
                eprintln!("{peer}: {error}");
            }
        })?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.join()?)
}
