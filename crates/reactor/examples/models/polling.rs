//! Non-blocking without waiting: every socket is asked in turn, and the CPU never rests.

use std::io;
use std::net::TcpListener;

use crate::connection::{Connection, SPACE_BYTES};

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut space = vec![0; SPACE_BYTES];
    let mut connections = Vec::new();
    loop {
        connections.extend(Connection::accept(&listener)?);
        connections
            .retain_mut(|connection: &mut Connection| connection.echo(&mut space, false).is_ok());
    }
}
