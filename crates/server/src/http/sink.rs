//! Where an answer goes, whatever carries it.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use revolve_http::Trailers;

use crate::http::body::Piece;
use crate::http::h1;
use crate::http::modules::headers;
use crate::http::request::Request;
use crate::http::request_body::{Fault, RequestBody};
use crate::runtime::connection::Connection;

/// The client takes an answer no further.
#[derive(Debug)]
pub(crate) struct Lost {
    /// Why: it went away, or stopped reading.
    pub(crate) error: io::Error,
    /// Bytes of the answer that did not leave.
    pub(crate) left_bytes: u64,
}

/// One stream of a connection that carries many: both ways of a request, whatever version carries it.
///
/// A trait and no type, so that what is below need not know the versions above it.
pub(crate) trait Stream {
    /// Takes the head of the answer.
    fn head(&self, request: &mut Request);

    /// Takes a body that lies ready, whole.
    fn pieces(&self, request: &mut Request);

    /// Takes a piece of a body that is made while it is sent.
    fn push(&self, piece: Piece);

    /// The body has ended.
    fn end(&self, request: &mut Request);

    /// Whether more may be pushed before what was has left.
    fn has_room(&self) -> bool;

    /// Ready once what was taken has left.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>>;

    /// Ready once the client has given the stream up.
    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether nothing more of the request's body will come.
    fn has_whole_body(&self) -> bool;

    /// The next bytes of it; `None` at its end.
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>>;

    /// Fields behind it, once it has ended.
    fn body_trailers(&self) -> Option<Trailers>;

    /// Whoever reads it is bound by the settings of the place where the request stands.
    fn set_body_limits(&self, request: &Request);

    /// Nobody wants it.
    fn discard_body(&self);
}

/// The way out of an answer: its head, the pieces of its body, its end. Only [`flush`](Sink::flush)
/// waits.
pub(crate) enum Sink<'a> {
    /// A connection that speaks HTTP/1.
    H1(&'a mut h1::Output),
    /// A stream of a connection that carries many.
    Stream(Rc<dyn Stream>),
    /// A stream of a carrier that is there for tests.
    #[cfg(test)]
    Toy(Rc<crate::http::toy::Stream>),
    /// Memory: what a test looks at.
    #[cfg(any(test, fuzzing))]
    Memory(&'a mut Vec<u8>),
}

impl Sink<'_> {
    /// Takes the head of the answer.
    #[inline]
    pub(crate) fn head(&mut self, request: &mut Request) {
        match self {
            Sink::H1(output) => output.head(request),
            Sink::Stream(stream) => stream.head(request),
            #[cfg(test)]
            Sink::Toy(stream) => stream.status.set(request.response.status),
            #[cfg(any(test, fuzzing))]
            Sink::Memory(out) => {
                out.extend_from_slice(format!("{}\n", request.response.status).as_bytes());
            }
        }
    }

    /// Takes a body that lies ready, whole.
    #[inline]
    pub(crate) fn pieces(&mut self, request: &mut Request) {
        match self {
            Sink::H1(output) => output.pieces(request),
            Sink::Stream(stream) => stream.pieces(request),
            #[cfg(any(test, fuzzing))]
            _ => {
                for piece in std::mem::take(&mut request.response.body) {
                    let piece = match piece {
                        Piece::Text { start, end } => Piece::Bytes(bytes::Bytes::copy_from_slice(
                            &request.response.text[start..end],
                        )),
                        other => other,
                    };
                    self.push(request, piece);
                }
            }
        }
    }

    /// Takes a piece of a body that is made while it is sent.
    pub(crate) fn push(&mut self, request: &mut Request, piece: Piece) {
        match self {
            Sink::H1(output) => output.push(&mut request.response, piece),
            Sink::Stream(stream) => stream.push(piece),
            #[cfg(test)]
            Sink::Toy(stream) => stream.push(piece),
            #[cfg(any(test, fuzzing))]
            Sink::Memory(out) => match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(&bytes),
                Piece::Buffer(buffer) => out.extend_from_slice(&buffer),
                Piece::File { file, start, len } => match &file.content {
                    crate::file_cache::Content::Bytes(bytes) => {
                        out.extend_from_slice(&bytes[start as usize..(start + len) as usize]);
                    }
                    crate::file_cache::Content::Descriptor(_) => out.extend_from_slice(b"<file>"),
                },
                Piece::Text { .. } => unreachable!("text was made bytes"),
            },
        }
    }

    /// The body has ended.
    #[inline]
    pub(crate) fn end(&mut self, request: &mut Request) {
        match self {
            Sink::H1(output) => output.end(request),
            Sink::Stream(stream) => {
                if request.response.expects_trailers {
                    headers::fill_trailers(request);
                }
                stream.end(request);
            }
            #[cfg(any(test, fuzzing))]
            Sink::Memory(_) => {}
            #[cfg(test)]
            Sink::Toy(_) => {}
        }
    }

    /// Whether more may be pushed before what was is flushed.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Sink::H1(output) => output.has_room(),
            Sink::Stream(stream) => stream.has_room(),
            #[cfg(test)]
            Sink::Toy(stream) => stream.has_room(),
            #[cfg(any(test, fuzzing))]
            Sink::Memory(_) => true,
        }
    }

    /// Has what was taken leave, and waits until it has.
    pub(crate) async fn flush(&mut self, request: &mut Request) -> Result<(), Lost> {
        match self {
            Sink::H1(output) => output.flush(request).await,
            Sink::Stream(stream) => poll_fn(|cx| stream.poll_flush(cx)).await,
            #[cfg(test)]
            Sink::Toy(stream) => stream.flush().await,
            #[cfg(any(test, fuzzing))]
            Sink::Memory(_) => Ok(()),
        }
    }

    /// Waits until the client leaves, for as long as nothing is read of it.
    pub(crate) fn left(
        &self,
        connection: &Rc<Connection>,
        body: &RequestBody,
    ) -> impl Future<Output = ()> + use<> {
        let connection = match self {
            Sink::H1(_) => Some(connection.clone()),
            Sink::Stream(_) => None,
            #[cfg(any(test, fuzzing))]
            Sink::Memory(_) => None,
            #[cfg(test)]
            Sink::Toy(_) => None,
        };
        let stream = match self {
            Sink::Stream(stream) => Some(stream.clone()),
            _ => None,
        };
        #[cfg(test)]
        let toy = match self {
            Sink::Toy(stream) => Some(stream.clone()),
            _ => None,
        };
        let body = body.share();
        async move {
            #[cfg(test)]
            if let Some(stream) = toy {
                return stream.left().await;
            }
            if let Some(stream) = stream {
                return poll_fn(|cx| stream.poll_left(cx)).await;
            }
            match connection {
                Some(connection) => h1::left(&connection, &body).await,
                None => pending().await,
            }
        }
    }
}
