//! The frame of the message server: length, type, flags, checksum, body.
//!
//! ```text
//!  0        4      6       8        12
//! +--------+------+-------+--------+----------------+
//! | length | type | flags | CRC-32 | body           |
//! +--------+------+-------+--------+----------------+
//! ```
//!
//! All numbers are unsigned, most significant byte first. The length counts the bytes of the body
//! alone. Type and flags belong to the application. The CRC-32 (IEEE 802.3, as in zlib and
//! gzip) is that of the first eight bytes and the body, so that no part of a frame
//! goes unchecked.

use bytes::{BufMut, Bytes, BytesMut};
use crc32fast::Hasher;
use revolve_reactor::{Codec, CodecError, Extent, Outgoing, Piece};

/// Bytes in front of a frame's body.
pub const FRAME_HEADER_BYTES: usize = 12;

/// The largest body that [`FrameCodec::default`] takes: 64 KiB.
pub const FRAME_BODY_BYTES_MAX: usize = 64 * 1024;

/// A body of so many bytes is copied behind its header: less work than a piece of its own.
const COPIED_BYTES_MAX: usize = 1024;

/// One message. The body is not copied where the frame lay in one buffer.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Frame {
    /// What the message is; the application says which numbers mean what.
    pub kind: u16,
    /// Bits for the application.
    pub flags: u16,
    /// What it says.
    pub body: Piece,
}

impl Frame {
    /// A frame without flags.
    pub fn new(kind: u16, body: impl Into<Piece>) -> Frame {
        Frame {
            kind,
            flags: 0,
            body: body.into(),
        }
    }

    /// The whole frame in bytes that may be shared: what goes to many is encoded once.
    ///
    /// # Errors
    ///
    /// [`CodecError::TooLong`]: a body of 4 GiB and more cannot be written down.
    pub fn to_bytes(&self) -> Result<Bytes, CodecError> {
        let header = self.header()?;
        let mut bytes = BytesMut::with_capacity(header.len() + self.body.len());
        bytes.put_slice(&header);
        bytes.put_slice(&self.body);
        Ok(bytes.freeze())
    }

    fn header(&self) -> Result<[u8; FRAME_HEADER_BYTES], CodecError> {
        let bytes = self.body.len() as u64;
        let Ok(len) = u32::try_from(bytes) else {
            let bytes_max = u64::from(u32::MAX);
            return Err(CodecError::TooLong { bytes, bytes_max });
        };
        let mut header = [0; FRAME_HEADER_BYTES];
        header[0..4].copy_from_slice(&len.to_be_bytes());
        header[4..6].copy_from_slice(&self.kind.to_be_bytes());
        header[6..8].copy_from_slice(&self.flags.to_be_bytes());
        let sum = checksum(&header[..8], &self.body);
        header[8..12].copy_from_slice(&sum.to_be_bytes());
        Ok(header)
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The codec of [`Frame`]s.
#[derive(Clone, Copy, Debug)]
pub struct FrameCodec {
    body_bytes_max: usize,
}

impl FrameCodec {
    /// Frames with a body of at most so many bytes, both ways. A longer one that comes in is
    /// an error as soon as its header is there, before any memory is spent on it.
    pub fn new(body_bytes_max: usize) -> FrameCodec {
        FrameCodec { body_bytes_max }
    }

    fn check(&self, bytes: u64) -> Result<(), CodecError> {
        let bytes_max = self.body_bytes_max as u64;
        if bytes > bytes_max {
            return Err(CodecError::TooLong { bytes, bytes_max });
        }
        Ok(())
    }
}

impl Default for FrameCodec {
    /// Bodies of at most [`FRAME_BODY_BYTES_MAX`].
    fn default() -> Self {
        FrameCodec::new(FRAME_BODY_BYTES_MAX)
    }
}

impl Codec for FrameCodec {
    type In = Frame;
    type Out = Frame;

    fn examine(&mut self, bytes: &[u8]) -> Result<Extent, CodecError> {
        // The length alone shows a frame that is too long: no need to wait for more.
        if bytes.len() < 4 {
            return Ok(Extent::AtLeast(4));
        }
        let len = u32_at(bytes, 0);
        self.check(u64::from(len))?;
        Ok(Extent::Exactly(FRAME_HEADER_BYTES + len as usize))
    }

    fn decode(&mut self, mut bytes: Piece) -> Result<Frame, CodecError> {
        let received = u32_at(&bytes, 8);
        let computed = checksum(&bytes[..8], &bytes[FRAME_HEADER_BYTES..]);
        if received != computed {
            return Err(CodecError::Checksum { received, computed });
        }
        let (kind, flags) = (u16_at(&bytes, 4), u16_at(&bytes, 6));
        bytes.advance(FRAME_HEADER_BYTES);
        Ok(Frame {
            kind,
            flags,
            body: bytes,
        })
    }

    fn encode(&mut self, frame: Frame, out: &mut Outgoing) -> Result<(), CodecError> {
        self.check(frame.body.len() as u64)?;
        out.put(&frame.header()?);
        let body = frame.body;
        if body.len() <= COPIED_BYTES_MAX {
            out.put(&body);
        } else {
            out.push(body.into_chunk());
        }
        Ok(())
    }
}
