//! Datagrams that get lost, come twice, overtake each other or are cut short.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Address, Datagram, Faults, UdpSocket, UnixDatagram, spawn, timeout};

use crate::common::any_port;

use super::{Dice, run, seeds};

/// What a network does to datagrams, and so often that each run sees some of it.
const STRAY: Faults = Faults {
    lose: 200,
    duplicate: 150,
    overtake: 300,
    truncate: 50,
    clock_jump: 20,
    ..Faults::HARMLESS
};

/// How long a sender waits for an answer.
const ANSWER_MAX: Duration = Duration::from_millis(120);
/// When nobody has sent anything for so long, nobody will.
const SILENCE: Duration = Duration::from_secs(3600);

fn socket() -> (UdpSocket, Address) {
    let any = any_port();
    let socket = UdpSocket::bind(&any).expect("bind");
    let address = socket.local_address().expect("name");
    (socket, address)
}

/// A message of the protocol: its number and its bytes; `None` of one that is not whole.
fn parse(datagram: &Datagram) -> Option<(u16, &[u8])> {
    let (number, body) = datagram.bytes.split_first_chunk()?;
    (!datagram.truncated).then_some((u16::from_be_bytes(*number), body))
}

/// Sends each message until its number comes back.
async fn send_reliably(messages: &[Vec<u8>], to: &Address) -> u32 {
    let (socket, _) = socket();
    let mut again = 0;
    for (number, message) in (0u16..).zip(messages) {
        let datagram = [&number.to_be_bytes(), &message[..]].concat();
        loop {
            socket.send_to(&datagram, to).await.expect("send");
            let answered = async {
                loop {
                    let answer = socket.recv_from().await.expect("receive");
                    if parse(&answer).is_some_and(|(answered, _)| answered == number) {
                        return;
                    }
                }
            };
            if timeout(ANSWER_MAX, answered).await.is_ok() {
                break;
            }
            again += 1;
        }
    }
    again
}

/// Answers each message with its number, until there is silence; gives those that came, each once.
async fn receive_reliably(socket: UdpSocket) -> Vec<Vec<u8>> {
    let mut came: Vec<Vec<u8>> = Vec::new();
    while let Ok(datagram) = timeout(SILENCE, socket.recv_from()).await {
        let datagram = datagram.expect("receive");
        if let Some((number, body)) = parse(&datagram) {
            let next = came.len() as u16;
            if number == next {
                came.push(body.to_vec());
            }
            if number <= next {
                let answer = number.to_be_bytes();
                socket.send_to(&answer, &datagram.from).await.expect("send");
            }
        }
    }
    came
}

#[test]
fn a_protocol_that_asks_again_loses_no_message() {
    let mut again = 0;
    for seed in seeds() {
        again += run(seed, STRAY, async move {
            let mut dice = Dice::new(seed);
            let message = |dice: &mut Dice| dice.bytes().into_iter().take(500).collect();
            let messages: Vec<Vec<u8>> =
                (0..1 + dice.below(6)).map(|_| message(&mut dice)).collect();
            let (socket, address) = socket();
            let receiving = spawn(receive_reliably(socket));
            let again = send_reliably(&messages, &address).await;
            assert_eq!(receiving.await.expect("the receiver"), messages);
            again
        });
    }
    assert!(seeds().len() < 100 || again > 0, "nothing was ever lost");
}

/// What became of the datagrams of some runs.
#[derive(Default)]
struct Strayed {
    lost: usize,
    doubled: usize,
    overtaken: usize,
    cut: usize,
}

#[test]
fn what_comes_was_sent_and_everything_happens_to_some() {
    let mut strayed = Strayed::default();
    for seed in seeds() {
        run(seed, STRAY, async {
            let mut dice = Dice::new(seed);
            let (sender, from) = socket();
            let (receiver, to) = socket();
            let sent: Vec<Vec<u8>> = (0..20u8)
                .map(|number| vec![number; 1 + dice.below(200) as usize])
                .collect();
            let batch: Vec<(Vec<u8>, Address)> = sent
                .iter()
                .map(|bytes| (bytes.clone(), to.clone()))
                .collect();
            let (count, result) = sender.send_batch(&batch).await;
            assert!(count == 20 && result.is_ok());
            let (mut came, mut last) = (BTreeSet::new(), 0);
            while let Ok(datagram) = timeout(SILENCE, receiver.recv_from()).await {
                let datagram = datagram.expect("receive");
                assert_eq!(datagram.from, from);
                let Some(&number) = datagram.bytes.first() else {
                    assert!(datagram.truncated);
                    continue;
                };
                let whole = &sent[usize::from(number)];
                assert_eq!(datagram.bytes[..], whole[..datagram.bytes.len()]);
                assert_eq!(datagram.truncated, datagram.bytes.len() < whole.len());
                strayed.cut += usize::from(datagram.truncated);
                strayed.doubled += usize::from(!came.insert(number));
                strayed.overtaken += usize::from(number < last);
                last = last.max(number);
            }
            strayed.lost += 20 - came.len();
        });
    }
    let Strayed {
        lost,
        doubled,
        overtaken,
        cut,
    } = strayed;
    let least = [lost, doubled, overtaken, cut].into_iter().min();
    assert!(seeds().len() < 100 || least > Some(0));
}

#[test]
fn unix_datagrams_all_come_in_order() {
    for seed in seeds() {
        run(seed, STRAY, async move {
            let address = Address::Unix("/in/memory/datagrams".into());
            let receiver = UnixDatagram::bind(&address).expect("bind");
            let sender = Rc::new(UnixDatagram::unbound().expect("socket"));
            sender.connect(&address).expect("connect");
            let count = 1 + seed as u16 % 60;
            let sending = spawn(async move {
                for number in 0..count {
                    sender.send(&number.to_be_bytes()).await.expect("send");
                }
            });
            for number in 0..count {
                let datagram = receiver.recv_from().await.expect("receive");
                assert_eq!(datagram.bytes[..], number.to_be_bytes());
            }
            sending.await.expect("the sender");
        });
    }
}
