//! One or more requests of a connection, from the first byte until it idles again.

mod delay;
mod head;
mod output;
mod pool;
mod refusal;
mod respond;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::Buffer;

use self::delay::delay;
use self::head::HeadRead;
use self::output::Output;
pub(crate) use self::pool::Exchanges;
use self::respond::respond;
use crate::body::{self, Drained};
use crate::connection::Connection;
use crate::log::Level;
use crate::modules::access_log;
use crate::modules::keepalive::Lingering;
use crate::phase::{self, Walked};
use crate::request::Request;

/// What answers of pipelined requests may gather before they go out.
const GATHER_BYTES_MAX: u64 = 64 * 1024;

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy)]
pub(crate) enum After {
    /// It waits so long for another request.
    Idle(Duration),
    /// It is closed.
    Close,
}

/// One or more requests of a connection, and what is on its way to its client.
///
/// What they need nobody to wait for is done by plain functions, and for most of them that is all:
/// a future is made when an exchange has to wait for the first time. The memory of both is used
/// again from one exchange to the next.
pub(crate) struct Exchange {
    request: Request,
    output: Output,
}

/// What an exchange waits for, and how much of the body was there.
pub(crate) enum Waiting {
    /// The rest of a head.
    Head,
    /// That the time of a request has come.
    Time(Duration, Drained),
    /// That the socket takes the rest of the output.
    Output(Drained),
    /// The same, before the connection is closed without another word.
    LastOutput,
    /// The rest of a body.
    Body(Drained),
    /// That the client has seen all that was sent.
    Client,
}

/// What comes after a step of an exchange.
enum Step {
    /// The next request, whose first bytes are there.
    Next,
    /// Nothing, until something has happened.
    Wait(Waiting),
    /// The end.
    End(After),
}

/// Goes on with an exchange that has to wait, until no byte of another request has come.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` holds its arguments twice, and this future is made for each that waits"
)]
pub(crate) fn go_on(
    mut exchange: Box<Exchange>,
    mut input: Buffer,
    mut waiting: Waiting,
) -> impl Future<Output = (Box<Exchange>, After)> {
    async move {
        loop {
            let step = exchange.wait(&mut input, waiting).await;
            match exchange.run(&mut input, step) {
                Ok(after) => return (exchange, after),
                Err(next) => waiting = next,
            }
        }
    }
}

impl Exchange {
    /// The first in this memory.
    pub(crate) fn new(connection: Rc<Connection>) -> Self {
        Self {
            request: Request::new(connection),
            output: Output::default(),
        }
    }

    /// Another in the memory of one that has ended.
    pub(crate) fn reuse(&mut self, connection: Rc<Connection>) {
        self.request.reuse(connection);
    }

    /// Lets go of what it shares.
    pub(crate) fn release(&mut self) {
        self.request.release();
        self.output.release();
    }

    /// Serves these bytes as far as that goes at once.
    pub(crate) fn begin(&mut self, input: &mut Buffer) -> Result<After, Waiting> {
        self.run(input, Step::Next)
    }

    fn run(&mut self, input: &mut Buffer, mut step: Step) -> Result<After, Waiting> {
        loop {
            match step {
                Step::Next => step = self.next(input),
                Step::Wait(waiting) => return Err(waiting),
                Step::End(after) => return Ok(after),
            }
        }
    }

    async fn wait(&mut self, input: &mut Buffer, waiting: Waiting) -> Step {
        let Self { request, output } = self;
        match waiting {
            Waiting::Head => {
                let read = head::read_rest(request, input, output).await;
                self.answer(input, read)
            }
            Waiting::Time(time, drained) => {
                if !delay(request, output, time).await {
                    return Step::End(leave(request));
                }
                let walked = phase::resume(request);
                self.send(input, walked, drained)
            }
            Waiting::Output(drained) => match output.send_rest(request).await {
                Ok(()) => self.sent(input, drained),
                Err((error, left)) => Step::End(abort(request, &error, left)),
            },
            Waiting::LastOutput => {
                // Whether it arrives is no matter.
                let _ = output.flush(request).await;
                Step::End(After::Close)
            }
            Waiting::Body(drained) => {
                if !body::drain(request, input).await {
                    request.keep_alive = false;
                }
                self.keep(input, drained)
            }
            Waiting::Client => {
                let settings = &request.settings().keepalive;
                body::linger(&request.connection.stream, settings).await;
                Step::End(After::Close)
            }
        }
    }

