//! The task of a connection: receive, walk, send, and wait for any of it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use revolve_http::h2::{ConnectionError, ErrorCode, Event, StreamError, trailers};
use revolve_reactor::{Buffer, Chunk, Receiving, SendQueue, Sleep};

use super::batch;
use super::carrier::level_of;
use super::requests;
use super::stream::{Carrier, Stream};
use crate::http::serve::Served;
use crate::http::sink::Lost;
use crate::log::Level;
use crate::net::{Sending, Transport};
use crate::runtime::connection::Connection;

/// While so much waits to be sent, nothing is read: who does not take answers may not ask.
const UNSENT_BYTES_MAX: usize = 128 * 1024;

/// Memory for what is sent that an idle connection keeps.
const OUT_KEPT_BYTES_MAX: usize = 2 * 1024;

/// What does not leave at once is copied, up to this size; larger memory is given away.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// What one turn sends at most, in batches, before others have theirs.
const BATCHES_PER_TURN_MAX: u32 = 4;

/// How often streams are looked at whose clients take nothing.
const LOOK_AT_STALLED: Duration = Duration::from_secs(1);

/// Why a connection's task goes on.
enum Woken {
    Received(io::Result<Buffer>),
    Sent(io::Result<()>),
    ByStream,
    ByTime,
}

/// How a connection ends.
enum End {
    /// Nobody is there any more.
    Gone(io::ErrorKind),
    /// We say so, and why.
    Said,
}

/// Serves a connection whose client speaks HTTP/2; `received` is what has come of it already.
pub(super) async fn run(carrier: Rc<Carrier>, received: Buffer) {
    let guard = Guard(carrier);
    let carrier = &guard.0;
    let connection = carrier.connection.clone();
    let mut task = Task {
        carrier,
        transport: &connection.stream,
        receiving: Receiving::default(),
        receives_within: None,
        sending: None,
        stalled: None,
        unread: None,
        amid: None,
        is_deaf: false,
        is_over: false,
    };
    let end = task.run(received).await;
    task.transport.cancel_recv(&mut task.receiving);
    drop(task);
    let why = match end {
        End::Gone(why) => why,
        End::Said => io::ErrorKind::ConnectionAborted,
    };
    end_streams(carrier, why);
    if let End::Said = end {
        close(carrier).await;
    }
}

/// However the task ends, nobody waits for its connection any more, and its streams let go of it.
struct Guard(Rc<Carrier>);

impl Drop for Guard {
    fn drop(&mut self) {
        end_streams(&self.0, io::ErrorKind::ConnectionAborted);
    }
}

/// Tells all streams that nobody is there any more.
fn end_streams(carrier: &Carrier, why: io::ErrorKind) {
    let mut streams: Vec<Rc<Stream>> = carrier.leaving.borrow_mut().drain(..).collect();
    {
        let mut machine = carrier.machine.borrow_mut();
        let ids: Vec<u32> = machine.users().map(|stream| stream.id()).collect();
        streams.extend(ids.into_iter().filter_map(|id| machine.finish(id)));
        machine.out().clear();
    }
    for stream in streams {
        lose(&stream, why);
    }
}

/// A stream's client takes it no further; the answer is whether somebody has yet to hear that.
fn lose(stream: &Rc<Stream>, why: io::ErrorKind) -> bool {
    let (request, is_waited_for) = stream.set_gone(why);
    if let Some(request) = request {
        let lost = Lost {
            error: why.into(),
            left_bytes: stream.unsent_bytes(),
        };
        requests::end(stream, request, Served::Lost(lost));
    }
    is_waited_for
}

struct Task<'a> {
    carrier: &'a Rc<Carrier>,
    transport: &'a Transport,
    receiving: Receiving,
    /// How long the pending receive waits.
    receives_within: Option<Option<Duration>>,
    sending: Option<Sending<'a>>,
    stalled: Option<Sleep>,
    /// What was received and is to be taken in the next turn.
    unread: Option<Buffer>,
    /// What has not come whole and may not take for ever, by its number, and since when.
    amid: Option<(u64, u64)>,
    /// Whether reading has ended, by us, while streams go on.
    is_deaf: bool,
    /// Whether nothing is read any more.
    is_over: bool,
}

