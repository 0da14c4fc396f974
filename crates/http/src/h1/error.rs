//! Why a request head is refused, with what status, and what is logged.

use std::fmt;

/// Why a request is refused. The connection is closed after the answer, whichever it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HeadError {
    /// A byte of the method is none of `A`-`Z`, `_`, `-`, or the method is as long as a line may be
    /// (nginx answers that with 414).
    InvalidMethod,
    /// The request line is malformed.
    InvalidRequest,
    /// HTTP/2.0 or above in a request line.
    InvalidVersion,
    /// A request without a version that is not a GET.
    InvalidMethodHttp09,
    /// The request line is longer than a line may be.
    UriTooLong,
    /// The host of an absolute form is invalid.
    InvalidHostInRequestLine,
    /// A header line is malformed.
    InvalidHeaderLine,
    /// A header line is longer than a line may be.
    HeaderTooLarge,
    /// The head is longer than it may be.
    RequestTooLarge,
    /// More header lines than there may be.
    TooManyHeaders,
    /// The `Host` line is empty or holds what no host holds.
    InvalidHost,
    /// A second `Host` line.
    DuplicateHost,
    /// A second line of a header that stands once.
    DuplicateHeader,
    /// No `Host` line in HTTP/1.1.
    MissingHost,
    /// `Content-Length` is not a number of at most `i64::MAX`.
    InvalidContentLength,
    /// The method is CONNECT where nobody takes that, or in HTTP/1.0. nginx 1.22 does not know the form
    /// `host:port` and answers 400; since 1.29 it answers 405 as here.
    ConnectMethod,
    /// A CONNECT with a body: what follows its head belongs to the tunnel (RFC 9110, 9.3.6).
    ConnectWithBody,
    /// The method is TRACE.
    TraceMethod,
    /// `Transfer-Encoding` in HTTP/1.0.
    TransferEncodingInHttp10,
    /// `Transfer-Encoding` ends in `chunked` and names other codings before it.
    UnknownTransferEncoding,
    /// `Transfer-Encoding` is empty, is no list of codings, does not end in `chunked` or names it
    /// twice: nobody can tell where the body ends (RFC 9112, section 6.3). nginx answers 501.
    InvalidTransferEncoding,
    /// `Content-Length` and `Transfer-Encoding` together.
    ContentLengthAndTransferEncoding,
}

impl HeadError {
    /// The status that nginx uses. 494 is its own, for heads that are too large: error pages may
    /// be set for it, and what the client sees is a 400.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::UriTooLong => 414,
            Self::InvalidVersion => 505,
            Self::HeaderTooLarge | Self::RequestTooLarge | Self::TooManyHeaders => 494,
            Self::ConnectMethod | Self::TraceMethod => 405,
            Self::UnknownTransferEncoding => 501,
            _ => 400,
        }
    }

    /// The text that nginx logs, at level info. Where nginx goes on with the offending line, that
    /// is at [`HeadParser::error_line`](super::HeadParser::error_line).
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::InvalidMethod => "client sent invalid method",
            Self::InvalidRequest => "client sent invalid request",
            Self::InvalidVersion => "client sent invalid version",
            Self::InvalidMethodHttp09 => "client sent invalid method in HTTP/0.9 request",
            Self::UriTooLong => "client sent too long URI",
            Self::InvalidHostInRequestLine => "client sent invalid host in request line",
            Self::InvalidHeaderLine => "client sent invalid header line",
            Self::HeaderTooLarge => "client sent too long header line",
            Self::RequestTooLarge => "client sent too large request",
            Self::TooManyHeaders => "client sent too many header lines",
            Self::InvalidHost => "client sent invalid host header",
            Self::DuplicateHost => "client sent duplicate host header",
            Self::DuplicateHeader => "client sent duplicate header line",
            Self::MissingHost => "client sent HTTP/1.1 request without \"Host\" header",
            Self::InvalidContentLength => "client sent invalid \"Content-Length\" header",
            Self::ConnectMethod => "client sent CONNECT method",
            Self::ConnectWithBody => "client sent CONNECT request with body",
            Self::TraceMethod => "client sent TRACE method",
            Self::TransferEncodingInHttp10 => {
                "client sent HTTP/1.0 request with \"Transfer-Encoding\" header"
            }
            Self::UnknownTransferEncoding | Self::InvalidTransferEncoding => {
                "client sent unknown \"Transfer-Encoding\""
            }
            Self::ContentLengthAndTransferEncoding => {
                "client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
            }
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for HeadError {}
