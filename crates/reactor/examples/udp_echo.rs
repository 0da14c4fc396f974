//! Echo over UDP: each datagram goes back to where it came from.
//!
//! ```text
//! cargo run --release -p revolve-reactor --example udp_echo -- [ADDRESS] [LOOPS]
//! ```
//!
//! Datagrams that are there already are received in one `recvmmsg(2)` and sent in one `sendmmsg(2)`,
//! up to 16 at a time. With several loops each has a socket of its own on the same port
//! (`SO_REUSEPORT`), and the kernel deals the senders out. INT and TERM end it, with the counts.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use revolve_reactor::signal::{SIGINT, SIGTERM, Signals};
use revolve_reactor::{Address, Datagram, EventLoop, Reactors, UdpSocket, spawn};

const AT_ONCE_MAX: usize = 16;

#[derive(Clone, Default)]
struct Counts {
    datagrams: Rc<Cell<usize>>,
    batches: Rc<Cell<usize>>,
}

impl Counts {
    fn add(&self, datagrams: usize) {
        self.datagrams.set(self.datagrams.get() + datagrams);
        self.batches.set(self.batches.get() + 1);
    }
}

async fn echo(socket: UdpSocket, counts: Counts) -> io::Result<()> {
    let mut received: Vec<Datagram> = Vec::with_capacity(AT_ONCE_MAX);
    loop {
        let count = socket.recv_batch(&mut received, AT_ONCE_MAX).await?;
        counts.add(count);
        let answers: Vec<_> = received
            .drain(..)
            .map(|one| (one.bytes, one.from))
            .collect();
        let mut rest = &answers[..];
        while !rest.is_empty() {
            let (sent, result) = socket.send_batch(rest).await;
            // One that cannot be sent (its port is 0, its network is gone) is left out.
            rest = &rest[(sent + usize::from(result.is_err())).min(rest.len())..];
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7008".into());
    let address: SocketAddr = address.parse()?;
    let loops = arguments.next().map_or(Ok(1), |loops| loops.parse())?;

    // The first socket finds the port out, should it be 0; the others bind to the same.
    let mut event_loop = EventLoop::new()?;
    let first = event_loop.block_on(async { UdpSocket::bind_shared(&address.into()) })?;
    let address: Address = first.local_address()?;
    let (bound, binding) = mpsc::channel();
    let shared = Arc::new(address.clone());
    let others = Reactors::spawn(usize::saturating_sub(loops, 1), "udp", move |_| {
        let socket = UdpSocket::bind_shared(&shared);
        let _ = bound.send(
            socket
                .as_ref()
                .map_or_else(|error| Some(error.kind()), |_| None),
        );
        if let Ok(socket) = socket {
            spawn(echo(socket, Counts::default()));
        }
    })?;
    if let Some(kind) = binding.try_iter().flatten().next() {
        return Err(format!("{address}: {kind}").into());
    }
    println!("listening on {address}");
    let counts = Counts::default();
    event_loop.spawn(echo(first, counts.clone()));
    let mut signals = Signals::new(&[SIGINT, SIGTERM])?;
    event_loop.block_on(signals.next());
    others.stop();
    let (datagrams, batches) = (counts.datagrams.get(), counts.batches.get());
    println!("{datagrams} datagrams in {batches} batches on the first loop");
    Ok(())
}
