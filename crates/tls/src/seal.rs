//! From the chunks of a queue to records.

use std::fs::File;
use std::io;

use revolve_reactor::{Buffer, Chunk, SendQueue};

use crate::session::Session;

/// Records that are sealed before they are sent, at most.
pub(crate) const PIECES_MAX: usize = 4;

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
            (session.seal(bytes)?, bytes.len())
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
    let mut gathered = Buffer::with_room(wanted);
    let wanted = wanted.min(gathered.capacity());
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
