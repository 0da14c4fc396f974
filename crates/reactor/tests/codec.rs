//! Messages come out as they went in, however the stream cuts them; and what was not sent never
//! comes out.

mod checks;
mod common;

use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;
use revolve_reactor::{
    Buffer, Chunk, Codec, CodecError, Decoder, EventLoop, FixedCodec, Framed, LengthCodec,
    LineCodec, Outgoing, Piece, Stream, spawn,
};

use checks::frame::{FRAME_HEADER_BYTES, Frame, FrameCodec};
use common::recv_all;

const BUFFER_BYTES: usize = 256;

fn on_loop(test: impl FnOnce()) {
    let builder = EventLoop::builder().buffer_bytes(BUFFER_BYTES);
    let _loop = builder.build().expect("a loop");
    test();
}

/// Both ends of a stream on this loop.
fn pair() -> (Rc<Stream>, Rc<Stream>) {
    let (one, other) = Stream::pair().expect("a pair");
    (Rc::new(one), Rc::new(other))
}

/// The bytes that a codec sends for the messages, by way of a real stream.
fn sent<C: Codec>(codec: C, messages: impl IntoIterator<Item = C::Out>) -> Vec<u8> {
    let builder = EventLoop::builder().buffer_bytes(BUFFER_BYTES);
    let mut event_loop = builder.build().expect("a loop");
    event_loop.block_on(async {
        let (one, other) = pair();
        let received = spawn(async move { recv_all(&other).await });
        let mut framed = Framed::new(one, codec);
        for message in messages {
            framed.feed(message).expect("a message within its bounds");
        }
        framed.flush().await.expect("send");
        drop(framed);
        received.await.expect("the task")
    })
}

/// Cuts the bytes where the cuts say, and gives every other piece in a pooled buffer.
fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Piece> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let mut pieces = Vec::new();
    for (index, ends) in places.windows(2).enumerate() {
        let part = &bytes[ends[0]..ends[1]];
        if index % 2 == 0 {
            for part in part.chunks(BUFFER_BYTES) {
                let mut buffer = Buffer::take();
                buffer.fill(part);
                pieces.push(Piece::from(buffer));
            }
        } else {
            pieces.push(Piece::from(part.to_vec()));
        }
    }
    pieces
}

fn decoded<C: Codec>(codec: C, pieces: Vec<Piece>) -> Result<Vec<C::In>, CodecError> {
    let mut decoder = Decoder::new(codec);
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(message) = decoder.next()? {
            messages.push(message);
        }
    }
    messages.extend(decoder.finish()?);
    Ok(messages)
}

fn some_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

fn some_messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(prop_oneof![some_bytes(20), some_bytes(2000)], 0..12)
}

fn some_cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(any::<usize>(), 0..40)
}

fn chunks(messages: &[Vec<u8>]) -> Vec<Chunk> {
    let bytes = messages.iter().cloned().map(Bytes::from);
    bytes.map(Chunk::from).collect()
}

