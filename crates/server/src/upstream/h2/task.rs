//! The task of a connection: receive, tell the streams, send, and wait for any of it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use revolve_http::h2::{
    Connection as Machine, ConnectionError, ErrorCode, Event, Grant, HEAD_BYTES,
};
use revolve_reactor::{Buffer, Chunk, Receiving, SendQueue};

use super::carrier::{Carrier, Limits};
use super::carriers::Carriers;
use super::state::{State, StreamError};
use crate::log::error_text;
use crate::net::{Sending, Transport};
use crate::upstream::pool::Identity;

/// What of bodies leaves at once.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// While so much waits to be sent, nothing is read.
const UNSENT_BYTES_MAX: usize = 128 * 1024;

/// What does not leave at once is copied, up to this size; larger memory is given away.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// How often a peer is read that takes nothing any more.
const LAST_READS_MAX: u32 = 16;

/// What one turn sends at most, in batches, before others have theirs.
const BATCHES_PER_TURN_MAX: u32 = 4;

/// How long a connection is waited for that is told that it is not wanted any more.
const GOODBYE: Duration = Duration::from_secs(1);

enum Woken {
    Received(io::Result<Buffer>),
    Sent(io::Result<()>),
    ByStream,
}

/// Begins to serve a connection, which is kept with the others of its peer.
pub(crate) fn start(
    transport: Transport,
    identity: Option<Identity>,
    limits: Limits,
    home: &Rc<Carriers>,
) -> Rc<Carrier> {
    let carrier = Carrier::new(transport, identity, limits);
    home.add(carrier.clone());
    revolve_reactor::spawn(run(carrier.clone(), Rc::downgrade(home)));
    carrier
}

/// Serves a connection until its end.
async fn run(carrier: Rc<Carrier>, home: Weak<Carriers>) {
    let guard = Guard { carrier, home };
    let carrier = &*guard.carrier;
    let mut task = Task {
        carrier,
        home: &guard.home,
        receiving: Receiving::default(),
        receives_within: None,
        sending: None,
    };
    let error = match task.run().await {
        StreamError::Closed => carrier.goodbye().unwrap_or(StreamError::Closed),
        other => other,
    };
    carrier.transport.cancel_recv(&mut task.receiving);
    drop(task);
    guard.end(error);
    // What was said last is still to leave.
    let out = std::mem::take(carrier.machine.borrow_mut().out());
    if !out.is_empty() || carrier.transport.has_unsent() {
        let queue = SendQueue::from(Chunk::Bytes(out.into()));
        let _ = carrier.transport.send(queue, GOODBYE).await;
    }
    let _ = carrier.transport.shutdown_write();
}

/// However the task ends, nobody waits for its connection any more.
struct Guard {
    carrier: Rc<Carrier>,
    home: Weak<Carriers>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end(StreamError::Closed);
    }
}

impl Guard {
    /// Tells all streams that nothing more will come.
    fn end(&self, error: StreamError) {
        let carrier = &self.carrier;
        carrier.is_closed.set(true);
        if let Some(home) = self.home.upgrade() {
            home.remove(carrier);
        }
        let states: Vec<Rc<State>> = {
            let mut machine = carrier.machine.borrow_mut();
            let ids: Vec<u32> = machine.users().map(|state| state.id).collect();
            let len = machine.out().len();
            let states = ids.into_iter();
            let states = states.filter_map(|id| machine.finish(id)).collect();
            // The end says all that is to be said of them.
            machine.out().truncate(len);
            states
        };
        states.iter().for_each(|state| state.fail(error.clone()));
    }
}

struct Task<'a> {
    carrier: &'a Carrier,
    home: &'a Weak<Carriers>,
    receiving: Receiving,
    /// How long the pending receive waits.
    receives_within: Option<Option<Duration>>,
    sending: Option<Sending<'a>>,
}

