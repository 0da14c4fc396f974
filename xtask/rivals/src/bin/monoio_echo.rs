//! Echo on monoio: `monoio_echo uring|epoll ADDRESS`, with its io_uring and its epoll driver.
#![forbid(unsafe_code)]

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// As large as the reactor's.
const BUFFER_BYTES: usize = 16 * 1024;

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, sent) = stream.write_all(filled).await;
        written?;
        buffer = sent;
        buffer.clear();
    }
}

async fn serve(address: String) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        monoio::spawn(echo(stream));
    }
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let driver = arguments.next().unwrap_or_default();
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".into());
    match driver.as_str() {
        "uring" => RuntimeBuilder::<IoUringDriver>::new()
            .build()?
            .block_on(serve(address)),
        "epoll" => RuntimeBuilder::<LegacyDriver>::new()
            .build()?
            .block_on(serve(address)),
        _ => Err(std::io::Error::other(
            "usage: monoio_echo uring|epoll ADDRESS",
        )),
    }
}
