//! A second carrier, for tests: many streams of one connection, each with a window of its own, as HTTP/2
//! has them. It drives the same walk as HTTP/1 does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use revolve_reactor::local::Notify;

use crate::http::body::Piece;
use crate::http::phase;
use crate::http::request::Request;
use crate::http::request_body::{Fault, RequestBody};
use crate::http::serve::{self, Served};
use crate::http::sink::{Lost, Sink};

/// What a stream may hold before it has to wait for its client.
const ROOM_BYTES: usize = 64;

/// One stream, as both its ends see it.
#[derive(Default)]
pub(crate) struct Stream {
    changed: Notify,
    is_reset: Cell<bool>,
    /// How many more bytes the client takes.
    window: Cell<usize>,
    held: RefCell<VecDeque<u8>>,
    incoming: RefCell<VecDeque<Bytes>>,
    incoming_ended: Cell<bool>,
    /// What the client has: the status and the body, and whether that has ended.
    pub(crate) status: Cell<u16>,
    pub(crate) body: RefCell<Vec<u8>>,
    pub(crate) has_ended: Cell<bool>,
    /// The status of each of its lines in the log.
    pub(crate) logged: RefCell<Vec<u16>>,
}

impl Stream {
    /// The client takes so many bytes more.
    pub(crate) fn open_window(&self, bytes: usize) {
        self.window.set(self.window.get() + bytes);
        self.changed.notify_all();
    }

    /// The client gives the stream up.
    pub(crate) fn reset(&self) {
        self.is_reset.set(true);
        self.changed.notify_all();
    }

    /// The client sends a part of its body.
    pub(crate) fn send(&self, bytes: &'static [u8], is_last: bool) {
        self.incoming
            .borrow_mut()
            .push_back(Bytes::from_static(bytes));
        self.incoming_ended.set(is_last);
        self.changed.notify_all();
    }

    pub(crate) fn has_whole_body(&self) -> bool {
        self.incoming_ended.get() && self.incoming.borrow().is_empty()
    }

    pub(crate) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Some(bytes) = self.incoming.borrow_mut().pop_front() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        if self.incoming_ended.get() {
            return Poll::Ready(None);
        }
        // Toys are asked again and again.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    pub(crate) fn push(&self, piece: Piece) {
        let Piece::Bytes(bytes) = piece else {
            panic!("toys have no files: {piece:?}");
        };
        self.held.borrow_mut().extend(bytes.iter());
    }

    pub(crate) fn end(&self) {
        self.incoming.borrow_mut().clear();
        self.has_ended.set(true);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.held.borrow().len() < ROOM_BYTES
    }

    /// The client takes what its window allows; the answer is whether that is all.
    fn take_held(&self) -> bool {
        let mut held = self.held.borrow_mut();
        let len = held.len().min(self.window.get());
        self.window.set(self.window.get() - len);
        self.body.borrow_mut().extend(held.drain(..len));
        held.is_empty()
    }

    pub(crate) async fn flush(&self) -> Result<(), Lost> {
        loop {
            if self.is_reset.get() {
                return Err(Lost {
                    error: io::ErrorKind::ConnectionReset.into(),
                    left_bytes: self.held.borrow().len() as u64,
                });
            }
            if self.take_held() {
                return Ok(());
            }
            self.changed.notified().await;
        }
    }

    /// Waits until the client has given the stream up.
    pub(crate) async fn left(&self) {
        while !self.is_reset.get() {
            self.changed.notified().await;
        }
    }
}

/// Serves a request on a stream; `prepare` sees it once it has been walked.
pub(crate) async fn run(
    mut request: Box<Request>,
    stream: Rc<Stream>,
    prepare: impl FnOnce(&mut Request),
) {
    request.body = RequestBody::Toy(stream.clone());
    let walked = phase::walk(&mut request);
    prepare(&mut request);
    let sink = &mut Sink::Toy(stream.clone());
    let mut served = serve::respond(&mut request, walked, sink).await;
    if let Served::Answered = served
        && let Err(lost) = stream.flush().await
    {
        served = Served::Lost(lost);
    }
    match served {
        Served::Answered => stream.end(),
        Served::Left => request.response.status = 499,
        Served::Lost(_) | Served::Broken | Served::Close => {}
    }
    phase::log(&mut request);
    stream.logged.borrow_mut().push(request.response.status);
}

