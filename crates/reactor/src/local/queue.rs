//! A bounded queue from many tasks to one.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::wait::{at_once, waiter, wake};
use crate::scheduler::Waiter;

/// A sender that waits for room, with what it sends.
struct Waiting<T> {
    value: T,
    waiter: Waiter,
}

struct State<T> {
    values: VecDeque<T>,
    capacity: usize,
    senders: usize,
    /// The receiver takes no more.
    closed: bool,
    receiver: Option<Waiter>,
    next_ticket: u64,
    /// Who waits for room, in order. A ticket that is not here has its value in the queue.
    waiting: BTreeMap<u64, Waiting<T>>,
}

impl<T> State<T> {
    /// Takes the first value, and lets the first who waits put his in.
    fn take(&mut self) -> Option<(T, Option<Waiter>)> {
        let value = self.values.pop_front()?;
        if self.closed {
            return Some((value, None));
        }
        let next = self.waiting.pop_first().map(|(_, next)| {
            self.values.push_back(next.value);
            next.waiter
        });
        Some((value, next))
    }

    fn has_room(&self) -> bool {
        self.values.len() < self.capacity && self.waiting.is_empty()
    }
}

type Shared<T> = Rc<RefCell<State<T>>>;

/// An end that puts values in. Cheap to clone.
pub struct QueueSender<T> {
    shared: Shared<T>,
}

/// The end that takes them out, in order.
pub struct QueueReceiver<T> {
    shared: Shared<T>,
}

/// Why a value could not be put in at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room, or others wait for it.
    Full(T),
    /// The receiver is gone, or takes no more.
    Closed(T),
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the queue is full",
            TrySendError::Closed(_) => "whoever took from the queue is gone",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for TrySendError<T> {}

/// A queue that holds so many values, at least 1: who sends waits while it is full. Loop-local.
///
/// ```
/// use revolve_reactor::local::queue;
/// use revolve_reactor::{EventLoop, spawn};
///
/// # fn main() -> std::io::Result<()> {
/// EventLoop::new()?.block_on(async {
///     let (sender, mut receiver) = queue(2);
///     spawn(async move {
///         for number in 0..10 {
///             sender.send(number).await.expect("somebody takes them");
///         }
///     });
///     let mut sum = 0;
///     while let Some(number) = receiver.recv().await {
///         sum += number;
///     }
///     assert_eq!(sum, 45);
/// });
/// # Ok(())
/// # }
/// ```
pub fn queue<T>(capacity: usize) -> (QueueSender<T>, QueueReceiver<T>) {
    let shared = Rc::new(RefCell::new(State {
        values: VecDeque::new(),
        capacity: capacity.max(1),
        senders: 1,
        closed: false,
        receiver: None,
        next_ticket: 0,
        waiting: BTreeMap::new(),
    }));
    let sender = QueueSender {
        shared: Rc::clone(&shared),
    };
    (sender, QueueReceiver { shared })
}

impl<T> QueueSender<T> {
    /// Puts a value in, once there is room and those who asked before have put in theirs. Dropping the
    /// future before it is ready drops the value, if it is not in the queue yet.
    ///
    /// # Errors
    ///
    /// The value, if the receiver is gone or takes no more.
    pub fn send(&self, value: T) -> Enqueue<'_, T> {
        Enqueue {
            sender: self,
            value: Some(value),
            ticket: None,
        }
    }

    /// Puts a value in, if there is room and nobody waits for it.
    ///
    /// # Errors
    ///
    /// The value, with the reason.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.shared.borrow_mut();
        if state.closed {
            return Err(TrySendError::Closed(value));
        }
        if !state.has_room() {
            return Err(TrySendError::Full(value));
        }
        state.values.push_back(value);
        let receiver = state.receiver.take();
        drop(state);
        wake(receiver);
        Ok(())
    }

    /// True if the receiver is gone, or takes no more.
    pub fn is_closed(&self) -> bool {
        self.shared.borrow().closed
    }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> QueueSender<T> {
        self.shared.borrow_mut().senders += 1;
        QueueSender {
            shared: Rc::clone(&self.shared),
        }
    }
}

impl<T> Drop for QueueSender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.borrow_mut();
        state.senders -= 1;
        let receiver = if state.senders == 0 {
            state.receiver.take()
        } else {
            None
        };
        drop(state);
        wake(receiver);
    }
}

/// Puts a value into a queue. Made by [`QueueSender::send`].
#[must_use = "futures do nothing unless awaited"]
pub struct Enqueue<'a, T> {
    sender: &'a QueueSender<T>,
    value: Option<T>,
    ticket: Option<u64>,
}

impl<T> Unpin for Enqueue<'_, T> {}

