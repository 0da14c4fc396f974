//! Several loops that take turns under a seed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{
    AcceptMode, Address, Deal, EventLoop, Faults, LoopHandle, Reactors, Schedule, SendQueue,
    Serving, Simulation, Stream, TcpServer, current, now, sleep, spawn, timeout, yield_now,
};

use crate::common::any_port;

use super::{Dice, PATIENCE, seeds_or};

/// Each run starts some threads, and costs twenty times as much as one of one loop.
const SEEDS_PART: usize = 20;

fn seeds() -> Vec<u64> {
    let mut seeds = seeds_or(2000);
    seeds.truncate(seeds.len().div_ceil(SEEDS_PART));
    seeds
}

const JUMPY: Faults = Faults {
    clock_jump: 20,
    ..Faults::HARMLESS
};

/// What was done, by which loop, in the order in which it was done.
type Trace = Arc<Mutex<Vec<(usize, u32)>>>;

/// Throws a ball from loop to loop until it was thrown so often; some wait a while before they throw.
fn throw(ball: u32, loops: Arc<Vec<LoopHandle>>, trace: Trace, own: usize, end: mpsc::Sender<u32>) {
    trace.lock().expect("no panic").push((own, ball));
    if ball == 0 {
        return end.send(ball).expect("somebody waits");
    }
    spawn(async move {
        if ball.is_multiple_of(4) {
            sleep(Duration::from_millis(u64::from(ball))).await;
        }
        let next = (own + 1 + ball as usize % 2) % loops.len();
        let handle = loops[next].clone();
        handle.run_in_loop(move || throw(ball - 1, loops, trace, next, end));
    });
}

