//! Conditional requests: RFC 9110 section 13, with nginx's rules.
//!
//! ```nginx
//! etag on;
//! if_modified_since exact;     # or before, or off
//! ```

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};
use revolve_http::HeaderId;

use crate::config::scope::{HTTP, LOCATION, SERVER, choice, set_once};
use crate::config::setting::settings;
use crate::http::modules::{ALWAYS, Module};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_not_modified_filter_module",
    directives: DIRECTIVES,
    header_filters: &[(ALWAYS, filter)],
    ..Module::EMPTY
};

/// `if_modified_since`: how the client's date is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfModifiedSince {
    /// Not at all: always modified.
    Off,
    /// The very same second.
    Exact,
    /// Not newer than the client's.
    Before,
}

settings! {
    /// Validators.
    pub struct NotModifiedSettings / RawNotModified {
        inherit {
            /// `etag`, default on.
            etag: bool = true,
            /// `if_modified_since`, default exact.
            if_modified_since: IfModifiedSince = IfModifiedSince::Exact,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "etag",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag not_modified.etag),
    },
    DirectiveRow {
        name: "if_modified_since",
        contexts: ANY,
        args: Args::ONE,
        set: if_modified_since,
    },
];

fn if_modified_since(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let choices = [
        ("off", IfModifiedSince::Off),
        ("exact", IfModifiedSince::Exact),
        ("before", IfModifiedSince::Before),
    ];
    let value = choice(&directive.args[0], choices)?;
    set_once(
        &mut scope.level.settings.not_modified.if_modified_since,
        value,
        directive,
    )
}

/// Header filter: 304 where the client has it already, 412 where its condition fails.
pub(crate) fn filter(request: &mut Request) -> Outcome {
    if request.response.status != 200
        || !request.current.head_done
        || request.current.is_subrequest
        || request.response.is_final
    {
        return Outcome::Next;
    }
    if let Some(date) = request.known(HeaderId::IfUnmodifiedSince)
        && !is_unmodified(request, date)
    {
        return fails(request);
    }
    if let Some(list) = request.known(HeaderId::IfMatch)
        && !etag_in(list, request.response.etag(), false)
    {
        return fails(request);
    }
    let since = request.known(HeaderId::IfModifiedSince);
    let none_match = request.known(HeaderId::IfNoneMatch);
    if since.is_none() && none_match.is_none() {
        return Outcome::Next;
    }
    if since.is_some_and(|date| is_modified(request, date)) {
        return Outcome::Next;
    }
    if none_match.is_some_and(|list| !etag_in(list, request.response.etag(), true)) {
        return Outcome::Next;
    }
    let response = &mut request.response;
    response.status = 304;
    response.content_type.clear();
    response.content_length = None;
    response.ranges_allowed = false;
    response.headers.remove(b"Content-Encoding");
    response.drop_body();
    Outcome::Next
}

/// Nothing that was said of the content holds for the page that takes its place.
fn fails(request: &mut Request) -> Outcome {
    request.response.headers.clear();
    request.response.has_location = false;
    Outcome::Finish(412)
}

/// What is no date, and a date where the content has none, is as if it were not there (RFC 9110,
/// section 13.1.4); nginx takes either for a condition that fails.
fn is_unmodified(request: &Request, date: &[u8]) -> bool {
    match (
        revolve_http::date::parse(date),
        request.response.last_modified,
    ) {
        (Some(date), Some(modified)) => date >= modified.unix_s,
        _ => true,
    }
}

fn is_modified(request: &Request, date: &[u8]) -> bool {
    let Some(modified) = request.response.last_modified else {
        return true;
    };
    let rule = request.settings().not_modified.if_modified_since;
    if rule == IfModifiedSince::Off {
        return true;
    }
    match revolve_http::date::parse(date) {
        Some(date) if date == modified.unix_s => false,
        Some(date) => rule == IfModifiedSince::Exact || date < modified.unix_s,
        None => true,
    }
}

/// Whether a list of entity tags names this one; `weak` compares without regard to `W/`.
fn etag_in(list: &[u8], etag: &[u8], weak: bool) -> bool {
    if list == b"*" {
        return true;
    }
    if etag.is_empty() {
        return false;
    }
    let strip = |tag: &'_ [u8]| -> usize { if weak && tag.starts_with(b"W/") { 2 } else { 0 } };
    let etag = &etag[strip(etag)..];
    let mut rest = list;
    while !rest.is_empty() {
        rest = &rest[strip(rest)..];
        if let Some(after) = rest.strip_prefix(etag) {
            let after = after.trim_ascii_start();
            if after.is_empty() || after[0] == b',' {
                return true;
            }
        }
        match memchr::memchr(b',', rest) {
            Some(at) => rest = rest[at + 1..].trim_ascii_start(),
            None => break,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::etag_in;

    #[test]
    fn lists_of_tags() {
        assert!(etag_in(b"*", b"", false));
        assert!(etag_in(b"\"a\", \"b\"", b"\"b\"", false));
        assert!(!etag_in(b"\"ab\"", b"\"a\"", false));
        assert!(!etag_in(b"W/\"a\"", b"\"a\"", false));
        assert!(etag_in(b"\"x\",W/\"a\"", b"\"a\"", true));
        assert!(etag_in(b"\"a\"", b"W/\"a\"", true));
        assert!(!etag_in(b"\"a\"", b"", true));
    }
}