impl Task<'_> {
    /// Runs it; the answer is why it ends.
    async fn run(&mut self) -> StreamError {
        let mut woken = Woken::ByStream;
        loop {
            match woken {
                Woken::Received(Ok(received)) if !received.is_empty() => {
                    if let Err(error) = self.feed(&received) {
                        self.carrier.machine.borrow_mut().fail(error.code);
                        return StreamError::Fault(error.to_string());
                    }
                }
                Woken::Received(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has idled for long enough.
                Woken::Received(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    self.carrier.is_closing.set(true);
                }
                Woken::Received(Ok(_)) => return StreamError::Closed,
                Woken::Received(Err(error)) => {
                    return StreamError::Broken(error_text(&error).to_string());
                }
                Woken::Sent(Ok(())) => self.carrier.machine.borrow_mut().note_flushed(),
                Woken::Sent(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    return StreamError::Stalled;
                }
                Woken::Sent(Err(_)) => return self.last_words().await,
                Woken::ByStream => {}
            }
            if self.send().is_err() {
                return self.last_words().await;
            }
            if self.is_done() {
                self.carrier
                    .machine
                    .borrow_mut()
                    .go_away(ErrorCode::NO_ERROR);
                return StreamError::Closed;
            }
            woken = poll_fn(|cx| self.poll(cx)).await;
        }
    }

    /// Reads what a peer has sent that takes nothing any more: it may say why.
    async fn last_words(&mut self) -> StreamError {
        let transport = &self.carrier.transport;
        for _ in 0..LAST_READS_MAX {
            let received =
                poll_fn(|cx| transport.poll_recv(&mut self.receiving, Some(GOODBYE), cx));
            let Ok(received) = received.await else {
                break;
            };
            if received.is_empty() {
                break;
            }
            if let Err(error) = self.feed(&received) {
                return StreamError::Fault(error.to_string());
            }
        }
        StreamError::Closed
    }

    /// Whether nobody wants the connection any more.
    fn is_done(&self) -> bool {
        let carrier = self.carrier;
        if !carrier.is_idle() || self.sending.is_some() {
            return false;
        }
        let kept = carrier.limits.kept.connections_max;
        let is_kept = self.home.upgrade().is_some_and(|home| home.may_idle(kept));
        !carrier.has_room() || !is_kept
    }

    fn feed(&self, received: &[u8]) -> Result<(), ConnectionError> {
        feed(self.carrier, received)?;
        if let (Some(most), Some(home)) = (self.carrier.streams_max(), self.home.upgrade()) {
            home.note_streams_max(most);
        }
        Ok(())
    }

    /// Sends what there is, unless something is on its way.
    fn send(&mut self) -> io::Result<()> {
        let mut batches = 0;
        while self.sending.is_none() {
            if batches == BATCHES_PER_TURN_MAX {
                self.carrier.wake();
                return Ok(());
            }
            batches += 1;
            fill(self.carrier);
            let transport = &self.carrier.transport;
            let mut machine = self.carrier.machine.borrow_mut();
            if machine.out().is_empty() && !transport.has_unsent() {
                return Ok(());
            }
            let out = machine.out();
            let mut sent = 0;
            while sent < out.len() {
                match transport.try_send(&out[sent..])? {
                    0 => break,
                    len => sent += len,
                }
            }
            out.drain(..sent);
            if out.is_empty() && !transport.has_unsent() {
                machine.note_flushed();
                continue;
            }
            let queue = queue(out);
            drop(machine);
            self.sending = Some(transport.send(queue, self.carrier.limits.send_timeout));
        }
        Ok(())
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
        let is_full = self.carrier.machine.borrow_mut().out().len() >= UNSENT_BYTES_MAX;
        if !is_full && let Poll::Ready(received) = self.poll_recv(cx) {
            return Poll::Ready(Woken::Received(received));
        }
        Poll::Pending
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        let transport = &self.carrier.transport;
        let is_idle = self.carrier.is_idle();
        let within = is_idle.then_some(self.carrier.limits.kept.idle_max);
        if self.receives_within.is_some_and(|before| before != within) {
            transport.cancel_recv(&mut self.receiving);
        }
        self.receives_within = Some(within);
        let received = transport.poll_recv(&mut self.receiving, within, cx);
        if received.is_ready() {
            self.receives_within = None;
        }
        received
    }
}

/// What the transport does not take at once, as the loop may keep it until it is sent.
fn queue(out: &mut Vec<u8>) -> SendQueue {
    let mut queue = SendQueue::new();
    if out.len() > COPY_BYTES_MAX {
        queue.push(Chunk::Bytes(std::mem::take(out).into()));
        return queue;
    }
    queue.push(Chunk::Bytes(Bytes::copy_from_slice(out)));
    out.clear();
    queue
}

