//! Multiplexed by `epoll(7)`: a socket is registered once, and a wait gives those that are ready.
//!
//! Edge-triggered, so that nothing needs to be switched while an answer is being sent. This is the
//! least that a server on epoll can do, and what `cargo xtask bench echo` calls the floor.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use crate::connection::{Connection, SPACE_BYTES};

const EVENTS_MAX: usize = 512;

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let own = listener.as_raw_fd() as u64;
    epoll::add(&epoll, &listener, EventData::new_u64(own), EventFlags::IN)?;
    let mut space = vec![0; SPACE_BYTES];
    // By descriptor.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS_MAX];
    loop {
        let (ready, _) = match epoll::wait(&epoll, &mut events, None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in ready {
            let (flags, fd) = (event.flags, event.data.u64());
            if fd == own {
                for connection in Connection::accept(&listener)? {
                    let fd = connection.as_raw_fd() as usize;
                    let flags =
                        EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                    epoll::add(&epoll, &connection, EventData::new_u64(fd as u64), flags)?;
                    if connections.len() <= fd {
                        connections.resize_with(fd + 1, || None);
                    }
                    connections[fd] = Some(connection);
                }
                continue;
            }
            let place = &mut connections[fd as usize];
            let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            if place
                .as_mut()
                .is_some_and(|one| one.echo(&mut space, hung_up).is_err())
            {
                *place = None;
            }
        }
    }
}
