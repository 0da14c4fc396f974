//! Frames come whole out of any fragmentation.

use std::rc::Rc;

use bytes::Bytes;
use revolve_reactor::{Chunk, Faults, SendQueue, Stream, spawn};

use super::{Dice, run, seeds};

/// Takes whole frames, a length of four bytes before each, out of what was received.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    fn next(&mut self) -> Option<Vec<u8>> {
        let (head, rest) = self.bytes.split_first_chunk::<4>()?;
        let len = u32::from_be_bytes(*head) as usize;
        let body = rest.get(..len)?.to_vec();
        self.bytes.drain(..4 + len);
        Some(body)
    }
}

/// Puts the frames into queues of one or several, in chunks of every kind that lies in memory.
async fn send_all(stream: &Stream, frames: &[Vec<u8>], dice: &mut Dice) {
    let mut queue = SendQueue::new();
    for frame in frames {
        let len = u32::try_from(frame.len()).expect("small").to_be_bytes();
        queue.push(Bytes::copy_from_slice(&len));
        match dice.below(3) {
            0 => queue.push(Bytes::copy_from_slice(frame)),
            1 => {
                let mut body = &frame[..];
                while !body.is_empty() {
                    let mut buffer = revolve_reactor::Buffer::take();
                    body = &body[buffer.fill(body)..];
                    queue.push(buffer);
                }
            }
            _ => {
                for part in frame.chunks(7) {
                    queue.push(Chunk::from(Bytes::copy_from_slice(part)));
                }
            }
        }
        if dice.below(2) == 0 {
            let (result, again) = stream.send(queue).await;
            result.expect("send");
            queue = again;
        }
    }
    stream.send(queue).await.0.expect("send");
}

#[test]
fn frames_arrive_whole_and_in_order_both_ways() {
    for seed in seeds() {
        run(seed, Faults::HARMLESS, async move {
            let (one, other) = Stream::pair().expect("a pair");
            let mut directions = Vec::new();
            let ends = [Rc::new(one), Rc::new(other)];
            for (index, end) in ends.iter().enumerate() {
                let mut dice = Dice::new(seed * 2 + index as u64);
                let sent: Vec<_> = (0..1 + dice.below(8)).map(|_| dice.bytes()).collect();
                let (expected, peer) = (sent.clone(), Rc::clone(&ends[1 - index]));
                let end = Rc::clone(end);
                spawn(async move {
                    send_all(&end, &sent, &mut dice).await;
                    end.shutdown_write().expect("shutdown");
                });
                directions.push(spawn(async move {
                    let (mut frames, mut whole) = (Frames::default(), Vec::new());
                    loop {
                        let received = peer.recv().await.expect("receive");
                        if received.is_empty() {
                            break;
                        }
                        frames.bytes.extend_from_slice(&received);
                        whole.extend(std::iter::from_fn(|| frames.next()));
                    }
                    assert!(frames.bytes.is_empty());
                    assert_eq!(whole, expected);
                }));
            }
            for direction in directions {
                direction.await.expect("a direction");
            }
        });
    }
}
