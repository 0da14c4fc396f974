//! Accepting: one task a listening socket.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Address, Listener, timeout};
use rustix::io::Errno;

use crate::log::{Level, error_text};
use crate::net::SocketId;
use crate::runtime::capacity;
use crate::runtime::capacity::{Idle, LONG_IDLE};
use crate::runtime::connection::ListenerInfo;
use crate::runtime::dealing::{Inbox, Others};
use crate::runtime::lasting::{LastingTask, spawn_lasting};
use crate::runtime::loop_state::LoopState;

/// How long accepting waits for a connection to end before clients are turned away.
const CAPACITY_WAIT: Duration = Duration::from_millis(500);

/// Clients turned away after each such wait.
const TURNED_AWAY_MAX: usize = 8;

/// What a client hears that cannot be served for want of descriptors.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Temporarily Unavailable\r\n\
    Content-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

/// The sockets of a loop that accepts, and the other workers, who may get what it accepts.
#[derive(Default)]
pub(crate) struct Accepting {
    listeners: RefCell<Vec<Listening>>,
    /// Where other workers accept, too.
    pub(super) peers: RefCell<Option<Others>>,
    /// Receives what other workers accepted.
    pub(super) inbox: RefCell<Option<(Rc<Inbox>, LastingTask)>>,
    /// Receives what the workers of another binary hand off.
    pub(super) receiving: RefCell<Option<LastingTask>>,
}

struct Listening {
    info: Rc<ListenerInfo>,
    listener: Rc<Listener>,
    waiting: Rc<Waiting>,
    task: LastingTask,
}

/// A client that was accepted and waits for room; whoever stops the task takes it over.
#[derive(Default)]
pub(crate) struct Waiting(Cell<Option<(OwnedFd, Address)>>);

impl Waiting {
    pub(crate) fn take(&self) -> Option<(OwnedFd, Address)> {
        self.0.take()
    }

    fn is_empty(&self) -> bool {
        let waiting = self.0.take();
        let is_empty = waiting.is_none();
        self.0.set(waiting);
        is_empty
    }
}

impl LoopState {
    /// Listens on what the configuration names; sockets of before are kept where it still does.
    pub(super) fn set_listeners(
        self: &Rc<Self>,
        offered: Vec<(SocketId, OwnedFd)>,
    ) -> io::Result<()> {
        let installed = self.installed();
        let mut listeners = self.accepting.listeners.borrow_mut();
        listeners.retain(|listening| {
            let kept = installed.base.listens_on(listening.info.id());
            if !kept {
                listening.task.cancel();
            }
            kept
        });
        for (socket, fd) in offered {
            if listeners
                .iter()
                .any(|listening| *listening.info.id() == socket)
            {
                continue;
            }
            let Some(spec) = installed.base.listens().find(|spec| spec.id == socket) else {
                continue;
            };
            if !socket.address.is_unix() {
                // Accepted sockets inherit it, so that no connection pays for it.
                rustix::net::sockopt::set_tcp_nodelay(fd.as_fd(), true)?;
            }
            let listener = Rc::new(Listener::from_fd(fd)?);
            let batch = if installed.base.process.multi_accept() {
                256
            } else {
                16
            };
            listener.set_accept_budget(capacity::batch_max(batch));
            let is_shared = !spec.options.reuse_port && self.accepting.peers.borrow().is_some();
            if !is_shared {
                listener.set_rotation(0);
            }
            let info = Rc::new(ListenerInfo::new(socket));
            let waiting = Rc::new(Waiting::default());
            let accept = {
                let (state, listener) = (self.clone(), listener.clone());
                let (info, waiting) = (info.clone(), waiting.clone());
                move || {
                    let (state, listener) = (state.clone(), listener.clone());
                    run(state, listener, info.clone(), waiting.clone(), is_shared)
                }
            };
            let task = spawn_lasting(accept);
            listeners.push(Listening {
                info,
                listener,
                waiting,
                task,
            });
        }
        Ok(())
    }

