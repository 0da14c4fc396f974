//! Messages on a stream of bytes: what was written at once is not what is read at once.
//!
//! A [`Codec`] says where a message ends and what it means; it does no I/O and remembers no
//! bytes. The [`Decoder`] puts messages together, out of any fragmentation, and without a copy
//! where one lies in a single buffer. [`Framed`] is a [`Stream`] with both.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::buffer::Buffer;
use crate::event_loop;
use crate::net::Stream;
use crate::piece::Piece;
use crate::send_queue::{Chunk, SendQueue};

/// How far the first message in some bytes extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes, at least 1. They need not be there yet.
    Exactly(usize),
    /// That shows once there are so many bytes.
    AtLeast(usize),
    /// That shows once there are more bytes.
    Unknown,
}

/// Where messages end, and what they mean.
pub trait Codec {
    /// What is received.
    type In;
    /// What is sent.
    type Out;

    /// Says how far the message extends that begins with `bytes`, which are never empty. The
    /// next call is with the same bytes and more, unless this one said
    /// [`Exactly`](Extent::Exactly) as many as there were, or fewer.
    ///
    /// # Errors
    ///
    /// [`CodecError::TooLong`] as soon as that is known: the maximum bounds the memory
    /// that a peer can make this end hold. Any error ends the stream.
    fn examine(&mut self, bytes: &[u8]) -> Result<Extent, CodecError>;

    /// The same at the end of the stream, where no more bytes come.
    ///
    /// # Errors
    ///
    /// [`CodecError::Truncated`], unless the codec takes the end of the stream for a message's.
    fn examine_end(&mut self, bytes: &[u8]) -> Result<Extent, CodecError> {
        Err(CodecError::Truncated { bytes: bytes.len() })
    }

    /// Makes a message of its bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with them. Any error ends the stream.
    fn decode(&mut self, bytes: Piece) -> Result<Self::In, CodecError>;

    /// Appends a message to what is to be sent.
    ///
    /// # Errors
    ///
    /// A message that the other end would refuse; nothing is appended then.
    fn encode(&mut self, message: Self::Out, out: &mut Outgoing) -> Result<(), CodecError>;
}

/// Why there is no message.
#[derive(Debug)]
pub enum CodecError {
    /// The stream failed.
    Io(io::Error),
    /// A message is longer than its codec allows.
    TooLong {
        /// Its length in bytes, as far as it is known.
        bytes: u64,
        /// The maximum.
        bytes_max: u64,
    },
    /// The bytes are not those that were sent.
    Checksum {
        /// The sum that came with the message.
        received: u32,
        /// The sum of what came.
        computed: u32,
    },
    /// The stream ended within a message.
    Truncated {
        /// Bytes of it that there were.
        bytes: usize,
    },
    /// Not what the codec expects.
    Malformed(&'static str),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::Io(error) => error.fmt(f),
            CodecError::TooLong { bytes, bytes_max } => {
                write!(
                    f,
                    "a message of {bytes} bytes or more, where {bytes_max} are allowed"
                )
            }
            CodecError::Checksum { received, computed } => write!(
                f,
                "a message with checksum {received:08x} whose bytes have {computed:08x}"
            ),
            CodecError::Truncated { bytes } => {
                write!(
                    f,
                    "the stream ended within a message, after {bytes} bytes of it"
                )
            }
            CodecError::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CodecError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for CodecError {
    fn from(error: io::Error) -> Self {
        CodecError::Io(error)
    }
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Io(error) => error,
            CodecError::Truncated { .. } => io::Error::new(io::ErrorKind::UnexpectedEof, error),
            _ => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// What a codec sends: small things side by side in pooled buffers, large ones as they are.
#[derive(Debug, Default)]
pub struct Outgoing {
    queue: SendQueue,
    open: Option<Buffer>,
}

impl Outgoing {
    /// Nothing to send.
    pub fn new() -> Outgoing {
        Outgoing::default()
    }

    /// Appends a copy of the bytes.
    ///
    /// # Panics
    ///
    /// If there is no loop on this thread.
    pub fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let open = self.open.get_or_insert_with(Buffer::take);
            let taken = open.fill(bytes);
            bytes = &bytes[taken..];
            if open.spare_len() == 0 {
                self.close();
            }
        }
    }

    /// Appends a chunk, without a copy.
    pub fn push(&mut self, chunk: impl Into<Chunk>) {
        self.close();
        self.queue.push(chunk);
    }

    /// Bytes to send.
    pub fn bytes(&self) -> u64 {
        self.queue.bytes() + self.open.as_ref().map_or(0, |open| open.len() as u64)
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Takes out what is to be sent.
    pub fn take(&mut self) -> SendQueue {
        self.close();
        std::mem::take(&mut self.queue)
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let fitting = event_loop::with_core(|core| core.buffers.fit(open));
            self.queue.push(fitting);
        }
    }
}

/// Puts messages together from what is received. Does no I/O, and knows no stream.
///
/// It holds no memory while no message is begun. While one is, it grows with what has come, to
/// less than twice the codec's maximum and one receive: a length alone makes it hold nothing.
#[derive(Debug)]
pub struct Decoder<C> {
    codec: C,
    /// What was received last.
    current: Piece,
    /// The beginning of a message that did not lie in one piece.
    partial: BytesMut,
    /// The bytes that `partial` has to grow to before it is worth another look.
    wanted: Option<usize>,
    failed: bool,
}

impl<C: Codec> Decoder<C> {
    /// A decoder at the beginning of a stream.
    pub fn new(codec: C) -> Decoder<C> {
        Decoder {
            codec,
            current: Piece::new(),
            partial: BytesMut::new(),
            wanted: None,
            failed: false,
        }
    }

