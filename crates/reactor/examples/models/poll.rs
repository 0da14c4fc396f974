//! Multiplexed by `poll(2)`: one call waits for all sockets, and all are named in each call.

use std::io;
use std::net::TcpListener;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::connection::{Connection, SPACE_BYTES, Wants};

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut space = vec![0; SPACE_BYTES];
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        // The list is made anew because it borrows the sockets; the kernel's own walk over it, which
        // asks each socket, costs far more.
        let mut fds = vec![PollFd::new(&listener, PollFlags::IN)];
        fds.extend(connections.iter().map(|connection| {
            let flags = match connection.wants {
                Wants::Recv => PollFlags::IN,
                Wants::Send => PollFlags::OUT,
            };
            PollFd::new(connection, flags)
        }));
        match rustix::event::poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        // `retain_mut` walks in order, and so does `ready`.
        let mut of_connections = ready[1..].iter();
        connections.retain_mut(|connection| {
            of_connections.next() != Some(&true) || connection.echo(&mut space, false).is_ok()
        });
        if ready[0] {
            connections.extend(Connection::accept(&listener)?);
        }
    }
}
