//! `sticky`: clients that stay with the server of a group that has answered them first.
//!
//! ```nginx
//! upstream app {
//!     server 10.0.0.1:8080 route=a;
//!     server 10.0.0.2:8080 route=b;
//!     sticky cookie srv_id expires=1h path=/;
//!     # sticky route $cookie_route $arg_route;
//!     # sticky learn create=$upstream_cookie_id lookup=$cookie_id zone=sessions:1m;
//! }
//! ```

use std::os::fd::{BorrowedFd, OwnedFd};

use md5::{Digest, Md5};
use revolve_conf::directive::{Args, duplicate};
use revolve_conf::value::{time_ms, time_s};
use revolve_conf::{Diagnostic, Directive, Word};
use revolve_shm::{Table, TableOptions, WhenFull, ZoneError};

use crate::config::scope::UPSTREAM;
use crate::config::variable::Value;
use crate::http::modules::upstream::group;
use crate::http::modules::{Module, userid};
use crate::http::request::Request;
use crate::http::scope::{Scope, row};
use crate::log::Level;
use crate::upstream::clock::now_ms;
use crate::zones::{Key, ZoneId, ZoneKind, ZoneSpec, ZoneState, key_of, name_and_size};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_upstream_sticky_module",
    directives: &[row(UPSTREAM, "sticky", Args::range(2, u16::MAX), sticky)],
    ..Module::EMPTY
};

const ZONE: &str = "sticky learn";
/// nginx's default of `timeout=`.
const SESSION_TIMEOUT_MS: u64 = 600_000;
/// Bytes that a session takes in a zone.
const SESSION_BYTES: u64 = 96;
/// Raised when a record changes its meaning.
const SCHEMA: u64 = 1;

/// How clients are bound to servers.
#[derive(Debug)]
pub(crate) enum Sticky {
    Cookie(Cookie),
    /// The first of these that is not empty names the server's route.
    Route(Vec<Value>),
    Learn(Learn),
}

/// `sticky cookie`.
#[derive(Debug)]
pub(crate) struct Cookie {
    name: Value,
    /// What follows the value, as it was written.
    parts: Vec<CookiePart>,
}

#[derive(Debug)]
enum CookiePart {
    /// Seconds from now.
    Expires(i64),
    /// `expires=max`.
    NeverExpires,
    Domain(Value),
    Path(Value),
    /// As it stands.
    Text(&'static str),
}

/// `sticky learn`.
#[derive(Debug)]
pub(crate) struct Learn {
    create: Vec<Value>,
    lookup: Vec<Value>,
    zone: ZoneId,
    timeout_ms: u64,
}

/// Sessions, and who serves them.
#[derive(Debug)]
struct SessionZone;

/// Whose session it is, and when it was last asked for in milliseconds.
type Session = [u64; 3];

impl ZoneKind for SessionZone {
    fn directive(&self) -> &'static str {
        ZONE
    }

    fn create(&self, spec: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        let entries = usize::try_from(spec.bytes / SESSION_BYTES).unwrap_or(usize::MAX);
        let options = TableOptions::new(&spec.name)
            .entries_max(entries)
            .shards((entries / 2048).clamp(1, 64))
            .schema(SCHEMA)
            .when_full(WhenFull::Evict);
        Ok(Box::new(Sessions(Table::create(&options)?)))
    }

    fn open(&self, file: OwnedFd, _: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(Sessions(Table::open(file, SCHEMA)?)))
    }
}

#[derive(Debug)]
struct Sessions(Table<Key, Session>);

