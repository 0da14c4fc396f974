//! From the chunks of a queue to records.

use std::fs::File;
use std::io;

use revolve_reactor::{Buffer, Chunk, SendQueue};

use crate::session::Session;

/// Records that are sealed before they are sent, at most.
pub(crate) const PIECES_MAX: usize = 4;

/// Plain bytes begin so far behind the beginning of a buffer. rustls copies them to a little behind the
/// beginning of another, and where both lie alike within their pages, processors of AMD copy a record in 6 µs
/// in place of 0.3 (`rep movsb`).
const SHIFT: usize = 256;

/// So near to the beginning of a page that is to be feared, for so many bytes.
const NEAR: usize = 32;
const PAGE_BYTES: usize = 4096;
const COPIED_MIN: usize = 2048;

/// A buffer for so many plain bytes.
fn with_room(bytes: usize) -> Buffer {
    let mut buffer = Buffer::with_room(bytes + SHIFT);
    if buffer.capacity() >= bytes + SHIFT {
        buffer.extend(SHIFT);
        buffer.advance(SHIFT);
    }
    buffer
}

/// Seals bytes that may lie anywhere.
pub(crate) fn seal_anywhere(session: &mut Session, bytes: &[u8]) -> io::Result<Chunk> {
    let is_near = bytes.as_ptr().addr() % PAGE_BYTES < NEAR;
    if !is_near || bytes.len() < COPIED_MIN {
        return session.seal(bytes);
    }
    let mut moved = with_room(bytes.len());
    match moved.fill(bytes) == bytes.len() {
        true => session.seal(&moved),
        false => session.seal(bytes),
    }
}

/// Seals a record of what stands first in a queue, and takes it out: small chunks share a record, files
/// are read.
pub(crate) fn seal_front(
    session: &mut Session,
    queue: &mut SendQueue,
    record_bytes_max: usize,
) -> io::Result<Chunk> {
    let first = queue.unsent().next().and_then(Chunk::memory);
    let is_alone = queue.chunks() == 1;
    let (sealed, taken) = match first {
        Some(bytes) if is_alone || bytes.len() >= record_bytes_max => {
            let bytes = &bytes[..bytes.len().min(record_bytes_max)];
            (seal_anywhere(session, bytes)?, bytes.len())
        }
        _ => {
            let gathered = gather(queue, record_bytes_max)?;
            (session.seal(&gathered)?, gathered.len())
        }
    };
    queue.consume(taken as u64);
    Ok(sealed)
}

/// Copies what stands first in a queue, a record of it at most.
fn gather(queue: &SendQueue, bytes_max: usize) -> io::Result<Buffer> {
    let wanted = queue.bytes().min(bytes_max as u64) as usize;
    let mut gathered = with_room(wanted);
    let wanted = wanted.min(gathered.spare_len());
    for chunk in queue.unsent() {
        let left = wanted - gathered.len();
        if left == 0 {
            break;
        }
        match chunk {
            Chunk::File { file, offset, len } => {
                let len = left.min(usize::try_from(*len).unwrap_or(usize::MAX));
                let read = read_at(file, &mut gathered.spare_mut()[..len], *offset)?;
                gathered.extend(read);
            }
            memory => {
                let bytes = memory.memory().unwrap_or_default();
                gathered.fill(&bytes[..bytes.len().min(left)]);
            }
        }
    }
    Ok(gathered)
}

/// Fills the room from a file.
///
/// # Errors
///
/// `UnexpectedEof` where the file ends before.
fn read_at(file: &File, room: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::os::unix::fs::FileExt;
    file.read_exact_at(room, offset)?;
    Ok(room.len())
}

#[cfg(test)]
mod tests {
    use revolve_reactor::EventLoop;

    use super::*;

    #[test]
    fn plain_bytes_begin_where_copying_them_is_cheap() {
        let _loop = EventLoop::new().unwrap();
        for bytes in [1, COPIED_MIN, crate::session::RECORD_BYTES_MAX] {
            let mut buffer = with_room(bytes);
            assert!(buffer.is_empty() && buffer.spare_len() >= bytes);
            let whole = buffer.capacity();
            assert_eq!(whole - buffer.spare_len(), SHIFT);
            assert_eq!(buffer.fill(&vec![7; bytes]), bytes);
            assert_eq!(&buffer[..], vec![7; bytes]);
        }
    }

    #[test]
    fn a_loop_with_small_buffers_seals_what_fits() {
        let _loop = EventLoop::builder().buffer_bytes(300).build().unwrap();
        let mut queue = SendQueue::new();
        queue.push(Chunk::Bytes(vec![1; 200].into()));
        queue.push(Chunk::Bytes(vec![2; 400].into()));
        let gathered = gather(&queue, 16384).unwrap();
        assert_eq!(&gathered[..], [&[1; 200][..], &[2; 100]].concat());
    }
}
