//! Connections on a network in memory, with a server that refuses, resets, goes away, breaks off and opens
//! small windows: whatever it does, each stream comes to an end, and a body that comes whole is the one that
//! was sent, which the server sends back.
//!
//! `REVOLVE_SEEDS` says how many seeds are run; a failure names its seed, and with `REVOLVE_SEED` set to it
//! that one is run again.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use revolve_http::Method;
use revolve_http::h2::{Config, Connection as Machine, ErrorCode, Event, HEAD_BYTES};
use revolve_reactor::{
    Address, EventLoop, Faults, ListenOptions, Listener, SendQueue, Simulation, Stream as Socket,
    sleep, spawn, timeout, yield_now,
};

use super::{Carriers, Incoming, Limits, Rules, Stream, StreamError, Turn, start};
use crate::net::Transport;
use crate::simulated::{BREAKING, Dice, ROUGH, for_seeds};
use crate::upstream::pool::KeptLimits;

const SEEDS: u64 = 300;

/// No run takes longer, in the time of its loop.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// A server's side of one connection, which sends back what it gets.
struct Peer {
    machine: Machine<()>,
    bodies: BTreeMap<u32, Vec<u8>>,
    is_kind: bool,
    dice: Dice,
    is_over: bool,
}

impl Peer {
    fn new(is_kind: bool, mut dice: Dice) -> Peer {
        let config = Config {
            streams_max: 1 + dice.below(5) as u32,
            window_bytes: [1, 7, 50, 1000, 70_000][dice.below(5) as usize],
            ..Config::default()
        };
        Peer {
            machine: Machine::server(config),
            bodies: BTreeMap::new(),
            is_kind,
            dice,
            is_over: false,
        }
    }

    fn take(&mut self, mut received: &[u8]) {
        while !received.is_empty() {
            let Ok(fed) = self.machine.feed(received, 0) else {
                // Only what it has done itself may have brought that about.
                assert!(!self.is_kind);
                self.is_over = true;
                return;
            };
            match fed.event {
                Some(Event::Head { stream, is_last }) => self.begin(stream, is_last),
                Some(Event::Data {
                    stream,
                    start,
                    end,
                    is_last,
                }) => {
                    self.machine.note_taken(stream, end - start);
                    let bytes = &received[start..end];
                    self.bodies.entry(stream).or_default().extend(bytes);
                    self.machine.offer(stream, bytes.len() as u64, is_last);
                }
                _ => {}
            }
            received = &received[fed.consumed..];
        }
    }

    fn begin(&mut self, stream: u32, is_last: bool) {
        if !self.is_kind {
            match self.dice.below(12) {
                0 => _ = self.machine.reset(stream, ErrorCode::REFUSED_STREAM),
                1 => _ = self.machine.reset(stream, ErrorCode::INTERNAL_ERROR),
                2 => self.machine.go_away(ErrorCode::NO_ERROR),
                3 => self.is_over = true,
                _ => {}
            }
        }
        if let Some(mut head) = self.machine.head(stream, is_last) {
            head.status(200);
            head.finish();
        }
        if is_last {
            self.machine.finish(stream);
        }
    }

    /// What is to be sent, with as much of the bodies as may leave.
    fn out(&mut self) -> Bytes {
        while let Some(grant) = self.machine.grant(10_000) {
            let start = self.machine.out().len();
            self.machine.data(grant, grant.is_last);
            let body = self.bodies.entry(grant.stream).or_default();
            let rest = body.split_off(grant.len);
            let sent = std::mem::replace(body, rest);
            let out = &mut self.machine.out()[start..];
            let frames = out.chunks_mut(HEAD_BYTES + grant.frame_bytes);
            for (frame, part) in frames.zip(sent.chunks(grant.frame_bytes)) {
                frame[HEAD_BYTES..].copy_from_slice(part);
            }
            if grant.is_last {
                self.machine.finish(grant.stream);
            }
        }
        std::mem::take(self.machine.out()).into()
    }
}

async fn serve(socket: Socket, is_kind: bool, dice: Dice) {
    let mut peer = Peer::new(is_kind, dice);
    loop {
        let mut out = peer.out();
        while !out.is_empty() {
            let len = (1 + peer.dice.below(100) as usize).min(out.len());
            let part = SendQueue::from(out.split_to(len));
            if socket.send(part).await.0.is_err() {
                return;
            }
            if peer.dice.below(20) == 0 {
                sleep(Duration::from_millis(100)).await;
            }
        }
        if peer.is_over {
            return;
        }
        match timeout(PATIENCE, socket.recv()).await {
            Ok(Ok(received)) if !received.is_empty() => peer.take(&received),
            _ => return,
        }
    }
}

