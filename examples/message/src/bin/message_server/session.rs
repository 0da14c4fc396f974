//! One client: what it sends is read, counted and put into its line; what it is to hear waits in
//! its outbox. Memory is bounded on both sides, and silence too.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use revolve_message::frame::{Frame, FrameCodec};
use revolve_reactor::{
    Address, CodecError, Framed, Lease, Outbox, OutboxError, Stream, now, timeout,
};

use crate::business::{self, Refusal, Step, refusal};
use crate::flood::{FloodGuard, Verdict};
use crate::hall::{Hall, Seat, Shared};
use crate::line::Line;
use revolve_message::message::{Code, Event, Malformed, Request, codec};

/// What the kernel holds for a client beside its outbox (it takes twice that for its own use). Left
/// to itself it would hold up to 4 MiB for each that reads slowly (`tcp_wmem` of tcp(7)).
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How long a client that is told goodbye may take to read it, and to close.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Why a client goes.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// What it is told; nothing if it went by itself.
    pub(crate) code: Option<Code>,
    pub(crate) text: String,
}

impl Ending {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Ending {
        Ending {
            code: Some(code),
            text: text.into(),
        }
    }

    fn gone(text: impl Into<String>) -> Ending {
        Ending {
            code: None,
            text: text.into(),
        }
    }
}

/// A client of this loop.
pub(crate) struct Session {
    pub(crate) seat: Seat,
    pub(crate) shared: Arc<Shared>,
    pub(crate) line: Line,
    peer: Address,
    outbox: Outbox,
    /// Claimed, or about to be.
    name: RefCell<Option<Arc<str>>>,
    logged_in: Cell<bool>,
    rooms: RefCell<BTreeSet<Arc<str>>>,
    /// Messages left out since the client was last told.
    lost: Cell<u32>,
    ending: RefCell<Option<Ending>>,
    ending_waker: Cell<Option<Waker>>,
}

/// Leaves the hall when dropped: whatever ends the client's task, a panic too.
struct Present {
    hall: Rc<Hall>,
    session: Rc<Session>,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.session.line.abandon();
        self.hall.leave(&self.session);
    }
}

/// Serves a client from its first byte to its last. What it takes is put away before the future
/// begins, which would keep room for it to its end: an idle client pays for what is in here.
pub(crate) fn serve(
    hall: &Rc<Hall>,
    stream: Stream,
    peer: Address,
    lease: Lease,
) -> impl Future<Output = ()> + 'static {
    // Small frames go out as they come.
    let _ = stream.set_nodelay(true);
    let _ = stream.set_send_buffer(SEND_BUFFER_BYTES);
    let session = Rc::new(Session::new(hall, stream, peer));
    hall.enter(&session);
    let hall = Rc::clone(hall);
    let present = Present { hall, session };
    async move {
        // Counted until the connection is closed.
        let _lease = lease;
        let session = Rc::clone(&present.session);
        let ending = {
            let mut reading = pin!(read(&session));
            poll_fn(|cx| match session.poll_ending(cx.waker()) {
                Some(ending) => Poll::Ready(ending),
                None => reading.as_mut().poll(cx),
            })
            .await
        };
        session.note_ending(&ending);
        if ending.code == Some(Code::Stopping) {
            // What was accepted is done and answered.
            session.line.at_most(0).await;
        }
        drop(present);
        // A client that is gone, or is closing, takes nothing any more: that is no error.
        let _ = session.close(ending).await;
    }
}

/// Reads requests until the client has no more, or must go.
async fn read(session: &Rc<Session>) -> Ending {
    let options = &session.shared.options;
    let mut framed = Framed::new(Rc::clone(session.outbox.stream()), codec());
    let mut flood = FloodGuard::new(options.flood_messages_max, options.flood_window, now());
    let login_until = now() + options.login_max;
    loop {
        session.line.at_most(options.pipeline_max - 1).await;
        let frame = match next_frame(session, &mut framed, login_until).await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                session.line.at_most(0).await;
                return Ending::gone("has closed the connection");
            }
            Err(ending) => return ending,
        };
        session.shared.counters[session.seat.reactor]
            .requests
            .fetch_add(1, Ordering::Relaxed);
        let step = match (flood.note(now()), Request::of(&frame)) {
            (Verdict::Kick, _) => {
                return Ending::new(Code::Flood, "too many messages, again and again");
            }
            (Verdict::Warn, _) => session.refuse_flood(true),
            (Verdict::Refuse, _) => session.refuse_flood(false),
            (Verdict::Fine, Ok(Request::Pong)) => continue,
            (Verdict::Fine, Ok(Request::Quit)) => {
                session.line.at_most(0).await;
                return Ending::new(Code::AsAsked, "goodbye");
            }
            (Verdict::Fine, Ok(request)) => business::begin(request, &session.shared),
            (Verdict::Fine, Err(Malformed::Kind(kind))) => {
                let text = format!("there is no request of type {kind}");
                Step::Ready(refusal(Code::UnknownType, text))
            }
            (Verdict::Fine, Err(Malformed::Body)) => {
                let text = "the body is not that of its type";
                Step::Ready(refusal(Code::Malformed, text))
            }
        };
        session.line.push(session, frame.flags, frame.kind, step);
    }
}

