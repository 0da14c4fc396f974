//! A client of the message server, for a terminal.
//!
//! ```text
//! cargo run --manifest-path examples/message/Cargo.toml --bin message_client -- NAME [ADDRESS]
//! ```
//!
//! What is typed is said in the room that was joined last. Lines that begin with a slash are orders:
//! `/join ROOM`, `/leave ROOM`, `/who ROOM`, `/tell NAME TEXT`, `/history ROOM`, `/quit`.
//!
//! Standard input may block, so that a thread of its own copies it to a socket, which the loop
//! reads like any other.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;

use revolve_message::message::{Event, Request, codec, members_of};
use revolve_reactor::{EventLoop, Framed, LineCodec, Outbox, Stream, TcpClient, spawn};

const QUEUE_BYTES_MAX: u64 = 1 << 20;
const LINE_BYTES_MAX: usize = 4000;
const HISTORY_LINES: u16 = 20;

/// What a line asks for; an error says how to ask.
fn order(line: &str, room: &mut String) -> Result<Request, &'static str> {
    let Some(order) = line.strip_prefix('/') else {
        let (room, text) = (room.clone(), line.into());
        return if room.is_empty() {
            Err("/join a room first")
        } else {
            Ok(Request::Say { room, text })
        };
    };
    let (order, rest) = order.split_once(' ').unwrap_or((order, ""));
    let given = if rest.is_empty() {
        room.clone()
    } else {
        rest.to_owned()
    };
    match (order, rest.split_once(' ')) {
        ("join", None) => {
            room.clone_from(&given);
            Ok(Request::Join { room: given })
        }
        ("leave", None) => Ok(Request::Leave { room: given }),
        ("who", None) => Ok(Request::Who { room: given }),
        ("history", None) => Ok(Request::History {
            room: given,
            lines: HISTORY_LINES,
        }),
        ("tell", Some((name, text))) => Ok(Request::Tell {
            name: name.into(),
            text: text.into(),
        }),
        ("quit", None) => Ok(Request::Quit),
        _ => Err("/join ROOM, /leave ROOM, /who ROOM, /tell NAME TEXT, /history ROOM, /quit"),
    }
}

/// What is shown of an event; nothing of an answer that says no more than yes.
fn show(event: Event) -> Option<String> {
    match event {
        Event::Heard {
            room, from, text, ..
        } => Some(format!("[{room}] {from}: {text}")),
        Event::Told { from, text } => Some(format!("{from} tells you: {text}")),
        Event::Lost { messages } => Some(format!("({messages} messages were lost: too slow)")),
        Event::Warning { text, .. } | Event::Failed { text, .. } => Some(format!("! {text}")),
        Event::Goodbye { text, .. } => Some(format!("* {text}")),
        Event::Done {
            request: 6,
            payload,
        } => members_of(&payload)
            .ok()
            .map(|(count, names)| format!("{count}: {}", names.join(" "))),
        Event::Done {
            request: 7,
            payload,
        } => Some(String::from_utf8_lossy(&payload).trim_end().into()),
        Event::Done { .. } | Event::Ping => None,
    }
}

/// Shows what the server says, until it has no more to say.
async fn listen(stream: Rc<Stream>, outbox: Outbox) -> Result<(), Box<dyn Error>> {
    let mut framed = Framed::new(stream, codec());
    while let Some(frame) = framed.next().await? {
        let event = Event::of(&frame).map_err(|error| format!("the server said {error:?}"))?;
        let last = matches!(event, Event::Goodbye { .. });
        if event == Event::Ping {
            outbox.push(Request::Pong.to_frame(0).to_bytes()?)?;
        } else if let Some(shown) = show(event) {
            writeln!(io::stdout(), "{shown}")?;
        }
        if last {
            return Ok(());
        }
    }
    Err("the server has closed the connection without a goodbye".into())
}

/// Sends what standard input asks for; its end is `/quit`.
async fn type_in(typed: UnixStream, outbox: Outbox) -> Result<(), Box<dyn Error>> {
    typed.set_nonblocking(true)?;
    let mut lines = Framed::new(
        Stream::from_fd(typed.into())?,
        LineCodec::new(LINE_BYTES_MAX),
    );
    let mut room = String::new();
    while let Some(line) = lines.next().await? {
        match order(&String::from_utf8_lossy(&line), &mut room) {
            Ok(request) => outbox.push(request.to_frame(0).to_bytes()?)?,
            Err(how) => writeln!(io::stdout(), "! {how}")?,
        }
    }
    Ok(outbox.push(Request::Quit.to_frame(0).to_bytes()?)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments
        .next()
        .ok_or("usage: message_client NAME [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7100".into());
    let address: SocketAddr = address.parse()?;
    EventLoop::new()?.block_on(async {
        let stream = Rc::new(TcpClient::new(vec![address.into()]).connect().await?);
        let outbox = Outbox::new(Rc::clone(&stream), QUEUE_BYTES_MAX);
        outbox.push(Request::Login { name }.to_frame(0).to_bytes()?)?;
        let (typed, mut copied) = UnixStream::pair()?;
        thread::spawn(move || io::copy(&mut io::stdin(), &mut copied));
        spawn(type_in(typed, outbox.clone()));
        listen(stream, outbox).await
    })
}
