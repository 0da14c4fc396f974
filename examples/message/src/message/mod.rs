//! What the message server and its clients say to each other, as `docs/message-server.md` has it.
//!
//! Every message is a frame of [`FrameCodec`]: the type says what it is, and of the flags a request
//! makes a tag, which its answer repeats. Numbers are unsigned, most significant byte first; a
//! name is its length in one byte and then so many bytes of UTF-8; a text is the rest of the body.
#![allow(dead_code, reason = "each program speaks its own part")]

mod body;

use crate::frame::{Frame, FrameCodec};
use bytes::Bytes;

use body::{Body, Reader};

/// Bytes of a body at most, both ways.
pub const BODY_BYTES_MAX: usize = 4096;
/// Bytes of a name at most, of a room or of a client.
pub const NAME_BYTES_MAX: usize = 32;
/// Bytes of a text at most, so that what is heard fits into a body with its two names and number.
pub const TEXT_BYTES_MAX: usize = 4000;

/// The codec of both ends.
pub fn codec() -> FrameCodec {
    FrameCodec::new(BODY_BYTES_MAX)
}

/// Why a body means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No such type of frame.
    Kind(u16),
    /// A body that ends too early, goes on too long, or is not UTF-8.
    Body,
}

/// What is refused, and why a connection ends; the numbers travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    Malformed = 1,
    UnknownType = 2,
    NotLoggedIn = 3,
    LoggedInAlready = 4,
    BadName = 5,
    NameTaken = 6,
    NobodyOfThatName = 7,
    NotInRoom = 8,
    TooManyRooms = 9,
    NoArchive = 10,
    Flood = 11,
    TooSlow = 12,
    Idle = 13,
    ServerFull = 14,
    Stopping = 15,
    Failed = 16,
    AsAsked = 17,
}

impl Code {
    const ALL: [Code; 17] = [
        Code::Malformed,
        Code::UnknownType,
        Code::NotLoggedIn,
        Code::LoggedInAlready,
        Code::BadName,
        Code::NameTaken,
        Code::NobodyOfThatName,
        Code::NotInRoom,
        Code::TooManyRooms,
        Code::NoArchive,
        Code::Flood,
        Code::TooSlow,
        Code::Idle,
        Code::ServerFull,
        Code::Stopping,
        Code::Failed,
        Code::AsAsked,
    ];

    fn of(number: u16) -> Option<Code> {
        Code::ALL.into_iter().find(|code| *code as u16 == number)
    }
}

/// What a client asks. Each is answered once, in order, but for `Pong`, which answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Login { name: String },
    Join { room: String },
    Leave { room: String },
    Say { room: String, text: String },
    Tell { name: String, text: String },
    Who { room: String },
    History { room: String, lines: u16 },
    Ping { bytes: Bytes },
    Pong,
    Quit,
}

impl Request {
    /// The type of its frame.
    pub fn kind(&self) -> u16 {
        match self {
            Request::Login { .. } => 1,
            Request::Join { .. } => 2,
            Request::Leave { .. } => 3,
            Request::Say { .. } => 4,
            Request::Tell { .. } => 5,
            Request::Who { .. } => 6,
            Request::History { .. } => 7,
            Request::Ping { .. } => 8,
            Request::Pong => 9,
            Request::Quit => 10,
        }
    }

    /// Its frame.
    pub fn to_frame(&self, tag: u16) -> Frame {
        let body = match self {
            Request::Login { name } => Body::new().text(name),
            Request::Join { room } | Request::Leave { room } | Request::Who { room } => {
                Body::new().text(room)
            }
            Request::Say { room, text } => Body::new().name(room).text(text),
            Request::Tell { name, text } => Body::new().name(name).text(text),
            Request::History { room, lines } => Body::new().name(room).u16(*lines),
            Request::Ping { bytes } => Body::new().bytes(bytes),
            Request::Pong | Request::Quit => Body::new(),
        };
        body.into_frame(self.kind(), tag)
    }

