//! Subrequests: what a request asks its own server for on the way to its answer.
//!
//! One shares connection, head and variables with the request that it is for, borrows nothing of it, and
//! passes the phases from the rewriting by its server on, but for those that let a client in. Its body is
//! pulled, never gathered, unless somebody wants it whole.
//!
//! Source: nginx's `ngx_http_subrequest`.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use revolve_http::Method;

use crate::http::body::{Broken, Outgoing, Piece, Source};
use crate::http::filter;
use crate::http::phase::{self, LocalBoxFuture, Outcome, Walked};
use crate::http::request::{Attached, Current, REDIRECTS_MAX, Request};
use crate::http::request_body::RequestBody;
use crate::http::response::Response;
use crate::http::serve;
use crate::log::{Level, Shown};

/// How many subrequests may come of one request. nginx has as many under way at a time.
const SUBREQUESTS_MAX: u32 = 65_535 - 1000;

/// How many subrequests of one request may be answered before other requests have their turn.
const SUBREQUESTS_A_TURN: u32 = 16;

/// How much of a body that nobody wants is read.
const DRAINED_BYTES_MAX: u64 = 64 * 1024;

/// What a subrequest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Options {
    /// Nobody wants the body of its answer.
    pub(crate) header_only: bool,
    /// It has the method of the request that it is for; otherwise GET, as in nginx.
    pub(crate) keeps_method: bool,
    /// It stands where the request stands that it is for, and only the content is asked for again.
    pub(crate) keeps_place: bool,
}

/// There may be no more subrequests, and the log says why.
#[derive(Debug)]
pub(crate) struct Refused;

/// The connection is to be closed without a word (`return 444`).
#[derive(Debug)]
pub(crate) struct Closed;

/// Makes a subrequest of a request. It does nothing before it is served.
///
/// Errors: it would be nested too deep, or be one too many: nothing but a loop has so many.
pub(crate) fn subrequest(
    parent: &Request,
    path: Vec<u8>,
    args: Vec<u8>,
    options: Options,
) -> Result<Box<Request>, Refused> {
    let begun = parent.shared_head.subrequests.get();
    let refuse = |level, message: &str| {
        let shown = Shown(&path);
        parent.log(
            level,
            format_args!("{message} while processing \"{shown}\""),
        );
        Err(Refused)
    };
    if parent.current.depth_left == 0 {
        return refuse(Level::Error, "subrequests cycle");
    }
    if begun >= SUBREQUESTS_MAX {
        return refuse(Level::Crit, "request reference counter overflow");
    }
    parent.shared_head.subrequests.set(begun + 1);
    let mut child = stand_in(parent);
    child.path = path;
    child.args = args;
    child.current.is_subrequest = true;
    child.current.header_only = options.header_only;
    child.current.depth_left -= 1;
    child.current.internal = true;
    child.current.args_given = false;
    // Its path is its own, whatever its client has written.
    child.current.uri_changed = true;
    child.current.keeps_place = options.keeps_place;
    if !options.keeps_method {
        child.current.method = Method::Get;
    }
    Ok(child)
}

/// A request that shares with another what subrequests share, and stands where that one does: its
/// variables have the values of the other's, but for those that tell what was sent.
pub(crate) fn stand_in(request: &Request) -> Box<Request> {
    Box::new(Request {
        connection: Attached::of(request.connection.share()),
        http_loop: Attached::of(request.http_loop.share()),
        site: Attached::of(request.site.share()),
        shared_head: Rc::clone(&request.shared_head),
        parser: revolve_http::h1::HeadParser::new(),
        current: Current {
            head_done: true,
            server: request.current.server,
            hosts_differ: request.current.hosts_differ,
            location: request.current.location,
            is_located: request.current.is_located,
            method: request.current.method,
            main_method: match request.current.is_subrequest {
                true => request.current.main_method,
                false => request.current.method,
            },
            args_given: request.current.args_given,
            internal: request.current.internal,
            redirects_left: REDIRECTS_MAX,
            is_subrequest: request.current.is_subrequest,
            depth_left: request.current.depth_left,
            sequence: request.current.sequence,
            length: request.current.length,
            ..Current::default()
        },
        started_at: request.started_at,
        path: request.path.clone(),
        args: request.args.clone(),
        body: RequestBody::None,
        response: Response::default(),
        file_path: Vec::new(),
        output_memory: Vec::new(),
        spare: Vec::new(),
        state: request.state.for_subrequest(),
    })
}

