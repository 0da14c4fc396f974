//! Whether a client takes gzip, and is to get it.
//!
//! ```nginx
//! gzip_vary on;
//! gzip_http_version 1.0;       # default 1.1
//! gzip_proxied expired no-cache no-store private auth;
//! gzip_disable msie6 "SomeOldRobot/";
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};
use revolve_http::{HeaderId, Version};

use crate::config::regex::Pattern;
use crate::config::scope::{HTTP, LOCATION, SERVER, choice, set_once};
use crate::config::setting::settings;
use crate::http::modules::{Module, RequestState};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// `gzip_proxied`: which responses are compressed for clients behind a proxy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Proxied {
    off: bool,
    expired: bool,
    no_cache: bool,
    no_store: bool,
    private: bool,
    no_last_modified: bool,
    no_etag: bool,
    auth: bool,
    any: bool,
}

/// `gzip_disable`: who gets nothing compressed, whatever they say.
#[derive(Debug, Default)]
pub(crate) struct Disabled {
    /// `msie6`: browsers that cannot.
    msie6: bool,
    /// Patterns of `User-Agent`.
    agents: Vec<Pattern>,
}

settings! {
    /// Whether a client takes gzip.
    pub struct GzipAcceptSettings / RawGzipAccept {
        inherit {
            /// `gzip_vary`, default off.
            vary: bool = false,
            /// `gzip_http_version`, default 1.1: the least that a client must speak.
            version_min: Version = Version::HTTP_11,
            /// `gzip_proxied`, default off.
            proxied: Proxied = Proxied { off: true, ..Proxied::default() },
            /// `gzip_disable`.
            disabled: Arc<Disabled> = Arc::default(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "gzip_vary",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag gzip_accept.vary),
    },
    DirectiveRow {
        name: "gzip_http_version",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let choices = [("1.0", Version::HTTP_10), ("1.1", Version::HTTP_11)];
            let value = choice(&directive.args[0], choices)?;
            let slot = &mut scope.level.settings.gzip_accept.version_min;
            set_once(slot, value, directive)
        },
    },
    DirectiveRow {
        name: "gzip_proxied",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: proxied,
    },
    DirectiveRow {
        name: "gzip_disable",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: disable,
    },
];

fn proxied(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let proxied = &mut scope.level.settings.gzip_accept.proxied;
    let proxied = proxied.get_or_insert_default();
    for word in &directive.args {
        let choices = [
            ("off", &mut proxied.off),
            ("expired", &mut proxied.expired),
            ("no-cache", &mut proxied.no_cache),
            ("no-store", &mut proxied.no_store),
            ("private", &mut proxied.private),
            ("no_last_modified", &mut proxied.no_last_modified),
            ("no_etag", &mut proxied.no_etag),
            ("auth", &mut proxied.auth),
            ("any", &mut proxied.any),
        ];
        if std::mem::replace(choice(word, choices)?, true) {
            let message = format!("duplicate value \"{}\"", word.text);
            let warning = Diagnostic::new(word.span, message).label("named before");
            scope.shared.diagnostics.push(warning.warn());
        }
    }
    Ok(())
}

fn disable(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let slot = &mut scope.level.settings.gzip_accept.disabled;
    let disabled = Arc::get_mut(slot.get_or_insert_default());
    let disabled = disabled.expect("nobody shares a level's patterns while it is read");
    for word in &directive.args {
        match word.text.as_str() {
            "msie6" => disabled.msie6 = true,
            source => disabled
                .agents
                .push(scope.shared.patterns.compile(word, source, true)?),
        }
    }
    Ok(())
}

/// What is kept of a request.
#[derive(Default)]
pub(crate) struct GzipAcceptState {
    /// Whether the client gets gzip; it is asked once a request, as in nginx.
    is_accepted: Option<bool>,
}

impl RequestState for GzipAcceptState {}

