//! Connections on a network in memory, with clients that fragment, pipeline, stall, reset, half-close and lie
//! about lengths: whatever they do, what they get is a part of what a client gets that sends all at once.
//!
//! `REVOLVE_SEEDS` says how many seeds are run; a failure names its seed, and with `REVOLVE_SEED` set to it
//! that one is run again.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{
    Address, EventLoop, Faults, ListenOptions, Listener, SendQueue, Simulation, Stream, sleep,
    spawn, timeout, yield_now,
};

use crate::Config;
use crate::http::testing::{self, TestSite};
use crate::simulated::{BREAKING, Dice, ROUGH, for_seeds};

const SEEDS: u64 = 1000;

/// No run takes longer, in the time of its loop.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

const SITE: &str = r#"
    error_log stderr emerg; default_type text/html;
    location = /text { return 200 "text of $request_method $uri"; }
    location = /moved { return 301 /text; }
    location = /asked { auth_request /yes; error_page 404 405 =200 /text; }
    location = /refused { auth_request /no; }
    location = /yes { return 204; }
    location = /no { return 403; }
    location = /page { ssi on; return 200 "<!--#include virtual='/text' -->|<!--#include virtual='/asked' -->"; }
    location = /around { add_before_body /text; add_after_body /page; return 200 " around "; }
    location = /copied { mirror /yes; error_page 404 405 =200 /text; client_max_body_size 40; }
    location = /shut { return 444; }
"#;

/// The requests of a client, one behind the other; the last closes.
fn requests(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = 1 + dice.below(5);
    for number in 1..=count {
        let path = dice.pick(&[
            "/text", "/text?a", "/moved", "/asked", "/refused", "/page", "/around", "/copied",
            "/none", "/yes",
        ]);
        let method = dice.pick(&["GET", "GET", "HEAD", "POST", "POST", "PUT", "OPTIONS"]);
        let version = dice.pick(&["1.1", "1.1", "1.1", "1.0"]);
        let mut head = format!("{method} {path} HTTP/{version}\r\nHost: x\r\n");
        let mut body = String::new();
        if matches!(method, "POST" | "PUT") {
            let len = [0, 1, 17, 60][dice.below(4) as usize];
            body = "b".repeat(len);
            if version == "1.1" && dice.below(2) == 0 {
                head += "Transfer-Encoding: chunked\r\n";
                body = match len {
                    0 => "0\r\n\r\n".into(),
                    _ => format!("1\r\nb\r\n{len:x};x=y\r\n{body}\r\n0\r\nT: x\r\n\r\n"),
                };
            } else {
                head += &format!("Content-Length: {len}\r\n");
            }
            if dice.below(8) == 0 {
                // It goes on as if the length were another.
                body += dice.pick(&["x", "\r\n", "GET", "zz\r\n"]);
            }
        }
        head += match (version, number == count) {
            (_, true) => "Connection: close\r\n",
            ("1.0", false) => "Connection: keep-alive\r\n",
            _ => "",
        };
        if dice.below(20) == 0 {
            head += dice.pick(&["Bad Name: x\r\n", "Content-Length: x\r\n", "\0"]);
        }
        bytes.extend_from_slice(format!("{head}\r\n{body}").as_bytes());
    }
    bytes
}

/// How a client goes about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// All at once.
    Plain,
    /// In pieces, with pauses.
    Pieces,
    /// The same, and no further than some place, where its side ends.
    HalfCloses,
    /// The same, and it is gone there.
    Leaves,
}

