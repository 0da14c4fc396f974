//! What UDP and Unix datagram sockets have in common.
//!
//! A datagram socket is read and written by the task that asks, not in the perform step: a
//! datagram is whole or not there, so that there is nothing to drain for others. After
//! [`TURN_MAX`] datagrams of one turn the task gives way.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, connect};

use crate::buffer::Buffer;
use crate::channel::Kind;
use crate::event_loop::with_core;
use crate::net::address::Address;
use crate::net::handle::Handle;
use crate::net::readable::Ready;
use crate::net::socket;
use crate::net::writable::Writable;
use crate::sys::datagram::{self, BATCH_MAX, Meta};
use crate::sys::sim::Packet;
use crate::task::yield_now;

/// Datagrams that one socket may receive, or send, in one turn before the others have theirs.
const TURN_MAX: usize = 64;

/// A datagram that was received.
#[derive(Debug)]
pub struct Datagram {
    /// What it says, in a pooled buffer.
    pub bytes: Buffer,
    /// Who sent it; a Unix socket without a name is [`Address::UNNAMED`].
    pub from: Address,
    /// True if it was longer than a buffer of the loop
    /// ([`Builder::buffer_bytes`](crate::Builder::buffer_bytes)); the rest of it is lost.
    pub truncated: bool,
}

/// How much a side has done in the turn.
#[derive(Default)]
struct Budget {
    turn: Cell<u64>,
    spent: Cell<usize>,
}

impl Budget {
    async fn wait(&self) {
        if self.turn.get() != crate::turn() {
            self.turn.set(crate::turn());
            self.spent.set(0);
        }
        if self.spent.get() >= TURN_MAX {
            yield_now().await;
            self.spent.set(0);
            self.turn.set(crate::turn());
        }
    }

    fn spend(&self, datagrams: usize) {
        self.spent.set(self.spent.get() + datagrams);
    }
}

/// A datagram socket of this thread's loop.
pub(crate) struct DatagramSocket {
    pub(crate) handle: Handle,
    receiving: Budget,
    sending: Budget,
}

impl DatagramSocket {
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<DatagramSocket> {
        Ok(DatagramSocket {
            handle: Handle::adopt(fd, Kind::Stream)?,
            receiving: Budget::default(),
            sending: Budget::default(),
        })
    }

    pub(crate) fn bind(address: &Address) -> io::Result<DatagramSocket> {
        DatagramSocket::from_fd(socket::datagram(address, false)?)
    }

    pub(crate) fn connect(&self, address: &Address) -> io::Result<()> {
        let connected = match self.handle.network() {
            Some(network) => network.connect_datagram(self.handle.as_fd(), address),
            None => connect(&self.handle, &address.to_raw()?),
        };
        Ok(connected?)
    }

    pub(crate) fn local_address(&self) -> io::Result<Address> {
        self.handle.local_address()
    }

