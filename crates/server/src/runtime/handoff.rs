//! Connections that idle while another binary takes this one's place: they are sent to its workers, so
//! that an upgrade closes none of them.
//!
//! A connection is sent when nothing of a request has been read. What the client sends meanwhile waits
//! in the socket, whoever has it. The form of what is said of a connection is kept from version to
//! version: to another one the master gives another name in the handover.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use revolve_reactor::{Address, Readable, yield_now};

use crate::net::SocketId;
use crate::runtime::accepting::until_capacity;
use crate::runtime::connection::{Connection, History};
use crate::runtime::dealing::{log_receive_failed, receive_connection, send_connection};
use crate::runtime::draining::{IDLE_MIN, Stage};
use crate::runtime::lasting::spawn_lasting;
use crate::runtime::loop_state::LoopState;

/// A connection that another binary has served before.
struct HandedOff {
    fd: OwnedFd,
    peer: Address,
    listener: SocketId,
    history: History,
}

/// What is said of a connection: requests, age and idle time in milliseconds, all little-endian, and
/// the address that it came by.
fn describe(connection: &Connection) -> Vec<u8> {
    let history = connection.history();
    let mut message = Vec::with_capacity(64);
    message.extend_from_slice(&history.requests.to_le_bytes());
    message.extend_from_slice(&history.age_ms.to_le_bytes());
    message.extend_from_slice(&history.idle_ms.to_le_bytes());
    connection.listener().id().encode(&mut message);
    message
}

fn read(fd: OwnedFd, peer: Address, message: &[u8]) -> Option<HandedOff> {
    let (requests, rest) = message.split_first_chunk()?;
    let (age_ms, rest) = rest.split_first_chunk()?;
    let (idle_ms, rest) = rest.split_first_chunk()?;
    let history = History {
        requests: u32::from_le_bytes(*requests),
        age_ms: u64::from_le_bytes(*age_ms),
        idle_ms: u64::from_le_bytes(*idle_ms),
    };
    let listener = SocketId::decode(rest)?;
    Some(HandedOff {
        fd,
        peer,
        listener,
        history,
    })
}

impl LoopState {
    /// Hands off a connection that waits for a request, where another binary's workers take it; the
    /// answer is whether it is gone.
    pub(crate) fn hand_off(&self, connection: &Connection) -> bool {
        if self.draining.stage.get() != Stage::HandingOff {
            return false;
        }
        let Some(successors) = self.draining.successors.borrow().clone() else {
            return false;
        };
        if connection.stream.tls().is_some() || connection.proxied().is_some() {
            // Its keys, or whom it speaks for, stay here: it ends when nobody misses it.
            return connection.idle_for().is_some_and(|idle| idle >= IDLE_MIN);
        }
        let message = describe(connection);
        let mut is_full = false;
        let sent = connection.stream.hand_over(|fd| {
            send_connection(successors.as_fd(), fd, &message).inspect_err(|error| {
                is_full = error.kind() == io::ErrorKind::WouldBlock;
            })
        });
        match sent {
            Ok(()) => true,
            Err(_) if is_full => {
                self.draining.stage.set(Stage::HandoffFull);
                false
            }
            // They are gone, or do not take connections, or the driver has no say in what it has
            // received: then as without successors.
            Err(_) => {
                self.draining.stage.set(Stage::Closing);
                false
            }
        }
    }

    /// Takes the connections that the workers of another binary send, until those have ended.
    pub(super) fn receive_handoffs(self: &Rc<Self>, socket: OwnedFd) -> io::Result<()> {
        let socket = Rc::new(Readable::new(socket)?);
        let state = self.clone();
        let task = spawn_lasting(move || receive(state.clone(), socket.clone()));
        *self.accepting.receiving.borrow_mut() = Some(task);
        Ok(())
    }

    fn take_handed_off(self: &Rc<Self>, handed_off: HandedOff) {
        let HandedOff {
            fd,
            peer,
            listener,
            history,
        } = handed_off;
        // The new configuration does not listen there: as at a reload, the connection ends.
        if self.installed().base.listens_on(&listener) {
            self.seat.note_received();
            let info = self.info_of(listener);
            self.admit(fd, peer, &info, Some(history));
        }
    }
}

async fn receive(state: Rc<LoopState>, socket: Rc<Readable>) {
    while socket.ready().await.is_ok() {
        loop {
            match receive_connection(socket.as_fd(), read) {
                Ok(Some(handed_off)) => {
                    until_capacity(&state).await;
                    state.take_handed_off(handed_off);
                    // The other workers are to have some, too.
                    yield_now().await;
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
                Err(error) => {
                    log_receive_failed(&state, &error);
                    break;
                }
            }
        }
    }
}
