//! A response as modules fill it, and its head as bytes.

use std::cell::Cell;
use std::rc::Rc;

use revolve_http::h1::lines::{ContentLength, ContentType, LastModified};

use crate::http::body::{Piece, Source};
use crate::http::filter::BodyFilter;
pub(crate) use crate::http::header_list::HeaderList;
use crate::http::tunnel::Tunnel;

/// First byte and one past the last.
pub(crate) type Window = Cell<(u64, u64)>;

/// What a request is answered with.
#[derive(Default)]
pub(crate) struct Response {
    /// The status; 0 until somebody set one.
    pub status: u16,
    /// `Content-Type`; empty for none.
    pub content_type: ContentType,
    /// `Content-Length`; where nobody sets it, the bytes of the body.
    pub content_length: Option<ContentLength>,
    /// `Last-Modified`.
    pub last_modified: Option<LastModified>,
    /// Whether [`Response::headers`] holds `Last-Modified` as the configuration wants it to be; only
    /// the time of [`Response::last_modified`] counts then.
    last_modified_replaced: bool,
    /// `Location`; a path is made absolute when the head is written. What answers in a redirect's
    /// place keeps it, as in nginx.
    pub location: Vec<u8>,
    /// Whether there is a `Location`, which may be empty.
    pub has_location: bool,
    /// How many of the other header lines were there before `Location`, behind which it stands.
    pub location_place: usize,
    /// Whether `Location` was a path and has been made a URL; nginx writes such a line earlier.
    pub location_completed: bool,
    /// Whether what the client accepts decides on the body's coding, and caches are to know.
    pub varies_by_encoding: bool,
    /// Whether the body is one whose ranges may be asked for.
    pub ranges_allowed: bool,
    /// Whether the client's conditions have been judged by somebody else.
    pub is_final: bool,
    /// Whether more than one of them may not.
    pub single_range: bool,
    /// Of a body that is made of parts: what of the whole is sent, which whoever makes it asks.
    pub window: Option<Rc<Window>>,
    /// All other header lines, `ETag` among them.
    pub headers: HeaderList,
    /// The pieces of the body that lie ready.
    pub body: Vec<Piece>,
    /// What of the body is made while it is sent; it comes behind the pieces.
    pub source: Option<Box<dyn Source>>,
    /// What the body passes on its way, in this order.
    pub filters: Vec<Box<dyn BodyFilter>>,
    /// Lines behind the body.
    pub trailers: HeaderList,
    /// Whether there may be such lines, so that the body goes out in chunks where it can.
    pub expects_trailers: bool,
    /// What follows a switch of protocols.
    pub tunnel: Option<Tunnel>,
    /// Whether the connection is kept, as the client was told; nothing before the head is written.
    pub keep_alive: Option<bool>,
    /// Memory of [`Piece::Text`].
    pub text: Vec<u8>,
    /// The status that an error handler gives whatever answers in its place; 0 for none.
    pub error_status: u16,
    /// Bytes of the head as sent, for the log.
    pub head_bytes: u64,
    /// Bytes of head and body as sent, for the log.
    pub sent_bytes: u64,
}

impl Response {
    /// Empties the response and keeps its memory.
    pub(crate) fn reset(&mut self) {
        self.status = 0;
        self.error_status = 0;
        self.head_bytes = 0;
        self.sent_bytes = 0;
        self.headers.clear();
        self.trailers.clear();
        self.expects_trailers = false;
        self.keep_alive = None;
        self.clear_content();
        self.location.clear();
        self.has_location = false;
        self.location_place = 0;
        self.location_completed = false;
        self.varies_by_encoding = false;
    }

    /// Drops what belongs to a content, so that another can take its place.
    pub(crate) fn clear_content(&mut self) {
        self.content_type.clear();
        self.content_length = None;
        self.clear_validators();
        self.drop_body();
        self.text.clear();
        self.single_range = false;
        self.is_final = false;
        self.window = None;
    }

    /// Drops the body, and leaves what is said of it.
    pub(crate) fn drop_body(&mut self) {
        self.body.clear();
        self.source = None;
        self.tunnel = None;
        self.filters.clear();
    }

