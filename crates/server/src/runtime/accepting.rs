//! Accepting: one task a listening socket.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Address, Listener, timeout};
use rustix::io::Errno;

use crate::log::{Level, error_text};
use crate::runtime::connection::ListenerInfo;
use crate::runtime::room::LONG_IDLE;
use crate::runtime::worker::LoopServer;

/// How long accepting waits for a connection to end before clients are turned away.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// Clients turned away after each such wait.
const TURNED_AWAY_MAX: usize = 8;

/// What a client hears that cannot be served for want of descriptors.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Temporarily Unavailable\r\n\
    Content-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

/// A client that was accepted and waits for room; whoever stops the task takes it over.
#[derive(Default)]
pub(crate) struct Waiting(Cell<Option<(OwnedFd, Address)>>);

impl Waiting {
    pub(crate) fn take(&self) -> Option<(OwnedFd, Address)> {
        self.0.take()
    }
}

/// Accepts until the listener is dropped. `is_shared`: other workers accept from the same socket.
pub(crate) async fn run(
    server: Rc<LoopServer>,
    listener: Rc<Listener>,
    info: Rc<ListenerInfo>,
    waiting: Rc<Waiting>,
    is_shared: bool,
) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                server.seat().note_accepted();
                if is_shared && server.hand_over(accepted.0.as_fd(), &info) {
                    continue;
                }
                waiting.0.set(Some(accepted));
                until_room(&server).await;
                if let Some((fd, peer)) = waiting.take() {
                    server.admit(fd, peer, &info, None);
                }
            }
            Err(error) if is_exhaustion(&error) => {
                out_of_descriptors(&server, &listener, &error).await;
            }
            Err(error) => {
                let text = error_text(&error);
                let site = server.site();
                let message = format_args!("accept4() failed ({text})");
                site.logs.process(Level::Alert, message);
                revolve_reactor::sleep(ROOM_WAIT).await;
            }
        }
    }
}

/// Waits until there is room for a connection more.
pub(crate) async fn until_room(server: &Rc<LoopServer>) {
    while !server.has_room() {
        wait_for_room(server, &server.room().shortage()).await;
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
async fn out_of_descriptors(server: &Rc<LoopServer>, listener: &Listener, error: &io::Error) {
    server.measure_room();
    if server.files.close_descriptors() {
        return;
    }
    let text = error_text(error);
    if wait_for_room(server, &format!("accept4() failed ({text})")).await {
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
async fn wait_for_room(server: &Rc<LoopServer>, why: &str) -> bool {
    server.complain_of_room(why);
    server.close_idle(LONG_IDLE, false);
    let pressing = Pressing::new(server);
    let ended = timeout(ROOM_WAIT, server.room().connection_ended()).await;
    drop(pressing);
    if ended.is_err() {
        server.close_idle(Duration::ZERO, true);
    }
    ended.is_ok()
}

/// While it lives, responses close their connections.
struct Pressing<'a>(&'a LoopServer);

impl<'a> Pressing<'a> {
    fn new(server: &'a LoopServer) -> Self {
        server.room().set_pressed(true);
        Self(server)
    }
}

impl Drop for Pressing<'_> {
    fn drop(&mut self) {
        self.0.room().set_pressed(false);
    }
}
