//! What a master hands to the new binary that takes its place: the listening sockets, and the state
//! that all workers share.
//!
//! The new binary finds the socket over which it is told as its standard input, as a worker does.
//! It may be of another version, so this form is kept, unlike that of [`crate::message`]: a list
//! of descriptors, each with a kind and a name. A kind that a version does not know is closed, and
//! one that is not there is opened as at any other start.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use revolve_conf::os_error_text;
use revolve_reactor::Address;
use revolve_server::{SocketId, SocketKind, ZoneLabel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use crate::control::{self, Inbox, Received};
use crate::message::{DecodeError, Reader, Writer};
use crate::report;

/// The first bytes of a handover; the last one is the version of the form.
const MAGIC: &[u8] = b"RVLVHND\x01";
/// What the new binary says when its workers serve.
pub(crate) const READY: &[u8] = b"ready";
/// What the old master says when it has told the service manager that the new one is the main process.
/// Its end says the same, for versions that do not.
pub(crate) const MAIN: &[u8] = b"main";

const DAEMON: &[u8] = b"daemon";
const FOREGROUND: &[u8] = b"foreground";
/// What a socket carries, whether it is a Unix one, whether it has `reuseport`, and the word for that.
const SOCKETS: [(SocketKind, bool, bool, &[u8]); 8] = [
    (SocketKind::Stream, false, false, b"inet"),
    (SocketKind::Stream, false, true, b"inet reuseport"),
    (SocketKind::Stream, true, false, b"unix"),
    (SocketKind::Stream, true, true, b"unix reuseport"),
    (SocketKind::Datagram, false, false, b"inet datagram"),
    (
        SocketKind::Datagram,
        false,
        true,
        b"inet datagram reuseport",
    ),
    (SocketKind::Datagram, true, false, b"unix datagram"),
    (SocketKind::Datagram, true, true, b"unix datagram reuseport"),
];
const STDERR: &[u8] = b"stderr";
const ZONE: &[u8] = b"zone";
/// Says of the socket that is named ([`SocketId::encode`]) that it is [`Owner::Manager`]'s; the descriptor is the socket
/// once more, since every kind has one.
const MANAGER: &[u8] = b"manager";

/// Where the old workers send connections that idle. A version that sends or takes them in another
/// form has another word for it.
const CONNECTIONS: &[u8] = b"connections 1";

/// Who removes the file of a Unix socket that is closed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This server.
    Us,
    /// The service manager that opened it, and keeps it open.
    Manager,
}

/// A listening socket. With `reuseport` an address has several, in the order of the workers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Socket<F> {
    pub(crate) id: SocketId,
    pub(crate) is_reuseport: bool,
    pub(crate) owner: Owner,
    pub(crate) fd: F,
}

impl<F> Socket<F> {
    /// What it is, as it goes over.
    fn word(&self) -> &'static [u8] {
        let what = (self.id.kind, self.id.address.is_unix(), self.is_reuseport);
        let known = SOCKETS.iter();
        let mut words = known.filter(|it| (it.0, it.1, it.2) == what).map(|it| it.3);
        words.next().expect("the table has every combination")
    }

    /// Its address as it goes over.
    fn name(&self) -> Vec<u8> {
        match &self.id.address {
            Address::Inet(address) => address.to_string().into_bytes(),
            Address::Unix(path) => path.as_os_str().as_bytes().to_vec(),
        }
    }
}

/// All that is handed over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handover<F> {
    /// Whether the master has left its terminal.
    pub(crate) is_daemon: bool,
    /// The master's standard error: that of the new binary leads to the master until it serves.
    pub(crate) stderr: Option<F>,
    /// Where the workers of the new binary get the connections that idle.
    pub(crate) connections: Option<F>,
    pub(crate) sockets: Vec<Socket<F>>,
    /// State that the workers of both share.
    pub(crate) zones: Vec<(ZoneLabel, F)>,
}

