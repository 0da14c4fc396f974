//! A load for the message server: clients that talk, and clients that misbehave.
//!
//! ```text
//! cargo run --release --manifest-path examples/message/Cargo.toml --bin message_load -- --help
//! ```
//!
//! One loop serves all clients. The text of a message begins with the time at which it was said, so
//! that the speaker, who hears it too, knows how long it took.
#![forbid(unsafe_code)]

mod misbehave;
mod options;
mod talk;

use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use revolve_reactor::{Address, EventLoop, sleep, spawn};

use options::{Options, USAGE};

/// What all clients have seen together.
#[derive(Default)]
struct Seen {
    connected: Cell<u64>,
    said: Cell<u64>,
    done: Cell<u64>,
    failed: Cell<u64>,
    heard: Cell<u64>,
    lost: Cell<u64>,
    /// Connections of talkers that ended before their time.
    ended: Cell<u64>,
    /// Misbehaving clients that the server has kicked, or cut off.
    kicked: Cell<u64>,
    /// From saying to hearing it, in microseconds.
    taken_us: RefCell<Vec<u64>>,
}

fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get() + n);
}

fn main() -> ExitCode {
    let options = match Options::parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("message_load: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut event_loop = match EventLoop::new() {
        Ok(event_loop) => event_loop,
        Err(error) => {
            eprintln!("message_load: {error}");
            return ExitCode::FAILURE;
        }
    };
    let seen = Rc::new(Seen::default());
    let begun = Instant::now();
    event_loop.block_on(run(&options, &seen));
    report(&options, &seen, begun.elapsed());
    if seen.connected.get() == 0 {
        eprintln!(
            "message_load: no client could connect to {}",
            options.address
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn run(options: &Options, seen: &Rc<Seen>) {
    let server = Address::Inet(options.address);
    for number in 0..options.clients {
        spawn(talk::client(
            server.clone(),
            number,
            options.clone(),
            Rc::clone(seen),
        ));
    }
    for number in 0..options.flood {
        spawn(misbehave::flood(server.clone(), number, Rc::clone(seen)));
    }
    for number in 0..options.slow {
        let room = format!("room-{}", number % options.rooms);
        spawn(misbehave::slow(
            server.clone(),
            number,
            room,
            Rc::clone(seen),
        ));
    }
    for number in 0..options.vanish {
        spawn(misbehave::vanish(server.clone(), number, Rc::clone(seen)));
    }
    sleep(options.length).await;
}

fn report(options: &Options, seen: &Seen, took: Duration) {
    let seconds = took.as_secs_f64();
    let rate = |counter: &Cell<u64>| counter.get() as f64 / seconds;
    println!(
        "{} clients in {} rooms for {seconds:.1} s: {} said ({:.0}/s), {} answered, {} refused, \
         {} heard ({:.0}/s), {} lost, {} ended early",
        options.clients,
        options.rooms,
        seen.said.get(),
        rate(&seen.said),
        seen.done.get(),
        seen.failed.get(),
        seen.heard.get(),
        rate(&seen.heard),
        seen.lost.get(),
        seen.ended.get(),
    );
    let mut taken_us = seen.taken_us.take();
    taken_us.sort_unstable();
    if let Some(last) = taken_us.len().checked_sub(1) {
        let at = |part: f64| taken_us[(last as f64 * part) as usize];
        println!(
            "from saying to hearing it: p50 {} us, p99 {} us, most {} us",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    if options.flood + options.slow + options.vanish > 0 {
        println!("misbehaving clients kicked: {}", seen.kicked.get());
    }
}