/// Sends, and gives what came back until the connection's end.
async fn converse(address: &Address, bytes: Bytes, manner: Manner, dice: &mut Dice) -> Vec<u8> {
    let mut back = Vec::new();
    let Ok(stream) = Stream::connect(address).await else {
        return back;
    };
    let stream = Rc::new(stream);
    let (mut pieces, mut pauses) = (vec![bytes.clone()], vec![0]);
    if manner != Manner::Plain {
        let end = match manner {
            Manner::Pieces => bytes.len(),
            _ => dice.below(bytes.len() as u64 + 1) as usize,
        };
        let mut rest = bytes.slice(..end);
        pieces.clear();
        while !rest.is_empty() {
            let most = [1, 5, 40, 400][dice.below(4) as usize];
            let len = 1 + dice.below(most) as usize;
            pieces.push(rest.split_to(len.min(rest.len())));
            pauses.push([0, 0, 0, 3, 900][dice.below(5) as usize]);
        }
    }
    let sender = stream.clone();
    let sending = spawn(async move {
        for (piece, pause_ms) in pieces.into_iter().zip(pauses) {
            if sender.send(SendQueue::from(piece)).await.0.is_err() {
                return;
            }
            match pause_ms {
                0 => yield_now().await,
                ms => sleep(Duration::from_millis(ms)).await,
            }
        }
        if manner == Manner::HalfCloses {
            let _ = sender.shutdown_write();
        }
    });
    if manner == Manner::Leaves {
        let _ = sending.await;
        return back;
    }
    while let Ok(received) = stream.recv().await {
        if received.is_empty() {
            break;
        }
        back.extend_from_slice(&received);
    }
    back
}

/// What a client of this manner gets; the connection has ended then on both sides.
fn run_here(seed: u64, faults: Faults, manner: Manner) -> Vec<u8> {
    let simulation = Simulation::seeded(seed).faults(faults);
    let event_loop = EventLoop::builder()
        .simulation(simulation)
        .buffer_bytes(512)
        .build();
    static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| testing::load("", SITE));
    let mut site = TestSite::on(event_loop.unwrap(), config);
    let mut back = Vec::new();
    site.block_on(async |site| {
        let mut dice = Dice::new(seed);
        let bytes = Bytes::from(requests(&mut dice));
        let address = Address::Unix("/in/memory/socket".into());
        let fd = Listener::bind(&address, &ListenOptions::default()).unwrap();
        let listener = Listener::from_fd(fd).unwrap();
        let connecting = address.clone();
        let client = spawn(async move { converse(&connecting, bytes, manner, &mut dice).await });
        let (fd, peer) = loop {
            match listener.accept().await {
                Ok(accepted) => break accepted,
                Err(_) => yield_now().await,
            }
        };
        site.admit(fd, peer);
        back = timeout(PATIENCE, client)
            .await
            .expect("the client hangs")
            .expect("no panic");
        while site.connection_count() > 0 {
            timeout(PATIENCE, sleep(Duration::from_millis(10)))
                .await
                .expect("time goes on");
        }
    });
    back
}

/// [`run_here`] on a thread of its own: there is one site a thread.
fn run(seed: u64, faults: Faults, manner: Manner) -> Vec<u8> {
    let run = std::thread::spawn(move || run_here(seed, faults, manner));
    run.join().unwrap_or_else(|_| panic!("REVOLVE_SEED={seed}"))
}

/// Without the lines that tell the time.
fn undated(answers: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(answers);
    let lines = text
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("Date: "));
    lines.collect::<String>().into_bytes()
}

fn check(seed: u64) {
    let expected = undated(&run(seed, Faults::default(), Manner::Plain));
    assert!(expected.starts_with(b"HTTP/1.1 "), "REVOLVE_SEED={seed}");
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pieces = undated(&run(seed, ROUGH, Manner::Pieces));
    assert_eq!(
        show(&pieces),
        show(&expected),
        "REVOLVE_SEED={seed}: pieces"
    );
    // Its own panics and what never ends are what is looked for here.
    run(seed, ROUGH, Manner::HalfCloses);
    run(seed, ROUGH, Manner::Leaves);
    run(seed, BREAKING, Manner::Pieces);
}

#[test]
fn clients_get_the_same_however_they_send() {
    for_seeds(SEEDS, check);
}
