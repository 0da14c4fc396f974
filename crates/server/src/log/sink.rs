//! What a log's bytes are handed to. Nothing here blocks but a disk, which has a thread for that.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::SendFlags;

use super::queue::Queue;
use super::syslog::SyslogSocket;

/// Bytes that are written to a pipe in one piece, never between those of another process
/// (`PIPE_BUF` of pipe(7)).
const PIPE_BYTES: usize = 4096;

/// An open log.
pub(crate) enum Sink {
    /// It could not be opened.
    Closed,
    /// A device, or a file for whom it is no matter that a write may wait.
    File(Arc<File>),
    /// A file that a thread writes to.
    Queue(Arc<Queue>),
    /// A pipe, which other processes write to as well.
    Pipe(Arc<File>),
    /// A pipe that blocks, because it belongs to somebody else and could not be opened anew.
    BlockingPipe(Arc<File>),
    /// A socket that carries a stream, as standard error may be.
    Socket(Arc<File>),
    /// A syslog server.
    Syslog(SyslogSocket),
    /// A fault of our own.
    #[cfg(test)]
    Panics,
}

impl Sink {
    /// The sink of an open file.
    pub(crate) fn of(file: Option<Arc<File>>) -> Sink {
        let Some(file) = file else {
            return Sink::Closed;
        };
        match file.metadata().map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_fifo() => match rustix::fs::fcntl_getfl(&*file) {
                Ok(flags) if flags.contains(OFlags::NONBLOCK) => Sink::Pipe(file),
                _ => Sink::BlockingPipe(file),
            },
            Ok(kind) if kind.is_socket() => Sink::Socket(file),
            _ => Sink::File(file),
        }
    }

    /// How many bytes it takes at a time: whole lines up to so many go out in one piece.
    pub(crate) fn chunk_bytes_max(&self) -> usize {
        match self {
            Sink::Closed | Sink::File(_) | Sink::Queue(_) | Sink::Socket(_) => usize::MAX,
            #[cfg(test)]
            Sink::Panics => usize::MAX,
            Sink::Pipe(_) | Sink::BlockingPipe(_) => PIPE_BYTES,
            // A line is a datagram.
            Sink::Syslog(_) => 0,
        }
    }

    /// Writes; the answer is how much of it.
    ///
    /// Errors: `WouldBlock` if it takes nothing now, others if it cannot be written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Sink::Closed | Sink::Queue(_) => {
                    return Err(io::Error::other("the file is not open"));
                }
                Sink::File(file) | Sink::Pipe(file) => (&**file).write(bytes),
                Sink::BlockingPipe(file) => write_if_ready(file, bytes),
                Sink::Socket(file) => {
                    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                    rustix::net::send(&**file, bytes, flags).map_err(io::Error::from)
                }
                Sink::Syslog(socket) => socket.send(bytes),
                #[cfg(test)]
                Sink::Panics => panic!("as a fault of our own would"),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) if !bytes.is_empty() => {
                    return Err(io::Error::other("nothing of it was taken"));
                }
                result => return result,
            }
        }
    }

    /// The system call that fails where writing does, as messages name it.
    pub(crate) fn call(&self) -> &'static str {
        match self {
            Sink::Syslog(socket) => socket.call(),
            _ => "write()",
        }
    }
}

/// Writes to a pipe that says that it has room, which is room for `PIPE_BYTES`. Another process may
/// take that room first, and then this waits for the reader; there is no better way.
fn write_if_ready(file: &File, bytes: &[u8]) -> io::Result<usize> {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    if poll(&mut fds, Some(&Timespec::default()))? == 0 {
        return Err(ErrorKind::WouldBlock.into());
    }
    let mut file = file;
    file.write(&bytes[..bytes.len().min(PIPE_BYTES)])
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_blocks_is_not_written_to_while_it_is_full() {
        let (mut reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut sink = Sink::of(Some(Arc::new(file)));
        let mut written_bytes = 0;
        let error = loop {
            match sink.write(&[b'x'; 100_000]) {
                Ok(bytes) => written_bytes += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(written_bytes >= PIPE_BYTES, "{written_bytes}");
        reader.read_exact(&mut vec![0; written_bytes]).unwrap();
        assert_eq!(sink.write(b"again").unwrap(), 5);
        drop(reader);
        let error = sink.write(b"nobody reads").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
