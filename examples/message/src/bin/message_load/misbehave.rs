//! Clients that no server should mind.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{Address, sleep, yield_now};

use crate::talk::enter;
use crate::{Seen, add};
use revolve_message::message::Request;

/// Messages of a flood that are sent at once.
const FLOOD_AT_ONCE: usize = 100;
/// Between two visits of one who vanishes, or who was kicked.
const AGAIN: Duration = Duration::from_millis(50);

/// Sends without a pause, and reads nothing.
pub(crate) async fn flood(server: Address, number: u32, seen: Rc<Seen>) {
    loop {
        // However it ends, it ended: the server has seen to that.
        let _ = flood_once(server.clone(), number, &seen).await;
        add(&seen.kicked, 1);
        sleep(AGAIN).await;
    }
}

async fn flood_once(server: Address, number: u32, seen: &Seen) -> Result<(), Box<dyn Error>> {
    let name = format!("flood-{number}");
    let (stream, outbox) = enter(server, name, None).await?;
    add(&seen.connected, 1);
    outbox.writable_below(0).await?;
    let ping = Request::Ping {
        bytes: Bytes::from_static(&[b'x'; 1000]),
    };
    let pings = Bytes::from(ping.to_frame(0).to_bytes()?.repeat(FLOOD_AT_ONCE));
    loop {
        stream.send(pings.clone().into()).await.0?;
        // The others of this program have their turn all the same.
        yield_now().await;
    }
}

/// Joins a room, and never reads.
pub(crate) async fn slow(server: Address, number: u32, room: String, seen: Rc<Seen>) {
    loop {
        let name = format!("slow-{number}");
        if let Ok((stream, _outbox)) = enter(server.clone(), name, Some(room.clone())).await {
            add(&seen.connected, 1);
            // What the kernel holds for it is small, so that the server notices soon.
            let _ = stream.set_recv_buffer(4096);
            while !stream.is_peer_closed() {
                sleep(AGAIN).await;
            }
            add(&seen.kicked, 1);
        }
        sleep(AGAIN).await;
    }
}

/// Comes, says something, and is gone by a reset in the middle of a frame.
pub(crate) async fn vanish(server: Address, number: u32, seen: Rc<Seen>) {
    loop {
        let name = format!("ghost-{number}");
        let room = format!("room-{number}");
        if let Ok((stream, outbox)) = enter(server.clone(), name, Some(room.clone())).await {
            add(&seen.connected, 1);
            let text = "boo".into();
            if let Ok(frame) = (Request::Say { room, text }).to_frame(0).to_bytes() {
                let half = frame.slice(..frame.len() - 2);
                let _ = outbox.push(frame).and_then(|()| outbox.push(half));
            }
            let _ = outbox.writable_below(0).await;
            let _ = stream.set_linger_reset();
        }
        sleep(AGAIN).await;
    }
}