    /// Whether [`Response::headers`] holds `Last-Modified` as the configuration wants it to be.
    pub(crate) fn last_modified_is_replaced(&self) -> bool {
        self.last_modified_replaced
    }

    /// The body will be of another length, in other bytes: what is said of either no longer holds.
    pub(crate) fn clear_length(&mut self) {
        self.content_length = None;
        self.ranges_allowed = false;
    }

    /// Drops `Last-Modified`, `ETag` and the permission to ask for ranges.
    pub(crate) fn clear_validators(&mut self) {
        self.last_modified = None;
        self.last_modified_replaced = false;
        self.ranges_allowed = false;
        self.clear_etag();
    }

    /// Another text for `Last-Modified`, which then stands among the other lines as in nginx; empty
    /// for none.
    pub(crate) fn replace_last_modified(&mut self, text: &[u8]) {
        self.last_modified = revolve_http::date::parse(text).map(LastModified::new);
        self.last_modified_replaced = true;
        self.headers.replace(b"Last-Modified", text);
    }

    /// `ETag`; empty for none.
    pub(crate) fn etag(&self) -> &[u8] {
        self.headers.get(b"ETag").unwrap_or_default()
    }

    /// The body will be the same in meaning and no longer in its bytes.
    ///
    /// Source: nginx's `ngx_http_weak_etag`.
    pub(crate) fn weaken_etag(&mut self) {
        if !self.headers.is_empty() {
            self.headers.weaken(b"ETag");
        }
    }

    /// Whether the body is in a coding (`Content-Encoding`).
    pub(crate) fn is_encoded(&self) -> bool {
        self.headers
            .get(b"Content-Encoding")
            .is_some_and(|coding| !coding.is_empty())
    }

    /// Drops `ETag`.
    pub(crate) fn clear_etag(&mut self) {
        if !self.headers.is_empty() {
            self.headers.remove(b"ETag");
        }
    }

    /// Sets `Content-Length`.
    pub(crate) fn set_length(&mut self, bytes: u64) {
        self.content_length = Some(ContentLength::new(bytes));
    }

    /// Appends to [`Response::text`] and makes that the last piece of the body.
    pub(crate) fn push_text(&mut self, text: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.body.push(Piece::Text {
            start,
            end: self.text.len(),
        });
    }

    /// Bytes in the body.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body.iter().map(Piece::len).sum()
    }

    /// The length of the body, where it is known before it is made.
    pub(crate) fn known_length(&self) -> Option<u64> {
        let is_made = self.source.is_some() || !self.filters.is_empty();
        match &self.content_length {
            Some(length) => Some(length.bytes),
            None => (!is_made).then(|| self.body_bytes()),
        }
    }

    /// Drops `Last-Modified`, however it was set.
    pub(crate) fn clear_last_modified(&mut self) {
        self.last_modified = None;
        if std::mem::take(&mut self.last_modified_replaced) {
            self.headers.remove(b"Last-Modified");
        }
    }

    /// Appends the values of a header as sent, joined by ", "; false where there is none.
    ///
    /// `name` is in lower case with dashes. Source: nginx's `$sent_http_name`.
    pub(crate) fn header_joined(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        match name {
            b"content-type" if !self.content_type.is_empty() => {
                out.extend_from_slice(self.content_type.text());
                return true;
            }
            b"content-length" => {
                if let Some(length) = &self.content_length {
                    out.extend_from_slice(length.text());
                    return true;
                }
            }
            b"last-modified" => {
                if let Some(modified) = &self.last_modified
                    && !self.last_modified_replaced
                {
                    out.extend_from_slice(modified.text());
                    return true;
                }
            }
            b"location" if self.has_location => {
                out.extend_from_slice(&self.location);
                return true;
            }
            _ => {}
        }
        let mut found = false;
        for (known, value) in self.headers.iter() {
            if known.eq_ignore_ascii_case(name) {
                if found {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(value);
                found = true;
            }
        }
        found
    }
}
