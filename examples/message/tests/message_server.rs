//! The message server as the process that it is: what it promises, and what it bears.

mod programs;

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use revolve_message::frame::{FRAME_HEADER_BYTES, Frame};

use programs::{ANY, Example, STEP_MAX, program, read};
use revolve_message::message::{Code, Event, Request, members_of};

fn server(options: &[&str]) -> Example {
    let arguments = [options, &["--quiet", ANY]].concat();
    Example::start("message_server", &arguments)
}

/// A client by hand.
struct Peer {
    stream: TcpStream,
    tag: u16,
    /// Events that came while an answer was waited for.
    events: Vec<Event>,
}

impl Peer {
    fn connect(server: &Example) -> Peer {
        Peer {
            stream: server.connect(),
            tag: 0,
            events: Vec::new(),
        }
    }

    fn enter(server: &Example, name: &str, room: &str) -> Peer {
        let mut peer = Peer::connect(server);
        peer.done(login(name));
        peer.done(join(room));
        peer
    }

    /// Sends a request, and gives its tag.
    fn send(&mut self, request: &Request) -> u16 {
        self.tag = self.tag.wrapping_add(1);
        let frame = request.to_frame(self.tag).to_bytes().unwrap();
        self.stream.write_all(&frame).unwrap();
        self.tag
    }

    fn receive(&mut self) -> (u16, Event) {
        let header = read(&mut self.stream, FRAME_HEADER_BYTES);
        let (frame, bytes) = frame(&header, |bytes| read(&mut self.stream, bytes));
        // The sum is right if encoding the same gives the same bytes.
        assert_eq!(frame.to_bytes().unwrap(), bytes);
        (frame.flags, Event::of(&frame).expect("an event"))
    }

    /// The next answer; what else comes is kept.
    fn answer(&mut self) -> (u16, Event) {
        loop {
            let (tag, event) = self.receive();
            match event {
                Event::Done { .. } | Event::Failed { .. } => return (tag, event),
                other => self.events.push(other),
            }
        }
    }

    fn ask(&mut self, request: Request) -> Event {
        let tag = self.send(&request);
        let (answered, event) = self.answer();
        assert_eq!(answered, tag, "{request:?} {event:?}");
        event
    }

