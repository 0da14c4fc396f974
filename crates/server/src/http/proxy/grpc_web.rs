//! gRPC-Web, which browsers speak to gRPC servers because they see no trailers: those come as the last
//! message of the body. Its text form is base64 all over.
//!
//! Source: the gRPC project's `PROTOCOL-WEB.md`.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use crate::http::base64::{self, Letters};
use crate::http::header_list::HeaderList;
use crate::http::source::{Broken, Piece, Source};

/// What a message begins with that holds trailers.
const TRAILERS: u8 = 0x80;

const OWN_TYPE: &[u8] = b"application/grpc";
const WEB_TYPE: &[u8] = b"application/grpc-web";

/// How a call came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Web {
    /// Whether its body is text.
    pub(super) is_text: bool,
    /// Whether its answer's is to be.
    answers_text: bool,
    /// What follows the type's name, as `+proto`.
    suffix: Vec<u8>,
}

impl Web {
    /// What a request says by its `Content-Type` and `Accept`; nothing where it is none of gRPC-Web.
    pub(super) fn of(content_type: &[u8], accept: &[u8]) -> Option<Self> {
        let (is_text, suffix) = split(content_type)?;
        let mut accepted = accept.split(|byte| *byte == b',');
        let accepted = accepted.find_map(|it| split(it.trim_ascii()));
        Some(Self {
            is_text,
            answers_text: accepted.map_or(is_text, |(is_text, _)| is_text),
            suffix: suffix.to_vec(),
        })
    }

    /// The media type that the server is told.
    pub(super) fn own_type(&self) -> Vec<u8> {
        [OWN_TYPE, &self.suffix].concat()
    }

    /// Makes what a client sends what a server takes.
    pub(super) fn decoder(&self) -> Option<Decoder> {
        self.is_text.then(Decoder::default)
    }

    /// The media type of an answer that has this one; nothing for one that is none of gRPC.
    pub(super) fn web_type(&self, own: &[u8]) -> Option<Vec<u8>> {
        let suffix = own.strip_prefix(OWN_TYPE)?;
        let is_it = matches!(suffix.first(), None | Some(b'+' | b';'));
        let text: &[u8] = if self.answers_text { b"-text" } else { b"" };
        is_it.then(|| [WEB_TYPE, text, suffix].concat())
    }

    /// The answer's body, with its trailers in it.
    pub(super) fn body(
        &self,
        source: Box<dyn Source>,
        trailers: Rc<RefCell<HeaderList>>,
    ) -> Box<dyn Source> {
        Box::new(Body {
            source,
            trailers,
            is_text: self.answers_text,
            is_over: false,
        })
    }
}

/// Whether a media type is one of gRPC-Web's text, and what follows its name.
fn split(media_type: &[u8]) -> Option<(bool, &[u8])> {
    let (name, rest) = media_type.split_at_checked(WEB_TYPE.len())?;
    if !name.eq_ignore_ascii_case(WEB_TYPE) {
        return None;
    }
    let (is_text, rest) = match rest.split_at_checked(5) {
        Some((text, rest)) if text.eq_ignore_ascii_case(b"-text") => (true, rest),
        _ => (false, rest),
    };
    matches!(rest.first(), None | Some(b'+' | b';' | b' ')).then_some((is_text, rest))
}

/// Reads base64 as it comes. Padding may stand wherever a part was encoded by itself.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Up to three letters that wait for more.
    rest: Vec<u8>,
}

/// What was sent is no base64.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoBase64;

impl Decoder {
    pub(super) fn feed(&mut self, text: &[u8]) -> Result<Bytes, NoBase64> {
        let mut out = BytesMut::with_capacity(text.len() / 4 * 3 + 3);
        for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            self.rest.push(*byte);
            if self.rest.len() == 4 {
                let is_padded_well = match self.rest[..] {
                    [b'=', ..] | [_, b'=', ..] => false,
                    [_, _, b'=', last] => last == b'=',
                    _ => true,
                };
                let decoded = base64::decode(&self.rest, Letters::Standard);
                let decoded = decoded.filter(|_| is_padded_well).ok_or(NoBase64)?;
                out.extend_from_slice(&decoded);
                self.rest.clear();
            }
        }
        Ok(out.freeze())
    }

    /// Whether it may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The body of an answer, and behind it its trailers.
