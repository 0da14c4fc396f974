//! Both sides of a connection, each fed what the other has to say; and each rule, broken.

mod floods;
mod requests;
mod rules;

use proptest::prelude::*;

use super::floods::{BLOCK_FRAMES_MAX, EMPTY_FRAMES_MAX, REPLIES_MAX, RESETS_MAX};
use super::frame::{self, FrameHead};
use super::request::RequestError;
use super::*;
use crate::h1::{HeadError, HeadLimits};
use crate::hpack::{Encoder, Fields};
use crate::{Framing, Head, HeaderId, Method, Span, TargetForm};

type Said = Vec<String>;

/// What a side hears of these bytes, in pieces of these lengths, one after the other.
fn hear(
    side: &mut Connection<u32>,
    bytes: &[u8],
    pieces: &[usize],
) -> Result<Said, ConnectionError> {
    hear_and(side, bytes, pieces, true)
}

/// The same, and whether somebody reads the bodies.
fn hear_and(
    side: &mut Connection<u32>,
    bytes: &[u8],
    pieces: &[usize],
    takes: bool,
) -> Result<Said, ConnectionError> {
    let mut said: Said = Vec::new();
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let len = pieces
            .next()
            .copied()
            .unwrap_or(rest.len())
            .clamp(1, rest.len());
        let (piece, after) = rest.split_at(len);
        rest = after;
        let mut at = 0;
        while at < piece.len() {
            let fed = side.feed(&piece[at..], 0)?;
            if let Some(event) = fed.event {
                if let (
                    true,
                    Event::Data {
                        stream, start, end, ..
                    },
                ) = (takes, &event)
                {
                    side.note_taken(*stream, end - start);
                }
                note(side, event, &piece[at..], &mut said);
            }
            at += fed.consumed;
        }
    }
    Ok(said)
}

fn note(side: &mut Connection<u32>, event: Event<u32>, piece: &[u8], said: &mut Said) {
    let fields = |side: &Connection<u32>| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = side.fields().iter();
        let fields = fields.map(|(name, value)| format!("{}={}", text(name), text(value)));
        fields.collect::<Vec<_>>().join("|")
    };
    match event {
        Event::Head { stream, is_last } => {
            side.attach(stream, stream * 10);
            said.push(format!("{stream} head {} {is_last}", fields(side)));
        }
        Event::Trailers { stream } => said.push(format!("{stream} trailers {}", fields(side))),
        Event::Data {
            stream,
            start,
            end,
            is_last,
        } => {
            let text = String::from_utf8_lossy(&piece[start..end]).into_owned();
            // However it is cut, it is one body.
            let begin = format!("{stream} data ");
            match said
                .last_mut()
                .filter(|last| last.starts_with(&begin) && !last.ends_with('!'))
            {
                Some(last) => last.push_str(&text),
                None => said.push(begin + &text),
            }
            if is_last {
                said.last_mut().unwrap().push('!');
            }
        }
        Event::Reset {
            stream,
            user,
            code,
            fault,
        } => {
            let fault = fault.unwrap_or("by its peer");
            said.push(format!("{stream} reset {user:?} {code} {fault}"));
        }
        Event::GoAway { last, code } => said.push(format!("goaway {last} {code}")),
    }
}

fn taken(side: &mut Connection<u32>) -> Vec<u8> {
    side.note_flushed();
    std::mem::take(side.out())
}

fn get(client: &mut Connection<u32>, path: &[u8], is_last: bool) -> u32 {
    let stream = client.open().unwrap();
    let mut head = client.head(stream, is_last).unwrap();
    head.pseudo(b":method", b"GET");
    head.pseudo(b":scheme", b"http");
    head.pseudo(b":authority", b"x");
    head.pseudo(b":path", path);
    head.finish();
    stream
}

fn server() -> Connection<u32> {
    let config = Config {
        streams_max: 4,
        window_bytes: 65536,
        fields_bytes_max: 4096,
        block_bytes_max: 8192,
    };
    Connection::server(config)
}

/// Writes what was granted; bodies are of one letter.
fn write(side: &mut Connection<u32>, grant: Grant, is_last: bool, letter: u8) {
    let start = side.out().len();
    side.data(grant, is_last);
    for frame in side.out()[start..].chunks_mut(HEAD_BYTES + grant.frame_bytes) {
        frame[HEAD_BYTES..].fill(letter);
    }
}

/// Sends all that is granted; bodies are of one letter.
fn send_all(side: &mut Connection<u32>, letter: u8) {
    while let Some(grant) = side.grant(usize::MAX) {
        write(side, grant, grant.is_last, letter);
    }
}