    fn done(&mut self, request: Request) -> Bytes {
        match self.ask(request) {
            Event::Done { payload, .. } => payload,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, request: Request) -> Code {
        match self.ask(request) {
            Event::Failed { code, .. } => code,
            other => panic!("{other:?}"),
        }
    }

    /// The next event that is no answer.
    fn event(&mut self) -> Event {
        if self.events.is_empty() {
            return self.receive().1;
        }
        self.events.remove(0)
    }

    /// Reads up to the goodbye, and the end of the stream behind it.
    fn goodbye(&mut self) -> Code {
        loop {
            if let Event::Goodbye { code, .. } = self.event() {
                self.stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(self.stream.read(&mut [0]).unwrap(), 0, "after the goodbye");
                return code;
            }
        }
    }
}

fn frame(header: &[u8], mut read: impl FnMut(usize) -> Vec<u8>) -> (Frame, Vec<u8>) {
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let body = read((usize::from(number(0)) << 16) + usize::from(number(2)));
    let bytes = [header, &body].concat();
    let frame = Frame {
        kind: number(4),
        flags: number(6),
        body: body.into(),
    };
    (frame, bytes)
}

fn login(name: &str) -> Request {
    Request::Login { name: name.into() }
}

fn join(room: &str) -> Request {
    Request::Join { room: room.into() }
}

fn say(room: &str, text: &str) -> Request {
    let (room, text) = (room.into(), text.into());
    Request::Say { room, text }
}

fn tell(name: &str, text: &str) -> Request {
    let (name, text) = (name.into(), text.into());
    Request::Tell { name, text }
}

fn ping() -> Request {
    let bytes = Bytes::from_static(b"x");
    Request::Ping { bytes }
}

/// Resident memory of a process in KiB, and its open descriptors.
fn resources(server: &Example) -> (u64, usize) {
    let pid = server.child.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    (kib.parse().unwrap(), fds.count())
}

/// Whether the programs run under AddressSanitizer, which keeps what was freed for a while: how much
/// memory they take says nothing then.
fn keeps_what_is_freed() -> bool {
    std::env::var_os("ASAN_OPTIONS").is_some()
}

/// Waits for something that other processes do.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < STEP_MAX, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_room_hears_everything_in_one_order_on_all_loops() {
    let server = server(&["--loops", "4"]);
    let mut peers: Vec<Peer> = (0..8)
        .map(|number| Peer::enter(&server, &format!("peer-{number}"), "hall"))
        .collect();
    let rounds = 20;
    for round in 0..rounds {
        for (number, peer) in peers.iter_mut().enumerate() {
            peer.send(&say("hall", &format!("{number} {round}")));
        }
    }
    let mut orders = HashSet::new();
    for peer in &mut peers {
        let mut order = Vec::new();
        while order.len() < 8 * rounds {
            if let Event::Heard {
                number, from, text, ..
            } = peer.event()
            {
                order.push((number, from, text));
            }
        }
        let numbers: Vec<u64> = order.iter().map(|heard| heard.0).collect();
        assert!(
            numbers.windows(2).all(|two| two[0] + 1 == two[1]),
            "{numbers:?}"
        );
        orders.insert(order);
    }
    assert_eq!(orders.len(), 1, "they heard it in different orders");
    let order = orders.into_iter().next().unwrap();
    for number in 0..8 {
        let own = order
            .iter()
            .filter(|heard| heard.1 == format!("peer-{number}"));
        let own: Vec<&str> = own.map(|heard| heard.2.as_str()).collect();
        let said: Vec<String> = (0..rounds)
            .map(|round| format!("{number} {round}"))
            .collect();
        assert_eq!(own, said, "what one says stays in order");
    }
}