/// Begins a stream over a connection that there is, or over a new one.
async fn open(carriers: &Rc<Carriers>, address: &Address, has_body: bool) -> Option<Stream> {
    let rules = Rules {
        method: Method::Post,
        head_bytes_max: 4096,
    };
    let limits = Limits {
        kept: KeptLimits {
            connections_max: 2,
            requests_max: 5,
            ..KeptLimits::default()
        },
        send_timeout: PATIENCE,
    };
    loop {
        if let Some(carrier) = carriers.with_room(None)
            && let Some(stream) = Stream::open(&carrier, rules, !has_body, |head| {
                head.pseudo(b":method", b"POST");
                head.pseudo(b":scheme", b"http");
                head.pseudo(b":path", b"/");
            })
        {
            return Some(stream);
        }
        match carriers.turn(None) {
            Turn::Wait(dial) => {
                if dial.ended().await.is_some() {
                    return None;
                }
            }
            Turn::Dial(dialing) => match Socket::connect(address).await {
                Ok(socket) => _ = start(Transport::from(socket), None, limits, carriers),
                Err(_) => {
                    dialing.fail("gone".into(), false);
                    return None;
                }
            },
        }
    }
}

/// Asks once; the answer is whether the whole body has come back. Sometimes nobody waits for it.
async fn ask(carriers: Rc<Carriers>, address: Address, mut dice: Dice) -> bool {
    let len = [0, 1, 100, 3000][dice.below(4) as usize];
    let body: Vec<u8> = (0..len).map(|_| dice.below(256) as u8).collect();
    let Some(stream) = open(&carriers, &address, len > 0).await else {
        return false;
    };
    let sender = stream.sender();
    let sent = body.clone();
    let mut pause = Dice::new(dice.below(1 << 40));
    spawn(async move {
        for part in sent.chunks(700) {
            if !sender.has_room() || pause.below(3) == 0 {
                yield_now().await;
            }
            sender.push(Bytes::copy_from_slice(part));
        }
        sender.end(None);
    });
    let (mut has_head, mut got) = (false, Vec::new());
    loop {
        if dice.below(60) == 0 {
            return false;
        }
        let next = poll_fn(|cx| stream.poll_next(cx));
        match timeout(PATIENCE, next).await.expect("it comes to an end") {
            Ok(Incoming::Head(head)) => {
                assert!(!has_head && head.0.status == 200);
                has_head = true;
            }
            Ok(Incoming::Data(bytes)) => got.extend_from_slice(&bytes),
            Ok(Incoming::Trailers(_)) => panic!("nobody sends any"),
            Ok(Incoming::End) => {
                assert!(has_head && got == body);
                return true;
            }
            Err(StreamError::Fault(what)) => panic!("the peer breaks no rule: {what}"),
            Err(_) => {
                assert!(body.starts_with(&got));
                return false;
            }
        }
    }
}

/// Runs it; the answer is how many bodies came back whole, and how many were asked for.
fn run(seed: u64, faults: Faults, is_kind: bool) -> (usize, usize) {
    let mut event_loop = EventLoop::builder()
        .simulation(Simulation::seeded(seed).faults(faults))
        .buffer_bytes(512)
        .build()
        .unwrap();
    event_loop.block_on(async {
        let address = Address::Unix("/in/memory/socket".into());
        let fd = Listener::bind(&address, &ListenOptions::default()).unwrap();
        let listener = Listener::from_fd(fd).unwrap();
        spawn(async move {
            for at in 0.. {
                match listener.accept().await {
                    Ok((fd, _)) => {
                        let socket = Socket::from_fd(fd).unwrap();
                        spawn(serve(socket, is_kind, Dice::new(seed ^ at << 32)));
                    }
                    Err(_) => yield_now().await,
                }
            }
        });
        let carriers = Rc::new(Carriers::default());
        let mut dice = Dice::new(seed);
        let count = 1 + dice.below(20) as usize;
        let asking: Vec<_> = (0..count)
            .map(|_| {
                let own = Dice::new(dice.below(1 << 40));
                spawn(ask(carriers.clone(), address.clone(), own))
            })
            .collect();
        let mut whole = 0;
        for asked in asking {
            whole += usize::from(asked.await.expect("no panic"));
        }
        (whole, count)
    })
}

fn check(seed: u64) {
    for (faults, is_kind) in [(ROUGH, true), (ROUGH, false), (BREAKING, false)] {
        let run = std::panic::catch_unwind(|| run(seed, faults, is_kind));
        assert!(run.is_ok(), "REVOLVE_SEED={seed}");
    }
}

#[test]
fn bodies_come_back_whole_or_not_at_all() {
    let (whole, asked) = run(7, Faults::default(), true);
    assert!(whole > asked / 2, "{whole} of {asked}");
    for_seeds(SEEDS, check);
}