impl<F: Copy> Handover<F> {
    /// The handover as bytes, and the descriptors that go with it.
    pub(crate) fn encode(self) -> (Vec<u8>, Vec<F>) {
        let mut out = Writer::new(MAGIC.to_vec());
        out.string(if self.is_daemon { DAEMON } else { FOREGROUND });
        let is_managers = |socket: &&Socket<F>| socket.owner == Owner::Manager;
        let managers = self.sockets.iter().filter(is_managers);
        let single = [(STDERR, self.stderr), (CONNECTIONS, self.connections)];
        let single = single
            .into_iter()
            .filter_map(|(kind, fd)| Some((kind, fd?)));
        let others = self.zones.len() + single.clone().count();
        out.number((self.sockets.len() + managers.clone().count() + others) as u64);
        for (kind, fd) in single {
            out.string(kind);
            out.string(b"");
            out.fd(fd);
        }
        for socket in &self.sockets {
            out.string(socket.word());
            out.string(&socket.name());
            out.fd(socket.fd);
        }
        for socket in managers {
            let mut id = Vec::new();
            socket.id.encode(&mut id);
            out.string(MANAGER);
            out.string(&id);
            out.fd(socket.fd);
        }
        for (label, fd) in self.zones {
            out.string(ZONE);
            out.string(&label.encode());
            out.fd(fd);
        }
        out.finish()
    }
}

impl<F> Handover<F> {
    /// The handover that [`Handover::encode`] made these of, in whatever version.
    pub(crate) fn decode(bytes: &[u8], fds: Vec<F>) -> Result<Self, DecodeError> {
        let bytes = bytes.strip_prefix(MAGIC).ok_or(DecodeError)?;
        let mut from = Reader::new(bytes, fds);
        let mut handover = Handover {
            is_daemon: from.string()? == DAEMON,
            stderr: None,
            connections: None,
            sockets: Vec::new(),
            zones: Vec::new(),
        };
        let mut managers = Vec::new();
        for _ in 0..from.number()? {
            let (kind, name, fd) = (from.string()?, from.string()?, from.fd()?);
            let text = || std::str::from_utf8(name).map_err(|_| DecodeError);
            let known = SOCKETS.iter().find(|(_, _, _, word)| *word == kind);
            if let Some(&(carries, is_unix, is_reuseport, _)) = known {
                let address = match is_unix {
                    true => Address::Unix(PathBuf::from(OsStr::from_bytes(name))),
                    false => Address::Inet(text()?.parse().map_err(|_| DecodeError)?),
                };
                handover.sockets.push(Socket {
                    id: SocketId {
                        kind: carries,
                        address,
                    },
                    is_reuseport,
                    owner: Owner::Us,
                    fd,
                });
                continue;
            }
            match kind {
                STDERR => handover.stderr = Some(fd),
                CONNECTIONS => handover.connections = Some(fd),
                ZONE => {
                    // What another version keeps otherwise begins anew.
                    let label = ZoneLabel::decode(name);
                    handover.zones.extend(label.map(|label| (label, fd)));
                }
                MANAGER => managers.extend(SocketId::decode(name)),
                // Of a later version.
                _ => {}
            }
        }
        for socket in &mut handover.sockets {
            if managers.contains(&socket.id) {
                socket.owner = Owner::Manager;
            }
        }
        Ok(handover)
    }
}

/// The new binary's side: the master that started it, and still serves.
pub(crate) struct Predecessor {
    socket: OwnedFd,
    pid: Option<Pid>,
    /// See [`Handover`].
    pub(crate) is_daemon: bool,
    /// See [`Handover`].
    pub(crate) connections: Option<OwnedFd>,
    /// See [`Handover`]; whoever opens the sockets takes them.
    pub(crate) sockets: Vec<Socket<OwnedFd>>,
    /// See [`Handover`].
    pub(crate) zones: Vec<(ZoneLabel, OwnedFd)>,
}

impl Predecessor {
    /// Takes what the master hands over; the socket to it is taken out of standard input.
    pub(crate) fn greet() -> Result<Predecessor, String> {
        let failed = |error: io::Error| format!("the handover failed {}", os_error_text(&error));
        // Should that process end before this one serves, nobody would know of this one.
        end_with_parent(true).map_err(failed)?;
        let socket = take_stdin().map_err(failed)?;
        let (body, fds) = match Inbox::default().receive(&socket).map_err(failed)? {
            Received::Message(body, fds) => (body, fds),
            Received::Closed | Received::Nothing => {
                return Err("the handover failed: the old master is gone".into());
            }
        };
        let handover = Handover::decode(&body, fds).map_err(|_| {
            "the handover failed: the old master's version is not compatible with this one; \
             stop it and start this one in its place"
        })?;
        if let Some(stderr) = handover.stderr {
            report::set_stderr(stderr);
        }
        let predecessor = Predecessor {
            socket,
            pid: rustix::process::getppid(),
            is_daemon: handover.is_daemon,
            connections: handover.connections,
            sockets: handover.sockets,
            zones: handover.zones,
        };
        // It may have ended before the kernel was told.
        if !predecessor.is_alive() {
            return Err("the handover failed: the old master is gone".into());
        }
        Ok(predecessor)
    }

