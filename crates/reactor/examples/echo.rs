//! An echo server, in every shape that the reactor has.
//!
//! ```text
//! cargo run --release -p revolve-reactor --example echo -- [SHAPE] [ADDRESS] [LOOPS]
//! ```
//!
//! SHAPE is `main` (a main reactor accepts and deals connections out, round robin), `least` (the
//! same, to the reactor with the fewest), `reuseport` or `exclusive` (every reactor accepts for
//! itself), or `single` (one loop on this thread). ADDRESS is `HOST:PORT` or `unix:PATH`.
//! Connections that are silent for a minute are closed. TERM and INT stop the server.

use std::io;
use std::time::Duration;

use revolve_reactor::signal::{SIGINT, SIGTERM, Signals};
use revolve_reactor::{
    AcceptMode, Address, Deal, EventLoop, ListenOptions, Listener, Stream, TcpServer, spawn,
};

const IDLE_MAX: Duration = Duration::from_secs(60);

/// Sends back what comes in, until the peer has no more or is silent for too long.
async fn echo(stream: Stream) {
    while let Ok(received) = stream.recv().within(IDLE_MAX).await {
        let ended = received.is_empty();
        if ended || stream.send_all(received).await.is_err() {
            return;
        }
    }
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let shape = arguments.next().unwrap_or_else(|| "main".into());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7000".into());
    let loops = arguments.next().map_or(Ok(2), |count| count.parse());
    let loops = loops.map_err(|error| usage(&format!("LOOPS: {error}")))?;
    let address = match address.strip_prefix("unix:") {
        Some(path) => Address::Unix(path.into()),
        None => Address::Inet(
            address
                .parse()
                .map_err(|_| usage("ADDRESS: not HOST:PORT"))?,
        ),
    };
    let mode = match shape.as_str() {
        "single" => return single(&address),
        "main" => AcceptMode::MainReactor {
            deal: Deal::RoundRobin,
        },
        "least" => AcceptMode::MainReactor {
            deal: Deal::LeastConnections,
        },
        "reuseport" => AcceptMode::PerReactor { reuse_port: true },
        "exclusive" => AcceptMode::PerReactor { reuse_port: false },
        _ => return Err(usage("SHAPE: main, least, reuseport, exclusive or single")),
    };
    let mut event_loop = EventLoop::new()?;
    let mut signals = event_loop.block_on(async { Signals::new(&[SIGTERM, SIGINT]) })?;
    let server = TcpServer::builder()
        .bind(address)
        .loops(loops)
        .accept(mode)
        .serve(|stream, _peer| echo(stream))?;
    println!("{shape}: {loops} loops on {}", server.addresses()[0]);
    event_loop.block_on(signals.next());
    println!("connections: {:?}", server.connections());
    server.stop();
    server.join()
}

fn single(address: &Address) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let listener = Listener::from_fd(Listener::bind(address, &ListenOptions::default())?)?;
    println!("single: on {}", listener.local_address()?);
    let handle = event_loop.handle();
    event_loop.spawn(async move {
        while let Ok((fd, _peer)) = listener.accept().await {
            match Stream::from_fd(fd) {
                Ok(stream) => drop(spawn(echo(stream))),
                Err(error) => eprintln!("a connection was lost: {error}"),
            }
        }
    });
    let mut signals = Signals::new(&[SIGTERM, SIGINT])?;
    event_loop.spawn(async move {
        signals.next().await;
        handle.stop();
    });
    event_loop.run();
    Ok(())
}

fn usage(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
