//! Connections that idle while another binary takes this one's place: they are sent to its workers, so
//! that an upgrade closes none of them.
//!
//! A connection is sent when nothing of a request has been read. What the client sends meanwhile waits
//! in the socket, whoever has it. The form of what is said of a connection is kept from version to
//! version: to another one the master gives another name in the handover.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use revolve_reactor::{Address, Readable, spawn, yield_now};

use super::worker::{DRAIN_IDLE, LoopServer};
use crate::runtime::accepting::until_room;
use crate::runtime::connection::{Connection, Past};
use crate::runtime::peers::{
    log_receive_failed, read_listener, receive_connection, send_connection, write_listener,
};

/// How many connections are told at a time that they may go: about as many as the socket holds.
const BATCH: usize = 512;

/// A connection that another binary has served before.
struct Inherited {
    fd: OwnedFd,
    peer: Address,
    listener: Address,
    past: Past,
}

/// What is said of a connection: requests, age and idle time in milliseconds, all little-endian, and
/// the address that it came by.
fn describe(connection: &Connection) -> Vec<u8> {
    let past = connection.past();
    let mut message = Vec::with_capacity(64);
    message.extend_from_slice(&past.requests.to_le_bytes());
    message.extend_from_slice(&past.age_ms.to_le_bytes());
    message.extend_from_slice(&past.idle_ms.to_le_bytes());
    write_listener(connection.listener().address(), &mut message);
    message
}

fn read(fd: OwnedFd, peer: Address, message: &[u8]) -> Option<Inherited> {
    let (requests, rest) = message.split_first_chunk()?;
    let (age_ms, rest) = rest.split_first_chunk()?;
    let (idle_ms, rest) = rest.split_first_chunk()?;
    let past = Past {
        requests: u32::from_le_bytes(*requests),
        age_ms: u64::from_le_bytes(*age_ms),
        idle_ms: u64::from_le_bytes(*idle_ms),
    };
    let listener = read_listener(rest)?;
    Some(Inherited {
        fd,
        peer,
        listener,
        past,
    })
}

impl LoopServer {
    /// The worker ends; where there are heirs, they get the connections.
    pub(super) fn begin_drain(self: &Rc<Self>, heirs: Option<Arc<OwnedFd>>) {
        self.draining.set(true);
        if let Some(task) = self.inheriting.borrow_mut().take() {
            task.cancel();
        }
        self.has_heirs.set(heirs.is_some());
        *self.heirs.borrow_mut() = heirs;
        self.release_idle();
    }

    /// While the worker ends: has idle connections go to the heirs, or closes those that idle for long.
    pub(super) fn release_idle(&self) {
        if !self.has_heirs.get() {
            if self.dealer.is_none() {
                self.close_idle(DRAIN_IDLE, false);
            }
            return;
        }
        self.heirs_are_busy.set(false);
        let connections = self.connections.borrow();
        let idle = connections.iter().filter(|(_, it)| it.is_idle());
        idle.take(BATCH)
            .for_each(|(_, it)| it.stream.interrupt_recv());
    }

    /// Has waited long enough for connections to idle.
    pub(super) fn lose_patience(&self) {
        self.is_impatient.set(true);
    }

    /// Sends a connection that waits for a request to the heirs, where there are any; the answer is
    /// whether it is gone.
    pub(crate) fn bequeath(&self, connection: &Connection) -> bool {
        if !self.has_heirs.get() || self.heirs_are_busy.get() {
            return false;
        }
        let Some(heirs) = self.heirs.borrow().clone() else {
            return false;
        };
        let message = describe(connection);
        let mut is_full = false;
        let sent = connection.stream.hand_over(|fd| {
            send_connection(heirs.as_fd(), fd, &message).inspect_err(|error| {
                is_full = error.kind() == io::ErrorKind::WouldBlock;
            })
        });
        match sent {
            Ok(()) => true,
            Err(_) if is_full => {
                self.heirs_are_busy.set(true);
                false
            }
            // They are gone, or do not take connections, or the driver has no say in what it has
            // received: then as without heirs.
            Err(_) => {
                self.has_heirs.set(false);
                false
            }
        }
    }

    /// Takes the connections that the workers of another binary send, until those have ended.
    pub(super) fn inherit(self: &Rc<Self>, socket: OwnedFd) -> io::Result<()> {
        let socket = Readable::new(socket)?;
        let task = spawn(inherit(self.clone(), socket));
        *self.inheriting.borrow_mut() = Some(task);
        Ok(())
    }

    fn take_inherited(self: &Rc<Self>, inherited: Inherited) {
        let site = self.site();
        let is_known = |it: &crate::ListenSpec| it.address == inherited.listener;
        // The new configuration does not listen there: as at a reload, the connection ends.
        if site.config.listens().any(is_known) {
            self.seat.note_received();
            let info = self.info_of(inherited.listener);
            self.admit(inherited.fd, inherited.peer, &info, Some(inherited.past));
        }
    }
}

async fn inherit(server: Rc<LoopServer>, socket: Readable) {
    while socket.ready().await.is_ok() {
        loop {
            match receive_connection(socket.as_fd(), read) {
                Ok(Some(inherited)) => {
                    until_room(&server).await;
                    server.take_inherited(inherited);
                    // The other workers are to have some, too.
                    yield_now().await;
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
                Err(error) => {
                    log_receive_failed(&server, &error);
                    break;
                }
            }
        }
    }
}