struct Body {
    source: Box<dyn Source>,
    trailers: Rc<RefCell<HeaderList>>,
    is_text: bool,
    is_over: bool,
}

impl Body {
    fn written(&self, bytes: Bytes) -> Piece {
        if !self.is_text {
            return Piece::Bytes(bytes);
        }
        let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
        base64::encode(&bytes, &mut text);
        Piece::Bytes(text.into())
    }
}

impl Source for Body {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        match ready!(self.source.poll_next(cx)) {
            Some(Ok(Piece::Bytes(bytes))) => Poll::Ready(Some(Ok(self.written(bytes)))),
            Some(other) => Poll::Ready(Some(other)),
            None => {
                self.is_over = true;
                let message = message(&self.trailers.take());
                Poll::Ready(Some(Ok(self.written(message))))
            }
        }
    }
}

/// The message that holds trailers.
fn message(trailers: &HeaderList) -> Bytes {
    let mut message = vec![TRAILERS, 0, 0, 0, 0];
    for (name, value) in trailers.iter() {
        message.extend(name.iter().map(u8::to_ascii_lowercase));
        message.push(b':');
        message.extend_from_slice(value);
        message.extend_from_slice(b"\r\n");
    }
    let len = u32::try_from(message.len() - 5).unwrap_or(u32::MAX);
    message[1..5].copy_from_slice(&len.to_be_bytes());
    message.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_told_apart() {
        for (media_type, expected) in [
            (&b"application/grpc-web"[..], Some((false, &b""[..]))),
            (b"application/grpc-web+proto", Some((false, b"+proto"))),
            (b"Application/GRPC-web-text", Some((true, b""))),
            (
                b"application/grpc-web-text+proto; a=b",
                Some((true, b"+proto; a=b")),
            ),
            (b"application/grpc-webber", None),
            (b"application/grpc", None),
            (b"text/html", None),
        ] {
            assert_eq!(split(media_type), expected);
        }
        let web = Web {
            is_text: false,
            answers_text: true,
            suffix: b"+proto".to_vec(),
        };
        assert_eq!(web.own_type(), b"application/grpc+proto");
        let web_type = |own: &[u8]| web.web_type(own).map(|it| String::from_utf8(it).unwrap());
        let text = "application/grpc-web-text+proto";
        assert_eq!(web_type(b"application/grpc+proto").as_deref(), Some(text));
        assert_eq!(web_type(b"text/html"), None);
        assert_eq!(web_type(b"application/grpcx"), None);
    }

    #[test]
    fn text_is_read_in_any_parts_and_with_padding_anywhere() {
        let text = b"dXNlcjpwYXNz\r\ndQ==dTo=";
        for cut in 0..text.len() {
            let mut decoder = Decoder::default();
            let (first, second) = text.split_at(cut);
            let (first, second) = (decoder.feed(first).unwrap(), decoder.feed(second).unwrap());
            assert_eq!([first, second].concat(), b"user:passuu:");
            assert!(decoder.is_whole());
        }
        for wrong in [&b"d==="[..], b"====", b"d*Q=", b"dQ=x"] {
            assert_eq!(Decoder::default().feed(wrong), Err(NoBase64), "{wrong:?}");
        }
        let mut decoder = Decoder::default();
        decoder.feed(b"dQ=").unwrap();
        assert!(!decoder.is_whole());
    }

    #[test]
    fn trailers_are_a_message() {
        let mut trailers = HeaderList::default();
        trailers.push(b"Grpc-Status", b"0");
        trailers.push(b"x", b"");
        assert_eq!(
            message(&trailers),
            &b"\x80\0\0\0\x13grpc-status:0\r\nx:\r\n"[..]
        );
    }
}