    /// The listener of a socket on the loop that accepts.
    pub(super) fn info_of(&self, listener: SocketId) -> Rc<ListenerInfo> {
        let known = self.accepting.listeners.borrow();
        let known = known.iter().map(|listening| &listening.info);
        let info = known
            .into_iter()
            .find(|info| *info.id() == listener)
            .cloned();
        info.unwrap_or_else(|| self.listener_info(listener))
    }

    /// Stops accepting; connections that were accepted and not served yet still are.
    pub(super) fn stop_accepting(self: &Rc<Self>) {
        for listening in self.accepting.listeners.borrow_mut().drain(..) {
            listening.task.cancel();
            let held = listening.waiting.take();
            let batch = std::iter::from_fn(|| listening.listener.take_accepted());
            for (fd, peer) in held.into_iter().chain(batch.flatten()) {
                self.admit(fd, peer, &listening.info, None);
            }
        }
    }
}

/// Accepts until the listener is dropped. `is_shared`: other workers accept from the same socket.
pub(crate) async fn run(
    state: Rc<LoopState>,
    listener: Rc<Listener>,
    info: Rc<ListenerInfo>,
    waiting: Rc<Waiting>,
    is_shared: bool,
) {
    // Who was accepted when the task before this one panicked.
    admit_waiting(&state, &info, &waiting).await;
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                state.seat.note_accepted();
                if is_shared && state.deal(accepted.0.as_fd(), info.id()) {
                    continue;
                }
                waiting.0.set(Some(accepted));
                admit_waiting(&state, &info, &waiting).await;
            }
            Err(error) if is_exhaustion(&error) => {
                out_of_descriptors(&state, &listener, &error).await;
            }
            Err(error) => {
                let text = error_text(&error);
                state.log(Level::Alert, format_args!("accept4() failed ({text})"));
                revolve_reactor::sleep(CAPACITY_WAIT).await;
            }
        }
    }
}

async fn admit_waiting(state: &Rc<LoopState>, info: &Rc<ListenerInfo>, waiting: &Waiting) {
    if waiting.is_empty() {
        return;
    }
    until_capacity(state).await;
    if let Some((fd, peer)) = waiting.take() {
        state.admit(fd, peer, info, None);
    }
}

/// Waits until there is room for a connection more.
pub(crate) async fn until_capacity(state: &Rc<LoopState>) {
    while !state.has_capacity() {
        wait_for_capacity(state, &state.capacity.shortage()).await;
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    codes
        .iter()
        .any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

/// No descriptor is left, although some are kept spare: something else holds them. Files that are
/// open only to be fast are closed, others make way; where nothing becomes free, some clients of
/// the backlog are told so.
async fn out_of_descriptors(state: &Rc<LoopState>, listener: &Listener, error: &io::Error) {
    state.measure_capacity();
    if state.files.close_descriptors() {
        return;
    }
    let text = error_text(error);
    if wait_for_capacity(state, &format!("accept4() failed ({text})")).await {
        return;
    }
    for _ in 0..TURNED_AWAY_MAX {
        match listener.accept_and_close_one(NO_ROOM) {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

/// Has others make way and waits until a connection ends; false where none did in time.
async fn wait_for_capacity(state: &Rc<LoopState>, why: &str) -> bool {
    state.complain_of_capacity(why);
    state.close_idle(LONG_IDLE, Idle::Share);
    let pressing = Pressing::new(state);
    let ended = timeout(CAPACITY_WAIT, state.capacity.connection_ended()).await;
    drop(pressing);
    if ended.is_err() {
        state.close_idle(Duration::ZERO, Idle::Longest);
    }
    ended.is_ok()
}

/// While it lives, responses close their connections.
struct Pressing<'a>(&'a LoopState);

impl<'a> Pressing<'a> {
    fn new(state: &'a LoopState) -> Self {
        state.capacity.set_pressed(true);
        Self(state)
    }
}

impl Drop for Pressing<'_> {
    fn drop(&mut self) {
        self.0.capacity.set_pressed(false);
    }
}