impl ZoneState for Sessions {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

impl Sessions {
    fn key(&self, session: &[u8]) -> Key {
        key_of(session, |bytes| self.0.keyed_hash(bytes))
    }
}

fn sticky(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    if group(scope).sticky.is_some() {
        return Err(duplicate(directive));
    }
    let (kind, rest) = directive
        .args
        .split_first()
        .expect("the table asks for two");
    let sticky = match kind.text.as_str() {
        "cookie" => Sticky::Cookie(cookie(scope, rest)?),
        "route" => {
            let values = rest
                .iter()
                .map(|word| Value::of(word, &mut scope.shared.registry));
            Sticky::Route(values.collect::<Result<_, _>>()?)
        }
        "learn" => Sticky::Learn(learn(scope, rest, directive)?),
        _ => {
            let message = format!("unknown parameter \"{}\"", kind.text);
            return Err(
                Diagnostic::new(kind.span, message).label("expected cookie, route or learn")
            );
        }
    };
    group(scope).sticky = Some(sticky);
    Ok(())
}

fn unknown(word: &Word, expected: &str) -> Diagnostic {
    Diagnostic::new(word.span, format!("unknown parameter \"{}\"", word.text)).label(expected)
}

fn invalid(word: &Word, name: &str, expected: &str) -> Diagnostic {
    let message = format!("\"sticky\" directive invalid \"{name}\" parameter value");
    Diagnostic::new(word.span, message).label(expected)
}

fn cookie(scope: &mut Scope, words: &[Word]) -> Result<Cookie, Diagnostic> {
    let (name, words) = words.split_first().expect("the table asks for two");
    let registry = &mut scope.shared.registry;
    let name = Value::of(name, registry)?;
    let mut parts = Vec::new();
    for word in words {
        let (key, value) = match word.text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word.text.as_str(), None),
        };
        parts.push(match (key, value) {
            ("expires", Some("max")) => CookiePart::NeverExpires,
            ("expires", Some(time)) => {
                let seconds = time_s(time).and_then(|seconds| i64::try_from(seconds).ok());
                let expected = "expected a time, or max";
                CookiePart::Expires(seconds.ok_or_else(|| invalid(word, "expires", expected))?)
            }
            ("domain", Some(domain)) => CookiePart::Domain(Value::compile(domain, word, registry)?),
            ("path", Some(path)) => CookiePart::Path(Value::compile(path, word, registry)?),
            ("httponly", None) => CookiePart::Text("; httponly"),
            ("secure", None) => CookiePart::Text("; secure"),
            ("samesite", Some("strict")) => CookiePart::Text("; samesite=strict"),
            ("samesite", Some("lax")) => CookiePart::Text("; samesite=lax"),
            ("samesite", Some("none")) => CookiePart::Text("; samesite=none"),
            ("samesite", _) => {
                return Err(invalid(word, "samesite", "expected strict, lax or none"));
            }
            _ => {
                let expected = "expected expires=, domain=, path=, samesite=, httponly or secure";
                return Err(unknown(word, expected));
            }
        });
    }
    Ok(Cookie { name, parts })
}

fn learn(scope: &mut Scope, words: &[Word], directive: &Directive) -> Result<Learn, Diagnostic> {
    let (mut create, mut lookup) = (Vec::new(), Vec::new());
    let (mut zone, mut timeout_ms) = (None, SESSION_TIMEOUT_MS);
    for word in words {
        let registry = &mut scope.shared.registry;
        match word.text.split_once('=') {
            Some(("create", value)) => create.push(Value::compile(value, word, registry)?),
            Some(("lookup", value)) => lookup.push(Value::compile(value, word, registry)?),
            Some(("timeout", time)) => {
                let ms = time_ms(time).filter(|ms| *ms > 0);
                timeout_ms = ms.ok_or_else(|| invalid(word, "timeout", "expected a time"))?;
            }
            Some(("zone", text)) => {
                if !text.contains(':') {
                    let message = "\"sticky\" directive zone size is not specified";
                    let label = "expected zone=NAME:SIZE";
                    return Err(Diagnostic::new(word.span, message).label(label));
                }
                let named = name_and_size(text, word)?;
                zone = Some(
                    scope
                        .shared
                        .zones
                        .declare_shared(named, SessionZone, word)?,
                );
            }
            // A session is known as soon as the answer's head is there.
            None if word.text == "header" => {}
            _ => {
                let expected = "expected create=, lookup=, zone=, timeout= or header";
                return Err(unknown(word, expected));
            }
        }
    }
    let missing = |name: &str| {
        let message = format!("\"sticky\" directive \"{name}\" parameter is not specified");
        Diagnostic::new(directive.span, message).label("expected create=, lookup= and zone=")
    };
    if create.is_empty() {
        return Err(missing("create"));
    }
    if lookup.is_empty() {
        return Err(missing("lookup"));
    }
    Ok(Learn {
        create,
        lookup,
        zone: zone.ok_or_else(|| missing("zone"))?,
        timeout_ms,
    })
}

