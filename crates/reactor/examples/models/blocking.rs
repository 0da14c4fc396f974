//! Blocking: a thread for each connection, which sleeps in its own `recv`.
//!
//! The simplest to write, and each thread costs a stack and a place in the scheduler.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::connection::SPACE_BYTES;

/// Enough for `echo`, whose buffer lies on the heap.
const STACK_BYTES: usize = 64 * 1024;

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn(move || {
            // A connection that fails concerns itself alone.
            let _ = echo(stream);
        })?;
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut space = vec![0; SPACE_BYTES];
    loop {
        match stream.read(&mut space)? {
            0 => return Ok(()),
            n => stream.write_all(&space[..n])?,
        }
    }
}