    /// The next request, whose first bytes are there.
    fn next(&mut self, input: &mut Buffer) -> Step {
        self.request.connection.server.counts().note_request();
        match head::parse(&mut self.request, input) {
            Some(read) => self.answer(input, read),
            None => Step::Wait(Waiting::Head),
        }
    }

    /// Answers a request, or what came in place of one.
    #[inline]
    fn answer(&mut self, input: &mut Buffer, read: HeadRead) -> Step {
        let request = &mut self.request;
        let (mut walked, mut drained) = match read {
            HeadRead::Complete => {
                let walked = phase::walk(request);
                (walked, body::drain_buffered(request, input))
            }
            HeadRead::Refused(status) => (phase::refuse(request, status), Drained::Broken),
            HeadRead::Gone => return Step::End(After::Close),
        };
        if let Drained::Invalid(status) = drained {
            walked = phase::refuse(request, status);
            drained = Drained::Broken;
        }
        self.send(input, walked, drained)
    }

    /// Sends an answer, unless there is none yet, or another is to go out with it.
    #[inline]
    fn send(&mut self, input: &mut Buffer, walked: Walked, drained: Drained) -> Step {
        let request = &mut self.request;
        match walked {
            Walked::Response => {}
            Walked::Wait(time) => return Step::Wait(Waiting::Time(time, drained)),
            Walked::Close => {
                request.response.status = 444;
                access_log::write(request);
                // What was answered before is still on its way out.
                return Step::Wait(Waiting::LastOutput);
            }
        }
        respond(request, &mut self.output);
        let more = request.keep_alive && drained == Drained::Whole && !input.is_empty();
        if !more || self.output.gathered_bytes > GATHER_BYTES_MAX {
            match self.output.try_flush(request) {
                Ok(true) => {}
                Ok(false) => return Step::Wait(Waiting::Output(drained)),
                Err((error, left)) => return Step::End(abort(request, &error, left)),
            }
        }
        self.sent(input, drained)
    }

    /// An answer is on its way.
    #[inline]
    fn sent(&mut self, input: &mut Buffer, drained: Drained) -> Step {
        let request = &mut self.request;
        request.completed = true;
        access_log::write(request);
        if drained == Drained::Partly && request.keep_alive {
            return Step::Wait(Waiting::Body(drained));
        }
        self.keep(input, drained)
    }

    /// Keeps the connection or does not.
    #[inline]
    fn keep(&mut self, input: &Buffer, drained: Drained) -> Step {
        let request = &mut self.request;
        if !request.keep_alive {
            return match lingers(request, input, drained) {
                true => Step::Wait(Waiting::Client),
                false => Step::End(After::Close),
            };
        }
        if input.is_empty() {
            return Step::End(idle(request));
        }
        request.connection.set_pipelined(true);
        request.begin();
        Step::Next
    }
}

/// The client keeps its connection, and has sent no byte of another request.
fn idle(request: &Request) -> After {
    // The answer was begun before the drain, and said that the connection stays.
    if request.connection.server.is_draining() {
        return After::Close;
    }
    request.connection.set_pipelined(false);
    After::Idle(Duration::from_millis(
        request.settings().keepalive.timeout.0,
    ))
}

/// The client went away while its request waited: nobody is there to be answered.
fn leave(request: &mut Request) -> After {
    request.log(
        Level::Info,
        format_args!("client prematurely closed connection"),
    );
    request.response.status = 499;
    access_log::write(request);
    After::Close
}

/// The client took the response no further: it went away, or stopped reading.
fn abort(request: &mut Request, error: &io::Error, left_bytes: u64) -> After {
    request.response.sent_bytes = request.response.sent_bytes.saturating_sub(left_bytes);
    request.keep_alive = false;
    let text = crate::log::error_text(error);
    if error.kind() == io::ErrorKind::TimedOut {
        request.log(
            Level::Info,
            format_args!(
                "client timed out (110: Connection timed out) while sending response to client"
            ),
        );
        if request.settings().keepalive.reset_timed_out {
            let _ = request.connection.stream.set_linger_reset();
        }
    } else {
        request.log(
            Level::Info,
            format_args!("send() failed ({text}) while sending response to client"),
        );
    }
    access_log::write(request);
    After::Close
}

/// Whether bytes that the client is still sending are read before the connection is closed, so that
/// it gets to see the response instead of a reset.
fn lingers(request: &Request, input: &Buffer, drained: Drained) -> bool {
    let unread = drained != Drained::Whole || !input.is_empty();
    match request.settings().keepalive.lingering {
        Lingering::Off => false,
        Lingering::On => unread,
        Lingering::Always => true,
    }
}