    /// Tries until something is received, or an error is.
    async fn receiving<T>(&self, mut attempt: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
        self.receiving.wait().await;
        loop {
            match attempt() {
                Ok(received) => return Ok(received),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let ready = Ready {
                        handle: &self.handle,
                        edge: true,
                        submitted: false,
                    };
                    ready.await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Tries until something is sent, or an error is.
    async fn sending<T>(&self, mut attempt: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
        self.sending.wait().await;
        loop {
            match attempt() {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => Writable::new(&self.handle).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) async fn recv(&self) -> io::Result<Datagram> {
        let attempt = || {
            let mut bytes = Buffer::take();
            let fd = self.handle.as_fd();
            let meta = match self.handle.network() {
                None => datagram::receive(fd, &mut bytes)?,
                Some(network) => {
                    let mut packets = network.recv_datagrams(fd, 1)?;
                    unpack(&packets.remove(0), &mut bytes)
                }
            };
            Ok((bytes, meta))
        };
        let (bytes, meta) = self.receiving(attempt).await?;
        self.receiving.spend(1);
        Ok(Datagram {
            bytes: with_core(|core| core.buffers.fit(bytes)),
            from: meta.from,
            truncated: meta.truncated,
        })
    }

    pub(crate) async fn recv_batch(
        &self,
        into: &mut Vec<Datagram>,
        datagrams_max: usize,
    ) -> io::Result<usize> {
        let attempt = || {
            let count = datagrams_max.clamp(1, BATCH_MAX);
            let mut buffers: Vec<Buffer> = (0..count).map(|_| Buffer::take()).collect();
            let mut metas = Vec::with_capacity(count);
            let fd = self.handle.as_fd();
            match self.handle.network() {
                None => {
                    datagram::receive_batch(fd, &mut buffers, |meta| metas.push(meta))?;
                }
                Some(network) => {
                    let packets = network.recv_datagrams(fd, count)?;
                    let pairs = packets.iter().zip(&mut buffers);
                    metas.extend(pairs.map(|(packet, buffer)| unpack(packet, buffer)));
                }
            }
            Ok((buffers, metas))
        };
        let (buffers, metas) = self.receiving(attempt).await?;
        let count = metas.len();
        self.receiving.spend(count);
        into.extend(
            buffers
                .into_iter()
                .zip(metas)
                .map(|(bytes, meta)| Datagram {
                    bytes: with_core(|core| core.buffers.fit(bytes)),
                    from: meta.from,
                    truncated: meta.truncated,
                }),
        );
        Ok(count)
    }

    pub(crate) async fn send(&self, bytes: &[u8], to: Option<&Address>) -> io::Result<()> {
        let fd = self.handle.as_fd();
        if let Some(network) = self.handle.network() {
            self.sending(|| network.send_datagram(fd, bytes, to))
                .await?;
        } else {
            let to = to.map(Address::to_raw).transpose()?;
            self.sending(|| datagram::send(fd, bytes, to.as_ref()))
                .await?;
        }
        self.sending.spend(1);
        Ok(())
    }

    /// Sends at once or not at all.
    pub(crate) fn send_unless_full(&self, bytes: &[u8], to: &Address) -> io::Result<()> {
        let fd = self.handle.as_fd();
        if let Some(network) = self.handle.network() {
            return Ok(network.send_datagram(fd, bytes, Some(to))?);
        }
        let to = to.to_raw()?;
        loop {
            match datagram::send(fd, bytes, Some(&to)) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) async fn send_batch<B: AsRef<[u8]>>(
        &self,
        datagrams: &[(B, Address)],
    ) -> (usize, io::Result<()>) {
        if self.handle.network().is_some() {
            return self.send_one_by_one(datagrams).await;
        }
        let mut raw = Vec::with_capacity(datagrams.len());
        for (bytes, to) in datagrams {
            match to.to_raw() {
                Ok(to) => raw.push((bytes.as_ref(), to)),
                Err(error) => return (0, Err(error)),
            }
        }
        let mut sent = 0;
        while sent < raw.len() {
            let rest: &[(&[u8], SocketAddrAny)] = &raw[sent..];
            let fd = self.handle.as_fd();
            match self.sending(|| datagram::send_batch(fd, rest)).await {
                Ok(count) => {
                    sent += count;
                    self.sending.spend(count);
                }
                Err(error) => return (sent, Err(error)),
            }
        }
        (sent, Ok(()))
    }

    /// A simulated network takes no batches.
    async fn send_one_by_one<B: AsRef<[u8]>>(
        &self,
        datagrams: &[(B, Address)],
    ) -> (usize, io::Result<()>) {
        for (sent, (bytes, to)) in datagrams.iter().enumerate() {
            if let Err(error) = self.send(bytes.as_ref(), Some(to)).await {
                return (sent, Err(error));
            }
        }
        (datagrams.len(), Ok(()))
    }
}

/// Puts a simulated datagram into a buffer.
fn unpack(packet: &Packet, buffer: &mut Buffer) -> Meta {
    let whole = packet.bytes.len();
    let filled = buffer.fill(&packet.bytes[..whole.min(packet.bytes_max)]);
    Meta {
        from: packet.from.clone(),
        truncated: filled < whole,
    }
}