    /// The codec.
    pub fn codec(&mut self) -> &mut C {
        &mut self.codec
    }

    /// Bytes received that no message was made of yet.
    pub fn pending_bytes(&self) -> usize {
        self.current.len() + self.partial.len()
    }

    /// Adds what was received. Take all messages out before: if some are left, they are
    /// copied to make room.
    pub fn push(&mut self, received: impl Into<Piece>) {
        let received = received.into();
        self.current = join(std::mem::take(&mut self.current), received);
    }

    /// The next message; `None` if it is not there yet.
    ///
    /// # Errors
    ///
    /// What the codec says. As the place where the next message begins is lost then, every
    /// further call fails, too.
    #[expect(clippy::should_implement_trait, reason = "it ends, and begins again")]
    pub fn next(&mut self) -> Result<Option<C::In>, CodecError> {
        self.check()?;
        let result = self.advance();
        self.failed = result.is_err();
        result
    }

    /// The last message, at the end of the stream; `None` if it ended between two.
    ///
    /// # Errors
    ///
    /// [`CodecError::Truncated`] if it ended within one, and what the codec says.
    pub fn finish(&mut self) -> Result<Option<C::In>, CodecError> {
        self.check()?;
        let partial = std::mem::take(&mut self.partial).freeze();
        let mut left = join(partial.into(), std::mem::take(&mut self.current));
        if left.is_empty() {
            return Ok(None);
        }
        self.failed = true;
        match self.codec.examine_end(&left)? {
            Extent::Exactly(len) if (1..=left.len()).contains(&len) => {
                let message = self.codec.decode(left.split_to(len))?;
                self.current = left;
                self.failed = false;
                Ok(Some(message))
            }
            _ => Err(CodecError::Truncated { bytes: left.len() }),
        }
    }

