//! One or more requests of a connection, from the first byte until it idles again.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::Buffer;

use super::After;
use super::head::{self, HeadRead};
use super::input::{self, Input};
use super::output::Output;
use crate::http::modules::keepalive::Lingering;
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
use crate::http::serve::{self, Served};
use crate::http::sink::{Lost, Sink};
use crate::log::{Level, Shown};

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
        let after = loop {
            request.connection.state.counts().note_request();
            let read = match head::parse(&mut request, &mut input) {
                Some(read) => read,
                None => head::read_rest(&mut request, &mut input, &mut output).await,
            };
            let sink = &mut Sink::H1(&mut output);
            let (served, body) = match read {
                HeadRead::Complete => {
                    let body = take_body(&mut request, &mut input);
                    (serve::serve(&mut request, sink).await, body)
                }
                HeadRead::Asterisk => {
                    let body = take_body(&mut request, &mut input);
                    (serve::serve_asterisk(&mut request, sink).await, body)
                }
                HeadRead::Refused(status) => {
                    (serve::refuse(&mut request, status, sink).await, None)
                }
                HeadRead::Gone => break After::Close,
            };
            if !matches!(served, Served::Answered) {
                end_early(&mut request, served, &mut output).await;
                break After::Close;
            }
            let is_sound = !matches!(read, HeadRead::Refused(_));
            let is_read = is_sound && take_back(body.as_deref(), &mut input);
            let keeps = request.response.keep_alive == Some(true);
            let more = keeps && is_read && !input.is_empty();
            if !more || serve::goes_on(&request) || output.gathered_bytes > GATHER_BYTES_MAX {
                // A future only for what the socket does not take at once.
                let tried = output.try_flush(&request);
                if !matches!(tried, Ok(true)) && !send(&mut request, &mut output, tried).await {
                    break After::Close;
                }
            }
            if let Some(tunnel) = request.response.tunnel.take() {
                let sent_bytes = tunnel.run(&request.connection.stream, &input).await;
                request.response.sent_bytes += sent_bytes;
                end(&mut request, body.as_deref()).await;
                break After::Close;
            }
            end(&mut request, body.as_deref()).await;
            if !keeps {
                close(&request, &input, is_read).await;
                break After::Close;
            }
            if let Some(body) = body.filter(|_| !is_read)
                && !drain(&body, &mut request, &mut input).await
            {
                break After::Close;
            }
            if input.is_empty() {
                break idle(&request);
            }
            request.connection.set_pipelined(true);
            request.begin_next();
        };
        request.output_memory = output.into_memory();
        (request, after)
    }
}

/// The body of a request, of which what follows the head lies in `input`; the request has it, too.
fn take_body(request: &mut Request, input: &mut Buffer) -> Option<Rc<Input>> {
    let body = Input::of(request, input)?;
    request.body = RequestBody::H1(body.clone());
    Some(body)
}

/// Takes back what follows a body, where all of that was read; the answer is whether it was.
fn take_back(body: Option<&Input>, input: &mut Buffer) -> bool {
    let Some(body) = body else {
        return true;
    };
    let is_read = body.is_whole();
    if is_read {
        *input = body.finish();
    }
    is_read
}

/// Sends what [`Output::try_flush`] has left; false where the client took it no further.
async fn send(request: &mut Request, output: &mut Output, tried: Result<bool, Lost>) -> bool {
    let sent = match tried {
        Ok(_) => output.send_rest(request).await,
        Err(lost) => Err(lost),
    };
    if let Err(lost) = &sent {
        abort(request, lost);
        serve::log(request).await;
    }
    sent.is_ok()
}

/// Reads the rest of a body that nobody wanted; false where the connection was closed over it.
async fn drain(body: &Input, request: &mut Request, input: &mut Buffer) -> bool {
    let is_drained = body.drain(request).await;
    *input = body.finish();
    if !is_drained {
        close(request, input, false).await;
    }
    is_drained
}

/// The whole answer has left, or is gathered with those behind it.
async fn end(request: &mut Request, body: Option<&Input>) {
    if let Some(body) = body {
        request.current.length += body.take_received_bytes();
    }
    request.current.completed = true;
    serve::log(request).await;
}

/// What becomes of a connection whose answer did not get to its end.
async fn end_early(request: &mut Request, served: Served, output: &mut Output) {
    match served {
        Served::Answered => {}
        Served::Close => {
            // What was answered before is still on its way out; whether it arrives is no matter.
            let _ = output.flush(request).await;
        }
        Served::Left => {
            request.log(
                Level::Info,
                format_args!("client prematurely closed connection"),
            );
            if request.response.keep_alive.is_none() {
                request.response.status = 499;
            }
        }
        Served::Lost(lost) => abort(request, &lost),
        Served::Broken => request.connection.stream.abandon(),
    }
    serve::log(request).await;
}

/// The client keeps its connection, and has sent no byte of another request.
fn idle(request: &Request) -> After {
    // The answer was begun before the drain, and said that the connection stays.
    if request.connection.state.is_draining() {
        return After::Close;
    }
    request.connection.set_pipelined(false);
    let settings = &request.settings().keepalive;
    request.connection.set_idle_min_ms(settings.min_timeout_ms);
    After::Idle(Duration::from_millis(settings.timeout_ms))
}

/// The client took the response no further: it went away, or stopped reading.
fn abort(request: &mut Request, lost: &Lost) {
    let Lost { error, left_bytes } = lost;
    request.response.sent_bytes = request.response.sent_bytes.saturating_sub(*left_bytes);
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
    } else if error.kind() == io::ErrorKind::UnexpectedEof {
        let file = Shown(&request.file_path);
        request.log(
            Level::Alert,
            format_args!(
                "sendfile() reported that \"{file}\" was truncated, {left_bytes} bytes are missing \
                 while sending response to client"
            ),
        );
    } else {
        request.log(
            Level::Info,
            format_args!("send() failed ({text}) while sending response to client"),
        );
    }
}

/// Closes; bytes that the client is still sending are read first, so that it gets to see the
/// response instead of a reset.
async fn close(request: &Request, input: &Buffer, is_read: bool) {
    let settings = &request.settings().keepalive;
    let unread = !is_read || !input.is_empty();
    let linger = match settings.lingering {
        Lingering::Off => false,
        Lingering::On => unread,
        Lingering::Always => true,
    };
    if linger {
        input::linger(&request.connection.stream, settings).await;
    }
}
