//! The socket between the master and one worker: messages with descriptors.
//!
//! A sequenced-packet socket keeps messages apart. Descriptors travel as `SCM_RIGHTS`
//! (unix(7)), of which one packet holds 253 at most, so a message is one packet or several. A
//! body too long for a packet travels in a memory file, whose descriptor comes first; so what
//! lies in the socket's buffer is always small, and sending never waits.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The most descriptors of one packet: `SCM_MAX_FD` of Linux.
const PACKET_FDS_MAX: usize = 253;
/// The longest body that travels in the packet itself.
const INLINE_BYTES_MAX: usize = 16 * 1024;
/// Each packet begins with its number, the count of packets and where the body is.
const HEADER_BYTES: usize = 5;
/// The longest body in a memory file that is believed.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// Where the body of a message is.
const BODY_INLINE: u8 = 0;
const BODY_IN_FILE: u8 = 1;

/// A connected pair: the master's end, which never blocks, and the worker's, which does until the
/// worker changes it. Both close on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    let (master, worker) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, worker))
}

/// Sends one message. The descriptors stay open here, and are open there too.
pub(crate) fn send(socket: impl AsFd, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if body.len() <= INLINE_BYTES_MAX {
        return send_packets(socket.as_fd(), BODY_INLINE, body, fds);
    }
    let file = memory_file(body)?;
    let mut with_body = Vec::with_capacity(fds.len() + 1);
    with_body.push(file.as_fd());
    with_body.extend_from_slice(fds);
    send_packets(socket.as_fd(), BODY_IN_FILE, &[], &with_body)
}

fn memory_file(body: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("revolve bundle", flags)?);
    file.write_all(body)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

fn send_packets(
    socket: BorrowedFd<'_>,
    place: u8,
    body: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let count = fds.len().div_ceil(PACKET_FDS_MAX).max(1);
    let too_many = |_| io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors");
    let last = u16::try_from(count - 1).map_err(too_many)?;
    for number in 0..=last {
        let first_fd = usize::from(number) * PACKET_FDS_MAX;
        let batch = &fds[first_fd..fds.len().min(first_fd + PACKET_FDS_MAX)];
        let mut header = [place; HEADER_BYTES];
        header[1..3].copy_from_slice(&number.to_le_bytes());
        header[3..5].copy_from_slice(&last.to_le_bytes());
        let body = if number == last { body } else { &[] };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = batch.is_empty() || control.push(SendAncillaryMessage::ScmRights(batch));
        debug_assert!(fits, "the space is that of a full batch");
        let parts = [IoSlice::new(&header), IoSlice::new(body)];
        rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// What [`Inbox::receive`] found.
#[derive(Debug)]
pub(crate) enum Received {
    /// A whole message.
    Message(Vec<u8>, Vec<OwnedFd>),
    /// Nothing, or not yet all of a message; only from a socket that does not block.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// Collects packets into messages.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    fds: Vec<OwnedFd>,
    packets: u16,
}

impl Inbox {
    /// Receives the next message. On a socket that blocks it waits for a whole one.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> io::Result<Received> {
        let mut bytes = vec![0; HEADER_BYTES + INLINE_BYTES_MAX];
        loop {
            let length = match self.packet(socket.as_fd(), &mut bytes) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error),
            };
            if length == 0 {
                return Ok(Received::Closed);
            }
            let packet = &bytes[..length];
            let Some((&[place, n0, n1, l0, l1], body)) = packet.split_first_chunk() else {
                return Err(invalid("a packet is too short"));
            };
            if u16::from_le_bytes([n0, n1]) != self.packets {
                return Err(invalid("a packet is out of order"));
            }
            if self.packets < u16::from_le_bytes([l0, l1]) {
                self.packets += 1;
                continue;
            }
            self.packets = 0;
            let mut fds = std::mem::take(&mut self.fds);
            let body = match place {
                BODY_INLINE => body.to_vec(),
                BODY_IN_FILE if !fds.is_empty() => read_file(fds.remove(0))?,
                _ => return Err(invalid("a packet has no body")),
            };
            return Ok(Received::Message(body, fds));
        }
    }

    fn packet(&mut self, socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(socket, &mut parts, &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if received.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
            // The kernel drops descriptors beyond the limit of open files.
            return Err(io::Error::other(
                "descriptors were lost: too many open files",
            ));
        }
        Ok(received.bytes)
    }
}

fn read_file(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(fd);
    let length = file.metadata()?.len();
    if length > BODY_BYTES_MAX {
        return Err(invalid("a message is too long"));
    }
    let mut body = vec![0; length as usize];
    file.read_exact_at(&mut body, 0)?;
    Ok(body)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(inbox: &mut Inbox, socket: &OwnedFd) -> (Vec<u8>, Vec<OwnedFd>) {
        match inbox.receive(socket).unwrap() {
            Received::Message(body, fds) => (body, fds),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_keep_their_borders_and_order() {
        let (master, worker) = pair().unwrap();
        send(&master, b"one", &[]).unwrap();
        send(&master, b"", &[]).unwrap();
        send(&worker, b"back", &[]).unwrap();
        let mut inbox = Inbox::default();
        assert_eq!(message(&mut inbox, &worker).0, b"one");
        assert_eq!(message(&mut inbox, &worker).0, b"");
        let mut back = Inbox::default();
        assert_eq!(message(&mut back, &master).0, b"back");
        assert!(matches!(back.receive(&master).unwrap(), Received::Nothing));
        drop(master);
        assert!(matches!(inbox.receive(&worker).unwrap(), Received::Closed));
    }

    #[test]
    fn a_long_body_with_many_descriptors_arrives_whole() {
        let (master, worker) = pair().unwrap();
        let body: Vec<u8> = (0..3_000_000u32).map(|byte| byte as u8).collect();
        let file = tempfile::tempfile().unwrap();
        let fds = vec![file.as_fd(); 600];
        send(&master, &body, &fds).unwrap();
        send(&master, b"next", &fds[..1]).unwrap();
        let mut inbox = Inbox::default();
        let (received, received_fds) = message(&mut inbox, &worker);
        assert!(received == body);
        assert_eq!(received_fds.len(), 600);
        File::from(received_fds.into_iter().next_back().unwrap())
            .write_all(b"hello")
            .unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5);
        let (received, received_fds) = message(&mut inbox, &worker);
        assert_eq!((received.as_slice(), received_fds.len()), (&b"next"[..], 1));
    }

    #[test]
    fn a_full_socket_is_an_error_and_no_wait() {
        let (master, _worker) = pair().unwrap();
        let error = (0..1_000_000)
            .find_map(|_| send(&master, b"x", &[]).err())
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn strange_packets_are_errors() {
        for packet in [
            &b"x"[..],
            b"\x00\x01\x00\x01\x00",
            b"\x07\0\0\0\0",
            b"\x01\0\0\0\0",
        ] {
            let (master, worker) = pair().unwrap();
            rustix::net::send(&master, packet, SendFlags::empty()).unwrap();
            let error = Inbox::default().receive(&worker).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{packet:?}");
        }
    }
}
