//! Clients that talk and listen.

use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use revolve_reactor::{Address, Framed, Outbox, Stream, TcpClient, interval, now, sleep, spawn};

use crate::options::Options;
use crate::{Seen, add};
use revolve_message::message::{Event, Request, codec};

/// What a client's own messages may take up on their way out.
const QUEUE_BYTES_MAX: u64 = 256 * 1024;
/// Times that are noted at most.
const TAKEN_MAX: usize = 2_000_000;

/// A connection that has sent its name and, if there is one, its room.
pub(crate) async fn enter(
    server: Address,
    name: String,
    room: Option<String>,
) -> Result<(Rc<Stream>, Outbox), Box<dyn Error>> {
    let stream = Rc::new(
        TcpClient::new(vec![server])
            .attempts_max(3)
            .connect()
            .await?,
    );
    stream.set_nodelay(true)?;
    let outbox = Outbox::new(Rc::clone(&stream), QUEUE_BYTES_MAX);
    outbox.push(Request::Login { name }.to_frame(0).to_bytes()?)?;
    if let Some(room) = room {
        outbox.push(Request::Join { room }.to_frame(0).to_bytes()?)?;
    }
    Ok((stream, outbox))
}

pub(crate) async fn client(server: Address, number: u32, options: Options, seen: Rc<Seen>) {
    let room = format!("room-{}", number % options.rooms);
    let name = format!("talker-{number}");
    let ended = talk(server, name, room, number, options, &seen).await;
    add(&seen.ended, 1);
    if let Err(error) = ended
        && seen.ended.get() == 1
    {
        eprintln!("message_load: the first client that ended: {error}");
    }
}

async fn talk(
    server: Address,
    name: String,
    room: String,
    number: u32,
    options: Options,
    seen: &Rc<Seen>,
) -> Result<(), Box<dyn Error>> {
    // They neither come nor talk all at once.
    let part = options
        .interval
        .mul_f64(f64::from(number) / f64::from(options.clients.max(1)));
    sleep(part.min(Duration::from_secs(1))).await;
    let (stream, outbox) = enter(server, name.clone(), Some(room.clone())).await?;
    add(&seen.connected, 1);
    let (speaker, seen_by_speaker) = (outbox.clone(), Rc::clone(seen));
    let speaking = spawn(async move {
        let mut ticks = interval(options.interval);
        loop {
            ticks.tick().await;
            let text = format!(
                "{:<1$}",
                EPOCH.with(Instant::elapsed).as_micros(),
                options.text_bytes
            );
            let say = Request::Say {
                room: room.clone(),
                text,
            };
            let Ok(frame) = say.to_frame(0).to_bytes() else {
                return;
            };
            // A server that takes no more is not given more: what is said counts, not what is meant.
            if speaker.push(frame).is_ok() {
                add(&seen_by_speaker.said, 1);
            }
        }
    });
    let listened = listen(stream, &outbox, &name, seen).await;
    speaking.cancel();
    listened
}

thread_local! {
    /// What times are counted from.
    static EPOCH: Instant = now();
}

async fn listen(
    stream: Rc<Stream>,
    outbox: &Outbox,
    name: &str,
    seen: &Seen,
) -> Result<(), Box<dyn Error>> {
    let mut framed = Framed::new(stream, codec());
    while let Some(frame) = framed.next().await? {
        match Event::of(&frame).map_err(|error| format!("the server said {error:?}"))? {
            Event::Heard { from, text, .. } => {
                add(&seen.heard, 1);
                let said_us = text.trim_end().parse::<u128>();
                let mut taken_us = seen.taken_us.borrow_mut();
                if let Ok(said_us) = said_us
                    && from == name
                    && taken_us.len() < TAKEN_MAX
                {
                    let us = EPOCH
                        .with(Instant::elapsed)
                        .as_micros()
                        .saturating_sub(said_us);
                    taken_us.push(u64::try_from(us).unwrap_or(u64::MAX));
                }
            }
            Event::Done { .. } => add(&seen.done, 1),
            Event::Failed { .. } => add(&seen.failed, 1),
            Event::Lost { messages } => add(&seen.lost, messages.into()),
            Event::Ping => outbox.push(Request::Pong.to_frame(0).to_bytes()?)?,
            Event::Goodbye { text, .. } => return Err(text.into()),
            Event::Told { .. } | Event::Warning { .. } => {}
        }
    }
    Err("the server has closed the connection".into())
}
