//! FastCGI, from the side of the web server that asks (FastCGI Specification 1.0, 29 April 1996,
//! <https://fastcgi-archives.github.io/FastCGI_Specification.html>).
//!
//! A connection carries one request at a time, as with nginx, and its id is 1: no application is
//! known that multiplexes. What a request is made of, in order: [`begin`], [`Params`], records of its
//! body by [`stdin_head`], and one of those with length 0. What comes back is read by [`Reader`]; what
//! the application writes to its standard output is a head without a status line
//! ([`StatusLine::Absent`](crate::h1::StatusLine::Absent)) and a body.

use std::fmt;

const VERSION: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const ABORT_REQUEST: u8 = 2;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const RESPONDER: u8 = 1;
const KEEP_CONN: u8 = 1;
const REQUEST_ID: u16 = 1;
const HEAD_BYTES: usize = 8;

/// The most bytes that one record holds.
pub const RECORD_BYTES_MAX: usize = 65535;

/// The record that asks an application to give up the request.
pub const ABORT: [u8; 8] = record_head(ABORT_REQUEST, 0, 0);

/// The head of a record.
const fn record_head(kind: u8, content_bytes: u16, padding_bytes: u8) -> [u8; HEAD_BYTES] {
    let [id_high, id_low] = REQUEST_ID.to_be_bytes();
    let [len_high, len_low] = content_bytes.to_be_bytes();
    [
        VERSION,
        kind,
        id_high,
        id_low,
        len_high,
        len_low,
        padding_bytes,
        0,
    ]
}

/// Appends the record that begins a request in the role of a responder. With `keep_conn` the
/// application leaves the connection open after it.
pub fn begin(out: &mut Vec<u8>, keep_conn: bool) {
    out.extend_from_slice(&record_head(BEGIN_REQUEST, 8, 0));
    let flags = if keep_conn { KEEP_CONN } else { 0 };
    out.extend_from_slice(&[0, RESPONDER, flags, 0, 0, 0, 0, 0]);
}

/// The head of a record of the request's body, whose bytes follow it; one without bytes ends the body.
#[must_use]
pub const fn stdin_head(content_bytes: u16) -> [u8; 8] {
    record_head(STDIN, content_bytes, 0)
}

/// Writes the parameters of a request, in as many records as they need.
///
/// Names and values may hold any bytes. [`finish`](Self::finish) has to be called.
#[derive(Debug)]
pub struct Params<'a> {
    out: &'a mut Vec<u8>,
    /// Where the head of the open record stands.
    record: usize,
}

impl<'a> Params<'a> {
    /// Parameters that are appended to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let record = out.len();
        out.extend_from_slice(&record_head(PARAMS, 0, 0));
        Self { out, record }
    }

    /// Writes one. The length of each of the two is at most `i32::MAX`; what is beyond is cut off.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let cut = |text: &'_ [u8]| text.len().min(i32::MAX as usize);
        let (name, value) = (&name[..cut(name)], &value[..cut(value)]);
        for len in [name.len(), value.len()] {
            match u8::try_from(len) {
                Ok(len @ 0..=127) => self.append(&[len]),
                _ => self.append(&(len as u32 | 1 << 31).to_be_bytes()),
            }
        }
        self.append(name);
        self.append(value);
    }

    /// Ends the parameters.
    pub fn finish(mut self) {
        if self.content_bytes() > 0 {
            self.next_record();
        }
    }

    fn content_bytes(&self) -> usize {
        self.out.len() - self.record - HEAD_BYTES
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = RECORD_BYTES_MAX - self.content_bytes();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.out.extend_from_slice(now);
            bytes = rest;
            if !bytes.is_empty() {
                self.next_record();
            }
        }
    }

    /// Closes the open record, filled up to a multiple of eight bytes as the specification
    /// recommends, and opens one.
    fn next_record(&mut self) {
        let content = self.content_bytes();
        let padding = content.wrapping_neg() % 8;
        self.out.resize(self.out.len() + padding, 0);
        let head = record_head(PARAMS, content as u16, padding as u8);
        self.out[self.record..][..HEAD_BYTES].copy_from_slice(&head);
        self.record = self.out.len();
        self.out.extend_from_slice(&record_head(PARAMS, 0, 0));
    }
}

/// What [`Reader::read`] found. All offsets count from the first byte of its input.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// `input[start..consumed]` is standard output: head and body. Drop `consumed` bytes, call again.
    Stdout {
        /// The offset of its first byte.
        start: usize,
        /// The offset past its last.
        consumed: usize,
    },
    /// `input[start..consumed]` is standard error, for the log.
    Stderr {
        /// The offset of its first byte.
        start: usize,
        /// The offset past its last.
        consumed: usize,
    },
    /// All of the input is done with, and the request has not ended.
    NeedMore {
        /// How many bytes of the input are done with: all.
        consumed: usize,
    },
    /// The request has ended.
    End {
        /// What the application ended with, as a process does with `exit`.
        app_status: u32,
        /// How many bytes of the input belonged to it; a connection that has more is not sound.
        consumed: usize,
    },
}

/// Why what an application sent cannot be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FastCgiError {
    /// A record of another version than 1.
    UnsupportedVersion(u8),
    /// A record of a type that no application sends, or standard output after its end.
    UnexpectedRecord(u8),
    /// A record of a request that was not made.
    UnexpectedRequestId(u16),
    /// An end of another length than 8 bytes.
    InvalidEnd,
    /// The application refuses the request: 1 for one request too many on a connection, 2 for too
    /// much to do, 3 for an unknown role.
    Refused(u8),
}