#[test]
fn names_rooms_and_direct_messages() {
    let server = server(&["--loops", "3", "--mask", "damn"]);
    let mut stranger = Peer::connect(&server);
    for request in [join("hall"), say("hall", "x"), tell("ann", "x")] {
        assert_eq!(stranger.refused(request), Code::NotLoggedIn);
    }
    let mut ann = Peer::enter(&server, "ann", "hall");
    let mut bob = Peer::enter(&server, "bob", "hall");
    assert_eq!(stranger.refused(login("ann")), Code::NameTaken);
    for name in ["", "two words", "a/b", &"x".repeat(33)] {
        assert_eq!(stranger.refused(login(name)), Code::BadName, "{name}");
    }
    assert_eq!(ann.refused(login("anna")), Code::LoggedInAlready);
    // The payload: number 1 in its room, heard by two.
    let said = ann.done(say("hall", "damn it"));
    assert_eq!(&said[..], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
    let Event::Heard { from, text, .. } = bob.event() else {
        panic!("a message")
    };
    assert_eq!((from.as_str(), text.as_str()), ("ann", "**** it"));
    bob.done(tell("ann", "just you"));
    loop {
        if let Event::Told { from, text } = ann.event() {
            assert_eq!((from.as_str(), text.as_str()), ("bob", "just you"));
            break;
        }
    }
    assert_eq!(bob.refused(tell("carl", "x")), Code::NobodyOfThatName);
    let who = |peer: &mut Peer| {
        members_of(&peer.done(Request::Who {
            room: "hall".into(),
        }))
        .unwrap()
    };
    assert_eq!(who(&mut bob), (2, vec!["ann".into(), "bob".into()]));
    bob.done(Request::Leave {
        room: "hall".into(),
    });
    assert_eq!(bob.refused(say("hall", "x")), Code::NotInRoom);
    assert_eq!(who(&mut ann), (1, vec!["ann".into()]));
    ann.send(&Request::Quit);
    assert_eq!(ann.goodbye(), Code::AsAsked);
    // The name is free again, as soon as the server has seen it.
    eventually("ann is gone", || {
        matches!(stranger.ask(login("ann")), Event::Done { .. })
    });
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let options = [
        "--threads",
        "4",
        "--flood-messages",
        "100000",
        "--pipeline",
        "16",
    ];
    let options = [&options[..], &["--archive", archive.to_str().unwrap()]].concat();
    let server = server(&options);
    let mut ann = Peer::enter(&server, "ann", "hall");
    let text = "line ".repeat(100);
    for _ in 0..100 {
        ann.done(say("hall", &text));
    }
    // Slow ones (a file is read) and quick ones, all at once.
    let first = ann.tag + 1;
    for number in 0..400 {
        let room = String::from("hall");
        let request = match number % 5 {
            0 | 3 => Request::History { room, lines: 1000 },
            1 => say("hall", "quick"),
            2 => Request::Who { room },
            _ => ping(),
        };
        ann.send(&request);
    }
    for number in 0..400 {
        let (tag, event) = ann.answer();
        assert_eq!(tag, first + number, "{event:?}");
        let kind = [7, 4, 6, 7, 8][usize::from(number) % 5];
        assert!(
            matches!(event, Event::Done { request, .. } if request == kind),
            "{event:?}"
        );
    }
    // What was said is in the archive, line by line, soon.
    let history = |ann: &mut Peer| {
        let request = Request::History {
            room: "hall".into(),
            lines: 3,
        };
        String::from_utf8(ann.done(request).to_vec()).unwrap()
    };
    eventually("all is written", || history(&mut ann).contains("180\t"));
    let lines = history(&mut ann);
    let lines: Vec<Vec<&str>> = lines
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(lines.len(), 3);
    for (line, number) in lines.iter().zip(["178", "179", "180"]) {
        assert_eq!((line[0], line[2], line[3]), (number, "ann", "quick"));
    }
}

#[test]
fn what_is_wrong_is_said() {
    let server = server(&[]);
    let mut ann = Peer::enter(&server, "ann", "hall");
    let unknown = Frame {
        kind: 77,
        flags: 5,
        body: b"x"[..].into(),
    };
    ann.stream.write_all(&unknown.to_bytes().unwrap()).unwrap();
    let (tag, event) = ann.answer();
    assert!(matches!(
        event,
        Event::Failed {
            code: Code::UnknownType,
            request: 77,
            ..
        }
    ));
    assert_eq!(tag, 5);
    // A body of its own type's form, or none.
    let short = Frame {
        kind: 4,
        flags: 6,
        body: vec![200, b'x'].into(),
    };
    ann.stream.write_all(&short.to_bytes().unwrap()).unwrap();
    assert!(matches!(
        ann.answer().1,
        Event::Failed {
            code: Code::Malformed,
            ..
        }
    ));
    assert_eq!(ann.refused(say("hall", &"x".repeat(4001))), Code::Malformed);
    ann.done(say("hall", &"x".repeat(4000)));
    let room = String::from("hall");
    assert_eq!(
        ann.refused(Request::History { room, lines: 1 }),
        Code::NoArchive
    );
    for number in 0..31 {
        ann.done(join(&format!("room-{number}")));
    }
    assert_eq!(ann.refused(join("one-more")), Code::TooManyRooms);
    ann.done(join("hall"));

    // Where frames begin is lost then, so that the connection ends.
    let mut broken = say("hall", "x").to_frame(1).to_bytes().unwrap().to_vec();
    broken[13] ^= 1;
    ann.stream.write_all(&broken).unwrap();
    assert_eq!(ann.goodbye(), Code::Malformed);
    let mut endless = Peer::connect(&server);
    endless.stream.write_all(&[0xFF; 12]).unwrap();
    assert_eq!(endless.goodbye(), Code::Malformed);
}

#[test]
fn who_is_silent_is_asked_and_then_kicked() {
    let hasty = server(&["--login-ms", "200"]);
    assert_eq!(Peer::connect(&hasty).goodbye(), Code::Idle);
    // Long enough for this test to answer in time on a busy machine.
    let server = server(&["--heartbeat-ms", "1500"]);
    let begun = Instant::now();
    let mut ann = Peer::enter(&server, "ann", "hall");
    for _ in 0..2 {
        assert_eq!(ann.event(), Event::Ping);
        ann.send(&Request::Pong);
    }
    assert!(begun.elapsed() >= Duration::from_millis(2 * 1500 - 100));
    // Half a frame is no sign of life.
    ann.stream.write_all(&[0, 0]).unwrap();
    assert_eq!(ann.event(), Event::Ping);
    assert_eq!(ann.goodbye(), Code::Idle);
}

#[test]
fn a_flood_is_refused_then_warned_of_then_ended() {
    let server = server(&["--flood-messages", "20", "--flood-window-ms", "60000"]);
    let mut ann = Peer::enter(&server, "ann", "hall");
    for _ in 0..18 {
        ann.done(ping());
    }
    assert_eq!(ann.refused(ping()), Code::Flood);
    assert!(matches!(
        ann.event(),
        Event::Warning {
            code: Code::Flood,
            ..
        }
    ));
    assert_eq!(ann.refused(say("hall", "x")), Code::Flood);
    let begun = Instant::now();
    for _ in 0..200 {
        // It may end before all are written.
        let frame = ping().to_frame(1).to_bytes().unwrap();
        if ann.stream.write_all(&frame).is_err() {
            break;
        }
    }
    assert_eq!(ann.goodbye(), Code::Flood);
    assert!(begun.elapsed() < STEP_MAX);

    let server = self::server(&["--flood-messages", "5", "--flood-window-ms", "200"]);
    let mut bob = Peer::connect(&server);
    // One too many in each of some windows: two warnings at least, and then the end.
    let six = ping().to_frame(1).to_bytes().unwrap().repeat(6);
    let mut warnings = 0;
    let code = 'windows: loop {
        bob.stream.write_all(&six).unwrap();
        for _ in 0..6 {
            match bob.receive().1 {
                Event::Goodbye { code, .. } => break 'windows code,
                Event::Warning { .. } => warnings += 1,
                _ => {}
            }
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    assert_eq!(code, Code::Flood);
    assert!(warnings >= 2, "{warnings}");
}

#[test]
fn slow_readers_lose_messages_and_go_and_memory_stays_bounded() {
    let options = [
        "--queue-bytes",
        "65536",
        "--stall-ms",
        "1000",
        "--flood-messages",
        "1000000",
    ];
    let server = server(&options);
    let mut talker = Peer::enter(&server, "talker", "hall");
    let slow: Vec<Peer> = (0..40)
        .map(|number| Peer::enter(&server, &format!("slow-{number}"), "hall"))
        .collect();
    let (before_kib, fds_before) = resources(&server);
    // 16 MiB for each of them, 640 MiB in all.
    let text = "x".repeat(4000);
    let (mut heard_least, mut most_kib) = (u32::MAX, 0);
    for round in 0..4096 {
        let said = talker.done(say("hall", &text));
        talker.events.clear();
        heard_least = heard_least.min(u32::from_be_bytes(said[8..12].try_into().unwrap()));
        if round % 64 == 0 {
            most_kib = most_kib.max(resources(&server).0);
        }
    }
    assert_eq!(heard_least, 1, "the talker alone heard all");
    // 40 outboxes of 64 KiB, and as much again for what is beside them.
    let grown_kib = most_kib.saturating_sub(before_kib);
    assert!(
        grown_kib < 16 * 1024 || keeps_what_is_freed(),
        "{grown_kib} KiB for 40 slow readers"
    );
    // The stall is noticed when something is said, and they are cut off.
    eventually("slow readers are gone", || {
        talker.done(say("hall", "still here?"));
        talker.events.clear();
        resources(&server).1 <= fds_before - slow.len()
    });
}

#[test]
fn one_who_reads_late_is_told_how_much_was_lost() {
    let options = ["--queue-bytes", "65536", "--flood-messages", "1000000"];
    let server = server(&options);
    let mut talker = Peer::enter(&server, "talker", "hall");
    let mut late = Peer::enter(&server, "late", "hall");
    let text = "x".repeat(4000);
    // How often something was said, and how often the late one was left out.
    let (mut said, mut missed) = (0_u64, 0_u64);
    let mut talk = |said: &mut u64, missed: &mut u64| {
        let payload = talker.done(say("hall", &text));
        talker.events.clear();
        *said += 1;
        *missed += u64::from(payload[11] == 1);
    };
    while missed < 100 {
        talk(&mut said, &mut missed);
        assert!(said < 100_000, "it is never too slow");
    }
    // It reads now, and is told between two messages how many there were that it did not get.
    let short = Duration::from_millis(100);
    late.stream.set_read_timeout(Some(short)).unwrap();
    let (mut heard, mut lost) = (0, 0);
    let begun = Instant::now();
    while heard + lost < said {
        assert!(
            begun.elapsed() < STEP_MAX,
            "{heard} heard, {lost} lost, {said} said"
        );
        let mut header = [0; FRAME_HEADER_BYTES];
        match late.stream.read_exact(&mut header) {
            Ok(()) => {
                let (frame, _) = frame(&header, |bytes| read(&mut late.stream, bytes));
                match Event::of(&frame).unwrap() {
                    Event::Heard { .. } => heard += 1,
                    Event::Lost { messages } => lost += u64::from(messages),
                    _ => {}
                }
            }
            // Nothing more waits: what was lost is told with what is said next.
            Err(error) => {
                let timed_out = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
                assert!(timed_out.contains(&error.kind()), "{error}");
                talk(&mut said, &mut missed);
            }
        }
    }
    assert_eq!((heard + lost, lost), (said, missed));
}

#[test]
fn clients_that_are_killed_leave_nothing_behind() {
    let server = server(&["--loops", "2", "--flood-messages", "50"]);
    let mut ann = Peer::enter(&server, "ann", "hall");
    let mut resident_kib = Vec::new();
    let fds = resources(&server).1;
    for _ in 0..6 {
        let mut load = Command::new(program("message_load"));
        let address = server.listening.as_str();
        load.args(["--clients", "60", "--rooms", "4", "--interval-ms", "5"]);
        load.args(["--flood", "3", "--slow", "10", "--vanish", "10"]);
        load.args(["--seconds", "60", address])
            .stdout(Stdio::null());
        let mut load = load.spawn().unwrap();
        eventually("they are there", || resources(&server).1 >= fds + 50);
        std::thread::sleep(Duration::from_millis(300));
        // SIGKILL: no goodbye, frames cut anywhere.
        load.kill().unwrap();
        load.wait().unwrap();
        eventually("their connections are closed", || {
            resources(&server).1 <= fds
        });
        let who = ann.done(Request::Who {
            room: "room-0".into(),
        });
        assert_eq!(
            members_of(&who).unwrap(),
            (0, vec![]),
            "somebody is still in the room"
        );
        resident_kib.push(resources(&server).0);
    }
    // The first rounds fill what is kept for use again.
    let grown_kib = resident_kib[5].saturating_sub(resident_kib[1]);
    assert!(
        grown_kib < 4096 || keeps_what_is_freed(),
        "it grows: {resident_kib:?}"
    );
    ann.done(say("hall", "all is well"));
}

#[cfg(unix)]
#[test]
fn a_stop_is_told_and_what_was_accepted_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = server(&["--loops", "2", "--archive", folder.path().to_str().unwrap()]);
    let mut ann = Peer::enter(&server, "ann", "hall");
    let mut bob = Peer::enter(&server, "bob", "hall");
    let tag = ann.send(&say("hall", "last words"));
    assert!(matches!(bob.event(), Event::Heard { .. }));
    let pid = server.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(ann.answer().0, tag);
    assert_eq!(
        (ann.goodbye(), bob.goodbye()),
        (Code::Stopping, Code::Stopping)
    );
    assert!(server.child.wait().unwrap().success());
    let said = server.line();
    assert!(said.starts_with("stopped after 5 requests"), "{said}");
    let archive = std::fs::read_to_string(folder.path().join("hall.log")).unwrap();
    assert!(archive.ends_with("\tann\tlast words\n"), "{archive}");
}

#[test]
fn too_many_connections_are_told_so() {
    let server = server(&["--connections", "2"]);
    let _ann = Peer::enter(&server, "ann", "hall");
    let _bob = Peer::enter(&server, "bob", "hall");
    for _ in 0..3 {
        let mut carl = Peer::connect(&server);
        carl.send(&login("carl"));
        assert_eq!(carl.goodbye(), Code::ServerFull);
    }
}

#[test]
fn a_low_limit_of_open_files_is_said_and_kept() {
    // 64 descriptors, of which 48 are for other things than clients.
    let path = program("message_server");
    let script = format!("ulimit -n 64; exec {} --quiet {ANY}", path.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stderr(Stdio::piped());
    let mut server = Example::start_command(command);
    let mut said = server.child.stderr.take().unwrap();
    let peers: Vec<Peer> = (0..16)
        .map(|number| Peer::enter(&server, &format!("peer-{number}"), "hall"))
        .collect();
    for _ in 0..20 {
        assert_eq!(Peer::connect(&server).goodbye(), Code::ServerFull);
    }
    drop(peers);
    eventually("there is room again", || {
        let mut peer = Peer::connect(&server);
        peer.send(&login("late"));
        matches!(peer.receive().1, Event::Done { .. })
    });
    drop(server);
    let mut complaint = String::new();
    said.read_to_string(&mut complaint).unwrap();
    assert!(
        complaint.contains("16 connections at most instead of 10000"),
        "{complaint}"
    );
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}

#[test]
fn the_client_program_talks() {
    let server = server(&[]);
    let mut ann = Peer::enter(&server, "ann", "hall");
    let mut client = Command::new(program("message_client"));
    client.args(["bob", &server.listening]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut typed = client.stdin.take().unwrap();
    typed
        .write_all(b"/join hall\nhello\n/tell ann psst\n/who\n/dance\n")
        .unwrap();
    assert!(matches!(ann.event(), Event::Heard { text, .. } if text == "hello"));
    assert!(matches!(ann.event(), Event::Told { from, .. } if from == "bob"));
    ann.done(say("hall", "welcome"));
    drop(typed);
    let mut shown = String::new();
    let mut output = client.stdout.take().unwrap();
    output.read_to_string(&mut shown).unwrap();
    assert!(client.wait().unwrap().success());
    for line in [
        "[hall] bob: hello\n",
        "2: ann bob\n",
        "! /join ROOM",
        "* goodbye\n",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let output = |arguments: &[&str]| {
        let output = Command::new(program("message_server"))
            .args(arguments)
            .output();
        let output = output.unwrap();
        let said =
            String::from_utf8(output.stderr).unwrap() + &String::from_utf8_lossy(&output.stdout);
        (output.status.code(), said)
    };
    let (code, said) = output(&["--help"]);
    assert!(code == Some(0) && said.contains("--queue-bytes"), "{said}");
    for (arguments, named) in [
        (
            &["--loops", "0"][..],
            "--loops needs a number greater than zero, not `0`",
        ),
        (&["--speed", "9"], "--speed"),
        (&["localhost"], "`localhost` is no IP:PORT"),
    ] {
        let (code, said) = output(arguments);
        assert!(
            code == Some(2) && said.contains(named),
            "{arguments:?}: {said}"
        );
    }
    let taken = server(&[]);
    let (code, said) = output(&[&taken.listening]);
    assert!(
        code == Some(1) && said.contains("cannot listen on"),
        "{said}"
    );
    let (code, said) = output(&["--archive", "/dev/null/x", ANY]);
    assert!(
        code == Some(1) && said.contains("the archive's folder"),
        "{said}"
    );
}
