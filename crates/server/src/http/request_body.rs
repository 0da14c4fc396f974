//! The body of a request: read as it comes by whoever wants it, or left aside.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::http::h1;
use crate::http::request::Request;

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The status to answer with, if there is still somebody to be answered.
    pub(crate) status: u16,
    /// What the error log says.
    pub(crate) message: &'static str,
}

/// Whether the client is told to send its body (`Expect: 100-continue`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Expectation {
    /// Nobody has decided.
    #[default]
    Open,
    /// It is to be told before the answer.
    Due,
    /// An error was met: the client need not send its body then, as in nginx.
    Refused,
}

/// The body of a request.
#[derive(Default)]
pub(crate) enum RequestBody {
    /// There is none.
    #[default]
    None,
    /// It comes on a connection that speaks HTTP/1.
    H1(Rc<h1::Input>),
}

impl RequestBody {
    /// Another holder of the same body.
    pub(crate) fn share(&self) -> RequestBody {
        match self {
            RequestBody::None => RequestBody::None,
            RequestBody::H1(input) => RequestBody::H1(input.clone()),
        }
    }

    /// Whether nothing more of it will come.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            RequestBody::None => true,
            RequestBody::H1(input) => input.is_whole(),
        }
    }

    #[allow(dead_code, reason = "the modules that use it come next")]
    /// The next bytes of it; `None` at the end. The client is told to send them, if it waits for that.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        match self {
            RequestBody::None => Poll::Ready(None),
            RequestBody::H1(input) => input.poll_next(cx),
        }
    }
}

impl Request {
    /// An error was met: the client need not send its body, unless it is to be told to already.
    pub(crate) fn refuse_continue(&mut self) {
        if self.current.expectation == Expectation::Open {
            self.current.expectation = Expectation::Refused;
        }
    }

    /// A content answers that does not want the body: what has come of it is dropped, and the client
    /// may send the rest.
    ///
    /// Errors: the status to answer with instead, where what has come is not sound.
    #[inline]
    pub(crate) fn discard_body(&mut self) -> Result<(), u16> {
        if self.current.expectation == Expectation::Open {
            self.current.expectation = Expectation::Due;
        }
        match &self.body {
            RequestBody::None => Ok(()),
            RequestBody::H1(input) => {
                let input = input.clone();
                input.discard(self)
            }
        }
    }
}
