//! Multiplexed by `select(2)`: sets of descriptors as bits, built and walked in each call.
//!
//! A set has 1,024 bits, so that no descriptor may be larger: connections beyond are closed.
#![allow(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

use rustix::event::{FdSetElement, FdSetIter, fd_set_bound, fd_set_insert, fd_set_num_elements};
use rustix::io::Errno;

use crate::connection::{Connection, SPACE_BYTES, Wants};

/// `FD_SETSIZE`.
const DESCRIPTORS_MAX: RawFd = 1024;

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut space = vec![0; SPACE_BYTES];
    // By descriptor.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    connections.resize_with(DESCRIPTORS_MAX as usize, || None);
    let elements = fd_set_num_elements(DESCRIPTORS_MAX as usize, DESCRIPTORS_MAX);
    let mut recv_set = vec![FdSetElement::default(); elements];
    let mut send_set = recv_set.clone();
    loop {
        recv_set.fill(FdSetElement::default());
        send_set.fill(FdSetElement::default());
        fd_set_insert(&mut recv_set, listener.as_raw_fd());
        for connection in connections.iter().flatten() {
            let set = match connection.wants {
                Wants::Recv => &mut recv_set,
                Wants::Send => &mut send_set,
            };
            fd_set_insert(set, connection.as_raw_fd());
        }
        let bound = fd_set_bound(&recv_set).max(fd_set_bound(&send_set));
        // SAFETY: every descriptor in the sets is that of a socket which is open until after the
        // call, and both sets have room for `bound` of them.
        match unsafe {
            rustix::event::select(bound, Some(&mut recv_set), Some(&mut send_set), None, None)
        } {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for fd in FdSetIter::new(&recv_set).chain(FdSetIter::new(&send_set)) {
            let place = &mut connections[fd as usize];
            if place
                .as_mut()
                .is_some_and(|one| one.echo(&mut space, false).is_err())
            {
                *place = None;
            }
        }
        for connection in Connection::accept(&listener)? {
            let fd = connection.as_raw_fd() as usize;
            if let Some(place) = connections.get_mut(fd) {
                *place = Some(connection);
            }
        }
    }
}