    /// What a frame asks.
    pub fn of(frame: &Frame) -> Result<Request, Malformed> {
        let mut body = Reader(&frame.body);
        let request = match frame.kind {
            1 => Request::Login { name: body.text()? },
            2 => Request::Join { room: body.text()? },
            3 => Request::Leave { room: body.text()? },
            4 => Request::Say {
                room: body.name()?,
                text: body.text()?,
            },
            5 => Request::Tell {
                name: body.name()?,
                text: body.text()?,
            },
            6 => Request::Who { room: body.text()? },
            7 => Request::History {
                room: body.name()?,
                lines: body.u16()?,
            },
            8 => Request::Ping {
                bytes: body.bytes(),
            },
            // What a client repeats of the server's ping is of no interest.
            9 => {
                body.bytes();
                Request::Pong
            }
            10 => Request::Quit,
            kind => return Err(Malformed::Kind(kind)),
        };
        body.end()?;
        Ok(request)
    }
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer to the request of this type, whose tag the frame repeats.
    Done { request: u16, payload: Bytes },
    /// The other answer.
    Failed {
        request: u16,
        code: Code,
        text: String,
    },
    /// Said in a room; the numbers of a room have no gaps.
    Heard {
        room: String,
        number: u64,
        from: String,
        text: String,
    },
    /// Said to this client alone.
    Told { from: String, text: String },
    /// So many messages were left out because this client reads too slowly.
    Lost { messages: u32 },
    /// What goes on like this ends the connection.
    Warning { code: Code, text: String },
    /// The last frame.
    Goodbye { code: Code, text: String },
    /// Any frame answers it; `Pong` is there for that.
    Ping,
}

impl Event {
    fn kind(&self) -> u16 {
        match self {
            Event::Done { .. } => 0x81,
            Event::Failed { .. } => 0x82,
            Event::Heard { .. } => 0x83,
            Event::Told { .. } => 0x84,
            Event::Lost { .. } => 0x85,
            Event::Warning { .. } => 0x86,
            Event::Goodbye { .. } => 0x87,
            Event::Ping => 0x88,
        }
    }

    /// Its frame.
    pub fn to_frame(&self, tag: u16) -> Frame {
        let body = match self {
            Event::Done { request, payload } => Body::new().u16(*request).bytes(payload),
            Event::Failed {
                request,
                code,
                text,
            } => Body::new().u16(*request).u16(*code as u16).text(text),
            Event::Heard {
                room,
                number,
                from,
                text,
            } => Body::new().name(room).u64(*number).name(from).text(text),
            Event::Told { from, text } => Body::new().name(from).text(text),
            Event::Lost { messages } => Body::new().u32(*messages),
            Event::Warning { code, text } | Event::Goodbye { code, text } => {
                Body::new().u16(*code as u16).text(text)
            }
            Event::Ping => Body::new(),
        };
        body.into_frame(self.kind(), tag)
    }

    /// What a frame says.
    pub fn of(frame: &Frame) -> Result<Event, Malformed> {
        let mut body = Reader(&frame.body);
        let code = |body: &mut Reader<'_>| Code::of(body.u16()?).ok_or(Malformed::Body);
        let event = match frame.kind {
            0x81 => Event::Done {
                request: body.u16()?,
                payload: body.bytes(),
            },
            0x82 => Event::Failed {
                request: body.u16()?,
                code: code(&mut body)?,
                text: body.text()?,
            },
            0x83 => Event::Heard {
                room: body.name()?,
                number: body.u64()?,
                from: body.name()?,
                text: body.text()?,
            },
            0x84 => Event::Told {
                from: body.name()?,
                text: body.text()?,
            },
            0x85 => Event::Lost {
                messages: body.u32()?,
            },
            0x86 => Event::Warning {
                code: code(&mut body)?,
                text: body.text()?,
            },
            0x87 => Event::Goodbye {
                code: code(&mut body)?,
                text: body.text()?,
            },
            0x88 => Event::Ping,
            kind => return Err(Malformed::Kind(kind)),
        };
        body.end()?;
        Ok(event)
    }
}

/// The payload of the answer to `Say`, in its two numbers: the message's in its room, and how many
/// heard it.
pub fn said(number: u64, heard: u32) -> Bytes {
    Body::new().u64(number).u32(heard).into_bytes()
}

/// The payload of the answer to `Who`: how many there are, and as many names as fit.
pub fn members(names: &[impl AsRef<str>]) -> Bytes {
    let mut body = Body::new().u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
    for name in names {
        // The type of the request stands before the payload.
        if body.len() + 1 + name.as_ref().len() > BODY_BYTES_MAX - 2 {
            break;
        }
        body = body.name(name.as_ref());
    }
    body.into_bytes()
}

/// What [`members`] wrote.
pub fn members_of(payload: &[u8]) -> Result<(u32, Vec<String>), Malformed> {
    let mut body = Reader(payload);
    let (count, mut names) = (body.u32()?, Vec::new());
    while !body.0.is_empty() {
        names.push(body.name()?);
    }
    Ok((count, names))
}
