//! One echo service on each of the I/O models that the system has, without the reactor.
//!
//! ```text
//! cargo run --release -p revolve-reactor --example models -- MODEL [ADDRESS]
//! ```
//!
//! | MODEL | who waits, and for what |
//! |---|---|
//! | `blocking` | a thread a connection, each in its own `recv` |
//! | `polling` | nobody: every socket is asked in turn, without end |
//! | `select` | one `select(2)`, for up to 1,024 descriptors, all named again each time |
//! | `poll` | one `poll(2)`, for any number of descriptors, all named again each time |
//! | `epoll` | one `epoll_wait(2)`: each descriptor is named once, and only those ready come back |
//! | `io_uring` | one ring: the kernel receives and sends itself, and says what is done |
//!
//! All but the first have one thread. `cargo xtask bench models` measures what a message costs on
//! each beside more and more idle connections; `docs/models.svg` is the picture.

mod blocking;
mod connection;
mod epoll;
mod poll;
mod polling;
mod select;
#[cfg(target_os = "linux")]
mod uring;

use std::io;
use std::net::TcpListener;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_default();
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let serve: fn(TcpListener) -> io::Result<()> = match model.as_str() {
        "blocking" => blocking::serve,
        "polling" => polling::serve,
        "select" => select::serve,
        "poll" => poll::serve,
        "epoll" => epoll::serve,
        #[cfg(target_os = "linux")]
        "io_uring" => uring::serve,
        _ => {
            let message = "usage: models blocking|polling|select|poll|epoll|io_uring [ADDRESS]";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    serve(listener)
}
