//! What must hold for any bytes. The fuzz target and the tests over its corpus call the same
//! functions.

use std::mem::{Discriminant, discriminant};

use revolve_reactor::{Codec, CodecError, Decoder, LengthCodec, LineCodec};

use frame::{Frame, FrameCodec};

/// The message server's, a codec made outside of the library.
#[path = "../../../../examples/message/src/frame.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each program takes what it needs"
)]
pub(crate) mod frame;

/// Frames: the first byte chooses the maximum, the second the size of the pieces, the rest is what
/// arrives.
pub(crate) fn any_frame(data: &[u8]) {
    let [settings, piece, bytes @ ..] = data else {
        return;
    };
    let body_bytes_max = if settings & 1 != 0 { 16 } else { 4096 };
    let whole = decode(FrameCodec::new(body_bytes_max), bytes, bytes.len().max(1));
    for step in [1, 1 + usize::from(*piece)] {
        let pieces = decode(FrameCodec::new(body_bytes_max), bytes, step);
        assert_eq!(whole, pieces, "in pieces of {step}");
    }
    encoded_again(&whole, bytes, body_bytes_max);
    let lines = decode(LineCodec::new(body_bytes_max), bytes, bytes.len().max(1));
    assert_eq!(lines, decode(LineCodec::new(body_bytes_max), bytes, 1));
    let length = LengthCodec::new(body_bytes_max).prefix_bytes(1 + usize::from(settings >> 5));
    let messages = decode(length, bytes, bytes.len().max(1));
    assert_eq!(messages, decode(length, bytes, 1 + usize::from(*piece)));
}

/// What came out, and how it ended. How much too long a line is depends on how much of it is there.
#[derive(Debug, PartialEq)]
struct Outcome<T> {
    messages: Vec<T>,
    end: Result<(), Discriminant<CodecError>>,
}

fn decode<C: Codec>(codec: C, bytes: &[u8], step: usize) -> Outcome<C::In> {
    let mut decoder = Decoder::new(codec);
    let mut messages = Vec::new();
    let end = all(&mut decoder, bytes, step, &mut messages);
    if end.is_err() {
        assert!(decoder.next().is_err(), "it went on after an error");
    }
    let end = end.map_err(|error| discriminant(&error));
    Outcome { messages, end }
}

fn all<C: Codec>(
    decoder: &mut Decoder<C>,
    bytes: &[u8],
    step: usize,
    messages: &mut Vec<C::In>,
) -> Result<(), CodecError> {
    for piece in bytes.chunks(step) {
        decoder.push(piece.to_vec());
        while let Some(message) = decoder.next()? {
            messages.push(message);
        }
    }
    while let Some(message) = decoder.finish()? {
        messages.push(message);
    }
    assert_eq!(decoder.pending_bytes(), 0);
    Ok(())
}

/// Whatever was taken for a frame is, written down again, what came.
fn encoded_again(outcome: &Outcome<Frame>, bytes: &[u8], body_bytes_max: usize) {
    let mut at = 0;
    for frame in &outcome.messages {
        assert!(frame.body.len() <= body_bytes_max);
        let again = frame.to_bytes().expect("shorter than 4 GiB");
        assert_eq!(again, &bytes[at..at + again.len()]);
        at += again.len();
    }
    assert_eq!(outcome.end.is_ok(), at == bytes.len(), "{outcome:?}");
}