impl Task<'_> {
    async fn run(&mut self, received: Buffer) -> End {
        let connection = &self.carrier.connection;
        let mut woken = match received.is_empty() {
            true => Woken::ByStream,
            false => Woken::Received(Ok(received)),
        };
        loop {
            connection.state.set_current(connection.number);
            match woken {
                Woken::Received(Ok(received)) if !received.is_empty() => {
                    self.unread = Some(received);
                }
                // There may be successors now.
                Woken::Received(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Woken::Received(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    self.time_out();
                }
                Woken::Received(Err(error)) => return End::Gone(error.kind()),
                // Its side is closed; reading may have been ended by us.
                Woken::Received(Ok(_)) if connection.is_idle() => {
                    self.go_away(ErrorCode::NO_ERROR);
                }
                Woken::Received(Ok(_)) if connection.is_read_shut() => {
                    self.carrier
                        .machine
                        .borrow_mut()
                        .go_away(ErrorCode::NO_ERROR);
                    self.is_deaf = true;
                }
                Woken::Received(Ok(_)) => return End::Gone(io::ErrorKind::ConnectionReset),
                Woken::Sent(Ok(())) => self.note_flushed(),
                Woken::Sent(Err(error)) => return End::Gone(error.kind()),
                Woken::ByTime => self.reset_stalled(),
                Woken::ByStream => {}
            }
            if let Some(received) = self.unread.take() {
                self.take(received);
            }
            if let Err(error) = self.send() {
                return End::Gone(error.kind());
            }
            self.note_idle();
            if self.may_end() {
                return End::Said;
            }
            if self.unread.is_some() {
                revolve_reactor::yield_now().await;
                woken = Woken::ByStream;
                continue;
            }
            woken = poll_fn(|cx| self.poll(cx)).await;
        }
    }

    /// Takes what was received, up to where others are to run first.
    fn take(&mut self, mut received: Buffer) {
        if self.is_over {
            return;
        }
        let fed = feed(self.carrier, &received);
        let machine = self.carrier.machine.borrow();
        let frame = machine.is_amid_frame().then(|| machine.frames_begun());
        drop(machine);
        self.amid = frame.map(|frame| match self.amid {
            Some((known, since_ms)) if known == frame => (frame, since_ms),
            _ => (frame, revolve_reactor::now_ms()),
        });
        match fed {
            Ok(consumed) if consumed == received.len() => {}
            Ok(consumed) => {
                received.advance(consumed);
                self.unread = Some(received);
            }
            Err(error) => {
                self.carrier.log_error(&error);
                self.carrier.machine.borrow_mut().fail(error.code);
                self.is_over = true;
            }
        }
    }

    fn go_away(&mut self, code: ErrorCode) {
        self.carrier.machine.borrow_mut().go_away(code);
        self.is_over = true;
    }

    /// Nothing has come for too long.
    fn time_out(&mut self) {
        let machine = self.carrier.machine.borrow();
        let is_worth_a_line = machine.is_amid_frame() || self.carrier.connection.requests() == 0;
        drop(machine);
        if is_worth_a_line {
            self.carrier.log(
                Level::Info,
                format_args!("client timed out (110: Connection timed out)"),
            );
        }
        self.go_away(ErrorCode::NO_ERROR);
    }

    /// Sends what there is, unless something is on its way.
    fn send(&mut self) -> io::Result<()> {
        let mut batches = 0;
        while self.sending.is_none() {
            for (stream, why) in batch::fill(self.carrier) {
                lose(&stream, why);
            }
            let mut machine = self.carrier.machine.borrow_mut();
            if machine.out().is_empty() && !self.transport.has_unsent() {
                return Ok(());
            }
            // Several records leave in one write when they are queued.
            if self.transport.tls().is_none() || machine.out().len() <= COPY_BYTES_MAX {
                try_send(self.transport, machine.out())?;
            }
            if !machine.out().is_empty() || self.transport.has_unsent() {
                let queue = queue(machine.out());
                drop(machine);
                self.begin_send(queue);
                return Ok(());
            }
            drop(machine);
            self.note_flushed();
            batches += 1;
            if batches >= BATCHES_PER_TURN_MAX {
                self.carrier.wake();
                return Ok(());
            }
        }
        Ok(())
    }

    fn begin_send(&mut self, queue: SendQueue) {
        let site = self.carrier.http_loop.site();
        let settings = &level_of(&site, &self.carrier.connection).settings.output;
        let stall_max = Duration::from_millis(settings.send_timeout_ms);
        self.sending = Some(self.transport.send(queue, stall_max));
    }

    /// All that was to be sent has left.
    fn note_flushed(&mut self) {
        self.carrier.machine.borrow_mut().note_flushed();
        let mut left = std::mem::take(&mut *self.carrier.leaving.borrow_mut());
        for stream in left.drain(..) {
            if let Some(request) = stream.note_left() {
                requests::end(&stream, request, Served::Answered);
            }
            self.carrier.pool.give_back_stream(stream);
        }
        let mut leaving = self.carrier.leaving.borrow_mut();
        if leaving.is_empty() {
            *leaving = left;
        }
    }

    /// Ends streams whose clients take nothing for too long.
    fn reset_stalled(&mut self) {
        self.stalled = None;
        let now_ms = revolve_reactor::now_ms();
        let stalled: Vec<Rc<Stream>> = {
            let machine = self.carrier.machine.borrow();
            let blocked = machine
                .users()
                .filter(|stream| machine.is_blocked(stream.id()));
            blocked
                .filter(|stream| stream.is_stalled(now_ms))
                .cloned()
                .collect()
        };
        for stream in stalled {
            self.carrier.reset(stream.id(), ErrorCode::CANCEL);
            lose(&stream, io::ErrorKind::TimedOut);
        }
    }

    /// Counts the connection as one that idles, or does not.
    fn note_idle(&mut self) {
        let connection = &self.carrier.connection;
        let counts = connection.state.counts();
        let is_idle = self.carrier.machine.borrow().stream_count() == 0
            && self.carrier.leaving.borrow().is_empty();
        match (is_idle, connection.is_idle()) {
            (true, false) => {
                let mut machine = self.carrier.machine.borrow_mut();
                if machine.out().capacity() > OUT_KEPT_BYTES_MAX {
                    machine.out().shrink_to(0);
                }
                connection.begin_idle();
                counts.end_busy(&connection.is_busy);
            }
            (false, _) => counts.begin_busy(&connection.is_busy),
            (true, true) => {}
        }
        if is_idle && connection.state.ends_idle(connection) {
            self.go_away(ErrorCode::NO_ERROR);
            // What was said has to leave.
            let _ = self.send();
        }
    }

    /// Whether all that was to be said was.
    fn may_end(&self) -> bool {
        let mut machine = self.carrier.machine.borrow_mut();
        let is_sent = self.sending.is_none() && machine.out().is_empty();
        let has_streams = machine.stream_count() > 0;
        let is_going = self.is_over || machine.is_going_away() && !has_streams;
        is_going && is_sent
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        if self.carrier.take_woken() {
            return Poll::Ready(Woken::ByStream);
        }
        self.carrier.note_waiting(cx);
        if let Some(sending) = &mut self.sending
            && let Poll::Ready((result, _)) = Pin::new(sending).poll(cx)
        {
            self.sending = None;
            return Poll::Ready(Woken::Sent(result));
        }
        if self.reads()
            && let Poll::Ready(received) = self.poll_recv(cx)
        {
            return Poll::Ready(Woken::Received(received));
        }
        if self.polls_stalled(cx).is_ready() {
            return Poll::Ready(Woken::ByTime);
        }
        Poll::Pending
    }

    /// Whether more is read now.
    fn reads(&self) -> bool {
        let mut machine = self.carrier.machine.borrow_mut();
        !self.is_over
            && !self.is_deaf
            && self.unread.is_none()
            && (self.sending.is_none() || machine.out().len() < UNSENT_BYTES_MAX)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        let within = self.waits();
        if self.receives_within.is_some_and(|before| before != within) {
            self.transport.cancel_recv(&mut self.receiving);
        }
        self.receives_within = Some(within);
        let received = self.transport.poll_recv(&mut self.receiving, within, cx);
        if received.is_ready() {
            self.receives_within = None;
        }
        received
    }

    /// How long nothing may come.
    fn waits(&self) -> Option<Duration> {
        let connection = &self.carrier.connection;
        let site = self.carrier.http_loop.site();
        let settings = &level_of(&site, connection).settings;
        let ms = match (self.amid, connection.is_idle()) {
            (Some((_, since_ms)), _) => {
                let passed = revolve_reactor::now_ms().saturating_sub(since_ms);
                settings
                    .client
                    .header_timeout_ms
                    .saturating_sub(passed)
                    .max(1)
            }
            (None, false) => return None,
            (None, true) if connection.requests() == 0 => settings.client.header_timeout_ms,
            (None, true) => settings.keepalive.timeout_ms,
        };
        Some(Duration::from_millis(ms))
    }

    /// Waits to look at streams whose clients take nothing, where there are any.
    fn polls_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_any = {
            let machine = self.carrier.machine.borrow();
            machine.users().any(|stream| stream.has_unsent())
        };
        if !is_any {
            self.stalled = None;
            return Poll::Pending;
        }
        let sleep = self
            .stalled
            .get_or_insert_with(|| revolve_reactor::sleep(LOOK_AT_STALLED));
        Pin::new(sleep).poll(cx)
    }
}

