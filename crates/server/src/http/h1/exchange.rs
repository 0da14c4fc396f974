//! One or more requests of a connection, from the first byte until it idles again.

use std::io;
use std::time::Duration;

use revolve_reactor::Buffer;

use super::After;
use super::delay::delay;
use super::head::{self, HeadRead};
use super::output::Output;
use super::respond::respond;
use crate::http::h1::body::{self, Drained};
use crate::http::modules::access_log;
use crate::http::modules::keepalive::Lingering;
use crate::http::phase::{self, Walked};
use crate::http::request::Request;
use crate::log::Level;

/// What answers of pipelined requests may gather before they go out.
const GATHER_BYTES_MAX: u64 = 64 * 1024;

/// Serves the requests of a connection until no byte of another has come.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` holds its arguments twice, and this future is made for each request"
)]
pub(crate) fn exchange(
    mut request: Box<Request>,
    mut input: Buffer,
) -> impl Future<Output = (Box<Request>, After)> {
    async move {
        let mut output = Output::over(std::mem::take(&mut request.output_memory));
        let after = 'requests: loop {
            request.connection.state.counts().note_request();
            let read = match head::parse(&mut request, &mut input) {
                Some(read) => read,
                None => head::read_rest(&mut request, &mut input, &mut output).await,
            };
            let (walked, drained) = match read {
                HeadRead::Complete => {
                    let walked = phase::walk(&mut request);
                    (walked, body::drain_buffered(&mut request, &mut input))
                }
                HeadRead::Refused(status) => (phase::refuse(&mut request, status), Drained::Broken),
                HeadRead::Gone => break After::Close,
            };
            let (mut walked, drained) = spoil(&mut request, walked, drained);
            while let Walked::Wait(time) = walked {
                if !delay(&mut request, &mut output, time).await {
                    break 'requests leave(&mut request);
                }
                walked = phase::resume(&mut request);
            }
            if walked == Walked::Close {
                access_log::write(&request);
                // What was answered before is still on its way out; whether it arrives is no matter.
                let _ = output.flush(&request).await;
                break After::Close;
            }
            respond(&mut request, &mut output);
            let more = request.keep_alive && drained == Drained::Whole && !input.is_empty();
            if !more || output.gathered_bytes > GATHER_BYTES_MAX {
                let sent = match output.try_flush(&request) {
                    Ok(false) => output.send_rest(&request).await,
                    sent => sent.map(drop),
                };
                if let Err((error, left)) = sent {
                    break abort(&mut request, &error, left);
                }
            }
            request.completed = true;
            access_log::write(&request);
            if drained == Drained::Partly
                && request.keep_alive
                && !body::drain(&mut request, &mut input).await
            {
                request.keep_alive = false;
            }
            if !request.keep_alive {
                close(&request, &input, drained).await;
                break After::Close;
            }
            if input.is_empty() {
                break idle(&request);
            }
            request.connection.set_pipelined(true);
            request.begin();
        };
        request.output_memory = output.into_memory();
        (request, after)
    }
}

/// A body that is not sound takes the place of a content, which comes after it. An error is answered
/// whatever the body, and the connection closed.
fn spoil(request: &mut Request, walked: Walked, drained: Drained) -> (Walked, Drained) {
    let Drained::Invalid(status) = drained else {
        return (walked, drained);
    };
    let is_spoilt = request.answers_after_body || matches!(walked, Walked::Wait(_));
    let walked = match is_spoilt {
        true => phase::refuse(request, status),
        false => walked,
    };
    (walked, Drained::Broken)
}

/// The client keeps its connection, and has sent no byte of another request.
fn idle(request: &Request) -> After {
    // The answer was begun before the drain, and said that the connection stays.
    if request.connection.state.is_draining() {
        return After::Close;
    }
    request.connection.set_pipelined(false);
    After::Idle(Duration::from_millis(
        request.settings().keepalive.timeout_ms,
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

/// Closes; bytes that the client is still sending are read first, so that it gets to see the
/// response instead of a reset.
async fn close(request: &Request, input: &Buffer, drained: Drained) {
    let settings = &request.settings().keepalive;
    let unread = drained != Drained::Whole || !input.is_empty();
    let linger = match settings.lingering {
        Lingering::Off => false,
        Lingering::On => unread,
        Lingering::Always => true,
    };
    if linger {
        body::linger(&request.connection.stream, settings).await;
    }
}
