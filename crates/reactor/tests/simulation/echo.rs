//! An echo server and its clients, whole and with broken connections.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use revolve_reactor::{
    Address, Faults, ListenOptions, Listener, SendQueue, Stream, spawn, yield_now,
};

use super::{Dice, run, seeds};

/// A listener. No file has its name: it exists in memory.
fn listener() -> (Listener, Address) {
    let address = Address::Unix("/in/memory/socket".into());
    let fd = Listener::bind(&address, &ListenOptions::default()).expect("bind");
    (Listener::from_fd(fd).expect("register"), address)
}

/// Serves until the listener's task is cancelled; counts the connections that broke.
async fn serve(listener: Listener, broken: Rc<Cell<u32>>) {
    loop {
        // Descriptors that run out come back.
        let Ok((fd, _)) = listener.accept().await else {
            yield_now().await;
            continue;
        };
        let Ok(stream) = Stream::from_fd(fd) else {
            continue;
        };
        let broken = Rc::clone(&broken);
        spawn(async move {
            if echo(&stream).await.is_err() {
                broken.set(broken.get() + 1);
            }
        });
    }
}

async fn echo(stream: &Stream) -> io::Result<()> {
    loop {
        let received = stream.recv().await?;
        if received.is_empty() {
            return Ok(());
        }
        stream.send(SendQueue::from(received)).await.0?;
    }
}

/// Sends in several pieces, half-closes, and gives what came back, with the error that ended it.
async fn converse(address: &Address, sent: &Bytes, dice: &mut Dice) -> (Vec<u8>, io::Result<()>) {
    let mut back = Vec::new();
    let stream = match Stream::connect(address).await {
        Ok(stream) => Rc::new(stream),
        Err(error) => return (back, Err(error)),
    };
    let cut = dice.below(sent.len() as u64 + 1) as usize;
    let (sender, pieces) = (Rc::clone(&stream), [sent.slice(..cut), sent.slice(cut..)]);
    let sending = spawn(async move {
        for piece in pieces {
            sender.send(SendQueue::from(piece)).await.0?;
            yield_now().await;
        }
        sender.shutdown_write()
    });
    let result = loop {
        match stream.recv().await {
            Ok(received) if received.is_empty() => break Ok(()),
            Ok(received) => back.extend_from_slice(&received),
            Err(error) => break Err(error),
        }
    };
    let sent = sending.await.expect("no panic");
    (back, result.and(sent))
}

/// How a run went: turns, connections that the server and that the clients found broken.
fn scenario(seed: u64, faults: Faults) -> (u64, u32, u32) {
    run(seed, faults, async move {
        let (listener, address) = listener();
        let broken = Rc::new(Cell::new(0));
        let server = spawn(serve(listener, Rc::clone(&broken)));
        let mut clients = Vec::new();
        for number in 0..1 + seed % 5 {
            let address = address.clone();
            clients.push(spawn(async move {
                let mut dice = Dice::new(seed ^ number << 32);
                let mut failed = 0;
                for _ in 0..3 {
                    let sent = Bytes::from(dice.bytes());
                    let (back, result) = converse(&address, &sent, &mut dice).await;
                    // Whatever broke: what came back is what was sent, in order.
                    assert_eq!(back, sent[..back.len()]);
                    match result {
                        Ok(()) if back.len() == sent.len() => {}
                        Ok(()) | Err(_) => failed += 1,
                    }
                }
                failed
            }));
        }
        let mut failed = 0;
        for client in clients {
            failed += client.await.expect("a client");
        }
        server.cancel();
        (revolve_reactor::turn(), broken.get(), failed)
    })
}

#[test]
fn every_byte_comes_back_under_harmless_faults() {
    for seed in seeds() {
        let (_, broken, failed) = scenario(seed, Faults::HARMLESS);
        assert_eq!((broken, failed), (0, 0), "seed {seed}");
    }
}

#[test]
fn broken_connections_cost_themselves_alone() {
    let (mut broken, mut failed, mut runs) = (0, 0, 0);
    for seed in seeds() {
        let (_, server, clients) = scenario(seed, Faults::ALL);
        broken += u64::from(server);
        failed += u64::from(clients);
        runs += 1;
    }
    // Enough of them did break for this to prove something.
    assert!(runs < 100 || (broken > runs / 50 && failed > runs / 50));
}

#[test]
fn a_seed_decides_everything() {
    let mut different = 0;
    for seed in seeds() {
        let first = scenario(seed, Faults::ALL);
        assert_eq!(first, scenario(seed, Faults::ALL), "seed {seed}");
        different += u64::from(first.0 != scenario(seed ^ 5, Faults::NONE).0);
    }
    assert!(seeds().len() < 100 || different > 0);
}