/// Whether the client of a request takes gzip and is to get it.
#[inline]
pub(crate) fn accepts(request: &mut Request) -> bool {
    if let Some(known) = request.state.gzip_accept.is_accepted {
        return known;
    }
    let is_accepted = is_accepted(request);
    request.state.gzip_accept.is_accepted = Some(is_accepted);
    is_accepted
}

/// Notes that the coding of the response hangs on what the client accepts.
pub(crate) fn note_variation(request: &mut Request) {
    request.response.varies_by_encoding = request.settings().gzip_accept.vary;
}

/// Source: nginx's `ngx_http_gzip_ok`.
fn is_accepted(request: &Request) -> bool {
    // What a subrequest brings is a part of another body, which is compressed as a whole.
    if !request.current.head_done || request.current.is_subrequest {
        return false;
    }
    let Some(codings) = request.known(HeaderId::AcceptEncoding) else {
        return false;
    };
    let is_first = codings == b"gzip" || codings.starts_with(b"gzip,");
    if !is_first && !names_gzip(codings) {
        return false;
    }
    let settings = &request.settings().gzip_accept;
    let disabled = &*settings.disabled;
    let agent = request.known(HeaderId::UserAgent);
    if disabled.msie6 && agent.is_some_and(is_msie6) {
        return false;
    }
    if request.version() < settings.version_min {
        return false;
    }
    if request.known(HeaderId::Via).is_some() && !is_allowed_behind_proxy(request, settings.proxied)
    {
        return false;
    }
    match agent {
        Some(agent) if !disabled.agents.is_empty() => {
            let mut groups = Vec::new();
            // One that gives up is one that does not say that the client may have it.
            let mut agents = disabled.agents.iter();
            !agents.any(|pattern| pattern.captures(agent, &mut groups).unwrap_or(true))
        }
        _ => true,
    }
}

/// The browsers up to Internet Explorer 6 that do not say that they were mended (`SV1`).
///
/// Source: nginx's `ngx_http_process_user_agent`.
pub(crate) fn is_msie6(agent: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(agent, b"MSIE ") else {
        return false;
    };
    let has = |needle: &[u8]| memchr::memmem::find(agent, needle).is_some();
    match &agent[at + 5..] {
        [b'4' | b'5', b'.', ..] => !has(b"Opera"),
        [b'6', b'.', ..] => !has(b"SV1") && !has(b"Opera"),
        _ => false,
    }
}

/// What comes of `gzip_proxied` for a request that names a proxy (`Via`).
fn is_allowed_behind_proxy(request: &Request, proxied: Proxied) -> bool {
    if proxied.off {
        return false;
    }
    if proxied.any || (proxied.auth && request.known(HeaderId::Authorization).is_some()) {
        return true;
    }
    let headers = &request.response.headers;
    if let Some(expires) = headers.get(b"Expires") {
        let now_s = request.site.logs.clock().unix_s();
        let at_s = revolve_http::date::parse(expires);
        return proxied.expired && at_s.is_some_and(|at_s| at_s < now_s);
    }
    let mut controls = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"Cache-Control"))
        .map(|(_, value)| value)
        .peekable();
    if controls.peek().is_some() {
        let named = [
            (proxied.no_cache, "no-cache"),
            (proxied.no_store, "no-store"),
            (proxied.private, "private"),
        ];
        return controls.any(|value| {
            let has = |name: &str| has_token(value, name.as_bytes());
            named.iter().any(|(is_on, name)| *is_on && has(name))
        });
    }
    // As in nginx a file's own time of change is no such line, and so is no entity tag of its own.
    let has_time = request.response.last_modified_is_replaced();
    let refused =
        proxied.no_last_modified && has_time || proxied.no_etag && headers.get(b"ETag").is_some();
    !refused
}

/// Whether a list of tokens has one, with or without a value.
fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| matches!(byte, b',' | b';')).any(|item| {
        let name = item.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(token)
    })
}

