//! One loop inside a program that has a main thread of its own.
//!
//! ```text
//! cargo run -p revolve-reactor --example embed -- [ADDRESS]
//! ```
//!
//! The main thread reads commands from standard input (`count` and `say TEXT`) until that ends, as
//! another program's would draw or play. The loop lives on its own thread; the one way to it is its handle.
//! A function that is run in the loop crosses threads and can carry no `Rc`: what it works on lies
//! in the loop's thread, here in a thread-local. Answers come back by an ordinary channel.

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use revolve_reactor::{
    Address, EventLoop, ListenOptions, Listener, LoopHandle, SendQueue, Stream, spawn,
};

thread_local! {
    /// The loop's connections.
    static CONNECTIONS: RefCell<Vec<Rc<Stream>>> = const { RefCell::new(Vec::new()) };
}

/// Accepts until the loop ends. Connections are taken out of the list when their peer closes.
async fn accept(listener: Listener) -> io::Result<()> {
    loop {
        let (fd, _peer) = listener.accept().await?;
        let stream = Rc::new(Stream::from_fd(fd)?);
        CONNECTIONS.with_borrow_mut(|all| all.push(Rc::clone(&stream)));
        spawn(async move {
            while stream.recv().await.is_ok_and(|bytes| !bytes.is_empty()) {}
            CONNECTIONS.with_borrow_mut(|all| all.retain(|one| !Rc::ptr_eq(one, &stream)));
        });
    }
}

/// Runs in the loop: sends a line to everybody, each in a task, so that nobody waits for another.
/// A stream sends one queue at a time: who has not taken the last line yet misses this one.
fn say(line: &Bytes) {
    for stream in CONNECTIONS.with_borrow(Vec::clone) {
        let queue = SendQueue::from(line.clone());
        spawn(async move { stream.send(queue).await.0 });
    }
}

/// The loop's thread. Streams belong to the loop, and go before it.
fn turn(fd: OwnedFd, started: &mpsc::Sender<(LoopHandle, Address)>) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let listener = Listener::from_fd(fd)?;
    let _ = started.send((event_loop.handle(), listener.local_address()?));
    event_loop.spawn(accept(listener));
    event_loop.run();
    CONNECTIONS.take();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7011").parse()?;
    let fd = Listener::bind(&address.into(), &ListenOptions::default())?;
    let (started, start) = mpsc::channel();
    let thread = thread::spawn(move || turn(fd, &started));
    let (handle, local) = start.recv().map_err(|_| "the loop could not be started")?;
    println!("listening on {local}");
    for line in io::stdin().lines() {
        match line?.split_once(' ').unwrap_or(("count", "")) {
            ("say", text) => {
                let line = Bytes::from(format!("{text}\n"));
                handle.run_in_loop(move || say(&line));
            }
            _ => {
                let (answer, count) = mpsc::channel();
                handle.run_in_loop(move || {
                    let _ = answer.send(CONNECTIONS.with_borrow(Vec::len));
                });
                println!("{} connections", count.recv()?);
            }
        }
    }
    handle.stop();
    let ended = thread.join().map_err(|_| "the loop's thread panicked")?;
    Ok(ended?)
}