    fn check(&self) -> Result<(), CodecError> {
        if self.failed {
            let what = "the stream cannot be read any further after an error";
            return Err(CodecError::Malformed(what));
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<C::In>, CodecError> {
        if self.partial.is_empty() {
            if self.current.is_empty() {
                return Ok(None);
            }
            return match self.extent(None)? {
                Some(len) => self.codec.decode(self.current.split_to(len)).map(Some),
                None => {
                    self.partial.extend_from_slice(&self.current);
                    self.current = Piece::new();
                    Ok(None)
                }
            };
        }
        while !self.current.is_empty() {
            let missing = match self.wanted {
                Some(wanted) => wanted - self.partial.len(),
                None => self.current.len(),
            };
            let taken = missing.min(self.current.len());
            self.partial.extend_from_slice(&self.current[..taken]);
            self.current.advance(taken);
            if taken < missing {
                break;
            }
            let partial = std::mem::take(&mut self.partial);
            let extent = self.extent(Some(&partial));
            match extent? {
                Some(len) => {
                    let mut whole = partial.freeze();
                    let message = whole.split_to(len);
                    self.current = join(whole.into(), std::mem::take(&mut self.current));
                    return self.codec.decode(message.into()).map(Some);
                }
                None => self.partial = partial,
            }
        }
        Ok(None)
    }

    /// The length of the message that begins `partial` (or the current piece), if it is all
    /// there; else notes what is missing.
    fn extent(&mut self, partial: Option<&[u8]>) -> Result<Option<usize>, CodecError> {
        let bytes = partial.unwrap_or(&self.current);
        let extent = self.codec.examine(bytes)?;
        self.wanted = match extent {
            Extent::Exactly(0) => {
                return Err(CodecError::Malformed(
                    "the codec found a message of no bytes",
                ));
            }
            Extent::Exactly(len) if len <= bytes.len() => return Ok(Some(len)),
            Extent::Exactly(len) | Extent::AtLeast(len) => Some(len).filter(|&n| n > bytes.len()),
            Extent::Unknown => None,
        };
        Ok(None)
    }
}

fn join(first: Piece, second: Piece) -> Piece {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second,
        (_, true) => first,
        _ => Bytes::from([&*first, &*second].concat()).into(),
    }
}

/// A stream of messages: a [`Stream`] and a [`Codec`]. Loop-local.
///
/// ```
/// use revolve_reactor::{EventLoop, Framed, LineCodec, Stream};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// EventLoop::new()?.block_on(async {
///     let (one, other) = std::os::unix::net::UnixStream::pair()?;
///     one.set_nonblocking(true)?;
///     other.set_nonblocking(true)?;
///     let mut one = Framed::new(Stream::from_fd(one.into())?, LineCodec::new(80));
///     let mut other = Framed::new(Stream::from_fd(other.into())?, LineCodec::new(80));
///     one.send(b"hello"[..].into()).await?;
///     let line = other.next().await?.expect("a line");
///     assert_eq!(&*line, b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Framed<C> {
    stream: Rc<Stream>,
    decoder: Decoder<C>,
    outgoing: Outgoing,
}

impl<C: Codec> Framed<C> {
    /// Messages on a stream. A stream that others send on, too, comes as an `Rc`.
    pub fn new(stream: impl Into<Rc<Stream>>, codec: C) -> Framed<C> {
        Framed {
            stream: stream.into(),
            decoder: Decoder::new(codec),
            outgoing: Outgoing::new(),
        }
    }

    /// The stream.
    pub fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }

    /// The decoder, with what was received and not taken yet.
    pub fn decoder(&mut self) -> &mut Decoder<C> {
        &mut self.decoder
    }

    /// The next message; `None` at the end of the stream. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Those of the stream and of the codec.
    pub async fn next(&mut self) -> Result<Option<C::In>, CodecError> {
        self.receive(None).await
    }

    /// As [`next`](Framed::next), but no later than `deadline`.
    ///
    /// # Errors
    ///
    /// As `next`; an I/O error of the kind `TimedOut` when the time has passed.
    pub async fn next_before(&mut self, deadline: Instant) -> Result<Option<C::In>, CodecError> {
        self.receive(Some(deadline)).await
    }

    async fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<C::In>, CodecError> {
        loop {
            if let Some(message) = self.decoder.next()? {
                return Ok(Some(message));
            }
            let mut recv = self.stream.recv();
            if let Some(deadline) = deadline {
                recv = recv.deadline(deadline);
            }
            let received = recv.await?;
            if received.is_empty() {
                return self.decoder.finish();
            }
            self.decoder.push(received);
        }
    }

    /// Encodes a message, to be sent with the next [`flush`](Framed::flush).
    ///
    /// # Errors
    ///
    /// Those of the codec.
    pub fn feed(&mut self, message: C::Out) -> Result<(), CodecError> {
        self.decoder.codec.encode(message, &mut self.outgoing)
    }

    /// Bytes that were fed and not sent.
    pub fn fed_bytes(&self) -> u64 {
        self.outgoing.bytes()
    }

    /// Sends what was fed, in as few calls as can be. Dropping the future leaves it unknown
    /// how much was sent.
    ///
    /// # Errors
    ///
    /// As [`Stream::send`].
    pub async fn flush(&mut self) -> Result<(), CodecError> {
        if !self.outgoing.is_empty() {
            self.stream.send(self.outgoing.take()).await.0?;
        }
        Ok(())
    }

    /// Encodes a message and sends it.
    ///
    /// # Errors
    ///
    /// Those of the codec, and as [`Stream::send`].
    pub async fn send(&mut self, message: C::Out) -> Result<(), CodecError> {
        self.feed(message)?;
        self.flush().await
    }
}
