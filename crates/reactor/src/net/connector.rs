//! Connecting to an address.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::net::SocketAddrAny;

use crate::channel::{Kind, Side};
use crate::net::address::Address;
use crate::net::handle::Handle;
use crate::net::socket;
use crate::net::stream::Stream;
use crate::op::WriteOp;

/// Connects. The first attempt is made before the socket is registered: a socket that is not even
/// connecting would be reported as hung up.
pub(crate) async fn connect(local: Option<&Address>, address: &Address) -> io::Result<Stream> {
    let raw = address.to_raw()?;
    let (socket, connected) = socket::connect(local, address)?;
    let handle = Handle::register(socket, Kind::Stream)?;
    if !connected {
        finish(&handle, raw).await?;
    }
    Ok(Stream::from_handle(handle))
}

async fn finish(handle: &Handle, address: SocketAddrAny) -> io::Result<()> {
    let _cancel = Cancel(handle);
    let mut op = Some(WriteOp::Connect {
        address: Box::new(address),
    });
    poll_fn(|cx| match op.take() {
        Some(op) => match handle.begin_write(op, false, cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        },
        None => handle.poll_write(cx).map(|outcome| outcome.result),
    })
    .await
}

/// Cancels the operation if the future that waits for it is dropped.
struct Cancel<'a>(&'a Handle);

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        self.0.cancel(Side::Write);
    }
}
