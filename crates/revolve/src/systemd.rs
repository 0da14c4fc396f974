//! systemd, for those who run us under it: what we tell it, and the sockets that it opened for us.
//!
//! Where it did not start us, all of this does nothing.

pub(crate) mod activation;
pub(crate) mod notify;

use std::rc::Rc;

use crate::ctl::Operated;

/// Says that the event loop turns, as often as systemd wants to hear it: never, mostly.
pub(crate) async fn watchdog<O: Operated>(operated: Rc<O>) {
    let pause = operated.service().borrow().watchdog_interval();
    while let Some(pause) = pause {
        operated.service().borrow().alive();
        revolve_reactor::sleep(pause).await;
    }
}
