//! systemd, for those who run us under it: what we tell it, and the sockets that it opened for us.
//!
//! Where it did not start us, all of this does nothing.

pub(crate) mod activation;
pub(crate) mod notify;

use std::rc::Rc;

use revolve_reactor::Readable;

use crate::ctl::Operated;

/// A new binary is not heard before it is the main process: waits until it is, and speaks then.
pub(crate) async fn succeed<O: Operated>(operated: Rc<O>) {
    let predecessor = operated.service().borrow().predecessor();
    if let Some(Ok(Ok(socket))) = predecessor.map(|socket| socket.map(Readable::new)) {
        // Whatever there is to hear: it has said so, or is gone.
        let _ = socket.ready().await;
        operated.service().borrow().become_main();
    }
}

/// Says that the event loop turns, as often as systemd wants to hear it: never, mostly.
pub(crate) async fn watchdog<O: Operated>(operated: Rc<O>) {
    let pause = operated.service().borrow().watchdog_interval();
    while let Some(pause) = pause {
        operated.service().borrow().alive();
        revolve_reactor::sleep(pause).await;
    }
}