/// Whether `Accept-Encoding` names gzip with a weight above nothing. `*` is not looked at.
///
/// Source: nginx's `ngx_http_gzip_accept_encoding`.
fn names_gzip(codings: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = find_gzip(&codings[from..]) {
        let at = from + at;
        from = at + 4;
        if at == 0 || matches!(codings[at - 1], b',' | b' ') {
            return is_wanted(&codings[from..]);
        }
    }
    false
}

fn find_gzip(text: &[u8]) -> Option<usize> {
    text.windows(4)
        .position(|part| part.eq_ignore_ascii_case(b"gzip"))
}

/// What stands behind the name of a coding: nothing, or its weight.
fn is_wanted(rest: &[u8]) -> bool {
    let rest = trim_spaces(rest);
    match rest.split_first() {
        None | Some((b',', _)) => true,
        Some((b';', weight)) => match trim_spaces(weight).split_first() {
            None => true,
            Some((b'q' | b'Q', weight)) => match weight.split_first() {
                Some((b'=', weight)) if !weight.is_empty() => is_above_nothing(weight),
                _ => false,
            },
            Some(_) => false,
        },
        Some(_) => false,
    }
}

fn trim_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    &text[spaces..]
}

/// Whether a weight is one and more than nothing. As in nginx its digits are added up, so that no weight
/// above 0 is taken for 0.
fn is_above_nothing(weight: &[u8]) -> bool {
    let (first @ (b'0' | b'1'), rest) = (weight[0], &weight[1..]) else {
        return false;
    };
    let mut sum = u64::from(first - b'0') * 100;
    match rest.split_first() {
        None | Some((b',' | b' ', _)) => return sum > 0,
        Some((b'.', _)) => {}
        Some(_) => return false,
    }
    let mut digits = 0;
    for byte in &rest[1..] {
        match byte {
            b',' | b' ' => break,
            b'0'..=b'9' => {
                sum += u64::from(byte - b'0');
                digits += 1;
            }
            _ => return false,
        }
    }
    sum > 0 && sum <= 100 && digits <= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_as_nginx_reads_them() {
        for (codings, is_named) in [
            ("gzip", true),
            ("GZip", true),
            ("gzip, deflate", true),
            ("deflate, gzip", true),
            ("deflate,gzip", true),
            ("deflate;gzip", false),
            ("x-gzip", false),
            ("x-gzip, gzip", true),
            ("gzipped", false),
            ("gzip;q=0", false),
            ("gzip;q=0.0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=0.001", true),
            ("gzip;q=0.0001", false),
            ("gzip;q=1", true),
            ("gzip;q=1.000", true),
            ("gzip;q=1.001", false),
            ("gzip;q=2", false),
            ("gzip ; q=0.5, x", true),
            ("gzip; Q=0.5", true),
            ("gzip;q =1", false),
            ("gzip;q=", false),
            ("gzip;q", false),
            ("gzip;", true),
            ("gzip;x", false),
            ("gzip;q=0,x", false),
            ("gzip;q=a", false),
            ("*", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(names_gzip(codings.as_bytes()), is_named, "{codings}");
        }
    }

    #[test]
    fn old_browsers() {
        for (agent, is_one) in [
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", true),
            ("Mozilla/4.0 (compatible; MSIE 5.5; Windows 98)", true),
            (
                "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)",
                false,
            ),
            ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 5.1)", false),
            ("Mozilla/4.0 (compatible; MSIE 6.0; X11) Opera 8", false),
            ("MSIE ", false),
            ("MSIE 6", false),
            ("curl/8", false),
        ] {
            assert_eq!(is_msie6(agent.as_bytes()), is_one, "{agent}");
        }
    }

    #[test]
    fn tokens_of_lists() {
        assert!(has_token(b"max-age=1, no-cache", b"no-cache"));
        assert!(has_token(b"Private", b"private"));
        assert!(!has_token(b"no-caches", b"no-cache"));
    }
}