/// Sends what the transport takes at once, and takes it off.
fn try_send(transport: &Transport, out: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    while sent < out.len() {
        match transport.try_send(&out[sent..])? {
            0 => break,
            len => sent += len,
        }
    }
    out.drain(..sent);
    Ok(())
}

/// What the transport does not take at once, as the loop may keep it until it is sent.
fn queue(out: &mut Vec<u8>) -> SendQueue {
    let mut queue = SendQueue::new();
    if out.len() > COPY_BYTES_MAX {
        queue.push(Chunk::Bytes(std::mem::take(out).into()));
        return queue;
    }
    let mut rest = out.as_slice();
    while !rest.is_empty() {
        let mut buffer = Buffer::take();
        let taken = buffer.fill(rest);
        rest = &rest[taken..];
        queue.push(Chunk::Buffer(buffer));
    }
    out.clear();
    queue
}

/// Feeds the machine, and does what it says. The answer is how much it took: what comes behind a reset
/// waits until whoever served the stream has let go of what it held.
fn feed(carrier: &Rc<Carrier>, received: &[u8]) -> Result<usize, ConnectionError> {
    let now_ms = revolve_reactor::now_ms();
    let mut at = 0;
    while at < received.len() {
        let rest = &received[at..];
        let fed = carrier.machine.borrow_mut().feed(rest, now_ms)?;
        at += fed.consumed;
        match fed.event {
            None => {}
            Some(Event::Head { stream, is_last }) => requests::begin(carrier, stream, is_last)?,
            Some(Event::Trailers { stream }) => take_trailers(carrier, stream, now_ms)?,
            Some(Event::Data {
                stream,
                start,
                end,
                is_last,
            }) => {
                let stream = carrier.machine.borrow().user(stream).cloned();
                if let Some(stream) = stream {
                    stream.receive(&rest[start..end], is_last);
                }
            }
            Some(Event::Reset { user, fault, .. }) => {
                if let Some(reason) = fault {
                    carrier.log(Level::Info, format_args!("client {reason}"));
                }
                if let Some(stream) = user {
                    let is_waited_for = lose(&stream, io::ErrorKind::ConnectionReset);
                    carrier.pool.give_back_stream(stream);
                    if is_waited_for {
                        return Ok(at);
                    }
                }
            }
            // It begins no more streams; those that there are go on.
            Some(Event::GoAway { .. }) => {}
        }
    }
    Ok(at)
}