#[test]
fn a_request_and_its_answer() {
    let (mut client, mut server) = (Connection::client(Config::default()), server());
    let stream = get(&mut client, b"/a", false);
    client.offer(stream, 3, true);
    send_all(&mut client, b'c');
    let said = hear(&mut server, &taken(&mut client), &[]).unwrap();
    let head = "1 head :method=GET|:scheme=http|:authority=x|:path=/a false";
    assert_eq!(said, [head, "1 data ccc!"]);
    assert_eq!(server.user(1), Some(&10));
    for status in [103, 200] {
        let mut head = server.head(1, false).unwrap();
        head.status(status);
        head.field(b"X-A", b"1");
        head.finish();
    }
    server.offer(1, 5, true);
    let grant = server.grant(3).unwrap();
    write(&mut server, grant, false, b'a');
    let grant = server.grant(3).unwrap();
    assert_eq!((grant.len, grant.is_last), (2, true));
    write(&mut server, grant, false, b'a');
    let mut trailers = server.head(1, true).unwrap();
    trailers.field(b"X-End", b"2");
    trailers.finish();
    assert_eq!(server.finish(1), Some(10));
    let said = hear(&mut client, &taken(&mut server), &[]).unwrap();
    let expected = [
        "1 head :status=103|x-a=1 false",
        "1 head :status=200|x-a=1 false",
        "1 data aaaaa",
        "1 trailers x-end=2",
    ];
    assert_eq!(said, expected);
    assert_eq!(client.finish(1), Some(10));
    assert_eq!((client.stream_count(), server.stream_count()), (0, 0));
    // Nothing but the settings' acknowledgement is left to say.
    let said = hear(&mut server, &taken(&mut client), &[]).unwrap();
    assert_eq!((said, server.is_acknowledged), (vec![], true));
}

#[test]
fn windows_hold_bodies_back_and_urgent_ones_go_first() {
    let (mut client, mut server) = (Connection::client(Config::default()), server());
    let streams = [b"/a", b"/b", b"/c"].map(|path| get(&mut client, path, true));
    hear(&mut server, &taken(&mut client), &[]).unwrap();
    server.prioritize(3, b"u=1");
    server.prioritize(1, b"");
    for stream in streams {
        let mut head = server.head(stream, false).unwrap();
        head.status(200);
        head.finish();
        server.offer(stream, 40_000, true);
        server.set_chunk_bytes(stream, 8192);
    }
    let mut order = Vec::new();
    while let Some(grant) = server.grant(usize::MAX) {
        assert!(grant.len <= 4 * 8192 && grant.frame_bytes == 8192);
        match order.last_mut() {
            Some((stream, bytes)) if *stream == grant.stream => *bytes += grant.len,
            _ => order.push((grant.stream, grant.len)),
        }
        write(&mut server, grant, grant.is_last, b'x');
    }
    // The client has a connection's window of 2^31 - 1 bytes, and 65,536 a stream.
    assert_eq!(order[0], (3, 40_000));
    assert_eq!(order.iter().map(|(_, bytes)| bytes).sum::<usize>(), 120_000);
    let said = hear(&mut client, &taken(&mut server), &[]).unwrap();
    assert!(
        said.iter()
            .all(|line| line.contains("head") || line.ends_with("x!")),
        "{said:?}"
    );
}

#[test]
fn a_closed_window_opens_again() {
    let small = Config {
        window_bytes: 10,
        ..Config::default()
    };
    let (mut client, mut server) = (Connection::client(small), server());
    let stream = get(&mut client, b"/", true);
    hear(&mut server, &taken(&mut client), &[]).unwrap();
    let mut head = server.head(stream, false).unwrap();
    head.status(200);
    head.finish();
    assert!(!server.body(stream, &[b'x'; 11]));
    server.offer(stream, 25, true);
    let mut body = 0;
    for _ in 0..5 {
        send_all(&mut server, b'x');
        body += hear(&mut client, &taken(&mut server), &[])
            .unwrap()
            .iter()
            .map(|line| line.matches('x').count())
            .sum::<usize>();
        let is_over = body == 25;
        assert_eq!(server.is_blocked(stream), !is_over);
        hear(&mut server, &taken(&mut client), &[]).unwrap();
    }
    assert_eq!(body, 25);
}

#[test]
fn going_away_lets_streams_end_and_takes_no_more() {
    let (mut client, mut server) = (Connection::client(Config::default()), server());
    get(&mut client, b"/", true);
    hear(&mut server, &taken(&mut client), &[]).unwrap();
    server.go_away(ErrorCode::NO_ERROR);
    server.go_away(ErrorCode::NO_ERROR);
    get(&mut client, b"/late", true);
    let said = hear(&mut server, &taken(&mut client), &[]).unwrap();
    assert_eq!((said, server.stream_count()), (vec![], 1));
    let mut head = server.head(1, true).unwrap();
    head.status(200);
    head.finish();
    server.finish(1);
    let said = hear(&mut client, &taken(&mut server), &[]).unwrap();
    assert_eq!(said, ["goaway 1 NO_ERROR", "1 head :status=200 true"]);
}

