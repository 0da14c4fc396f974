//! Streams that come and go, each in the place of another.

use bytes::Bytes;
use revolve_reactor::{Faults, SendQueue, Stream, yield_now};

use super::{Dice, run, seeds};

/// Most readiness comes late, when its stream may be gone.
const LATE: Faults = Faults {
    delay: 700,
    ..Faults::HARMLESS
};

/// A stream, its peer, and what the peer has sent to it.
struct Open {
    stream: Stream,
    peer: Stream,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Open {
    fn new() -> Open {
        let (stream, peer) = Stream::pair().expect("a pair");
        Open {
            stream,
            peer,
            sent: Vec::new(),
            received: Vec::new(),
        }
    }

    async fn send(&mut self, bytes: Vec<u8>) {
        self.sent.extend_from_slice(&bytes);
        let queue = SendQueue::from(Bytes::from(bytes));
        self.peer.send(queue).await.0.expect("send");
    }

    async fn recv(&mut self) {
        if self.received.len() < self.sent.len() {
            let buffer = self.stream.recv().await.expect("receive");
            assert!(!buffer.is_empty());
            self.received.extend_from_slice(&buffer);
        }
    }
}

#[test]
fn what_is_told_late_reaches_no_successor() {
    for seed in seeds() {
        run(seed, LATE, async move {
            let mut dice = Dice::new(seed);
            let mut open = [(); 4].map(|()| Open::new());
            for _ in 0..60 {
                let one = &mut open[dice.below(4) as usize];
                match dice.below(4) {
                    0 => one.send(dice.bytes()).await,
                    1 => one.recv().await,
                    2 => {
                        // The stream hears that its peer has gone when it may be gone itself.
                        let former = std::mem::replace(one, Open::new());
                        drop(former.peer);
                        yield_now().await;
                    }
                    _ => yield_now().await,
                }
                for one in &open {
                    assert!(!one.stream.is_peer_closed() && !one.peer.is_peer_closed());
                    assert_eq!(one.received, one.sent[..one.received.len()]);
                }
            }
        });
    }
}
