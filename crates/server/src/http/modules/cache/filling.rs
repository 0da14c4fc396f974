//! An answer that is written to its file while it comes, and read from there by its client.
//!
//! Whoever writes goes on without its client, and does not wait for a slow one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use revolve_reactor::local::Notify;
use revolve_reactor::{spawn, yield_now};

use crate::file_cache::FileEntry;
use crate::http::body::{Broken, Piece, Source};
use crate::http::cache::{Lock, Writing};
use crate::log::{Level, error_text};
use crate::runtime::loop_state::LoopState;

/// What is written before others have their turn.
const BYTES_A_TURN: u64 = 1024 * 1024;

/// Being the one that fetches an answer, until which others of this loop may wait.
pub(super) struct Held {
    pub(super) lock: Option<Lock>,
    pub(super) ended: Rc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lock = None;
        self.ended.notify_all();
    }
}

/// How far it is, for both.
struct Shared {
    written: u64,
    state: State,
    reader: Option<Waker>,
}

enum State {
    Coming,
    Whole,
    Broken(Option<String>),
    /// It cannot be written any further: the client has what is left from where it comes.
    Given(Bytes, Box<dyn Source>),
    Taken,
}

/// Writes a body, and gives what reads it.
pub(super) fn begin(
    source: Box<dyn Source>,
    writing: Writing,
    held: Option<Held>,
) -> Box<dyn Source> {
    let shared = Rc::new(RefCell::new(Shared {
        written: 0,
        state: State::Coming,
        reader: None,
    }));
    let reader = Reader {
        file: Rc::new(FileEntry::of_parts(writing.file.clone())),
        body_at: writing.body_at,
        read: 0,
        shared: shared.clone(),
        rest: None,
    };
    spawn(fill(source, writing, held, shared));
    Box::new(reader)
}

async fn fill(
    mut source: Box<dyn Source>,
    mut writing: Writing,
    held: Option<Held>,
    shared: Rc<RefCell<Shared>>,
) {
    let mut unbroken = 0;
    let ended = loop {
        match poll_fn(|cx| source.poll_next(cx)).await {
            Some(Ok(Piece::Bytes(bytes))) => {
                if let Err(error) = writing.write(&bytes) {
                    tell("pwrite()", &writing, &error);
                    break State::Given(bytes, source);
                }
                shared.borrow_mut().written += bytes.len() as u64;
                wake(&shared);
                unbroken += bytes.len() as u64;
                if unbroken >= BYTES_A_TURN {
                    unbroken = 0;
                    yield_now().await;
                }
            }
            Some(Ok(_)) => unreachable!("what comes from a peer is bytes"),
            Some(Err(broken)) => break State::Broken(broken.reason),
            None => break State::Whole,
        }
    };
    if matches!(ended, State::Whole) {
        finish(writing);
    } else {
        drop(writing);
    }
    drop(held);
    shared.borrow_mut().state = ended;
    wake(&shared);
}

/// Gives a whole answer its name.
pub(super) fn finish(writing: Writing) {
    let path = writing.temporary.clone();
    if let Err(error) = writing.finish() {
        tell_of("rename()", &path, &error);
    }
}

fn tell(what: &str, writing: &Writing, error: &std::io::Error) {
    tell_of(what, &writing.temporary, error);
}

/// Says that an answer is not kept, which its client need not know.
pub(super) fn tell_of(what: &str, path: &std::path::Path, error: &std::io::Error) {
    if let Some(state) = LoopState::current() {
        let (shown, reason) = (path.display(), error_text(error));
        state.log(
            Level::Crit,
            format_args!("{what} \"{shown}\" failed ({reason}), an answer is not cached"),
        );
    }
}

fn wake(shared: &RefCell<Shared>) {
    let reader = shared.borrow_mut().reader.take();
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// The body as its client reads it.
struct Reader {
    file: Rc<FileEntry>,
    body_at: u64,
    read: u64,
    shared: Rc<RefCell<Shared>>,
    rest: Option<Box<dyn Source>>,
}

impl Source for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        if let Some(rest) = &mut self.rest {
            return rest.poll_next(cx);
        }
        let mut shared = self.shared.borrow_mut();
        if self.read < shared.written {
            let (start, len) = (self.body_at + self.read, shared.written - self.read);
            self.read = shared.written;
            let file = self.file.clone();
            return Poll::Ready(Some(Ok(Piece::File { file, start, len })));
        }
        match std::mem::replace(&mut shared.state, State::Taken) {
            State::Coming => {
                shared.state = State::Coming;
                shared.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Whole => {
                shared.state = State::Whole;
                Poll::Ready(None)
            }
            State::Broken(reason) => Poll::Ready(Some(Err(Broken { reason }))),
            State::Given(bytes, source) => {
                self.rest = Some(source);
                Poll::Ready(Some(Ok(Piece::Bytes(bytes))))
            }
            State::Taken => Poll::Ready(Some(Err(Broken { reason: None }))),
        }
    }
}
