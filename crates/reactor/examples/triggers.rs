//! Edge, level, one-shot and exclusive readiness, shown one after the other.
//!
//! ```text
//! cargo run -p revolve-reactor --example triggers
//! REVOLVE_DRIVER=poll cargo run -p revolve-reactor --example triggers
//! ```
//!
//! A trigger that the driver has not is refused by name: poll(2) and select(2) know no edges.

use std::error::Error;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use revolve_reactor::{
    EventLoop, Interest, Registration, Semaphore, Trigger, sleep, spawn, timeout, turn,
};

const TRIGGERS: [Trigger; 4] = [
    Trigger::Edge,
    Trigger::Level,
    Trigger::OneShot,
    Trigger::Exclusive,
];

/// Loops that wait for the same thing.
const LOOPS: usize = 4;

/// How long to listen before nothing counts as nothing.
const PAUSE: Duration = Duration::from_millis(30);

/// Registers a copy of the descriptor; says so where the driver has no such trigger.
fn register(fd: impl AsFd, interest: Interest, trigger: Trigger) -> io::Result<Registration> {
    let fd = fd.as_fd().try_clone_to_owned()?;
    Registration::new(fd, interest, trigger)
        .inspect_err(|error| println!("  it is refused: {error}"))
}

/// Says what is told within a while.
async fn listen(when: &str, registration: &Registration) -> io::Result<()> {
    let before = turn();
    match timeout(PAUSE, registration.event()).await {
        Ok(told) => {
            let told = told?;
            let what = match (told.readable, told.writable) {
                (true, true) => "readable and writable",
                (true, false) => "readable",
                (false, true) => "writable",
                (false, false) => "closed",
            };
            println!("  {when}: {what}, {} turn later", turn() - before);
        }
        Err(_) => println!("  {when}: nothing"),
    }
    Ok(())
}

fn drain(from: &mut impl Read) {
    let mut bytes = [0; 4096];
    while from.read(&mut bytes).is_ok_and(|count| count > 0) {}
}

async fn reading(trigger: Trigger) -> io::Result<()> {
    let (mut reader, mut writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    println!("\n{trigger:?}, reading from a pipe");
    let Ok(pipe) = register(&reader, Interest::Read, trigger) else {
        return Ok(());
    };
    listen("empty", &pipe).await?;
    writer.write_all(b"some")?;
    listen("4 bytes were written", &pipe).await?;
    listen("none was read", &pipe).await?;
    listen("none was read still", &pipe).await?;
    if trigger == Trigger::OneShot {
        pipe.arm()?;
        listen("armed anew", &pipe).await?;
    }
    writer.write_all(b"more")?;
    listen("4 more were written", &pipe).await?;
    drain(&mut reader);
    listen("all was read", &pipe).await
}

async fn writing(trigger: Trigger) -> io::Result<()> {
    let (mut one, mut other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    println!("\n{trigger:?}, writing to a socket");
    let Ok(socket) = register(&one, Interest::Write, trigger) else {
        return Ok(());
    };
    listen("empty", &socket).await?;
    listen("nothing was written", &socket).await?;
    while one.write(&[0; 4096]).is_ok() {}
    if trigger == Trigger::OneShot {
        socket.arm()?;
    }
    listen("filled up", &socket).await?;
    drain(&mut other);
    listen("the peer has read all", &socket).await
}

/// Several loops, each on its thread, wait for the same pipe; says how many a byte wakes.
fn waiting(trigger: Trigger) -> Result<(), Box<dyn Error>> {
    println!("\n{trigger:?}, {LOOPS} loops that wait for the same pipe");
    let (mut reader, mut writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let (says, hears) = mpsc::channel();
    let end = Semaphore::new(0);
    let mut loops = Vec::new();
    for _ in 0..LOOPS {
        let (fd, says) = (OwnedFd::from(reader.try_clone()?), says.clone());
        let end = end.clone();
        loops.push(thread::spawn(move || -> io::Result<()> {
            EventLoop::new()?.block_on(async {
                let pipe = match Registration::new(fd, Interest::Read, trigger) {
                    Ok(pipe) => pipe,
                    Err(error) => {
                        let _ = says.send(Err(error));
                        return Ok(());
                    }
                };
                let _ = says.send(Ok(()));
                spawn(async move {
                    while pipe.event().await.is_ok() {
                        let _ = says.send(Ok(()));
                        sleep(PAUSE * 4).await;
                    }
                });
                end.acquire().await.expect("it is not closed").forget();
                Ok(())
            })
        }));
    }
    drop(says);
    for _ in 0..LOOPS {
        if let Err(error) = hears.recv()? {
            println!("  it is refused: {error}");
            return Ok(());
        }
    }
    thread::sleep(PAUSE);
    writer.write_all(b"!")?;
    thread::sleep(PAUSE);
    drain(&mut reader);
    let woken = hears.try_iter().count();
    println!("  a byte was written: {woken} of {LOOPS} woken");
    end.add_permits(LOOPS);
    for one in loops {
        one.join().expect("no loop panics")?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = EventLoop::new()?;
    println!("{event_loop:?}");
    for trigger in TRIGGERS {
        event_loop.block_on(reading(trigger))?;
        event_loop.block_on(writing(trigger))?;
    }
    drop(event_loop);
    waiting(Trigger::Level)?;
    waiting(Trigger::Exclusive)?;
    Ok(())
}
