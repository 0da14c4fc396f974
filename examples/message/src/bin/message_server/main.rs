//! A message server: rooms and direct messages, over frames with a checksum.
//!
//! ```text
//! cargo run --release --manifest-path examples/message/Cargo.toml --bin message_server -- --help
//! cargo run --release --manifest-path examples/message/Cargo.toml --bin message_client -- NAME
//! cargo run --release --manifest-path examples/message/Cargo.toml --bin message_load -- --help
//! ```
//!
//! `docs/message-server.md` has the protocol. The main reactor, on the main thread, accepts and
//! deals clients out to the sub-reactors; what may block or compute runs on a thread pool, and the
//! answers of a client come in the order of its requests. Nothing that a client does costs more
//! memory than its share: requests under way, bytes that wait for it, messages in a window and
//! silence are bounded, each by an option.
//!
//! | file | what it knows |
//! |---|---|
//! | `session.rs` | one client: reading, its outbox, why it goes |
//! | `line.rs` | its requests that are under way, in order |
//! | `business.rs` | what the requests mean, on the pool and on the loops |
//! | `hall.rs`, `registry.rs` | a loop's clients; names and rooms that the loop is the home of |
//! | `call.rs` | a question to another loop |
//! | `flood.rs`, `archive.rs`, `console.rs`, `options.rs` | what they say |
#![forbid(unsafe_code)]