/// The next frame. Silence is answered with a ping, more silence with the end; a frame
/// that comes in drop by drop is silence too.
async fn next_frame(
    session: &Rc<Session>,
    framed: &mut Framed<FrameCodec>,
    login_until: Instant,
) -> Result<Option<Frame>, Ending> {
    let heartbeat = session.shared.options.heartbeat;
    let since = now();
    let mut pinged = false;
    loop {
        let mut until = since + heartbeat * (1 + u32::from(pinged));
        let logged_in = session.logged_in.get();
        if !logged_in {
            until = until.min(login_until);
        }
        match framed.next_before(until).await {
            Ok(frame) => return Ok(frame),
            Err(CodecError::Io(error)) if error.kind() == ErrorKind::TimedOut => {
                if !session.logged_in.get() && now() >= login_until {
                    return Err(Ending::new(Code::Idle, "no login in time"));
                }
                if pinged {
                    return Err(Ending::new(Code::Idle, "nothing was heard of you"));
                }
                // A client that logged in meanwhile has its whole time.
                if logged_in || now() >= since + heartbeat {
                    pinged = true;
                    session.push(&Event::Ping, 0);
                }
            }
            Err(CodecError::Io(error)) => return Err(Ending::gone(error.to_string())),
            Err(error @ CodecError::Truncated { .. }) => {
                return Err(Ending::gone(error.to_string()));
            }
            Err(error) => return Err(Ending::new(Code::Malformed, error.to_string())),
        }
    }
}

impl Session {
    fn new(hall: &Hall, stream: Stream, peer: Address) -> Session {
        let options = &hall.shared.options;
        let outbox = Outbox::new(stream, options.queue_bytes_max);
        Session {
            seat: hall.seat(),
            shared: Arc::clone(&hall.shared),
            line: Line::default(),
            peer,
            outbox: outbox.stall_max(options.stall_max),
            name: RefCell::default(),
            logged_in: Cell::new(false),
            rooms: RefCell::default(),
            lost: Cell::new(0),
            ending: RefCell::default(),
            ending_waker: Cell::default(),
        }
    }

