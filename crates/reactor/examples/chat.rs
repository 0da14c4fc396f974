//! A chat: every line goes to everybody. Who reads too slowly is dropped.
//!
//! ```text
//! cargo run -p revolve-reactor --example chat -- [ADDRESS]
//! ```
//!
//! All of it is on one loop, so that the room is an `Rc` and needs no lock. A line is one
//! allocation, shared by all that it is sent to; what may wait for a slow reader has a limit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::{error::Error, mem};

use bytes::{Bytes, BytesMut};
use revolve_reactor::{EventLoop, JoinHandle, ListenOptions, Listener, SendQueue, Stream, spawn};

const LINE_BYTES_MAX: usize = 4 * 1024;
const OUTBOX_BYTES_MAX: u64 = 256 * 1024;
type Room = Rc<RefCell<BTreeMap<u64, Rc<Member>>>>;
type Task = RefCell<Option<JoinHandle<()>>>;

struct Member {
    stream: Stream,
    outbox: RefCell<SendQueue>,
    reader: Task,
    sender: Task,
}

/// Puts a line into all outboxes, and sees that somebody empties them.
fn tell(room: &Room, line: &Bytes) {
    room.borrow_mut().retain(|number, member| {
        member.outbox.borrow_mut().push(line.clone());
        if member.outbox.borrow().bytes() > OUTBOX_BYTES_MAX {
            eprintln!("{number} reads too slowly");
            // Both tasks hold the stream; when they are gone, it closes.
            let tasks = [member.sender.take(), member.reader.take()];
            tasks.iter().flatten().for_each(JoinHandle::cancel);
            return false;
        }
        let mut sender = member.sender.borrow_mut();
        if sender.as_ref().is_none_or(JoinHandle::is_finished) {
            *sender = Some(spawn(empty(Rc::clone(member))));
        }
        true
    });
}

/// Sends what is in the outbox, all of it in one call where the socket takes it.
async fn empty(member: Rc<Member>) {
    let mut sent = Ok(());
    while sent.is_ok() && !member.outbox.borrow().is_empty() {
        let lines = mem::take(&mut *member.outbox.borrow_mut());
        sent = member.stream.send(lines).await.0;
    }
}

async fn serve(member: Rc<Member>, room: Room, number: u64) {
    room.borrow_mut().insert(number, Rc::clone(&member));
    let mut pending = BytesMut::new();
    while let Ok(received) = member.stream.recv().await
        && !received.is_empty()
        && pending.len() <= LINE_BYTES_MAX
    {
        pending.extend_from_slice(&received);
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let text = pending.split_to(end + 1);
            let line = [format!("{number}: ").as_bytes(), &text].concat();
            tell(&room, &line.into());
        }
    }
    room.borrow_mut().remove(&number);
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7002").parse()?;
    let room = Room::default();
    EventLoop::new()?.block_on(async {
        let fd = Listener::bind(&address.into(), &ListenOptions::default())?;
        let listener = Listener::from_fd(fd)?;
        println!("listening on {}", listener.local_address()?);
        for number in 1.. {
            let stream = Stream::from_fd(listener.accept().await?.0)?;
            let _ = stream.set_nodelay(true);
            let (outbox, reader, sender) = Default::default();
            let member = Rc::new(Member {
                stream,
                outbox,
                reader,
                sender,
            });
            let reader = spawn(serve(Rc::clone(&member), Rc::clone(&room), number));
            member.reader.replace(Some(reader));
        }
        Ok(())
    })
}