impl fmt::Display for FastCgiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedVersion(version) => {
                write!(f, "unsupported FastCGI protocol version: {version}")
            }
            Self::UnexpectedRecord(kind) => write!(f, "unexpected FastCGI record: {kind}"),
            Self::UnexpectedRequestId(id) => write!(f, "unexpected FastCGI request id: {id}"),
            Self::InvalidEnd => write!(f, "invalid FastCGI end of a request"),
            Self::Refused(status) => write!(f, "FastCGI request refused: {status}"),
        }
    }
}

impl std::error::Error for FastCgiError {}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Head,
    Stdout,
    Stderr,
    End,
    /// The bytes of the end that nothing is made of: padding.
    EndPadding,
    Ended,
    Failed(FastCgiError),
}

/// Reads what an application answers, in any fragmentation, without copying it and without
/// allocating.
///
/// Each byte is shown once. Stricter than nginx on purpose: nothing may follow the end of standard
/// output but standard error and the end of the request.
#[derive(Clone, Debug)]
pub struct Reader {
    state: State,
    /// A head, or an end, as far as it has come.
    pending: [u8; HEAD_BYTES],
    pending_len: usize,
    /// Of the open record.
    content_left: usize,
    padding_left: usize,
    stdout_ended: bool,
    app_status: u32,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader before the first record.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Head,
            pending: [0; HEAD_BYTES],
            pending_len: 0,
            content_left: 0,
            padding_left: 0,
            stdout_ended: false,
            app_status: 0,
        }
    }

    /// Whether the request has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Reads on, up to the first piece of output, the end of the request, or the end of `input`.
    ///
    /// # Errors
    ///
    /// See [`FastCgiError`]. Later calls return the same error.
    pub fn read(&mut self, input: &[u8]) -> Result<Read, FastCgiError> {
        let read = self.advance(input);
        if let Err(error) = read {
            self.state = State::Failed(error);
        }
        read
    }

    fn advance(&mut self, input: &[u8]) -> Result<Read, FastCgiError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Failed(error) => return Err(error),
                State::Stdout | State::Stderr if self.content_left > 0 => {
                    if at == input.len() {
                        return Ok(Read::NeedMore { consumed: at });
                    }
                    return Ok(self.output(input, at));
                }
                State::End if self.content_left > 0 => {
                    let Some(end) = self.collect(input, &mut at) else {
                        return Ok(Read::NeedMore { consumed: at });
                    };
                    self.content_left = 0;
                    self.end(end)?;
                }
                State::Ended => {
                    return Ok(Read::End {
                        app_status: self.app_status,
                        consumed: at,
                    });
                }
                State::Head => {
                    let Some(head) = self.collect(input, &mut at) else {
                        return Ok(Read::NeedMore { consumed: at });
                    };
                    self.head(head)?;
                }
                State::Stdout | State::Stderr | State::End | State::EndPadding => {
                    let skipped = self.padding_left.min(input.len() - at);
                    at += skipped;
                    self.padding_left -= skipped;
                    if self.padding_left > 0 {
                        return Ok(Read::NeedMore { consumed: at });
                    }
                    self.state = match self.state {
                        State::EndPadding => State::Ended,
                        _ => State::Head,
                    };
                }
            }
        }
    }

    /// Eight bytes, once they are there.
    fn collect(&mut self, input: &[u8], at: &mut usize) -> Option<[u8; HEAD_BYTES]> {
        let room = &mut self.pending[self.pending_len..];
        let taken = room.len().min(input.len() - *at);
        room[..taken].copy_from_slice(&input[*at..*at + taken]);
        *at += taken;
        self.pending_len += taken;
        if self.pending_len < HEAD_BYTES {
            return None;
        }
        self.pending_len = 0;
        Some(self.pending)
    }

    fn output(&mut self, input: &[u8], start: usize) -> Read {
        let taken = self.content_left.min(input.len() - start);
        self.content_left -= taken;
        let consumed = start + taken;
        match self.state {
            State::Stdout => Read::Stdout { start, consumed },
            _ => Read::Stderr { start, consumed },
        }
    }

    fn head(&mut self, head: [u8; HEAD_BYTES]) -> Result<(), FastCgiError> {
        let [
            version,
            kind,
            id_high,
            id_low,
            len_high,
            len_low,
            padding,
            _,
        ] = head;
        if version != VERSION {
            return Err(FastCgiError::UnsupportedVersion(version));
        }
        self.content_left = usize::from(u16::from_be_bytes([len_high, len_low]));
        self.padding_left = usize::from(padding);
        self.state = match kind {
            STDOUT if !self.stdout_ended => State::Stdout,
            STDERR => State::Stderr,
            END_REQUEST if self.content_left != HEAD_BYTES => return Err(FastCgiError::InvalidEnd),
            END_REQUEST => State::End,
            _ => return Err(FastCgiError::UnexpectedRecord(kind)),
        };
        self.stdout_ended |= kind == STDOUT && self.content_left == 0;
        match u16::from_be_bytes([id_high, id_low]) {
            REQUEST_ID => Ok(()),
            other => Err(FastCgiError::UnexpectedRequestId(other)),
        }
    }

    fn end(&mut self, end: [u8; HEAD_BYTES]) -> Result<(), FastCgiError> {
        let [a, b, c, d, protocol_status, ..] = end;
        self.app_status = u32::from_be_bytes([a, b, c, d]);
        self.state = State::EndPadding;
        match protocol_status {
            0 => Ok(()),
            other => Err(FastCgiError::Refused(other)),
        }
    }
}