    /// The name that is claimed, or about to be.
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.borrow().clone()
    }

    /// The name, once it is the client's.
    pub(crate) fn logged_in(&self) -> Option<Arc<str>> {
        self.logged_in.get().then(|| self.name()).flatten()
    }

    /// Notes the name that is to be claimed; false if there is one.
    pub(crate) fn set_name(&self, name: &Arc<str>) -> bool {
        let mut own = self.name.borrow_mut();
        let free = own.is_none();
        own.get_or_insert_with(|| Arc::clone(name));
        free
    }

    pub(crate) fn set_logged_in(&self) {
        self.logged_in.set(true);
    }

    pub(crate) fn clear_name(&self) {
        self.name.take();
    }

    /// Notes a room; false if there would be too many.
    pub(crate) fn note_room(&self, room: &Arc<str>, rooms_max: usize) -> bool {
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() >= rooms_max && !rooms.contains(room) {
            return false;
        }
        rooms.insert(Arc::clone(room));
        true
    }

    pub(crate) fn is_in(&self, room: &Arc<str>) -> bool {
        self.rooms.borrow().contains(room)
    }

    /// Leaves a room; false if the client is not in it.
    pub(crate) fn leave(&self, room: &Arc<str>) -> bool {
        let was_in = self.rooms.borrow_mut().remove(room);
        if was_in {
            crate::hall::with(|hall| hall.leave_room(room, self));
        }
        was_in
    }

    pub(crate) fn take_rooms(&self) -> BTreeSet<Arc<str>> {
        self.rooms.take()
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.outbox.bytes()
    }

    /// Takes a message of another client. One who reads too slowly does not get it, and is told
    /// later how many those were: what waits stays below half of what may.
    pub(crate) fn hear(&self, message: &Bytes) -> bool {
        if self.outbox.bytes() > self.shared.options.queue_bytes_max / 2 {
            self.lost.set(self.lost.get().saturating_add(1));
            let counters = &self.shared.counters[self.seat.reactor];
            counters.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.push_bytes(message.clone())
    }

    /// Answers a request.
    pub(crate) fn answer(&self, tag: u16, request: u16, answer: Result<Bytes, Refusal>) {
        let event = match answer {
            Ok(payload) => Event::Done { request, payload },
            Err(Refusal { code, text }) => {
                let counters = &self.shared.counters[self.seat.reactor];
                counters.refused.fetch_add(1, Ordering::Relaxed);
                Event::Failed {
                    request,
                    code,
                    text,
                }
            }
        };
        self.push(&event, tag);
    }

    fn refuse_flood(&self, warn: bool) -> Step {
        let text = "too many messages: wait a moment";
        if warn {
            let (code, text) = (Code::Flood, text.into());
            self.push(&Event::Warning { code, text }, 0);
        }
        Step::Ready(refusal(Code::Flood, text))
    }

    fn push(&self, event: &Event, tag: u16) -> bool {
        let message = event.to_frame(tag).to_bytes();
        message.is_ok_and(|message| self.push_bytes(message))
    }

    /// Puts a message into the outbox; where that is full or broken, the client goes.
    fn push_bytes(&self, message: Bytes) -> bool {
        if self.lost.get() > 0 && self.outbox.bytes() <= self.shared.options.queue_bytes_max / 4 {
            let messages = self.lost.take();
            let lost = Event::Lost { messages }.to_frame(0).to_bytes();
            // Where there is no room for it there is none for the message either.
            let _ = lost.map(|lost| self.outbox.push(lost));
        }
        let ending = match self.outbox.push(message) {
            Ok(()) => {
                let counters = &self.shared.counters[self.seat.reactor];
                counters.sent.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            Err(OutboxError::Full(_)) => Ending::new(Code::TooSlow, "reads too slowly"),
            Err(OutboxError::Failed(ErrorKind::TimedOut)) => {
                Ending::new(Code::TooSlow, "has stopped reading")
            }
            Err(OutboxError::Failed(kind)) => Ending::gone(kind.to_string()),
        };
        self.end(ending);
        false
    }

    /// Ends the client soon; the first reason counts.
    pub(crate) fn end(&self, ending: Ending) {
        self.ending.borrow_mut().get_or_insert(ending);
        if let Some(waker) = self.ending_waker.take() {
            waker.wake();
        }
    }

    fn poll_ending(&self, waker: &Waker) -> Option<Ending> {
        let ending = self.ending.borrow().clone();
        if ending.is_none() {
            self.ending_waker.set(Some(waker.clone()));
        }
        ending
    }

    /// Counts an ending, and says it where somebody may want to know.
    fn note_ending(&self, ending: &Ending) {
        let counters = &self.shared.counters[self.seat.reactor];
        let counter = match ending.code {
            None | Some(Code::AsAsked | Code::Stopping) => return,
            Some(Code::Flood) => &counters.kicked_flood,
            Some(Code::TooSlow) => &counters.kicked_slow,
            Some(Code::Idle) => &counters.kicked_idle,
            Some(_) => &counters.kicked_other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let name = self.name().unwrap_or_else(|| "(no name)".into());
        let (peer, text) = (&self.peer, &ending.text);
        self.shared
            .console
            .say(format!("{name} at {peer} is kicked: {text}"));
    }

    /// Says goodbye to those who read, and closes.
    async fn close(&self, ending: Ending) -> io::Result<()> {
        let stream = self.outbox.stream();
        if let Some(code) = ending.code {
            if code == Code::TooSlow {
                self.outbox.abort();
                return stream.set_linger_reset();
            }
            let text = ending.text;
            self.push(&Event::Goodbye { code, text }, 0);
        }
        let end = now() + GOODBYE_MAX;
        let sent = timeout(GOODBYE_MAX, self.outbox.writable_below(0)).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.outbox.abort();
            return stream.set_linger_reset();
        }
        stream.shutdown_write()?;
        while !stream.recv().deadline(end).await?.is_empty() {}
        Ok(())
    }
}
