//! The common ways to tell where a message ends: its length in front, a line's end, or always the
//! same length.

use crate::codec::{Codec, CodecError, Extent, Outgoing};
use crate::piece::Piece;
use crate::send_queue::Chunk;

fn check_max(bytes: u64, bytes_max: u64) -> Result<(), CodecError> {
    if bytes > bytes_max {
        return Err(CodecError::TooLong { bytes, bytes_max });
    }
    Ok(())
}

/// Chunks up to so many bytes are copied beside others rather than sent as chunks of their own.
const COPIED_BYTES_MAX: u64 = 1024;

/// Appends a chunk: a small one by a copy, a large one or a file as it is.
pub(crate) fn append(chunk: Chunk, out: &mut Outgoing) {
    match chunk.memory() {
        Some(bytes) if chunk.len() <= COPIED_BYTES_MAX => out.put(bytes),
        _ => out.push(chunk),
    }
}

/// Messages with their length in front, as an unsigned number: by default of 4 bytes, most
/// significant first, which counts the bytes behind it.
#[derive(Clone, Copy, Debug)]
pub struct LengthCodec {
    prefix_bytes: usize,
    little_endian: bool,
    bytes_max: usize,
}

impl LengthCodec {
    /// Messages of at most `bytes_max` bytes without their prefix.
    pub fn new(bytes_max: usize) -> LengthCodec {
        LengthCodec {
            prefix_bytes: 4,
            little_endian: false,
            bytes_max,
        }
    }

    /// Bytes of the prefix, 1 to 8. Default 4.
    pub fn prefix_bytes(mut self, bytes: usize) -> Self {
        self.prefix_bytes = bytes.clamp(1, 8);
        self
    }

    /// Whether the least significant byte comes first. Default: the most significant one does.
    pub fn little_endian(mut self, little: bool) -> Self {
        self.little_endian = little;
        self
    }

    fn read(&self, prefix: &[u8]) -> u64 {
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.little_endian {
            prefix.iter().rev().fold(0, add)
        } else {
            prefix.iter().fold(0, add)
        }
    }

    /// The largest number that the prefix can hold, and the codec allows.
    fn len_max(&self) -> u64 {
        let prefix_max = u64::MAX >> (64 - 8 * self.prefix_bytes as u32);
        prefix_max.min(self.bytes_max as u64)
    }
}

impl Codec for LengthCodec {
    type In = Piece;
    type Out = Chunk;

    fn examine(&mut self, bytes: &[u8]) -> Result<Extent, CodecError> {
        let Some(prefix) = bytes.get(..self.prefix_bytes) else {
            return Ok(Extent::AtLeast(self.prefix_bytes));
        };
        let len = self.read(prefix);
        check_max(len, self.bytes_max as u64)?;
        // It is no more than `bytes_max`, which is a usize.
        Ok(Extent::Exactly(self.prefix_bytes + len as usize))
    }

    fn decode(&mut self, mut bytes: Piece) -> Result<Piece, CodecError> {
        bytes.advance(self.prefix_bytes);
        Ok(bytes)
    }

    fn encode(&mut self, message: Chunk, out: &mut Outgoing) -> Result<(), CodecError> {
        let len = message.len();
        check_max(len, self.len_max())?;
        if self.little_endian {
            out.put(&len.to_le_bytes()[..self.prefix_bytes]);
        } else {
            out.put(&len.to_be_bytes()[8 - self.prefix_bytes..]);
        }
        append(message, out);
        Ok(())
    }
}

/// Lines, which end with LF or CR LF and are given without. What stands behind the last line's
/// end, when the stream ends, is a line, too.
#[derive(Clone, Copy, Debug)]
pub struct LineCodec {
    bytes_max: usize,
    /// Bytes that were seen to hold no line's end.
    scanned: usize,
}

impl LineCodec {
    /// Lines of at most `bytes_max` bytes without their end.
    pub fn new(bytes_max: usize) -> LineCodec {
        LineCodec {
            bytes_max,
            scanned: 0,
        }
    }
}

fn without_end(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

impl Codec for LineCodec {
    type In = Piece;
    type Out = Chunk;

    fn examine(&mut self, bytes: &[u8]) -> Result<Extent, CodecError> {
        let unseen = &bytes[self.scanned.min(bytes.len())..];
        let Some(end) = unseen.iter().position(|&byte| byte == b'\n') else {
            self.scanned = bytes.len();
            // A CR at the end may belong to the line's end.
            check_max(without_end(bytes) as u64, self.bytes_max as u64)?;
            return Ok(Extent::Unknown);
        };
        let len = self.scanned + end + 1;
        self.scanned = 0;
        check_max(without_end(&bytes[..len]) as u64, self.bytes_max as u64)?;
        Ok(Extent::Exactly(len))
    }

    fn examine_end(&mut self, bytes: &[u8]) -> Result<Extent, CodecError> {
        Ok(match self.examine(bytes)? {
            Extent::Exactly(len) => Extent::Exactly(len),
            _ => {
                self.scanned = 0;
                check_max(bytes.len() as u64, self.bytes_max as u64)?;
                Extent::Exactly(bytes.len())
            }
        })
    }

    fn decode(&mut self, mut bytes: Piece) -> Result<Piece, CodecError> {
        // Where the stream ended without a line's end, a CR is part of the line.
        if bytes.ends_with(b"\n") {
            let len = without_end(&bytes);
            bytes.truncate(len);
        }
        Ok(bytes)
    }

    fn encode(&mut self, message: Chunk, out: &mut Outgoing) -> Result<(), CodecError> {
        check_max(message.len(), self.bytes_max as u64)?;
        let bytes = message
            .memory()
            .ok_or(CodecError::Malformed("a line cannot come out of a file"))?;
        if bytes.contains(&b'\n') {
            return Err(CodecError::Malformed("a line that has a line's end in it"));
        }
        if bytes.ends_with(b"\r") {
            return Err(CodecError::Malformed("a line that ends with a CR"));
        }
        append(message, out);
        out.put(b"\n");
        Ok(())
    }
}

/// Messages that all have the same length.
#[derive(Clone, Copy, Debug)]
pub struct FixedCodec {
    bytes: usize,
}

impl FixedCodec {
    /// Messages of exactly so many bytes, at least 1.
    pub fn new(bytes: usize) -> FixedCodec {
        FixedCodec {
            bytes: bytes.max(1),
        }
    }
}

impl Codec for FixedCodec {
    type In = Piece;
    type Out = Chunk;

    fn examine(&mut self, _: &[u8]) -> Result<Extent, CodecError> {
        Ok(Extent::Exactly(self.bytes))
    }

    fn decode(&mut self, bytes: Piece) -> Result<Piece, CodecError> {
        Ok(bytes)
    }

    fn encode(&mut self, message: Chunk, out: &mut Outgoing) -> Result<(), CodecError> {
        check_max(message.len(), self.bytes as u64)?;
        if message.len() < self.bytes as u64 {
            return Err(CodecError::Malformed("a message shorter than all are"));
        }
        append(message, out);
        Ok(())
    }
}
