//! `proxy_pass`: requests answered by another server.
//!
//! ```nginx
//! location /app/ {
//!     proxy_pass http://127.0.0.1:8080/;
//!     proxy_set_header Host $host;
//!     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
//! }
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Directive};

use crate::config::regex::Pattern;
use crate::config::scope::{
    HTTP, IF_LOCATION, LIMIT_EXCEPT, LOCATION, SERVER, checked_once, choice, set_once,
};
use crate::config::setting::settings;
use crate::config::variable::{GroupSlots, Value};
use crate::http::modules::cache::CacheState;
use crate::http::modules::passing::{self, Protocol};
pub(crate) use crate::http::modules::passing::{PassSettings, RawPass};
use crate::http::modules::{Module, RequestState, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::proxy::{self, Named, Tries};
use crate::http::request::Request;
use crate::http::response::HeaderList;
use crate::http::scope::{DirectiveRow, LocationMatch, Scope, row, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_proxy_module",
    directives: DIRECTIVES,
    variables: proxy::variables::VARIABLES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

/// Where `proxy_pass` leads.
#[derive(Debug)]
pub(crate) enum Target {
    /// A group, known when the configuration is built.
    Group {
        /// Its place in the list of groups.
        place: usize,
        /// Host and port as written, for `$proxy_host`.
        host: String,
        /// What takes the place of the location's name, where anything does.
        uri: Option<String>,
    },
    /// A URL that each request makes for itself.
    Url(Value),
}

/// `proxy_pass`.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) target: Target,
    /// How much of the path the URI of the target takes the place of: the location's name.
    pub(crate) replaced: usize,
}

/// One `proxy_redirect`: what a `Location` begins with, and what takes its place.
#[derive(Debug)]
pub(crate) enum Redirect {
    /// A beginning.
    Prefix(Value, Value),
    /// A pattern, with what its named groups set.
    Pattern(Pattern, GroupSlots, Value),
}

/// `proxy_http_version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

settings! {
    /// How requests are passed on.
    pub struct ProxySettings / RawProxy {
        inherit {
            /// `proxy_set_header`; a level that has one inherits none.
            set_headers: Arc<Vec<(String, Value)>> = Arc::default(),
            /// `proxy_http_version`, default 1.1.
            version: HttpVersion = HttpVersion::Http11,
            /// `proxy_method`.
            method: Option<Arc<Value>> = None,
            /// `proxy_set_body`.
            body: Option<Arc<Value>> = None,
            /// `proxy_pass_trailers`, default off.
            pass_trailers: bool = false,
            /// `proxy_redirect`; `None` for `default`, and an empty list for `off`.
            redirects: Option<Arc<Vec<Redirect>>> = None,
        }
        own {}
        handler {
            /// `proxy_pass`.
            pass: Option<Arc<Pass>> = None,
        }
    }
}

/// What is kept of a request.
#[derive(Default)]
pub(crate) struct ProxyState {
    /// The tries to have it answered.
    pub(crate) tries: Tries,
    /// `$proxy_host`.
    pub(crate) host: String,
    /// Whether the connection to it has TLS.
    pub(crate) is_secure: bool,
    /// What is spoken with the upstream.
    pub(crate) protocol: Protocol,
    /// What an application has written to its standard error, and no log has yet.
    pub(crate) stderr: Rc<RefCell<Vec<u8>>>,
    /// Who was asked last, of which the error log makes scheme, address and URI.
    pub(crate) asked: Option<(Rc<Named>, Rc<str>)>,
    /// Lines behind the body of the answer, once it has ended.
    pub(crate) trailers: Rc<RefCell<HeaderList>>,
    /// What the cache has to do with the answer.
    pub(crate) cache: CacheState,
    /// Who has answered, as those know it that are bound to it.
    pub(crate) peer_id: String,
}

impl RequestState for ProxyState {
    #[inline]
    fn reset(&mut self) {
        if !self.host.is_empty() {
            *self = Self::default();
        }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = passing::rows!(
    "proxy",
    proxy_passing,
    [
        DirectiveRow {
            name: "proxy_pass",
            contexts: LOCATION | IF_LOCATION | LIMIT_EXCEPT,
            args: Args::ONE,
            set: proxy_pass,
        },
        row(ANY, "proxy_set_header", Args::TWO, set_header),
        row(ANY, "proxy_http_version", Args::ONE, http_version),
        row(ANY, "proxy_method", Args::ONE, |scope, d| {
            let value = Value::of(&d.args[0], &mut scope.shared.registry)?;
            set_once(
                &mut scope.level.settings.proxy.method,
                Some(Arc::new(value)),
                d,
            )
        }),
        row(ANY, "proxy_set_body", Args::ONE, |scope, d| {
            let value = Value::of(&d.args[0], &mut scope.shared.registry)?;
            set_once(
                &mut scope.level.settings.proxy.body,
                Some(Arc::new(value)),
                d,
            )
        }),
        row(ANY, "proxy_redirect", Args::ONE_OR_TWO, redirect),
        // As on every system but FreeBSD.
        row(ANY, "proxy_send_lowat", Args::ONE, checked_once),
        row(
            ANY,
            "proxy_pass_trailers",
            Args::FLAG,
            slot!(flag proxy.pass_trailers)
        ),
        row(ANY, "proxy_headers_hash_max_size", Args::ONE, checked_once),
        row(
            ANY,
            "proxy_headers_hash_bucket_size",
            Args::ONE,
            checked_once
        ),
    ]
);

fn http_version(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let choices = [
        ("1.0", HttpVersion::Http10),
        ("1.1", HttpVersion::Http11),
        ("2", HttpVersion::Http2),
    ];
    let value = choice(&directive.args[0], choices)?;
    set_once(&mut scope.level.settings.proxy.version, value, directive)
}

fn set_header(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let name = directive.args[0].text.clone();
    let value = Value::of(&directive.args[1], &mut scope.shared.registry)?;
    let headers = &mut scope.level.settings.proxy.set_headers;
    let headers = headers.get_or_insert_with(Arc::default);
    Arc::get_mut(headers)
        .expect("nobody shares a level's headers while it is read")
        .push((name, value));
    Ok(())
}

fn redirect(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let slot = &scope.level.settings.proxy.redirects;
    let from = &directive.args[0];
    let Some(to) = directive.args.get(1) else {
        let value = match from.text.as_str() {
            "default" => None,
            "off" | "false" => Some(Arc::default()),
            _ => {
                let message = format!("invalid parameter \"{}\"", from.text);
                return Err(Diagnostic::new(from.span, message)
                    .label("expected default, off, or what is replaced and by what"));
            }
        };
        if slot.is_some() {
            return Err(duplicate(directive));
        }
        scope.level.settings.proxy.redirects = Some(value);
        return Ok(());
    };
    let registry = &mut scope.shared.registry;
    let to = Value::of(to, registry)?;
    let rule = match from.text.strip_prefix('~') {
        Some(source) => {
            let (source, ignore_case) = match source.strip_prefix('*') {
                Some(source) => (source, true),
                None => (source, false),
            };
            let mut pattern = scope.shared.patterns.compile(from, source, ignore_case)?;
            let slots = scope.shared.registry.define_groups(&pattern);
            // Where it matched is asked for, too.
            pattern.note_numbers(true);
            Redirect::Pattern(pattern, slots, to)
        }
        None => Redirect::Prefix(Value::of(from, registry)?, to),
    };
    let rules = scope.level.settings.proxy.redirects.get_or_insert_default();
    let rules = rules.get_or_insert_with(Arc::default);
    Arc::get_mut(rules)
        .expect("nobody shares a level's rules while it is read")
        .push(rule);
    Ok(())
}

fn proxy_pass(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.level.settings.proxy.pass.is_some() {
        return Err(duplicate(directive));
    }
    let word = &directive.args[0];
    let target = match word.text.contains('$') {
        true => Target::Url(Value::of(word, &mut scope.shared.registry)?),
        false => {
            let (is_secure, url) = split_scheme(&word.text).ok_or_else(|| {
                Diagnostic::new(word.span, "invalid URL prefix")
                    .label("expected http:// or https://")
            })?;
            scope.level.settings.proxy_ssl.is_secure = Some(is_secure);
            let port = if is_secure { HTTPS_PORT } else { HTTP_PORT };
            let (host, uri) = split_url(url);
            if host.is_empty() {
                let message = format!("no host in upstream \"{}\"", word.text);
                return Err(Diagnostic::new(word.span, message).label("expected a host"));
            }
            Target::Group {
                place: scope.upstreams.mention(host, port, word),
                host: host.to_owned(),
                uri: uri.map(str::to_owned),
            }
        }
    };
    let has_uri = matches!(&target, Target::Group { uri: Some(_), .. });
    let replaced = match &scope.level.matching {
        LocationMatch::Prefix { path, .. } | LocationMatch::Exact(path)
            if scope.level.context == LOCATION =>
        {
            path.len()
        }
        _ if has_uri => {
            let message = "\"proxy_pass\" cannot have URI part in location given by regular \
                           expression, or inside named location, or inside \"if\" statement, or \
                           inside \"limit_except\" block";
            return Err(Diagnostic::new(word.span, message)
                .label("such a location has no name that the URI could take the place of"));
        }
        _ => 0,
    };
    scope.level.settings.proxy.pass = Some(Some(Arc::new(Pass { target, replaced })));
    Ok(())
}

pub(crate) const HTTP_PORT: u16 = 80;
pub(crate) const HTTPS_PORT: u16 = 443;

/// Splits a URL into whether its scheme has TLS, and what follows that.
pub(crate) fn split_scheme(url: &str) -> Option<(bool, &str)> {
    let is = |scheme: &str| {
        let head = url.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme)
            .then(|| &url[scheme.len()..])
    };
    let secure = is("https://").map(|rest| (true, rest));
    secure.or_else(|| is("http://").map(|rest| (false, rest)))
}

/// Splits what follows the scheme into host and URI. The path of a Unix socket ends with a colon.
pub(crate) fn split_url(url: &str) -> (&str, Option<&str>) {
    if let Some(path) = url.strip_prefix("unix:") {
        return match path.find(':') {
            Some(at) => {
                let (host, uri) = url.split_at(5 + at);
                (host, Some(&uri[1..]).filter(|uri| !uri.is_empty()))
            }
            None => (url, None),
        };
    }
    match url.find(['/', '?']) {
        Some(at) => (&url[..at], Some(&url[at..])),
        None => (url, None),
    }
}

/// Whether the level passes requests on.
pub(crate) fn applies(settings: &Settings) -> bool {
    settings.proxy.pass.is_some()
}

/// Content phase: has another server answer.
pub(crate) fn handle(_: &mut Request) -> Outcome {
    Outcome::Await(|request| Box::pin(proxy::pass(request, Protocol::Http)))
}
