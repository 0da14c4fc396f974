//! Connections on a network in memory, with clients that fragment, reset, stall, leave, and open small
//! windows: whatever they do, an answer that comes whole is the one that a client gets that does nothing of
//! the kind.
//!
//! `REVOLVE_SEEDS` says how many seeds are run; a failure names its seed, and with `REVOLVE_SEED` set to it
//! that one is run again.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use revolve_http::h2::{Config as H2Config, Connection as Machine, ErrorCode, Event, HEAD_BYTES};
use revolve_reactor::{
    Address, EventLoop, Faults, ListenOptions, Listener, SendQueue, Simulation, Stream, sleep,
    spawn, timeout, yield_now,
};

use crate::Config;
use crate::http::testing::{self, TestSite};
use crate::simulated::{BREAKING, Dice, ROUGH, for_seeds};

const SEEDS: u64 = 300;

/// No run takes longer, in the time of its loop.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

const SITE: &str = r#"
    http2 on; error_log stderr emerg; default_type text/html; http2_chunk_size 100;
    location = /text { return 200 "text of $request_method $uri"; }
    location = /long { return 200 "0123456789012345678901234567890123456789012345678901234567890123456789"; }
    location = /moved { return 301 /text; }
    location = /asked { auth_request /yes; error_page 404 405 =200 /text; }
    location = /refused { auth_request /no; }
    location = /yes { return 204; }
    location = /no { return 403; }
    location = /page { ssi on; return 200 "<!--#include virtual='/text' -->|<!--#include virtual='/asked' -->"; }
    location = /around { add_before_body /long; add_after_body /page; return 200 " around "; }
    location = /copied { mirror /yes; error_page 404 405 =200 /text; client_max_body_size 40; }
    location = /shut { return 444; }
    location = /trailed { add_trailer X-T $uri; return 200 "with trailers"; }
"#;

const PATHS: [&str; 12] = [
    "/text", "/long", "/moved", "/asked", "/refused", "/page", "/around", "/copied", "/none",
    "/shut", "/trailed", "/yes",
];

/// A request.
#[derive(Clone, Copy)]
struct Asked {
    path: &'static str,
    method: &'static [u8],
    body_len: u64,
}

fn draw(dice: &mut Dice) -> Vec<Asked> {
    let count = 1 + dice.below(8);
    let one = |dice: &mut Dice| {
        let methods: [&[u8]; 4] = [b"GET", b"GET", b"HEAD", b"POST"];
        let method = methods[dice.below(4) as usize];
        Asked {
            path: PATHS[dice.below(PATHS.len() as u64) as usize],
            method,
            body_len: match method {
                b"POST" => [0, 1, 30, 60][dice.below(4) as usize],
                _ => 0,
            },
        }
    };
    (0..count).map(|_| one(dice)).collect()
}

/// How a client goes about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// All at once, and takes all.
    Plain,
    /// In pieces, with small windows, and gives some streams up.
    Picky,
    /// The same, and is gone at some place.
    Leaves,
}

/// What came of each stream that the server has ended: the status and the body.
type Answers = BTreeMap<u32, (String, Vec<u8>)>;

struct Client {
    machine: Machine<()>,
    answers: Answers,
    open: Vec<u32>,
    manner: Manner,
    dice: Dice,
}

impl Client {
    fn new(manner: Manner, mut dice: Dice) -> Client {
        let window_bytes = match manner {
            Manner::Plain => 1 << 20,
            _ => [1, 7, 50, 1000, 70_000][dice.below(5) as usize],
        };
        let config = H2Config {
            window_bytes,
            ..H2Config::default()
        };
        Client {
            machine: Machine::client(config),
            answers: Answers::new(),
            open: Vec::new(),
            manner,
            dice,
        }
    }

    fn ask(&mut self, asked: Asked) {
        let machine = &mut self.machine;
        let Some(stream) = machine.open() else { return };
        let is_last = asked.body_len == 0;
        let Some(mut head) = machine.head(stream, is_last) else {
            return;
        };
        head.pseudo(b":method", asked.method);
        head.pseudo(b":scheme", b"http");
        head.pseudo(b":authority", b"x");
        head.pseudo(b":path", asked.path.as_bytes());
        head.finish();
        if !is_last {
            machine.offer(stream, asked.body_len, true);
        }
        self.open.push(stream);
        if self.manner != Manner::Plain && self.dice.below(6) == 0 {
            machine.reset(stream, ErrorCode::CANCEL);
            self.open.retain(|it| *it != stream);
        }
    }

    /// What is to be sent next.
    fn take_out(&mut self) -> Bytes {
        while let Some(grant) = self.machine.grant(1 << 20) {
            let start = self.machine.out().len();
            self.machine.data(grant, grant.is_last);
            let frames = &mut self.machine.out()[start..];
            for frame in frames.chunks_mut(HEAD_BYTES + grant.frame_bytes) {
                frame[HEAD_BYTES..].fill(b'b');
            }
        }
        Bytes::from(std::mem::take(self.machine.out()))
    }

    fn take(&mut self, received: &[u8]) {
        let mut at = 0;
        while at < received.len() {
            let rest = &received[at..];
            let fed = self
                .machine
                .feed(rest, 0)
                .expect("the server keeps the rules");
            at += fed.consumed;
            let Some(event) = fed.event else { continue };
            self.note(event, rest);
        }
    }