/// Throws several balls over three loops and that of this thread; gives who had which, in order.
fn throws(seed: u64) -> Vec<(usize, u32)> {
    let schedule = Schedule::new(Simulation::seeded(seed).faults(JUMPY), 4);
    let builder = EventLoop::builder().schedule(&schedule);
    let mut event_loop = builder.clone().build().expect("a loop");
    let others = Reactors::spawn_with(3, "loop", builder, |_| {}).expect("reactors");
    let mut loops: Vec<LoopHandle> = others.handles().cloned().collect();
    loops.push(event_loop.handle());
    let (trace, loops) = (Trace::default(), Arc::new(loops));
    let (end, ended) = mpsc::channel();
    event_loop.block_on(async {
        for ball in [10, 20, 30] {
            throw(ball, Arc::clone(&loops), Arc::clone(&trace), 3, end.clone());
        }
        for _ in 0..3 {
            while ended.try_recv().is_err() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    drop(event_loop);
    let traced = trace.lock().expect("no panic").clone();
    assert_eq!(traced.len(), 63);
    traced
}

#[test]
fn what_is_posted_between_loops_runs_in_an_order_that_the_seed_decides() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in seeds() {
        let first = throws(seed);
        assert_eq!(first, throws(seed), "seed {seed}");
        orders.insert(first);
    }
    assert!(seeds().len() < 100 || orders.len() > 50);
}

/// The thread's own loop, which must be dropped first, and a server with a main reactor and two others.
struct Served {
    event_loop: EventLoop,
    server: Serving,
}

fn serve(seed: u64, faults: Faults, deal: Deal) -> Served {
    let schedule = Schedule::new(Simulation::seeded(seed).faults(faults), 4);
    let builder = EventLoop::builder().schedule(&schedule).buffer_bytes(512);
    let event_loop = builder.clone().build().expect("a loop");
    let server = TcpServer::builder()
        .bind(any_port())
        .loops(2)
        .accept(AcceptMode::MainReactor { deal })
        .event_loop(builder);
    let server = server.serve(|stream: Stream, _| async move {
        while let Ok(received) = stream.recv().await {
            if received.is_empty() || stream.send(SendQueue::from(received)).await.0.is_err() {
                return;
            }
        }
    });
    let server = server.expect("serve");
    Served { event_loop, server }
}

/// Sends and receives the same; false if the connection broke.
async fn converse(address: &Address, sent: Bytes) -> bool {
    let Ok(stream) = Stream::connect(address).await else {
        return false;
    };
    let stream = Rc::new(stream);
    let (sender, bytes) = (Rc::clone(&stream), sent.clone());
    let sending = spawn(async move {
        sender.send(SendQueue::from(bytes)).await.0?;
        sender.shutdown_write()
    });
    let mut back = Vec::new();
    let whole = loop {
        match stream.recv().await {
            Ok(received) if received.is_empty() => break true,
            Ok(received) => back.extend_from_slice(&received),
            Err(_) => break false,
        }
    };
    assert_eq!(back, sent[..back.len()], "what comes back is what was sent");
    sending.await.expect("no panic").is_ok() && whole && back.len() == sent.len()
}

/// How a run went: what was whole, by client, and how long all of it took in the loop's time.
fn conversations(seed: u64, faults: Faults) -> (Vec<bool>, Duration, u64) {
    let deal = [Deal::RoundRobin, Deal::LeastConnections][(seed / 2 % 2) as usize];
    let mut served = serve(seed, faults, deal);
    let address = served.server.addresses()[0].clone();
    served.event_loop.block_on(async {
        let begun = now();
        let mut clients = Vec::new();
        for number in 0..1 + seed % 6 {
            let address = address.clone();
            let bytes = Bytes::from(Dice::new(seed ^ number << 32).bytes());
            clients.push(spawn(async move { converse(&address, bytes).await }));
        }
        let mut whole = Vec::new();
        for client in clients {
            let client = timeout(PATIENCE, client).await.expect("it hangs");
            whole.push(client.expect("a client"));
        }
        (whole, now() - begun, revolve_reactor::turn())
    })
}

#[test]
fn a_main_reactor_deals_and_every_byte_comes_back() {
    for seed in seeds() {
        let (whole, took, turns) = conversations(seed, JUMPY);
        assert!(whole.iter().all(|whole| *whole), "seed {seed}");
        let again = conversations(seed, JUMPY);
        assert_eq!((whole, took, turns), again, "seed {seed}");
    }
}

#[test]
fn connections_that_break_cost_themselves_alone_on_several_loops() {
    let (mut broken, mut whole) = (0, 0);
    for seed in seeds() {
        for one in conversations(seed, Faults::ALL).0 {
            *if one { &mut whole } else { &mut broken } += 1;
        }
    }
    assert!(broken + whole < 100 || (broken > 0 && whole > broken));
}

#[test]
fn loops_in_memory_share_no_listener() {
    let schedule = Schedule::new(Simulation::seeded(1), 3);
    let builder = EventLoop::builder().schedule(&schedule);
    let _event_loop = builder.clone().build().expect("a loop");
    let server = TcpServer::builder()
        .bind(any_port())
        .loops(2)
        .accept(AcceptMode::PerReactor { reuse_port: true })
        .event_loop(builder);
    let error = server.serve(|_, _| async {}).expect_err("no such shape");
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("MainReactor"), "{error}");
}

#[test]
fn long_lived_connections_are_dealt_evenly() {
    for seed in seeds() {
        // A clock that jumps makes a reactor seem late, and then others get more.
        let mut served = serve(seed, Faults::HARMLESS, Deal::LeastConnections);
        let server = &served.server;
        let address = server.addresses()[0].clone();
        served.event_loop.block_on(async {
            let mut streams = Vec::new();
            for _ in 0..8 {
                streams.push(Stream::connect(&address).await.expect("connect"));
            }
            let begun = now();
            while server.connections() != [4, 4] {
                assert!(now() - begun < PATIENCE, "{:?}", server.connections());
                sleep(Duration::from_millis(10)).await;
            }
            drop(streams);
            while server.connections() != [0, 0] {
                assert!(now() - begun < PATIENCE, "{:?}", server.connections());
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
}

#[test]
fn a_waker_of_another_loop_wakes_a_task_on_its_own() {
    for seed in seeds() {
        let schedule = Schedule::new(Simulation::seeded(seed).faults(JUMPY), 2);
        let builder = EventLoop::builder().schedule(&schedule);
        let mut event_loop = builder.clone().build().expect("a loop");
        let others = Reactors::spawn_with(1, "loop", builder, |_| {}).expect("a reactor");
        let other = others.handles().next().expect("one").clone();
        event_loop.block_on(async {
            let own = current();
            let done = Rc::new(Cell::new(0));
            let wakers = Rc::new(RefCell::new(Vec::new()));
            let (counted, kept) = (Rc::clone(&done), Rc::clone(&wakers));
            let task = spawn(std::future::poll_fn(move |cx| {
                counted.set(counted.get() + 1);
                kept.borrow_mut().push(cx.waker().clone());
                if counted.get() < 5 {
                    std::task::Poll::Pending
                } else {
                    std::task::Poll::Ready(())
                }
            }));
            while !task.is_finished() {
                for waker in wakers.take() {
                    assert!(own.is_in_loop_thread());
                    other.run_in_loop(move || waker.wake());
                }
                yield_now().await;
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(done.get(), 5);
        });
        drop(event_loop);
    }
}