/// Serves a subrequest up to where its body begins.
///
/// Errors: it is not answered at all, which goes for the request that it is for, too.
pub(crate) async fn respond(mut request: Box<Request>) -> Result<Box<Request>, Closed> {
    if request
        .shared_head
        .subrequests
        .get()
        .is_multiple_of(SUBREQUESTS_A_TURN)
    {
        // One that begins many must not keep the others waiting.
        revolve_reactor::yield_now().await;
    }
    let mut walked = phase::walk_subrequest(&mut request);
    loop {
        walked = match walked {
            Walked::Close => {
                log(&mut request);
                return Err(Closed);
            }
            Walked::Await(later) => serve::answer(&mut request, later).await,
            Walked::Response => match filter::pass(&mut request) {
                None => break,
                Some(status) => phase::settle(&mut request, Outcome::Finish(status)),
            },
        };
    }
    if request.current.header_only
        && let Some(unwanted) = request.response.source.take()
    {
        revolve_reactor::spawn(drain(unwanted));
    }
    filter::finish(&mut request);
    Ok(request)
}

/// Reads past a body that nobody wants, if it is short: the connection that it comes on may serve again.
pub(crate) async fn drain(mut unwanted: Box<dyn Source>) {
    let mut bytes = 0;
    while let Some(Ok(piece)) = poll_fn(|cx| unwanted.poll_next(cx)).await {
        bytes += piece.len();
        if bytes > DRAINED_BYTES_MAX {
            break;
        }
    }
}

/// Its line in the access log, where it is to have one (`log_subrequest`).
fn log(request: &mut Request) {
    request.current.completed = true;
    if request.settings().core.log_subrequest {
        phase::log(request);
    }
}

/// A subrequest under way, whose body is pulled.
pub(crate) enum Subrequest {
    /// Nothing of its answer is there yet.
    Waiting(LocalBoxFuture<'static, Result<Box<Request>, Closed>>),
    /// Its body is on the way.
    Answering(Box<Answering>),
    /// There is nothing more of it.
    Ended(Option<Box<Request>>),
    /// It could not be brought to its end.
    Failed,
}

/// A subrequest whose head is known.
pub(crate) struct Answering {
    pub(crate) request: Box<Request>,
    body: Outgoing,
}

impl Subrequest {
    /// Begins to serve it once it is polled.
    pub(crate) fn begin(request: Box<Request>) -> Self {
        Self::Waiting(Box::pin(respond(request)))
    }

    /// Waits for its answer to begin; `None` once that has ended.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<&mut Answering>, Broken>> {
        if let Subrequest::Waiting(waiting) = self {
            match Pin::as_mut(waiting).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(mut request)) => {
                    let body = Outgoing::new(&mut request);
                    *self = Subrequest::Answering(Box::new(Answering { request, body }));
                }
                Poll::Ready(Err(Closed)) => *self = Subrequest::Failed,
            }
        }
        Poll::Ready(match self {
            Subrequest::Answering(answering) => Ok(Some(answering)),
            Subrequest::Failed => Err(Broken { reason: None }),
            _ => Ok(None),
        })
    }

    /// The next piece of its body; `None` at the end.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Broken>>> {
        self.poll_by(cx, Outgoing::poll_next)
    }

    /// The next bytes of its body in memory; `None` at the end.
    pub(crate) fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Broken>>> {
        self.poll_by(cx, |body, cx| {
            body.poll_bytes(cx)
                .map(|next| next.map(|bytes| bytes.map(Piece::Bytes)))
        })
    }

    fn poll_by(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Outgoing, &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>>,
    ) -> Poll<Option<Result<Piece, Broken>>> {
        let Answering { request, body } = match self.poll_head(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(broken)) => return Poll::Ready(Some(Err(broken))),
            Poll::Ready(Ok(None)) => return Poll::Ready(None),
            Poll::Ready(Ok(Some(answering))) => answering,
        };
        match poll(body, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(piece))) => {
                request.response.sent_bytes += piece.len();
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(broken))) => {
                if let Some(reason) = broken.reason {
                    request.log(
                        Level::Error,
                        format_args!("{reason} while sending to client"),
                    );
                }
                log(request);
                *self = Subrequest::Failed;
                Poll::Ready(Some(Err(Broken { reason: None })))
            }
            Poll::Ready(None) => {
                let request = self.take_request();
                *self = Subrequest::Ended(request);
                Poll::Ready(None)
            }
        }
    }

    /// Ends it here, whatever of its body is left; the answer is the request as it is then.
    pub(crate) fn take_request(&mut self) -> Option<Box<Request>> {
        match std::mem::replace(self, Subrequest::Ended(None)) {
            Subrequest::Answering(answering) => {
                let mut request = answering.request;
                log(&mut request);
                Some(request)
            }
            Subrequest::Ended(request) => request,
            _ => None,
        }
    }

    /// Serves it to its end for its status alone; the answer is the request as it is then.
    ///
    /// Errors: it is not answered at all.
    pub(crate) async fn head_of(request: Box<Request>) -> Result<Box<Request>, Closed> {
        let mut request = respond(request).await?;
        log(&mut request);
        Ok(request)
    }
}
