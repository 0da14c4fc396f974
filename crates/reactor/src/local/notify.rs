//! Waking tasks that wait for something that has no value.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait::{at_once, waiter, wake};
use crate::scheduler::Waiter;

/// Who waits, and whether that is over.
enum Place {
    Waits(Waiter),
    /// By [`Notify::notify_one`]: whoever gives up then passes it on.
    ToldAlone,
    Told,
}

#[derive(Default)]
struct State {
    /// One was notified, and nobody waited.
    kept: bool,
    next_ticket: u64,
    places: BTreeMap<u64, Place>,
}

impl State {
    /// Tells the one that has waited longest.
    fn tell_one(&mut self) -> Option<Waiter> {
        let first = self
            .places
            .values_mut()
            .find(|place| matches!(place, Place::Waits(_)));
        match first {
            None => {
                self.kept = true;
                None
            }
            Some(place) => match std::mem::replace(place, Place::ToldAlone) {
                Place::Waits(waiter) => Some(waiter),
                Place::ToldAlone | Place::Told => None,
            },
        }
    }
}

/// Tells tasks that something has come to pass. Share it by `Rc`. Loop-local.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use revolve_reactor::local::Notify;
/// use revolve_reactor::{EventLoop, spawn};
///
/// # fn main() -> std::io::Result<()> {
/// EventLoop::new()?.block_on(async {
///     let (filled, changed) = (Rc::new(Cell::new(false)), Rc::new(Notify::new()));
///     let (fills, changes) = (Rc::clone(&filled), Rc::clone(&changed));
///     spawn(async move {
///         fills.set(true);
///         changes.notify_one();
///     });
///     while !filled.get() {
///         changed.notified().await;
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Notify {
    state: RefCell<State>,
}

impl Notify {
    /// One that nobody has notified.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Wakes the one that has waited longest. If nobody waits, the next one who does is ready at once;
    /// that is remembered once, however often this is called.
    pub fn notify_one(&self) {
        let told = self.state.borrow_mut().tell_one();
        wake(told);
    }

    /// Wakes all that wait now, and nobody who comes later.
    pub fn notify_all(&self) {
        let mut told = Vec::new();
        for place in self.state.borrow_mut().places.values_mut() {
            if matches!(place, Place::Waits(_))
                && let Place::Waits(waiter) = std::mem::replace(place, Place::Told)
            {
                told.push(waiter);
            }
        }
        told.into_iter().for_each(|waiter| wake(Some(waiter)));
    }

    /// Waits to be notified: from when this is first polled.
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            ticket: None,
        }
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("Notify")
            .field("waiting", &state.places.len())
            .field("kept", &state.kept)
            .finish()
    }
}

/// Waits to be notified. Made by [`Notify::notified`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    ticket: Option<u64>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let state = &self.notify.state;
        let Some(ticket) = self.ticket else {
            if state.borrow().kept {
                return at_once(cx, || state.borrow_mut().kept = false);
            }
            let place = Place::Waits(waiter(cx));
            let mut state = state.borrow_mut();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.places.insert(ticket, place);
            drop(state);
            self.ticket = Some(ticket);
            return Poll::Pending;
        };
        let new = waiter(cx);
        let mut places = state.borrow_mut();
        if let Some(Place::Waits(waits)) = places.places.get_mut(&ticket) {
            let former = std::mem::replace(waits, new);
            drop(places);
            drop(former);
            return Poll::Pending;
        }
        places.places.remove(&ticket);
        drop(places);
        self.ticket = None;
        Poll::Ready(())
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        let mut state = self.notify.state.borrow_mut();
        let place = state.places.remove(&ticket);
        let next = match place {
            Some(Place::ToldAlone) => state.tell_one(),
            Some(Place::Waits(_) | Place::Told) | None => None,
        };
        drop(state);
        drop(place);
        wake(next);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::{EventLoop, spawn, timeout, yield_now};

    #[test]
    fn one_is_told_or_all_and_a_notification_is_kept() {
        EventLoop::new().unwrap().block_on(async {
            let notify = Rc::new(Notify::new());
            notify.notify_one();
            notify.notify_one();
            notify.notified().await;
            let short = Duration::from_millis(2);
            assert!(
                timeout(short, notify.notified()).await.is_err(),
                "kept once"
            );
            let woken = Rc::new(Cell::new(0));
            for _ in 0..3 {
                let (notify, woken) = (Rc::clone(&notify), Rc::clone(&woken));
                spawn(async move {
                    notify.notified().await;
                    woken.set(woken.get() + 1);
                });
            }
            yield_now().await;
            notify.notify_one();
            yield_now().await;
            assert_eq!(woken.get(), 1);
            notify.notify_all();
            yield_now().await;
            assert_eq!(woken.get(), 3);
            assert!(timeout(short, notify.notified()).await.is_err());
        });
    }

    #[test]
    fn one_who_gives_up_passes_it_on() {
        EventLoop::new().unwrap().block_on(async {
            let notify = Rc::new(Notify::new());
            let mut gives_up = Box::pin(notify.notified());
            assert!(timeout(Duration::ZERO, gives_up.as_mut()).await.is_err());
            let other = Rc::clone(&notify);
            let next = spawn(async move { other.notified().await });
            yield_now().await;
            notify.notify_one();
            drop(gives_up);
            timeout(Duration::from_secs(60), next)
                .await
                .unwrap()
                .unwrap();
            assert!(notify.state.borrow().places.is_empty());
        });
    }
}