/// The server that a client is bound to.
pub(crate) enum Bound {
    /// By its route, or the hash of its address.
    Id(Vec<u8>),
    /// By a hash of that.
    Hashed([u64; 2]),
}

impl Bound {
    pub(crate) fn is_to(&self, id: &str) -> bool {
        match self {
            Bound::Id(bound) => bound == id.as_bytes(),
            Bound::Hashed(bound) => *bound == hashed(id),
        }
    }
}

fn hashed(id: &str) -> [u64; 2] {
    let hash = u128::from_le_bytes(Md5::digest(id).into());
    [hash as u64, (hash >> 64) as u64]
}

/// The first of these that is not empty.
fn first(request: &Request, values: &[Value]) -> Option<Vec<u8>> {
    let mut values = values.iter().map(|value| value.evaluate(request));
    values.find(|value| !value.is_empty())
}

fn sticky_of(request: &Request, place: Option<usize>) -> Option<&Sticky> {
    request.http().upstreams[place?].sticky.as_ref()
}

/// The server that the client of a request is bound to, of the group at a place.
pub(crate) fn bound(request: &Request, place: Option<usize>) -> Option<Bound> {
    match sticky_of(request, place)? {
        Sticky::Cookie(cookie) => {
            let mut value = Vec::new();
            let name = cookie.name.evaluate(request);
            request
                .cookie(&name, &mut value)
                .then_some(Bound::Id(value))
        }
        Sticky::Route(values) => first(request, values).map(Bound::Id),
        Sticky::Learn(learn) => {
            let session = first(request, &learn.lookup)?;
            let sessions = request.site.zones.state::<Sessions>(learn.zone);
            let now = now_ms();
            let found = sessions.0.modify(&sessions.key(&session), |entry| {
                let known = (*entry).filter(|it| now.saturating_sub(it[2]) <= learn.timeout_ms);
                *entry = known.map(|it| [it[0], it[1], now]);
                known
            });
            found.ok().flatten().map(|it| Bound::Hashed([it[0], it[1]]))
        }
    }
}

/// A server has answered: the client is bound to it.
pub(crate) fn bind(request: &mut Request, place: Option<usize>) {
    let site = request.site.share();
    let sticky = place.and_then(|place| site.http.upstreams[place].sticky.as_ref());
    match sticky {
        Some(Sticky::Cookie(cookie)) => {
            let line = write_cookie(request, cookie);
            request.response.headers.push(b"Set-Cookie", &line);
        }
        Some(Sticky::Learn(learn)) => {
            let Some(session) = first(request, &learn.create) else {
                return;
            };
            let sessions = site.zones.state::<Sessions>(learn.zone);
            let [low, high] = hashed(&request.state.proxy.peer_id);
            let known = [low, high, now_ms()];
            if let Err(error) = sessions.0.insert(&sessions.key(&session), &known) {
                let name = site.zones.name(learn.zone);
                request.log(
                    Level::Alert,
                    format_args!("{error} in zone \"{name}\" of \"sticky\""),
                );
            }
        }
        Some(Sticky::Route(_)) | None => {}
    }
}

fn write_cookie(request: &Request, cookie: &Cookie) -> Vec<u8> {
    let mut line = cookie.name.evaluate(request);
    line.push(b'=');
    line.extend_from_slice(request.state.proxy.peer_id.as_bytes());
    for part in &cookie.parts {
        match part {
            CookiePart::Text(text) => line.extend_from_slice(text.as_bytes()),
            CookiePart::NeverExpires => {
                line.extend_from_slice(b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000");
            }
            CookiePart::Expires(seconds) => {
                line.extend_from_slice(b"; expires=");
                let clock = request.site.logs.clock();
                let at_s = clock.unix_s().saturating_add(*seconds);
                userid::append_cookie_time(clock.http_date(at_s), &mut line);
                let age = format!("; max-age={seconds}");
                line.extend_from_slice(age.as_bytes());
            }
            CookiePart::Domain(domain) => {
                line.extend_from_slice(b"; domain=");
                line.extend_from_slice(&domain.evaluate(request));
            }
            CookiePart::Path(path) => {
                line.extend_from_slice(b"; path=");
                line.extend_from_slice(&path.evaluate(request));
            }
        }
    }
    line
}