    fn note(&mut self, event: Event<()>, rest: &[u8]) {
        match event {
            Event::Head { stream, is_last } => {
                let first = self.machine.fields().iter().next();
                let status = String::from_utf8_lossy(first.expect("a status").1).into_owned();
                self.answers.entry(stream).or_default().0 = status;
                self.end_if(stream, is_last);
            }
            Event::Data {
                stream,
                start,
                end,
                is_last,
            } => {
                let body = &mut self.answers.entry(stream).or_default().1;
                body.extend_from_slice(&rest[start..end]);
                self.machine.note_taken(stream, end - start);
                self.end_if(stream, is_last);
            }
            Event::Trailers { stream } => {
                let (name, value) = self.machine.fields().iter().next().expect("a line");
                let line = [b"\n", name, b": ", value].concat();
                self.answers.entry(stream).or_default().1.extend(line);
                self.end_if(stream, true);
            }
            Event::Reset { stream, code, .. } => {
                let answer = self.answers.entry(stream).or_default();
                *answer = (format!("{code}"), Vec::new());
                self.open.retain(|it| *it != stream);
            }
            Event::GoAway { .. } => {}
        }
    }

    fn end_if(&mut self, stream: u32, is_last: bool) {
        if is_last {
            self.open.retain(|it| *it != stream);
            self.machine.finish(stream);
        }
    }
}

/// Asks, and gives what has come whole.
async fn converse(address: Address, asked: Vec<Asked>, manner: Manner, dice: Dice) -> Answers {
    let Ok(stream) = Stream::connect(&address).await else {
        return Answers::new();
    };
    let mut client = Client::new(manner, dice);
    let mut asked = asked.into_iter();
    client.ask(asked.next().expect("one at least"));
    loop {
        if manner == Manner::Plain || client.dice.below(2) == 0 {
            asked.by_ref().take(3).for_each(|asked| client.ask(asked));
        }
        let mut out = client.take_out();
        while !out.is_empty() {
            let len = match manner {
                Manner::Plain => out.len(),
                _ => (1 + client.dice.below(40) as usize).min(out.len()),
            };
            if stream
                .send(SendQueue::from(out.split_to(len)))
                .await
                .0
                .is_err()
            {
                return whole(client);
            }
            if manner == Manner::Leaves && client.dice.below(30) == 0 {
                return whole(client);
            }
            match client.dice.below(9) {
                0 => sleep(Duration::from_millis(300)).await,
                _ => yield_now().await,
            }
        }
        if client.open.is_empty() {
            match asked.next() {
                Some(next) => client.ask(next),
                None => return whole(client),
            }
            continue;
        }
        match timeout(PATIENCE, stream.recv()).await.expect("an answer") {
            Ok(received) if !received.is_empty() => client.take(&received),
            _ => return whole(client),
        }
    }
}

fn whole(client: Client) -> Answers {
    let mut answers = client.answers;
    answers.retain(|stream, _| !client.open.contains(stream));
    answers
}

fn run_here(seed: u64, faults: Faults, manner: Manner) -> (Vec<Asked>, Answers) {
    let event_loop = EventLoop::builder()
        .simulation(Simulation::seeded(seed).faults(faults))
        .buffer_bytes(512)
        .build();
    static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| testing::load("", SITE));
    let mut site = TestSite::on(event_loop.unwrap(), config);
    let mut dice = Dice::new(seed);
    let asked = draw(&mut dice);
    let mut answers = Answers::new();
    let drawn = asked.clone();
    site.block_on(async |site| {
        let address = Address::Unix("/in/memory/socket".into());
        let fd = Listener::bind(&address, &ListenOptions::default()).unwrap();
        let listener = Listener::from_fd(fd).unwrap();
        let client = spawn(converse(address.clone(), drawn, manner, dice));
        let (fd, peer) = loop {
            match listener.accept().await {
                Ok(accepted) => break accepted,
                Err(_) => yield_now().await,
            }
        };
        site.admit(fd, peer);
        answers = client.await.expect("no panic");
        while site.connection_count() > 0 {
            timeout(PATIENCE, sleep(Duration::from_millis(10)))
                .await
                .expect("time goes on");
        }
    });
    (asked, answers)
}

/// On a thread of its own: there is one site a thread.
fn run(seed: u64, faults: Faults, manner: Manner) -> (Vec<Asked>, Answers) {
    let run = std::thread::spawn(move || run_here(seed, faults, manner));
    run.join().unwrap_or_else(|_| panic!("REVOLVE_SEED={seed}"))
}

fn check(seed: u64) {
    let (asked, expected) = run(seed, Faults::default(), Manner::Plain);
    assert_eq!(expected.len(), asked.len(), "REVOLVE_SEED={seed}");
    for (faults, manner) in [
        (ROUGH, Manner::Plain),
        (ROUGH, Manner::Picky),
        (ROUGH, Manner::Leaves),
        (BREAKING, Manner::Picky),
    ] {
        let (_, answers) = run(seed, faults, manner);
        if faults.reset == 0 && manner == Manner::Plain {
            assert_eq!(answers.len(), asked.len(), "REVOLVE_SEED={seed}");
        }
        for (stream, answer) in &answers {
            let what = asked[*stream as usize / 2].path;
            assert_eq!(
                Some(answer),
                expected.get(stream),
                "REVOLVE_SEED={seed}: {what}"
            );
        }
    }
}

#[test]
fn clients_get_the_same_however_they_ask() {
    for_seeds(SEEDS, check);
}