/// Takes the fields behind a body. Those that no message may have end its stream.
fn take_trailers(carrier: &Rc<Carrier>, id: u32, now_ms: u64) -> Result<(), ConnectionError> {
    let mut machine = carrier.machine.borrow_mut();
    let Some(stream) = machine.user(id).cloned() else {
        return Ok(());
    };
    let error = match trailers::read(machine.fields()) {
        Ok(_) if machine.fields().are_too_large() => StreamError {
            code: ErrorCode::PROTOCOL_ERROR,
            reason: "sent too large trailers",
        },
        Ok(trailers) => {
            drop(machine);
            stream.receive_trailers(trailers);
            return Ok(());
        }
        Err(error) => error,
    };
    machine.reset_for_fault(id, error.code, now_ms)?;
    drop(machine);
    carrier.log(Level::Info, format_args!("client {error}"));
    lose(&stream, io::ErrorKind::ConnectionReset);
    Ok(())
}

/// Closes; what the client still sends is read first, so that it gets to see why.
async fn close(carrier: &Carrier) {
    let connection: &Connection = &carrier.connection;
    let site = carrier.http_loop.site();
    let settings = &level_of(&site, connection).settings.keepalive;
    match settings.lingering.is_off() {
        true => _ = connection.stream.shutdown_write(),
        false => crate::http::h1::linger(&connection.stream, settings).await,
    }
}
