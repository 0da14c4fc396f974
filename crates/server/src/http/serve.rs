//! From a complete head to the last byte of the answer, whatever carries them.
//!
//! The walk is a plain function, and so is everything behind it for an answer that lies in memory or in
//! a file: such a request makes no future of its own. What waits is boxed where it begins.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::http::body::{self, Broken, Piece};
use crate::http::filter;
use crate::http::modules::{passing, post_action};
use crate::http::phase::{self, Later, Outcome, Walked};
use crate::http::request::Request;
use crate::http::sink::{Lost, Sink};
use crate::log::Level;

/// How the serving of a request ended.
#[derive(Debug)]
pub(crate) enum Served {
    /// The whole answer is with the sink.
    Answered,
    /// The connection is closed without a word.
    Close,
    /// The client left while the request waited.
    Left,
    /// The client took the answer no further.
    Lost(Lost),
    /// The answer could not be brought to its end; the client must not take it for whole.
    Broken,
}

/// Serves a request: walks it, waits where a handler does, and gives the answer to the sink. The line
/// in the log is written by whoever knows when the last byte has left ([`phase::log`]).
pub(crate) async fn serve(request: &mut Request, sink: &mut Sink<'_>) -> Served {
    let walked = phase::walk(request);
    respond(request, walked, sink).await
}

/// Follows a walk to its response, and gives that to the sink.
pub(crate) async fn respond(
    request: &mut Request,
    mut walked: Walked,
    sink: &mut Sink<'_>,
) -> Served {
    loop {
        walked = match walked {
            Walked::Close => return Served::Close,
            Walked::Await(later) => match Box::pin(wait(request, sink, later)).await {
                Ok(walked) => walked,
                Err(served) => return served,
            },
            Walked::Response => match filter::pass(request) {
                None => break,
                Some(status) => phase::settle(request, Outcome::Finish(status)),
            },
        };
    }
    let has_body = filter::finish(request);
    sink.head(request);
    if has_body && let Err(served) = send_body(request, sink).await {
        return served;
    }
    sink.end(request);
    Served::Answered
}

/// How far an answer comes without waiting.
pub(crate) enum Begun {
    /// All of it is with the sink, or there is none.
    Over(Served),
    /// A handler waits: [`respond`] goes on.
    Waits(Walked),
    /// The head is with the sink, and the body is made while it is sent: [`go_on`] sends it.
    Streams,
}

/// Follows a walk for as long as it need not wait: what carries many requests needs no task for those.
pub(crate) fn begin(request: &mut Request, mut walked: Walked, sink: &mut Sink<'_>) -> Begun {
    loop {
        walked = match walked {
            Walked::Close => return Begun::Over(Served::Close),
            Walked::Await(_) => return Begun::Waits(walked),
            Walked::Response => match filter::pass(request) {
                None => break,
                Some(status) => phase::settle(request, Outcome::Finish(status)),
            },
        };
    }
    let has_body = filter::finish(request);
    sink.head(request);
    if has_body && body::needs_stream(request) {
        return Begun::Streams;
    }
    if has_body {
        sink.pieces(request);
    }
    sink.end(request);
    Begun::Over(Served::Answered)
}

/// Sends the body of an answer whose head was sent.
pub(crate) async fn go_on(request: &mut Request, sink: &mut Sink<'_>) -> Served {
    match stream(request, sink).await {
        Ok(()) => {
            sink.end(request);
            Served::Answered
        }
        Err(served) => served,
    }
}

/// Answers `OPTIONS *`.
pub(crate) async fn serve_asterisk(request: &mut Request, sink: &mut Sink<'_>) -> Served {
    let walked = phase::answer_for_server(request);
    respond(request, walked, sink).await
}

/// Answers a request whose head is not sound.
pub(crate) async fn refuse(request: &mut Request, status: u16, sink: &mut Sink<'_>) -> Served {
    let walked = phase::refuse(request, status);
    respond(request, walked, sink).await
}

/// Goes on with a request whose handler has to wait, for as long as its client is there.
async fn wait(request: &mut Request, sink: &mut Sink<'_>, later: Later) -> Result<Walked, Served> {
    // Whoever waits for the answers before this one gets them first. Where they do not go out, neither
    // will this one's, which tells.
    let _ = sink.flush(request).await;
    let connection = request.connection.share();
    let body = request.body.share();
    let stays = passing::ignores_client_abort(request.settings());
    let mut answer = pin!(answer(request, later));
    let mut left = pin!(sink.left(&connection, &body));
    poll_fn(|cx| {
        if let Poll::Ready(walked) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(walked));
        }
        if stays {
            return Poll::Pending;
        }
        left.as_mut().poll(cx).map(|()| Err(Served::Left))
    })
    .await
}

