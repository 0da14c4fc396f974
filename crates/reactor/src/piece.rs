//! Bytes received, without a copy where they lie in one buffer.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use bytes::{Buf, Bytes};

use crate::buffer::Buffer;
use crate::send_queue::Chunk;

/// Bytes that were received together or belong together: a whole buffer, a part of one that is
/// shared with other parts, or bytes put together from several. Loop-local, because buffers are;
/// [`into_bytes`](Piece::into_bytes) gives what may go to another thread.
pub struct Piece(Inner);

enum Inner {
    Whole(Buffer),
    Part {
        buffer: Rc<Buffer>,
        start: u32,
        end: u32,
    },
    Bytes(Bytes),
}

impl Piece {
    /// No bytes.
    pub const fn new() -> Piece {
        Piece(Inner::Bytes(Bytes::new()))
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Inner::Whole(buffer) => buffer.as_slice(),
            Inner::Part { buffer, start, end } => &buffer[*start as usize..*end as usize],
            Inner::Bytes(bytes) => bytes,
        }
    }

    /// Drops `n` bytes from the front (all, if there are fewer).
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len());
        match &mut self.0 {
            Inner::Whole(buffer) => buffer.advance(n),
            Inner::Part { start, .. } => *start += n as u32,
            Inner::Bytes(bytes) => bytes.advance(n),
        }
    }

    /// Keeps the first `n` bytes (all, if there are fewer).
    pub fn truncate(&mut self, n: usize) {
        match &mut self.0 {
            Inner::Whole(buffer) => buffer.truncate(n),
            Inner::Part { start, end, .. } => *end = (*start + n as u32).min(*end),
            Inner::Bytes(bytes) => bytes.truncate(n),
        }
    }

    /// Takes the first `n` bytes out (all, if there are fewer). Both share the buffer.
    pub fn split_to(&mut self, n: usize) -> Piece {
        if n >= self.len() {
            return std::mem::take(self);
        }
        if let Inner::Bytes(bytes) = &mut self.0 {
            return Piece(Inner::Bytes(bytes.split_to(n)));
        }
        let (buffer, start, end) = match std::mem::take(self).0 {
            Inner::Whole(buffer) => {
                let end = buffer.len() as u32;
                (Rc::new(buffer), 0, end)
            }
            Inner::Part { buffer, start, end } => (buffer, start, end),
            Inner::Bytes(_) => unreachable!("bytes were split above"),
        };
        let middle = start + n as u32;
        let first = Inner::Part {
            buffer: Rc::clone(&buffer),
            start,
            end: middle,
        };
        self.0 = Inner::Part {
            buffer,
            start: middle,
            end,
        };
        Piece(first)
    }

    /// The bytes for any thread: shared where they are already, copied out of a pooled buffer.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Inner::Bytes(bytes) => bytes,
            Inner::Whole(_) | Inner::Part { .. } => Bytes::copy_from_slice(self.as_slice()),
        }
    }

    /// What can be sent: without a copy, unless another piece still shares the buffer.
    pub fn into_chunk(self) -> Chunk {
        match self.0 {
            Inner::Whole(buffer) => Chunk::Buffer(buffer),
            Inner::Bytes(bytes) => Chunk::Bytes(bytes),
            Inner::Part { buffer, start, end } => match Rc::try_unwrap(buffer) {
                Ok(mut buffer) => {
                    buffer.truncate(end as usize);
                    buffer.advance(start as usize);
                    Chunk::Buffer(buffer)
                }
                Err(shared) => {
                    let bytes = &shared[start as usize..end as usize];
                    Chunk::Bytes(Bytes::copy_from_slice(bytes))
                }
            },
        }
    }
}

impl Deref for Piece {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Default for Piece {
    fn default() -> Self {
        Piece::new()
    }
}

impl From<Buffer> for Piece {
    fn from(buffer: Buffer) -> Piece {
        Piece(Inner::Whole(buffer))
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Piece {
        Piece(Inner::Bytes(bytes))
    }
}

impl From<&'static [u8]> for Piece {
    fn from(bytes: &'static [u8]) -> Piece {
        Piece(Inner::Bytes(Bytes::from_static(bytes)))
    }
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Piece {
        Piece(Inner::Bytes(bytes.into()))
    }
}

impl From<Piece> for Chunk {
    fn from(piece: Piece) -> Chunk {
        piece.into_chunk()
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Piece) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Piece {}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Inner::Whole(_) => "whole buffer",
            Inner::Part { .. } => "part of a buffer",
            Inner::Bytes(_) => "shared",
        };
        write!(f, "Piece({} bytes, {kind})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventLoop;

    fn filled(bytes: &[u8]) -> Piece {
        let mut buffer = Buffer::take();
        assert_eq!(buffer.fill(bytes), bytes.len());
        Piece::from(buffer)
    }

    #[test]
    fn parts_share_their_buffer_and_the_last_one_gets_it() {
        let _loop = EventLoop::new().unwrap();
        let mut rest = filled(b"abcdefgh");
        let place = rest.as_ptr();
        let first = rest.split_to(3);
        let second = rest.split_to(2);
        assert_eq!(
            (&*first, &*second, &*rest),
            (&b"abc"[..], &b"de"[..], &b"fgh"[..])
        );
        assert_eq!(first.as_ptr(), place, "it was copied");
        assert!(
            matches!(first.into_chunk(), Chunk::Bytes(_)),
            "it is shared"
        );
        drop(rest);
        let Chunk::Buffer(buffer) = second.into_chunk() else {
            panic!("the last part owns the buffer");
        };
        assert_eq!(buffer.as_slice(), b"de");
    }

    #[test]
    fn pieces_of_every_kind_are_cut_alike() {
        let _loop = EventLoop::new().unwrap();
        let mut part = filled(b"xabcdef");
        drop(part.split_to(1));
        for mut piece in [filled(b"abcdef"), Piece::from(&b"abcdef"[..]), part] {
            piece.advance(1);
            piece.truncate(4);
            assert_eq!(&*piece, b"bcde", "{piece:?}");
            piece.truncate(100);
            assert_eq!(&*piece.split_to(100), b"bcde");
            assert!(piece.is_empty());
            piece.advance(1);
        }
    }

    #[test]
    fn a_whole_buffer_is_sent_as_it_is() {
        let _loop = EventLoop::new().unwrap();
        let mut piece = filled(b"abc");
        piece.advance(1);
        assert!(matches!(piece.into_chunk(), Chunk::Buffer(buffer) if &*buffer == b"bc"));
        assert_eq!(filled(b"abc").into_bytes(), &b"abc"[..]);
    }
}
