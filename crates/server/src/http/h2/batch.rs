//! What leaves in one write: heads and small bodies as they were written, and then parts of the other
//! bodies, by whose turn it is.
//!
//! All of it is copied into one piece of memory, files too: a frame carries 8 KiB by default, so that
//! sending each from where it lies would take two system calls or two pieces of a gathered write.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::rc::Rc;
use std::slice::ChunksMut;

use revolve_http::h2::{Connection as Machine, ErrorCode, Grant, HEAD_BYTES};

use super::stream::{Carrier, Stream};
use crate::file_cache::Content;
use crate::http::body::Piece;

/// What of bodies leaves at once: the rest stays with its streams, so that what is more urgent and comes
/// meanwhile is not behind it.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// What comes beside bodies, and bodies that are hardly worth memory for a batch.
const SMALL_BYTES: usize = 4096;

/// Streams whose bodies could not be read to their ends.
pub(super) type Broken = Vec<(Rc<Stream>, io::ErrorKind)>;

/// Fills what leaves next from the streams.
pub(super) fn fill(carrier: &Carrier) -> Broken {
    let mut broken = Broken::new();
    let machine = &mut *carrier.machine.borrow_mut();
    loop {
        let room = BATCH_BYTES_MAX.saturating_sub(machine.out().len() + HEAD_BYTES);
        let grant = match room {
            0 => None,
            room => machine.grant(room),
        };
        let Some(grant) = grant else {
            return broken;
        };
        if grant.len > SMALL_BYTES {
            // At once, and not by doubling.
            let room = BATCH_BYTES_MAX.saturating_sub(machine.out().len());
            machine.out().reserve(room + SMALL_BYTES);
        }
        let Some(stream) = machine.user(grant.stream).cloned() else {
            machine.finish(grant.stream);
            continue;
        };
        if let Err(error) = write(carrier, machine, grant, &stream) {
            // Its client is not to take it for whole; others go on.
            machine.reset(stream.id(), ErrorCode::INTERNAL_ERROR);
            broken.push((stream, error.kind()));
        }
    }
}

/// Writes a part of a body, and what ends it.
fn write(
    carrier: &Carrier,
    machine: &mut Machine<Rc<Stream>>,
    grant: Grant,
    stream: &Rc<Stream>,
) -> io::Result<()> {
    let Grant { len, is_last, .. } = grant;
    let id = stream.id();
    let has_trailers = is_last && stream.has_trailers();
    let start = machine.out().len();
    if len > 0 || !has_trailers {
        machine.data(grant, is_last && !has_trailers);
        let out = machine.out();
        let mut room = Room::new(&mut out[start..], grant.frame_bytes);
        let mut result = Ok(());
        stream.take_pieces(len, |piece| {
            if result.is_ok() {
                result = room.put(&piece);
            }
        });
        if let Err(error) = result {
            out.truncate(start);
            return Err(error);
        }
        let sent = out.len() - start;
        stream.note_sent(sent, len);
    }
    carrier.note_leaving(stream.clone());
    if !is_last {
        return Ok(());
    }
    if let Some(trailers) = stream.take_trailers()
        && let Some(mut head) = machine.head(id, true)
    {
        for (name, value) in trailers.iter() {
            head.field(name, value);
        }
        stream.note_sent(head.finish(), 0);
    }
    stream.note_written();
    carrier.end_stream(machine, id);
    Ok(())
}

/// The payloads of several frames, to be filled one behind the other.
struct Room<'a> {
    frames: ChunksMut<'a, u8>,
    /// What is left of the one at hand.
    rest: &'a mut [u8],
}

impl<'a> Room<'a> {
    fn new(frames: &'a mut [u8], frame_bytes: usize) -> Self {
        Self {
            frames: frames.chunks_mut(HEAD_BYTES + frame_bytes),
            rest: &mut [],
        }
    }

    /// The next payload, or a part of it of so many bytes.
    fn next(&mut self, len: usize) -> Option<&'a mut [u8]> {
        while self.rest.is_empty() {
            self.rest = &mut self.frames.next()?[HEAD_BYTES..];
        }
        let rest = std::mem::take(&mut self.rest);
        let (part, rest) = rest.split_at_mut(len.min(rest.len()));
        self.rest = rest;
        Some(part)
    }

    fn put(&mut self, piece: &Piece) -> io::Result<()> {
        let bytes = match piece {
            Piece::Bytes(bytes) => bytes.as_ref(),
            Piece::Buffer(buffer) => buffer.as_slice(),
            Piece::File { file, start, len } => match &file.content {
                Content::Bytes(bytes) => &bytes[*start as usize..(*start + *len) as usize],
                Content::Descriptor(file) => return self.read(file, *start, *len as usize),
            },
            Piece::Text { .. } => unreachable!("text was made bytes"),
        };
        let mut left = bytes;
        while !left.is_empty()
            && let Some(part) = self.next(left.len())
        {
            let (copied, rest) = left.split_at(part.len());
            part.copy_from_slice(copied);
            left = rest;
        }
        Ok(())
    }

    /// Reads a part of a file, into several payloads at once.
    ///
    /// Errors: `UnexpectedEof` where it has become shorter, and those of preadv(2).
    fn read(&mut self, file: &File, mut at: u64, mut left: usize) -> io::Result<()> {
        let mut parts = Vec::with_capacity(8);
        while left > 0
            && let Some(part) = self.next(left)
        {
            left -= part.len();
            parts.push(IoSliceMut::new(part));
        }
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            match rustix::io::preadv(file, parts, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    at += read as u64;
                    IoSliceMut::advance_slices(&mut parts, read);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