    /// Says that we serve.
    pub(crate) fn tell_ready(&self) -> io::Result<()> {
        end_with_parent(false)?;
        control::send(self.socket.as_fd(), READY, &[])
    }

    /// A copy of the socket: there is something to read when the place is ours ([`MAIN`]).
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Whether the old master still lives: it is then our parent, and has not said goodbye. What it has
    /// said besides may not have been read yet.
    pub(crate) fn is_alive(&self) -> bool {
        let mut polled = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let is_gone = poll(&mut polled, Some(&now)).is_ok()
            && polled[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR);
        !is_gone && self.pid.is_some() && rustix::process::getppid() == self.pid
    }
}

/// Whether the kernel ends this process when its parent does.
fn end_with_parent(does: bool) -> io::Result<()> {
    let signal = does.then_some(Signal::KILL);
    Ok(rustix::process::set_parent_process_death_signal(signal)?)
}

/// Takes a socket out of standard input, which is the null device from now on.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover() -> Handover<u32> {
        let socket = |address: &str, is_reuseport, fd| Socket {
            id: SocketId::stream(match address.parse() {
                Ok(address) => Address::Inet(address),
                Err(_) => Address::Unix(address.into()),
            }),
            is_reuseport,
            owner: Owner::Us,
            fd,
        };
        Handover {
            is_daemon: true,
            stderr: Some(1),
            connections: Some(9),
            sockets: vec![
                socket("127.0.0.1:80", false, 2),
                socket("[::]:80", true, 3),
                socket("[::]:80", true, 4),
                socket("/run/x\u{e9}", false, 5),
                socket("/run/y", true, 6),
                Socket {
                    id: SocketId {
                        kind: SocketKind::Datagram,
                        ..socket("[::]:80", true, 7).id
                    },
                    ..socket("[::]:80", true, 7)
                },
            ],
            zones: Vec::new(),
        }
    }

    #[test]
    fn a_handover_arrives_as_it_was_sent() {
        let (bytes, fds) = handover().encode();
        assert_eq!(fds, [1, 9, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Handover::decode(&bytes, fds), Ok(handover()));
    }

    #[test]
    fn sockets_of_a_service_manager_stay_its() {
        let mut sent = handover();
        // Both of one address: its owner is one.
        for place in [0, 1, 2, 3] {
            sent.sockets[place].owner = Owner::Manager;
        }
        let (bytes, fds) = sent.encode();
        assert_eq!(fds, [1, 9, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5]);
        let received = Handover::decode(&bytes, fds).unwrap();
        let owners = received.sockets.iter().map(|socket| socket.owner);
        let expected = [Owner::Manager; 4].into_iter().chain([Owner::Us; 2]);
        assert!(owners.eq(expected));
        // What was sent before this was known says nothing of it.
        let (bytes, fds) = handover().encode();
        let received = Handover::decode(&bytes, fds).unwrap();
        assert!(
            received
                .sockets
                .iter()
                .all(|socket| socket.owner == Owner::Us)
        );
    }

    #[test]
    fn what_a_later_version_adds_is_left_out() {
        let mut later = Writer::new(MAGIC.to_vec());
        later.string(FOREGROUND);
        later.number(2);
        later.string(b"lamp");
        later.string(b"one");
        later.fd(7);
        later.string(b"inet");
        later.string(b"127.0.0.1:80");
        later.fd(8);
        later.string(b"and more");
        let (bytes, fds) = later.finish();
        let handover = Handover::decode(&bytes, fds).unwrap();
        assert_eq!(handover.sockets.len(), 1);
        assert_eq!(handover.sockets[0].fd, 8);
        assert!(!handover.is_daemon);
    }

    #[test]
    fn damaged_handovers_are_refused() {
        let (bytes, fds) = handover().encode();
        for end in 0..bytes.len() {
            assert_eq!(
                Handover::decode(&bytes[..end], fds.clone()),
                Err(DecodeError),
                "{end}"
            );
        }
        assert_eq!(
            Handover::decode(&bytes, fds[1..].to_vec()),
            Err(DecodeError)
        );
        let mut other = bytes.clone();
        other[7] = 2;
        assert_eq!(Handover::decode(&other, fds), Err(DecodeError));
    }
}