/// The waiting half of a walk: only whoever got `Await` makes this future.
pub(crate) async fn answer(request: &mut Request, mut later: Later) -> Walked {
    loop {
        let outcome = later(request).await;
        match phase::go_on(request, outcome) {
            Walked::Await(next) => later = next,
            other => return other,
        }
    }
}

/// Whether a request that has ended goes on behind the scenes before it is logged (`post_action`), so that
/// what was gathered for its client should leave first.
#[inline]
pub(crate) fn goes_on(request: &Request) -> bool {
    post_action::is_due(request)
}

/// A request has ended, but for what it goes on with: its line in the log.
pub(crate) async fn log(request: &mut Request) {
    if goes_on(request) {
        Box::pin(post_action::run(request)).await;
    }
    phase::log(request);
}

async fn send_body(request: &mut Request, sink: &mut Sink<'_>) -> Result<(), Served> {
    if !body::needs_stream(request) {
        sink.pieces(request);
        return Ok(());
    }
    Box::pin(stream(request, sink)).await
}

/// Sends a body that is made while it is sent, or that is filtered or held to a rate. What is ready
/// leaves in the turn in which it became so.
async fn stream(request: &mut Request, sink: &mut Sink<'_>) -> Result<(), Served> {
    let mut source = body::Outgoing::new(request);
    let mut pace = body::Pace::new(request);
    loop {
        let next = match poll_now(|cx| source.poll_next(cx)).await {
            Poll::Ready(next) => next,
            Poll::Pending => {
                sink.flush(request).await.map_err(Served::Lost)?;
                next_or_left(request, sink, &mut source).await?
            }
        };
        match next {
            None => break,
            Some(Err(broken)) => return Err(report(request, sink, broken).await),
            Some(Ok(piece)) => {
                let len = piece.len();
                sink.push(request, piece);
                if !sink.has_room() {
                    sink.flush(request).await.map_err(Served::Lost)?;
                    // A client that takes it as fast as it is made must not keep the others waiting.
                    revolve_reactor::yield_now().await;
                }
                if let Some(pause) = pace.pause_after(len) {
                    sink.flush(request).await.map_err(Served::Lost)?;
                    revolve_reactor::sleep(pause).await;
                }
            }
        }
    }
    Ok(())
}

/// What a body gives next, unless its client leaves before.
async fn next_or_left(
    request: &mut Request,
    sink: &mut Sink<'_>,
    source: &mut body::Outgoing,
) -> Result<Option<Result<Piece, Broken>>, Served> {
    let connection = request.connection.share();
    let body = request.body.share();
    let stays = passing::ignores_client_abort(request.settings());
    let mut left = pin!(sink.left(&connection, &body));
    poll_fn(|cx| match source.poll_next(cx) {
        Poll::Ready(next) => Poll::Ready(Ok(next)),
        Poll::Pending if stays => Poll::Pending,
        Poll::Pending => left.as_mut().poll(cx).map(|()| Err(Served::Left)),
    })
    .await
}

async fn report(request: &mut Request, sink: &mut Sink<'_>, broken: Broken) -> Served {
    if let Some(reason) = broken.reason {
        request.log(Level::Error, format_args!("{reason}"));
    }
    // What was made before the failure is the client's.
    match sink.flush(request).await {
        Ok(()) => Served::Broken,
        Err(lost) => Served::Lost(lost),
    }
}

/// Polls once and does not wait.
async fn poll_now<T>(mut poll: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>) -> Poll<T> {
    poll_fn(|cx| Poll::Ready(poll(cx))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::TestSite;

    #[test]
    fn a_walk_needs_no_socket() {
        let mut site = TestSite::new(
            "location /a { return 200 a$uri; } location /gone { return 444; }
             error_page 404 /a404; location /no { return 404; }",
        );
        assert_eq!(site.ask("GET /a1 HTTP/1.1").0, "200\na/a1");
        assert_eq!(site.ask("GET /no HTTP/1.1").0, "404\na/a404");
        let (answer, served) = site.ask("GET /gone HTTP/1.1");
        assert!(answer.is_empty() && matches!(served, Served::Close));
    }
}