/// Feeds the machine, and tells the streams.
///
/// Errors: what the peer did wrong, by which the connection ends.
fn feed(carrier: &Carrier, received: &[u8]) -> Result<(), ConnectionError> {
    let now_ms = revolve_reactor::now_ms();
    let mut at = 0;
    while at < received.len() {
        let rest = &received[at..];
        let machine = &mut *carrier.machine.borrow_mut();
        let fed = machine.feed(rest, now_ms)?;
        at += fed.consumed;
        let (id, state) = match &fed.event {
            None => continue,
            Some(Event::GoAway { last, code }) => {
                carrier.is_closing.set(true);
                carrier.note_goodbye(*code);
                refuse_late(machine, *last);
                continue;
            }
            Some(Event::Reset { .. }) => {
                if let Some(Event::Reset {
                    user: Some(state),
                    code,
                    fault,
                    ..
                }) = fed.event
                {
                    state.fail(reset(code, fault));
                }
                continue;
            }
            Some(
                Event::Head { stream, .. }
                | Event::Trailers { stream }
                | Event::Data { stream, .. },
            ) => (*stream, machine.user(*stream).cloned()),
        };
        let Some(state) = state else {
            continue;
        };
        let taken = match fed.event {
            Some(Event::Head { is_last, .. }) => state.take_head(machine, is_last),
            Some(Event::Trailers { .. }) => state.take_trailers(machine),
            Some(Event::Data {
                start,
                end,
                is_last,
                ..
            }) => {
                state.take_data(&rest[start..end], is_last);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(what) = taken {
            machine.reset_for_fault(id, ErrorCode::PROTOCOL_ERROR, now_ms)?;
            state.fail(StreamError::Fault(what));
        } else if machine.is_closed(id) {
            machine.finish(id);
        }
    }
    Ok(())
}

/// Why a stream was reset.
fn reset(code: ErrorCode, fault: Option<&'static str>) -> StreamError {
    match (fault, code) {
        (Some(what), _) => StreamError::Fault(what.to_owned()),
        (None, ErrorCode::REFUSED_STREAM) => StreamError::Unprocessed { is_closing: false },
        (None, code) => StreamError::Rejected(code),
    }
}

/// The peer takes no more streams: those above the last that it has taken were not looked at.
fn refuse_late(machine: &mut Machine<Rc<State>>, last: u32) {
    let ids = machine.users().map(|state| state.id);
    let late: Vec<u32> = ids.filter(|id| *id > last).collect();
    for id in late {
        if let Some(state) = machine.reset(id, ErrorCode::CANCEL) {
            state.fail(StreamError::Unprocessed { is_closing: true });
        }
    }
}

/// Fills what leaves next from the streams.
fn fill(carrier: &Carrier) {
    let machine = &mut *carrier.machine.borrow_mut();
    loop {
        let room = BATCH_BYTES_MAX.saturating_sub(machine.out().len() + HEAD_BYTES);
        if room == 0 {
            return;
        }
        let Some(grant) = machine.grant(room) else {
            return;
        };
        match machine.user(grant.stream).cloned() {
            Some(state) => write(machine, grant, &state),
            None => _ = machine.finish(grant.stream),
        }
    }
}

/// Writes a part of a body, and what ends it.
fn write(machine: &mut Machine<Rc<State>>, grant: Grant, state: &State) {
    let Grant {
        len,
        is_last,
        frame_bytes,
        ..
    } = grant;
    let has_trailers = is_last && state.has_trailers_out();
    if len > 0 || !has_trailers {
        let start = machine.out().len();
        machine.data(grant, is_last && !has_trailers);
        let out = machine.out();
        let mut frames = out[start..].chunks_mut(HEAD_BYTES + frame_bytes);
        let mut room: &mut [u8] = &mut [];
        state.take_pieces(len, |piece| {
            let mut piece = &piece[..];
            while !piece.is_empty() {
                if room.is_empty() {
                    match frames.next() {
                        Some(frame) => room = &mut frame[HEAD_BYTES..],
                        None => return,
                    }
                }
                let part = piece.len().min(room.len());
                let (head, rest) = std::mem::take(&mut room).split_at_mut(part);
                head.copy_from_slice(&piece[..part]);
                (room, piece) = (rest, &piece[part..]);
            }
        });
        state.note_sent(machine.out().len() - start);
    }
    if !is_last {
        return;
    }
    if let Some(trailers) = state.take_trailers_out()
        && let Some(mut head) = machine.head(state.id, true)
    {
        for line in trailers.lines() {
            let bytes = trailers.bytes();
            head.field(line.name.of(bytes), line.value.of(bytes));
        }
        state.note_sent(head.finish());
    }
    state.note_over();
    if machine.is_closed(state.id) {
        machine.finish(state.id);
    }
}