impl<T> Enqueue<'_, T> {
    /// A sender that has waited.
    fn poll_waiting(&mut self, ticket: u64, cx: &Context<'_>) -> Poll<Result<(), T>> {
        let new = waiter(cx);
        let mut state = self.sender.shared.borrow_mut();
        if state.closed {
            let waiting = state.waiting.remove(&ticket);
            drop(state);
            self.ticket = None;
            // Without a place it was put in before the queue was closed.
            return Poll::Ready(waiting.map_or(Ok(()), |waiting| Err(waiting.value)));
        }
        match state.waiting.get_mut(&ticket) {
            Some(waiting) => {
                let former = std::mem::replace(&mut waiting.waiter, new);
                drop(state);
                drop(former);
                Poll::Pending
            }
            None => {
                drop(state);
                self.ticket = None;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<T> Future for Enqueue<'_, T> {
    type Output = Result<(), T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(ticket) = self.ticket {
            return self.poll_waiting(ticket, cx);
        }
        let Some(value) = self.value.take() else {
            return Poll::Pending;
        };
        let sender = self.sender;
        let has_room = {
            let state = sender.shared.borrow();
            state.closed || state.has_room()
        };
        if has_room {
            let mut value = Some(value);
            let sent = at_once(cx, || value.take().map_or(Ok(()), |v| sender.try_send(v)));
            self.value = value;
            return sent.map(|sent| {
                sent.map_err(|error| match error {
                    TrySendError::Full(value) | TrySendError::Closed(value) => value,
                })
            });
        }
        let waiter = waiter(cx);
        let mut state = sender.shared.borrow_mut();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.insert(ticket, Waiting { value, waiter });
        drop(state);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl<T> Drop for Enqueue<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waiting = self.sender.shared.borrow_mut().waiting.remove(&ticket);
            drop(waiting);
        }
    }
}

impl<T> QueueReceiver<T> {
    /// The next value, once there is one; `None` when the queue is empty and all senders are gone, or it
    /// was [closed](QueueReceiver::close). Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next value, if it is there.
    pub fn try_recv(&mut self) -> Option<T> {
        let taken = self.shared.borrow_mut().take();
        let (value, next) = taken?;
        wake(next);
        Some(value)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let is_empty = {
            let state = self.shared.borrow();
            if state.values.is_empty() && (state.senders == 0 || state.closed) {
                return Poll::Ready(None);
            }
            state.values.is_empty()
        };
        if !is_empty {
            return at_once(cx, || self.try_recv());
        }
        let new = waiter(cx);
        let former = self.shared.borrow_mut().receiver.replace(new);
        drop(former);
        Poll::Pending
    }

    /// Takes no more: who waits to send gets the value back. What lies in the queue can still be taken.
    pub fn close(&mut self) {
        let waiting = {
            let mut state = self.shared.borrow_mut();
            state.closed = true;
            let places = state.waiting.values_mut();
            let waiters = places.map(|place| std::mem::replace(&mut place.waiter, Waiter::NOBODY));
            waiters.collect::<Vec<_>>()
        };
        waiting.into_iter().for_each(|waiter| wake(Some(waiter)));
    }

    /// Values in the queue.
    pub fn len(&self) -> usize {
        self.shared.borrow().values.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for QueueReceiver<T> {
    fn drop(&mut self) {
        self.close();
        let left = std::mem::take(&mut self.shared.borrow_mut().values);
        drop(left);
    }
}

impl<T> fmt::Debug for QueueSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueSender")
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

impl<T> fmt::Debug for QueueReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueReceiver")
            .field("len", &self.len())
            .finish()
    }
}

impl<T> fmt::Debug for Enqueue<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueue")
            .field("waits", &self.ticket.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{EventLoop, spawn, timeout, turn, yield_now};

    #[test]
    fn who_sends_waits_for_room_and_keeps_the_order() {
        EventLoop::new().unwrap().block_on(async {
            let (sender, mut receiver) = queue(2);
            sender.try_send(0).unwrap();
            sender.send(1).await.unwrap();
            assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
            let mut sending = Vec::new();
            for number in 2..5 {
                let sender = sender.clone();
                sending.push(spawn(async move { sender.send(number).await }));
            }
            drop(sender);
            yield_now().await;
            assert_eq!(receiver.len(), 2);
            for number in 0..5 {
                assert_eq!(receiver.recv().await, Some(number));
            }
            assert_eq!(receiver.recv().await, None);
            for sent in sending {
                assert_eq!(sent.await, Ok(Ok(())));
            }
        });
    }

    #[test]
    fn one_who_gives_up_leaves_the_line_and_a_closed_queue_gives_back() {
        EventLoop::new().unwrap().block_on(async {
            let (sender, mut receiver) = queue(1);
            sender.send("first").await.unwrap();
            let gone = timeout(Duration::from_millis(2), sender.send("second")).await;
            assert!(gone.is_err());
            let other = sender.clone();
            let third = spawn(async move { other.send("third").await });
            yield_now().await;
            assert_eq!(receiver.try_recv(), Some("first"));
            assert_eq!(third.await, Ok(Ok(())));
            let other = sender.clone();
            let fourth = spawn(async move { other.send("fourth").await });
            yield_now().await;
            receiver.close();
            assert_eq!(fourth.await, Ok(Err("fourth")));
            assert_eq!(sender.try_send("fifth"), Err(TrySendError::Closed("fifth")));
            assert_eq!(sender.send("sixth").await, Err("sixth"));
            assert_eq!(receiver.recv().await, Some("third"));
            assert_eq!(receiver.recv().await, None);
        });
    }

    #[test]
    fn two_who_never_have_to_wait_let_the_loop_turn() {
        EventLoop::new().unwrap().block_on(async {
            let (sender, mut receiver) = queue(1);
            let begun = turn();
            let mut passed = 0;
            while turn() < begun + 5 && passed < 1_000_000 {
                sender.send(()).await.unwrap();
                receiver.recv().await.unwrap();
                passed += 1;
            }
            assert!(passed < 10_000, "{passed}");
        });
    }
}
