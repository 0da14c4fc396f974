//! Connecting to an address.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::net::SocketAddrAny;

use crate::channel::{Channel, Kind, Side};
use crate::net::address::Address;
use crate::net::handle::{Handle, replace_waiter};
use crate::net::socket;
use crate::net::stream::Stream;
use crate::op::WriteOp;
use crate::sys::Driver;

/// Connects. The first attempt is made before the socket is registered: a socket that is not even
/// connecting would be reported as hung up.
pub(crate) async fn connect(address: &Address) -> io::Result<Stream> {
    let raw = address.to_raw()?;
    let (socket, connected) = socket::connect(address)?;
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
    poll_fn(|cx| {
        let waiter = handle.waiter(cx);
        if let Some(op) = op.take() {
            let mut driver = handle.core.driver.borrow_mut();
            let channel = driver.channels_mut().get_mut(handle.token);
            if let Err(error) = Channel::check_free(&channel.write, WriteOp::describe) {
                return Poll::Ready(Err(error));
            }
            driver.submit_write(handle.token, op, waiter);
            return Poll::Pending;
        }
        let (done, former) = handle.with_mut(|channel| {
            let done = channel.write.take_done();
            (done, replace_waiter(&mut channel.write, waiter))
        });
        drop(former);
        done.map_or(Poll::Pending, |outcome| Poll::Ready(outcome.result))
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