mod archive;
mod business;
mod call;
mod console;
mod flood;
mod hall;
mod line;
mod options;
mod registry;
mod session;

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::signal::{SIGINT, SIGTERM, Signals};
use revolve_reactor::{
    Address, Deal, EventLoop, ListenOptions, Listener, Reactors, Shutdown, Stream, ThreadPool, now,
    sleep, spawn,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use archive::Archive;
use hall::{Hall, Shared};
use options::Options;
use revolve_message::message::{Code, Event};
use session::Ending;

/// How long accepting rests when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors for other things than clients: loops, archive, those who are told that there is no room.
const SPARE_FILES: usize = 32 + REFUSALS_MAX;
/// Clients at a time who are told that there is no room; others are just closed.
const REFUSALS_MAX: usize = 16;
/// How long telling one may take.
const REFUSAL_MAX: Duration = Duration::from_secs(1);
/// Between two looks whether all clients are gone, while the server stops.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let options = match Options::parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&format!("{error}\n\n{}", options::USAGE), 2),
    };
    match run(fit(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// Raises the limit of open files as far as it goes, and takes no more connections than that allows.
fn fit(mut options: Options) -> Options {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(files) = files else { return options };
    let room = usize::try_from(files)
        .unwrap_or(usize::MAX)
        .saturating_sub(SPARE_FILES)
        .max(1);
    if room < options.connections_max {
        eprintln!(
            "message_server: {room} connections at most instead of {}: the process may open {files} \
             files (raise the hard limit, ulimit -Hn)",
            options.connections_max
        );
        options.connections_max = room;
    }
    options
}

fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("message_server: {message}");
    ExitCode::from(code)
}

fn run(options: Options) -> Result<(), String> {
    let say = |what: &str, error: io::Error| format!("{what}: {error}");
    let archive = options.archive.as_deref().map(Archive::open).transpose();
    let archive = archive.map_err(|error| say("the archive's folder", error))?;
    let pool = ThreadPool::builder()
        .threads(options.threads)
        .name("handler");
    let pool = pool
        .build()
        .map_err(|error| say("the thread pool", error))?;
    let (console, lines) = console::console();
    let (loops, quiet) = (options.loops, options.quiet);
    let shared = Arc::new(Shared {
        pool: pool.handle(),
        archive,
        archive_lost: AtomicU64::new(0),
        console,
        counters: (0..loops).map(|_| console::Counters::default()).collect(),
        loops: OnceLock::new(),
        options,
    });
    let address = Address::Inet(shared.options.address);
    let listening = Listener::bind(&address, &ListenOptions::default());
    let listening =
        listening.map_err(|error| say(&format!("cannot listen on {address}"), error))?;

    let halls = Arc::clone(&shared);
    let open = move |number| Hall::open(&halls, number);
    let builder = EventLoop::builder().measure_turns(!quiet);
    let reactors = Reactors::spawn_with(loops, "sub-reactor", builder, open);
    let reactors = reactors.map_err(|error| say("the sub-reactors", error))?;
    let reactors = Rc::new(reactors.with_deal(Deal::LeastConnections));
    let _ = shared.loops.set(reactors.handles().cloned().collect());

    let mut main_reactor = EventLoop::new().map_err(|error| say("the main reactor", error))?;
    let served = main_reactor.block_on(async {
        let mut signals = Signals::new(&[SIGINT, SIGTERM])?;
        let listener = Listener::from_fd(listening)?;
        println!("listening on {}", listener.local_address()?);
        console::start(lines, &shared)?;
        let accepting = spawn(accept(listener, Rc::clone(&reactors), Arc::clone(&shared)));
        signals.next().await;
        accepting.cancel();
        drain(&shared, &reactors, &mut signals).await;
        Ok(())
    });
    served.map_err(|error| say("the server", error))?;
    drop(reactors);
    pool.shutdown(Shutdown::Drain);
    println!("{}", console::farewell(&shared));
    Ok(())
}

/// Accepts clients, and deals them to the sub-reactor that has the fewest.
async fn accept(listener: Listener, reactors: Rc<Reactors>, shared: Arc<Shared>) {
    let full = Event::Goodbye {
        code: Code::ServerFull,
        text: "the server is full: try again later".into(),
    };
    let full = full.to_frame(0).to_bytes().unwrap_or_default();
    // As many clones as there are clients who are being told.
    let refusals = Rc::new(());
    loop {
        match listener.accept().await {
            Ok((fd, peer)) => {
                if reactors.connections().iter().sum::<usize>() >= shared.options.connections_max {
                    if Rc::strong_count(&refusals) <= REFUSALS_MAX {
                        let (refusal, full) = (Rc::clone(&refusals), full.clone());
                        spawn(async move {
                            let _ = refuse(fd, full).await;
                            drop(refusal);
                        });
                    }
                    continue;
                }
                reactors.deal(fd, move |fd, lease| {
                    let Ok(stream) = Stream::from_fd(fd) else {
                        return;
                    };
                    hall::with(|hall| spawn(session::serve(hall, stream, peer, lease)));
                });
            }
            Err(error) => {
                shared.console.say(format!("accepting: {error}"));
                let _ = listener.accept_and_close_one(&full);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Tells a client that there is no room. It has said something meanwhile, most likely: were the socket
/// closed before that is read, it would be reset, and the answer might never arrive.
async fn refuse(fd: OwnedFd, full: Bytes) -> io::Result<()> {
    let stream = Stream::from_fd(fd)?;
    let end = now() + REFUSAL_MAX;
    stream.send(full.into()).stall_max(REFUSAL_MAX).await.0?;
    stream.shutdown_write()?;
    while !stream.recv().deadline(end).await?.is_empty() {}
    Ok(())
}

/// Ends all clients, and waits until they are gone and what they said is written; a second signal,
/// or the time, cuts that short.
async fn drain(shared: &Arc<Shared>, reactors: &Reactors, signals: &mut Signals) {
    for number in 0..reactors.len() {
        let ending = Ending::new(Code::Stopping, "the server stops");
        shared.post(number, move |hall| hall.end_all(&ending));
    }
    let end = now() + shared.options.drain_max;
    let all_gone = async {
        while now() < end {
            let gone = reactors.connections().iter().all(|&count| count == 0);
            if gone && is_written(shared).await {
                return;
            }
            sleep(DRAIN_LOOK).await;
        }
    };
    let mut all_gone = std::pin::pin!(all_gone);
    let mut again = std::pin::pin!(signals.next());
    std::future::poll_fn(|cx| {
        let over = all_gone.as_mut().poll(cx).is_ready() || again.as_mut().poll(cx).is_ready();
        if over {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Whether no loop has lines for the archive that are not written.
async fn is_written(shared: &Shared) -> bool {
    for number in 0..shared.counters.len() {
        let (answer, asked) = call::ask();
        shared.post(number, move |hall| answer.give(hall.writer.is_idle()));
        if asked.await != Some(true) {
            return false;
        }
    }
    true
}