fn same(received: &[Piece], sent: &[Vec<u8>]) {
    let received: Vec<&[u8]> = received.iter().map(|piece| &**piece).collect();
    assert_eq!(received, sent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn lengths_survive_any_fragmentation(
        messages in some_messages(), cuts in some_cuts(), width in 2usize..=8, little: bool,
    ) {
        let codec = LengthCodec::new(2000).prefix_bytes(width).little_endian(little);
        let bytes = sent(codec, chunks(&messages));
        on_loop(|| same(&decoded(codec, pieces(&bytes, &cuts)).expect("messages"), &messages));
    }

    #[test]
    fn lines_survive_any_fragmentation(messages in some_messages(), cuts in some_cuts()) {
        let line = |mut line: Vec<u8>| {
            line.retain(|byte| !b"\r\n".contains(byte));
            line
        };
        let messages: Vec<Vec<u8>> = messages.into_iter().map(line).collect();
        let mut bytes = sent(LineCodec::new(2000), chunks(&messages));
        on_loop(|| {
            let codec = LineCodec::new(2000);
            same(&decoded(codec, pieces(&bytes, &cuts)).expect("lines"), &messages);
            if messages.last().is_some_and(|last| !last.is_empty()) {
                bytes.pop();
                same(&decoded(codec, pieces(&bytes, &cuts)).expect("lines"), &messages);
            }
        });
    }

    #[test]
    fn fixed_lengths_survive_any_fragmentation(
        count in 0usize..20, len in 1usize..600, seed: u8, cuts in some_cuts(),
    ) {
        let message = |number: usize| vec![seed.wrapping_add(number as u8); len];
        let messages: Vec<Vec<u8>> = (0..count).map(message).collect();
        let bytes = sent(FixedCodec::new(len), chunks(&messages));
        on_loop(|| {
            let received = decoded(FixedCodec::new(len), pieces(&bytes, &cuts));
            same(&received.expect("messages"), &messages);
        });
    }

    #[test]
    fn frames_survive_any_fragmentation(
        bodies in some_messages(), kind: u16, flags: u16, cuts in some_cuts(),
    ) {
        let frames = || bodies.iter().map(|body| Frame {
            kind,
            flags,
            body: Piece::from(body.clone()),
        });
        let bytes = sent(FrameCodec::new(2000), frames());
        let at_once: Vec<u8> = frames()
            .flat_map(|frame| frame.to_bytes().expect("short"))
            .collect();
        assert_eq!(bytes, at_once);
        on_loop(|| {
            let received = decoded(FrameCodec::new(2000), pieces(&bytes, &cuts));
            assert_eq!(received.expect("frames"), frames().collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_damaged_frame_never_comes_out(
        body in some_bytes(200), place: usize, damage in 1u8.., cuts in some_cuts(),
    ) {
        let before = Frame::new(1, &b"before"[..]).to_bytes().expect("short");
        let mut damaged = Frame::new(2, body).to_bytes().expect("short").to_vec();
        let place = place % damaged.len();
        damaged[place] ^= damage;
        let bytes = [&before, damaged.as_slice()].concat();
        on_loop(|| {
            let mut decoder = Decoder::new(FrameCodec::new(1000));
            let mut frames = Vec::new();
            let mut failed = false;
            for piece in pieces(&bytes, &cuts) {
                decoder.push(piece);
                while !failed && let Some(frame) = decoder.next().unwrap_or_else(|_| {
                    failed = true;
                    None
                }) {
                    frames.push(frame);
                }
            }
            assert!(failed || decoder.finish().is_err(), "the damage was not seen");
            assert_eq!(frames, [Frame::new(1, &b"before"[..])]);
        });
    }

    #[test]
    fn any_bytes_are_cut_alike(bytes in some_bytes(400)) {
        checks::any_frame(&bytes);
    }
}

#[test]
fn corpus_of_frames() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/frame");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        checks::any_frame(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}

#[test]
fn frames_that_lie_in_one_buffer_are_not_copied() {
    on_loop(|| {
        let one = Frame::new(1, &b"one"[..]).to_bytes().expect("short");
        let two = Frame::new(2, &b"second"[..]).to_bytes().expect("short");
        let mut buffer = Buffer::take();
        buffer.fill(&[one.clone(), two, one.slice(..5)].concat());
        let range = buffer.as_ptr_range();
        let mut decoder = Decoder::new(FrameCodec::default());
        decoder.push(buffer);
        for body in [&b"one"[..], b"second"] {
            let frame = decoder.next().expect("sound").expect("whole");
            assert_eq!(&*frame.body, body);
            assert!(range.contains(&frame.body.as_ptr()), "the body was copied");
        }
        assert!(decoder.next().expect("sound").is_none());
        assert_eq!(decoder.pending_bytes(), 5);
        decoder.push(one.slice(5..));
        assert_eq!(
            decoder.next().expect("sound"),
            Some(Frame::new(1, &b"one"[..]))
        );
        // A frame alone in its buffer takes the buffer along.
        let mut buffer = Buffer::take();
        buffer.fill(&one);
        let place = buffer[FRAME_HEADER_BYTES..].as_ptr();
        decoder.push(buffer);
        let frame = decoder.next().expect("sound").expect("whole");
        let Chunk::Buffer(buffer) = frame.body.into_chunk() else {
            panic!("the body was copied");
        };
        assert_eq!(buffer.as_ptr(), place);
    });
}

#[test]
fn a_message_at_the_maximum_passes_and_one_past_it_does_not() {
    on_loop(|| {
        let too_long = |result: Result<(), CodecError>| {
            let Err(CodecError::TooLong { bytes, bytes_max }) = result else {
                panic!("{result:?}");
            };
            assert_eq!((bytes, bytes_max), (9, 8));
        };
        let out = &mut Outgoing::new();
        let at = || Chunk::from(&b"12345678"[..]);
        let past = || Chunk::from(&b"123456789"[..]);
        LengthCodec::new(8).encode(at(), out).expect("at");
        too_long(LengthCodec::new(8).encode(past(), out));
        LineCodec::new(8).encode(at(), out).expect("at");
        too_long(LineCodec::new(8).encode(past(), out));
        FixedCodec::new(8).encode(at(), out).expect("at");
        too_long(FixedCodec::new(8).encode(past(), out));
        assert_eq!(out.bytes(), 12 + 9 + 8);
        let frame = |body: &'static [u8]| Frame::new(0, body);
        FrameCodec::new(8)
            .encode(frame(b"12345678"), out)
            .expect("at");
        too_long(FrameCodec::new(8).encode(frame(b"123456789"), out));

        let read = |bytes: &[u8]| decoded(FrameCodec::new(8), vec![bytes.to_vec().into()]);
        let long = frame(b"123456789").to_bytes().expect("short");
        assert_eq!(
            read(&frame(b"12345678").to_bytes().expect("short"))
                .expect("at")
                .len(),
            1
        );
        too_long(read(&long).map(drop));
        too_long(read(&long[..4]).map(drop));
        let read = |bytes: &[u8]| decoded(LengthCodec::new(8), vec![bytes.to_vec().into()]);
        assert_eq!(read(b"\0\0\0\x0812345678").expect("at").len(), 1);
        too_long(read(b"\0\0\0\x09").map(drop));
        let read = |bytes: &[u8]| decoded(LineCodec::new(8), vec![bytes.to_vec().into()]);
        assert_eq!(read(b"12345678\r\n").expect("at").len(), 1);
        too_long(read(b"123456789").map(drop));
        too_long(read(b"123456789\n").map(drop));
    });
}

#[test]
fn a_prefix_that_is_too_short_for_the_length_refuses_it() {
    on_loop(|| {
        let mut codec = LengthCodec::new(1000).prefix_bytes(1);
        let message = |len: usize| Chunk::from(Bytes::from(vec![7; len]));
        let out = &mut Outgoing::new();
        codec.encode(message(255), out).expect("it fits");
        let refused = codec.encode(message(256), out);
        assert!(
            matches!(
                refused,
                Err(CodecError::TooLong {
                    bytes: 256,
                    bytes_max: 255
                })
            ),
            "{refused:?}"
        );
    });
}

#[test]
fn lines_refuse_what_would_not_come_out_as_one() {
    on_loop(|| {
        let out = &mut Outgoing::new();
        for line in [&b"a\nb"[..], b"a\r"] {
            let refused = LineCodec::new(80).encode(line.into(), out);
            assert!(
                matches!(refused, Err(CodecError::Malformed(_))),
                "{refused:?}"
            );
        }
        assert!(out.is_empty());
        let lines = decoded(
            LineCodec::new(80),
            vec![(&b"a\rb\r\r\n\nlast\r"[..]).into()],
        );
        same(
            &lines.expect("lines"),
            &[b"a\rb\r".to_vec(), vec![], b"last\r".to_vec()],
        );
    });
}

#[test]
fn a_stream_that_ends_within_a_frame_says_so() {
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let (one, other) = pair();
        let mut framed = Framed::new(other, FrameCodec::default());
        let bytes = Frame::new(7, &b"whole"[..]).to_bytes().expect("short");
        let half = [&bytes[..], &bytes[..10]].concat();
        one.send(Bytes::from(half).into()).await.0.expect("send");
        drop(one);
        let frame = framed.next().await.expect("sound").expect("a frame");
        assert_eq!((frame.kind, &*frame.body), (7, &b"whole"[..]));
        let end = framed.next().await;
        assert!(
            matches!(end, Err(CodecError::Truncated { bytes: 10 })),
            "{end:?}"
        );
    });
}

#[test]
fn messages_of_a_turn_go_out_together_and_come_back() {
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let (one, other) = pair();
        let echo = spawn(async move {
            let mut framed = Framed::new(other, FrameCodec::default());
            while let Some(frame) = framed.next().await.expect("sound") {
                framed.send(frame).await.expect("send");
            }
        });
        let mut framed = Framed::new(one, FrameCodec::default());
        for number in 0..50u16 {
            let body = vec![number as u8; usize::from(number) * 100];
            framed.feed(Frame::new(number, body)).expect("short");
        }
        assert!(framed.fed_bytes() > 100_000);
        framed.flush().await.expect("send");
        for number in 0..50u16 {
            let frame = framed.next().await.expect("sound").expect("a frame");
            assert_eq!(
                (frame.kind, frame.body.len()),
                (number, usize::from(number) * 100)
            );
        }
        framed.stream().shutdown_write().expect("half-close");
        assert!(framed.next().await.expect("sound").is_none());
        echo.await.expect("the echo");
    });
}

#[test]
fn waiting_for_a_message_ends_at_the_deadline_and_loses_nothing() {
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let (one, other) = pair();
        let mut framed = Framed::new(other, LengthCodec::new(100));
        one.send((&b"\0\0"[..]).into()).await.0.expect("send");
        let soon = revolve_reactor::now() + std::time::Duration::from_millis(20);
        let late = framed.next_before(soon).await;
        assert!(
            matches!(&late, Err(CodecError::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut),
            "{late:?}"
        );
        one.send((&b"\0\x02ok"[..]).into()).await.0.expect("send");
        assert_eq!(&*framed.next().await.expect("sound").expect("a message"), b"ok");
    });
}