/// Waits until something holds, for a bounded number of turns.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        revolve_reactor::yield_now().await;
    }
    panic!("it does not come to this: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::{Broken, Source};
    use crate::http::testing::TestSite;

    const SITE: &str = "default_type text/html;
        location = /plain { return 200 plain; }
        location = /long { return 200 0123456789012345678901234567890123456789012345678901234567890123456789; }
        location = /added { add_before_body /plain; add_after_body /long; return 200 -; }
        location = /asked { auth_request /yes; error_page 404 =200 /plain; }
        location = /yes { return 204; }
        location = /waits { mirror /yes; error_page 404 =200 /plain; }";

    fn spawn(
        site: &TestSite,
        head: &str,
        prepare: impl FnOnce(&mut Request) + 'static,
    ) -> Rc<Stream> {
        let stream = Rc::new(Stream::default());
        let request = site.request(&format!("POST {head} HTTP/1.1\r\nContent-Length: 9"));
        revolve_reactor::spawn(run(request, stream.clone(), prepare));
        stream
    }

    fn text(stream: &Stream) -> String {
        String::from_utf8(stream.body.borrow().clone()).unwrap()
    }

    #[test]
    fn streams_go_on_whatever_others_do() {
        let mut site = TestSite::new(SITE);
        site.block_on(async |site| {
            let paths = ["/plain", "/long", "/added", "/asked", "/waits"];
            let streams = paths.map(|path| spawn(site, path, |_| {}));
            let [plain, long, added, asked, waits] = &streams;
            // Windows open from the last to the first, a byte at a time.
            asked.open_window(1000);
            until("the last", || asked.has_ended.get()).await;
            assert_eq!(text(asked), "plain");
            for _ in 0..200 {
                added.open_window(1);
                revolve_reactor::yield_now().await;
            }
            until("a slow one", || added.has_ended.get()).await;
            assert!(text(added).starts_with("plain-0123") && text(added).len() == 76);
            assert_eq!((text(plain), text(long), text(waits)), Default::default());
            waits.open_window(10);
            waits.send(b"bo", false);
            waits.send(b"dy", true);
            until("one that waits for its body", || waits.has_ended.get()).await;
            plain.open_window(5);
            long.open_window(70);
            until("all", || plain.has_ended.get() && long.has_ended.get()).await;
            assert_eq!((text(plain).as_str(), text(long).len()), ("plain", 70));
            for stream in &streams {
                assert_eq!(*stream.logged.borrow(), [200]);
            }
        });
    }

    #[test]
    fn a_reset_ends_the_wait_and_is_logged_once() {
        let mut site = TestSite::new(SITE);
        site.block_on(async |site| {
            let other = spawn(site, "/waits", |_| {});
            let stream = spawn(site, "/waits", |_| {});
            stream.send(b"half", false);
            for _ in 0..10 {
                revolve_reactor::yield_now().await;
            }
            assert!(stream.logged.borrow().is_empty() && stream.status.get() == 0);
            stream.reset();
            until("the line", || !stream.logged.borrow().is_empty()).await;
            assert_eq!(*stream.logged.borrow(), [499]);
            // While the answer is on its way it keeps its status.
            let slow = spawn(site, "/long", |_| {});
            slow.open_window(3);
            until("the beginning", || text(&slow).len() == 3).await;
            slow.reset();
            until("the line", || !slow.logged.borrow().is_empty()).await;
            assert_eq!(*slow.logged.borrow(), [200]);
            other.open_window(10);
            other.send(b"", true);
            until("the other", || other.has_ended.get()).await;
            assert_eq!(
                (text(&other).as_str(), stream.logged.borrow().len()),
                ("plain", 1)
            );
        });
    }

    /// Answers with what comes.
    struct Echo(RequestBody);

    impl Source for Echo {
        fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
            let next = self.0.poll_next(cx);
            next.map(|next| Some(next?.map(Piece::Bytes).map_err(|_| Broken::because("toy"))))
        }
    }

    #[test]
    fn bodies_go_both_ways_at_once() {
        let mut site = TestSite::new(SITE);
        site.block_on(async |site| {
            let stream = spawn(site, "/plain", |request| {
                let body = std::mem::take(&mut request.body);
                request.response.clear_content();
                request.response.source = Some(Box::new(Echo(body)));
            });
            stream.open_window(100);
            for (part, so_far) in [(&b"one"[..], "one"), (b"two", "onetwo"), (b"3", "onetwo3")] {
                stream.send(part, false);
                until(so_far, || text(&stream) == so_far).await;
                assert!(!stream.has_ended.get());
            }
            stream.send(b"", true);
            until("the end", || stream.has_ended.get()).await;
        });
    }

    /// Never ends, and counts what it makes.
    struct Endless(Rc<Cell<usize>>);

    impl Source for Endless {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
            self.0.set(self.0.get() + 10);
            Poll::Ready(Some(Ok(Piece::Bytes(Bytes::from_static(b"0123456789")))))
        }
    }

    #[test]
    fn nothing_is_made_that_a_slow_reader_does_not_take() {
        let mut site = TestSite::new(SITE);
        site.block_on(async |site| {
            let made = Rc::new(Cell::new(0));
            let source = Endless(made.clone());
            let stream = spawn(site, "/plain", |request| {
                request.response.clear_content();
                request.response.source = Some(Box::new(source));
            });
            for taken in (0..1000).step_by(50) {
                until("what may be taken", || text(&stream).len() == taken).await;
                assert!(
                    made.get() <= taken + ROOM_BYTES + 10,
                    "{} at {taken}",
                    made.get()
                );
                stream.open_window(50);
            }
            stream.reset();
            until("the end", || Rc::strong_count(&made) == 1).await;
            assert_eq!(*stream.logged.borrow(), [200]);
        });
    }
}
