//! Accepting: one task a listening socket.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Listener, timeout};
use rustix::io::Errno;

use crate::connection::ListenerInfo;
use crate::log::{Level, error_text};
use crate::worker::LoopServer;

/// How long accepting waits for a connection to end before clients are turned away.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// Clients turned away after each such wait.
const TURNED_AWAY_MAX: usize = 8;

/// What a client hears that cannot be served for want of descriptors.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Temporarily Unavailable\r\n\
    Content-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

/// Accepts until the listener is dropped.
pub(crate) async fn run(server: Rc<LoopServer>, listener: Rc<Listener>, info: Rc<ListenerInfo>) {
    loop {
        if !server.has_room() {
            wait_for_room(&server, "worker_connections are not enough").await;
            continue;
        }
        match listener.accept().await {
            Ok((fd, peer)) => server.admit(fd, peer, &info),
            Err(error) if is_exhaustion(&error) => {
                out_of_descriptors(&server, &listener, &error).await
            }
            Err(error) => {
                let text = error_text(&error);
                server
                    .site()
                    .logs
                    .process(Level::Alert, format_args!("accept4() failed ({text})"));
                revolve_reactor::sleep(ROOM_WAIT).await;
            }
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    codes
        .iter()
        .any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

/// No descriptor is left. What can be spared is closed: files that are open only to be fast, and
/// the connection that has idled longest. Clients wait in the backlog meanwhile; where nothing
/// becomes free, some of them are told so.
async fn out_of_descriptors(server: &Rc<LoopServer>, listener: &Listener, error: &io::Error) {
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

/// Closes an idle connection and waits until any ends; false where none did in time.
async fn wait_for_room(server: &Rc<LoopServer>, why: &str) -> bool {
    server.complain_of_room(why);
    server.close_longest_idle();
    timeout(ROOM_WAIT, server.connection_ended()).await.is_ok()
}
