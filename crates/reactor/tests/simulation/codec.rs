//! The codecs over connections that split, delay and break.

use bytes::Bytes;
use revolve_reactor::{
    Chunk, Codec, CodecError, Faults, FixedCodec, Framed, LengthCodec, LineCodec, Stream, spawn,
};

use super::frame::{Frame, FrameCodec};
use super::{Dice, run, seeds};

/// No message is longer: `Dice::bytes` gives up to 3,000.
const BYTES_MAX: usize = 4000;

/// What one direction came to: how many messages arrived whole, and whether all did.
struct Came {
    count: usize,
    all: bool,
}

/// Sends the messages from one end, some at once and some fed first, and receives them at the
/// other. Whatever breaks, what arrives is the first of them.
async fn carry<C>(codec: C, messages: Vec<C::Out>, same: impl Fn(usize, &C::In) -> bool) -> Came
where
    C: Codec + Copy + 'static,
    C::Out: 'static,
{
    let count = messages.len();
    let Ok((one, other)) = Stream::pair() else {
        return Came {
            count: 0,
            all: count == 0,
        };
    };
    let sending = spawn(async move {
        let mut framed = Framed::new(one, codec);
        for (index, message) in messages.into_iter().enumerate() {
            if index % 3 == 0 {
                framed.send(message).await?;
            } else {
                framed.feed(message)?;
            }
        }
        framed.flush().await
    });
    let mut framed = Framed::new(other, codec);
    let mut came = 0;
    let end = loop {
        match framed.next().await {
            Ok(Some(message)) => {
                assert!(same(came, &message), "message {came} is another");
                came += 1;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let sent: Result<(), CodecError> = sending.await.expect("the sender");
    if sent.is_ok() && end.is_ok() {
        assert_eq!(came, count, "both ends are content");
    }
    Came {
        count: came,
        all: came == count,
    }
}

/// One codec with some messages, both drawn from the seed.
async fn some_codec(seed: u64) -> Came {
    let mut dice = Dice::new(seed);
    let messages: Vec<Vec<u8>> = (0..1 + dice.below(8)).map(|_| dice.bytes()).collect();
    let chunk = |bytes: &Vec<u8>| Chunk::from(Bytes::from(bytes.clone()));
    let chunks = || messages.iter().map(chunk).collect::<Vec<_>>();
    match dice.below(4) {
        0 => {
            let codec = LengthCodec::new(BYTES_MAX).prefix_bytes(2 + dice.below(7) as usize);
            carry(codec, chunks(), |at, got| **got == *messages[at]).await
        }
        1 => {
            let line = |bytes: &Vec<u8>| bytes.iter().map(|byte| b'a' + byte % 26).collect();
            let lines: Vec<Vec<u8>> = messages.iter().map(line).collect();
            let sent = lines.iter().map(chunk).collect();
            carry(LineCodec::new(BYTES_MAX), sent, |at, got| {
                **got == *lines[at]
            })
            .await
        }
        2 => {
            let len = 1 + dice.below(900) as usize;
            let fixed: Vec<Vec<u8>> = (0..messages.len()).map(|at| vec![at as u8; len]).collect();
            let sent = fixed.iter().map(chunk).collect();
            carry(FixedCodec::new(len), sent, |at, got| **got == *fixed[at]).await
        }
        _ => {
            let frame = |at: usize| Frame::new(at as u16, messages[at].clone());
            let sent = (0..messages.len()).map(frame).collect();
            carry(FrameCodec::new(BYTES_MAX), sent, |at, got| {
                *got == frame(at)
            })
            .await
        }
    }
}

#[test]
fn messages_come_whole_and_in_order_through_every_codec() {
    for seed in seeds() {
        let came = run(seed, Faults::HARMLESS, some_codec(seed));
        assert!(came.all, "seed {seed}: {} came", came.count);
    }
}

#[test]
fn of_a_connection_that_breaks_the_first_messages_come_whole() {
    const BREAKING: Faults = Faults {
        reset: 40,
        ..Faults::ALL
    };
    let (mut whole, mut broken) = (0, 0);
    for seed in seeds() {
        if run(seed, BREAKING, some_codec(seed)).all {
            whole += 1;
        } else {
            broken += 1;
        }
    }
    assert!(whole + broken < 100 || (whole > 0 && broken > 0));
}