/// A client's frames, put together by hand.
struct Frames {
    bytes: Vec<u8>,
    encoder: Encoder,
}

const GET: &[(&[u8], &[u8])] = &[
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"x"),
];

impl Frames {
    /// The preface and empty settings.
    fn new() -> Self {
        let mut bytes = PREFACE.to_vec();
        frame::write(frame::SETTINGS, 0, 0, &[], &mut bytes);
        let encoder = Encoder::new();
        Self { bytes, encoder }
    }

    fn raw(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        frame::write(kind, flags, stream, payload, &mut self.bytes);
        self
    }

    fn block(&mut self, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            self.encoder.field(name, value, &mut block);
        }
        block
    }

    fn head(mut self, stream: u32, fields: &[(&[u8], &[u8])], flags: u8) -> Self {
        let block = self.block(fields);
        self.raw(frame::HEADERS, flags | frame::END_HEADERS, stream, &block)
    }

    fn get(self, stream: u32) -> Self {
        self.head(stream, GET, frame::END_STREAM)
    }

    fn post(self, stream: u32) -> Self {
        self.head(stream, GET, 0)
    }

    fn many(mut self, count: u32, add: impl Fn(Self, u32) -> Self) -> Self {
        for at in 0..count {
            self = add(self, at);
        }
        self
    }
}

/// What a server says to these frames: what ends the connection, or the stream that is reset.
fn judged(frames: &Frames) -> String {
    let mut server = server();
    match hear_and(&mut server, &frames.bytes, &[], false) {
        Err(error) => format!("connection {}", error.code),
        Ok(said) => {
            let out = taken(&mut server);
            let resets = frames_of(&out)
                .into_iter()
                .filter(|(head, _)| head.kind == frame::RST_STREAM);
            let resets: Vec<_> = resets
                .map(|(head, payload)| {
                    format!(
                        "{} {}",
                        head.stream,
                        ErrorCode(frame::number(&payload).unwrap())
                    )
                })
                .collect();
            match resets.is_empty() {
                true => said.join(", "),
                false => format!("stream {}", resets.join(", ")),
            }
        }
    }
}

fn frames_of(mut bytes: &[u8]) -> Vec<(FrameHead, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let head = FrameHead::read(head);
        let (payload, rest) = rest.split_at(head.len);
        frames.push((head, payload.to_vec()));
        bytes = rest;
    }
    frames
}

proptest! {
    /// Whatever the bytes are and however they are cut, the same is heard.
    #[test]
    fn fragments_say_the_same(
        chosen in proptest::collection::vec((0u8..14, 0u32..4, any::<u8>()), 0..40),
        cuts in proptest::collection::vec(1usize..40, 1..20),
    ) {
        let mut frames = Frames::new();
        for (kind, place, byte) in chosen {
            let stream = 2 * place + 1;
            frames = match kind {
                0..3 => frames.get(stream),
                3..6 => frames.post(stream),
                6 => frames.head(stream, &[(b"x", b"y")], frame::END_STREAM),
                7 => frames.raw(frame::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                8 => frames.raw(frame::DATA, frame::PADDED, stream, &[byte % 4, b'a', 0, 0, 0]),
                9 => frames.raw(frame::WINDOW_UPDATE, 0, stream, &[0, 0, 0, byte]),
                10 => frames.raw(frame::PING, 0, 0, &[byte; 8]),
                11 => frames.raw(byte, byte, stream, &[byte; 7]),
                12 => frames.raw(frame::DATA, byte & 1, stream, &vec![b'b'; usize::from(byte)]),
                _ => frames.raw(frame::PRIORITY_UPDATE, 0, 0, &[0, 0, 0, stream as u8, b'u', b'=', b'1']),
            };
        }
        let mut once = server();
        let whole = hear(&mut once, &frames.bytes, &[]);
        let mut pieces = server();
        prop_assert_eq!(&hear(&mut pieces, &frames.bytes, &cuts), &whole);
        if whole.is_ok() {
            prop_assert_eq!(taken(&mut pieces), taken(&mut once));
        }
    }

    #[test]
    fn any_bytes_are_heard_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 1usize..9) {
        let frames = Frames::new();
        let all = [&frames.bytes[..], &bytes].concat();
        let whole = hear(&mut server(), &all, &[]);
        prop_assert_eq!(hear(&mut server(), &all, &[cut]), whole);
        let _ = hear(&mut Connection::client(Config::default()), &bytes, &[cut]);
    }
}
