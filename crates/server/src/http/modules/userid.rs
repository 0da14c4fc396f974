//! A cookie by which a client is known again.
//!
//! ```nginx
//! userid         on;
//! userid_name    uid;
//! userid_domain  example.com;
//! userid_path    /;
//! userid_expires 365d;
//! ```

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};
use revolve_reactor::Address;

use crate::config::scope::{HTTP, LOCATION, SERVER, choice, invalid_value, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::base64::{self, Letters};
use crate::http::modules::{Module, RequestState, Settings};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::http::variables::Builtin;
use crate::log::{Level, Shown};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_userid_filter_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    header_filters: &[(applies, filter)],
    ..Module::EMPTY
};

/// `userid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Off,
    /// A cookie that is there is read, and none is set.
    Log,
    /// Cookies of the first version are set, whose numbers are in the order of the machine.
    V1,
    /// Cookies of the second version are set.
    On,
}

/// `userid_expires`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expires {
    /// With the browser.
    Off,
    /// With the year 2037.
    Max,
    /// So many seconds from now.
    After(i64),
}

settings! {
    /// A cookie by which a client is known again.
    pub struct UserIdSettings / RawUserId {
        inherit {
            /// `userid`, default off.
            mode: Mode = Mode::Off,
            /// `$uid_reset`, where `userid` stands.
            reset: Option<Arc<Value>> = None,
            /// `userid_name`.
            name: Arc<str> = "uid".into(),
            /// `userid_domain`, as it stands in the cookie.
            domain: Arc<str> = "".into(),
            /// `userid_path`, as it stands in the cookie.
            path: Arc<str> = "; path=/".into(),
            /// `userid_expires`.
            expires: Expires = Expires::Off,
            /// `userid_flags`, as they stand in the cookie, in their order there.
            flags: Arc<Vec<&'static str>> = Arc::default(),
            /// `userid_p3p`.
            p3p: Arc<str> = "".into(),
            /// `userid_service`; the address of the server where there is none.
            service: Option<u64> = None,
            /// `userid_mark`.
            mark: Option<u8> = None,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(ANY, "userid", Args::ONE, mode),
    row(
        ANY,
        "userid_service",
        Args::ONE,
        slot!(number userid.service),
    ),
    row(ANY, "userid_name", Args::ONE, |scope, directive| {
        let name = directive.args[0].text.as_str().into();
        set_once(&mut scope.level.settings.userid.name, name, directive)
    }),
    row(ANY, "userid_domain", Args::ONE, |scope, directive| {
        let domain = match directive.args[0].text.as_str() {
            "none" => "".into(),
            domain => format!("; domain={domain}").into(),
        };
        set_once(&mut scope.level.settings.userid.domain, domain, directive)
    }),
    row(ANY, "userid_path", Args::ONE, |scope, directive| {
        let path = format!("; path={}", directive.args[0].text).into();
        set_once(&mut scope.level.settings.userid.path, path, directive)
    }),
    row(ANY, "userid_p3p", Args::ONE, |scope, directive| {
        let p3p = match directive.args[0].text.as_str() {
            "none" => "".into(),
            policy => policy.into(),
        };
        set_once(&mut scope.level.settings.userid.p3p, p3p, directive)
    }),
    row(ANY, "userid_expires", Args::ONE, expires),
    row(ANY, "userid_flags", Args::ONE_TO_THREE, flags),
    row(ANY, "userid_mark", Args::ONE, mark),
];

fn mode(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let choices = [
        ("off", Mode::Off),
        ("log", Mode::Log),
        ("v1", Mode::V1),
        ("on", Mode::On),
    ];
    let mode = choice(&directive.args[0], choices)?;
    let reset = Value::builtin("$uid_reset", &mut scope.shared.registry);
    let settings = &mut scope.level.settings.userid;
    settings.reset = Some(Some(Arc::new(reset)));
    set_once(&mut settings.mode, mode, directive)
}

fn expires(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let value = match word.text.as_str() {
        "max" => Expires::Max,
        "off" => Expires::Off,
        text => {
            let time = revolve_conf::value::time_s(text);
            let time = time.and_then(|time| i64::try_from(time).ok());
            let time =
                time.ok_or_else(|| invalid_value(word, directive, "a time like 365d, max or off"))?;
            match time {
                0 => Expires::Off,
                time => Expires::After(time),
            }
        }
    };
    set_once(&mut scope.level.settings.userid.expires, value, directive)
}

/// The flags in their order in the cookie.
const FLAGS: [&str; 5] = [
    "; secure",
    "; httponly",
    "; samesite=strict",
    "; samesite=lax",
    "; samesite=none",
];

/// A second directive of a level adds to the first, as in nginx.
fn flags(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let slot = &mut scope.level.settings.userid.flags;
    let mut chosen = slot
        .take()
        .map(|flags| (*flags).clone())
        .unwrap_or_default();
    for word in &directive.args {
        let choices = [
            ("off", None),
            ("secure", Some(0)),
            ("httponly", Some(1)),
            ("samesite=strict", Some(2)),
            ("samesite=lax", Some(3)),
            ("samesite=none", Some(4)),
        ];
        let Some(flag) = choice(word, choices)?.map(|at: usize| FLAGS[at]) else {
            continue;
        };
        if chosen.contains(&flag) {
            let message = format!("duplicate value \"{}\"", word.text);
            let warning = Diagnostic::new(word.span, message).warn();
            scope.shared.diagnostics.push(warning);
        } else {
            chosen.push(flag);
        }
    }
    chosen.sort_by_key(|flag| FLAGS.iter().position(|known| known == flag));
    *slot = Some(Arc::new(chosen));
    Ok(())
}

fn mark(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let mark = match word.text.as_bytes() {
        b"off" => None,
        [mark] if mark.is_ascii_alphanumeric() || *mark == b'=' => Some(*mark),
        _ => {
            let message = "\"userid_mark\" directive value must be \"off\" or a single letter, digit or \"=\"";
            return Err(Diagnostic::new(word.span, message).label("expected one of these"));
        }
    };
    set_once(&mut scope.level.settings.userid.mark, mark, directive)
}

/// What is kept of a request.
#[derive(Default)]
pub(crate) struct UserIdState(RefCell<Ids>);

impl RequestState for UserIdState {}

/// A client's number.
type Id = [u8; 16];

#[derive(Default)]
struct Ids {
    /// Whether the client's cookie was looked at.
    is_known: bool,
    got: Option<Id>,
    /// The letters of the client's cookie, where it is to have them with the mark.
    kept: Option<[u8; 22]>,
    /// Whether its cookie ends with the mark that is set.
    is_marked: bool,
    set: Option<Id>,
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "uid_got",
        get: |request, out| {
            if request.settings().userid.mode == Mode::Off {
                return false;
            }
            get(request);
            let got = request.state.userid.0.borrow().got;
            append(request, got, out)
        },
    },
    Builtin {
        name: "uid_set",
        get: |request, out| {
            if request.settings().userid.mode < Mode::V1 {
                return false;
            }
            create(request);
            let set = request.state.userid.0.borrow().set;
            append(request, set, out)
        },
    },
    // A `map` may say otherwise.
    Builtin {
        name: "uid_reset",
        get: |_, _| true,
    },
];

fn append(request: &Request, id: Option<Id>, out: &mut Vec<u8>) -> bool {
    let Some(id) = id else {
        return false;
    };
    out.extend_from_slice(request.settings().userid.name.as_bytes());
    out.push(b'=');
    append_digits(&id, out);
    true
}

fn append_digits(id: &Id, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let (numbers, _) = id.as_chunks::<4>();
    for number in numbers {
        let _ = write!(out, "{:08X}", u32::from_ne_bytes(*number));
    }
}

/// Looks at the client's cookie, once.
fn get(request: &Request) {
    let mut ids = request.state.userid.0.borrow_mut();
    if std::mem::replace(&mut ids.is_known, true) {
        return;
    }
    let settings = &request.settings().userid;
    let Some((cookie, line)) = request.cookie_and_line(settings.name.as_bytes()) else {
        return;
    };
    let shown = Shown(line);
    let Some(letters) = cookie.get(..22) else {
        let message = format_args!("client sent too short userid cookie \"{shown}\"");
        return request.log(Level::Error, message);
    };
    let id = base64::decode(letters, Letters::Standard);
    let Some(id) = id.and_then(|id| id.try_into().ok()) else {
        let message = format_args!("client sent invalid userid cookie \"{shown}\"");
        return request.log(Level::Error, message);
    };
    // A number that ends with nothing is none, as in nginx.
    ids.got = Some(id).filter(|id: &Id| id[12..] != [0; 4]);
    ids.is_marked = settings
        .mark
        .is_some_and(|mark| cookie.get(22..24) == Some(&[mark, b'=']));
}

/// The number that the client is to have from now on, if it has none or is to have another.
///
/// Source: nginx's `ngx_http_userid_create_uid`.
fn create(request: &Request) {
    get(request);
    let settings = &request.settings().userid;
    let (got, set, is_marked) = {
        let ids = request.state.userid.0.borrow();
        (ids.got, ids.set, ids.is_marked)
    };
    if set.is_some() {
        return;
    }
    let mut id = None;
    if let Some(got) = got {
        let reset = settings.reset.as_ref().map(|it| it.evaluate(request));
        let reset = reset.unwrap_or_default();
        if reset.is_empty() || reset == b"0" {
            if settings.mark.is_none() || is_marked {
                return;
            }
            id = Some(got);
            let cookie = request.cookie_and_line(settings.name.as_bytes());
            let letters = cookie.and_then(|(cookie, _)| cookie.first_chunk());
            request.state.userid.0.borrow_mut().kept = letters.copied();
        } else if reset == b"log" {
            let mut digits = Vec::new();
            append_digits(&got, &mut digits);
            let (name, digits) = (&settings.name, String::from_utf8_lossy(&digits));
            let message = format_args!("userid cookie \"{name}={digits}\" was reset");
            request.log(Level::Notice, message);
        }
    }
    let id = id.unwrap_or_else(|| match settings.mode {
        Mode::V1 => id_v1(request, settings.service),
        _ => id_v2(request, settings.service),
    });
    request.state.userid.0.borrow_mut().set = Some(id);
}

static SEQUENCE_V1: AtomicU32 = AtomicU32::new(1);
static SEQUENCE_V2: AtomicU32 = AtomicU32::new(FIRST_V2);
const FIRST_V2: u32 = 0x0303_0302;

/// A number that tells processes apart that begin at one time.
fn start_number(request: &Request) -> u32 {
    static START: OnceLock<u32> = OnceLock::new();
    *START.get_or_init(|| {
        let ms = request.site.logs.clock().unix_ms();
        (ms as u32 % 1000 * 50) << 16 | std::process::id()
    })
}

fn id_v1(request: &Request, service: Option<u64>) -> Id {
    let now_s = request.site.logs.clock().unix_s();
    let number = SEQUENCE_V1.fetch_add(0x100, Ordering::Relaxed);
    let numbers = [
        service.unwrap_or(0) as u32,
        now_s as u32,
        start_number(request),
        number,
    ];
    joined(numbers.map(u32::to_ne_bytes))
}

fn id_v2(request: &Request, service: Option<u64>) -> Id {
    let now_s = request.site.logs.clock().unix_s();
    let place = match (service, request.connection.local()) {
        (Some(service), _) => (service as u32).to_be_bytes(),
        (None, Some(Address::Inet(address))) => match address.ip() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let [.., a, b, c, d] = ip.octets();
                [a, b, c, d]
            }
        },
        (None, _) => [0; 4],
    };
    let number = SEQUENCE_V2.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
        Some(number.wrapping_add(0x100).max(FIRST_V2))
    });
    let number = number.unwrap_or(FIRST_V2);
    let rest = [now_s as u32, start_number(request), number].map(u32::to_be_bytes);
    let [time, start, number] = rest;
    joined([place, time, start, number])
}

fn joined(parts: [[u8; 4]; 4]) -> Id {
    let mut id = [0; 16];
    for (place, part) in id.as_chunks_mut::<4>().0.iter_mut().zip(parts) {
        *place = part;
    }
    id
}

fn applies(settings: &Settings) -> bool {
    settings.userid.mode >= Mode::V1
}

/// Header filter: sets the cookie.
fn filter(request: &mut Request) -> Outcome {
    // No head of a subrequest leaves.
    if request.current.is_subrequest {
        return Outcome::Next;
    }
    create(request);
    let (set, kept) = {
        let ids = request.state.userid.0.borrow();
        (ids.set, ids.kept)
    };
    let Some(id) = set else {
        return Outcome::Next;
    };
    let site = request.site.share();
    let settings = &site.locations[request.current.location as usize]
        .settings
        .userid;
    let mut cookie = request.take_spare();
    cookie.extend_from_slice(settings.name.as_bytes());
    cookie.push(b'=');
    // A number of the client's is given back in its own letters, of which the last has bits that do not count.
    match kept {
        Some(letters) => {
            cookie.extend_from_slice(&letters);
            cookie.extend_from_slice(b"==");
        }
        None => base64::encode(&id, &mut cookie),
    }
    if let Some(mark) = settings.mark {
        let place = cookie.len() - 2;
        cookie[place] = mark;
    }
    match settings.expires {
        Expires::Off => {}
        Expires::Max => cookie.extend_from_slice(b"; expires=Thu, 31-Dec-37 23:55:55 GMT"),
        Expires::After(seconds) => {
            let at_s = site.logs.clock().unix_s().saturating_add(seconds);
            cookie.extend_from_slice(b"; expires=");
            append_cookie_time(site.logs.clock().http_date(at_s), &mut cookie);
        }
    }
    cookie.extend_from_slice(settings.domain.as_bytes());
    cookie.extend_from_slice(settings.path.as_bytes());
    for flag in settings.flags.iter() {
        cookie.extend_from_slice(flag.as_bytes());
        // The strictest of them stands first, and alone.
        if flag.starts_with("; samesite") {
            break;
        }
    }
    let headers = &mut request.response.headers;
    headers.push(b"Set-Cookie", &cookie);
    if !settings.p3p.is_empty() {
        headers.push(b"P3P", settings.p3p.as_bytes());
    }
    request.give_spare(cookie);
    Outcome::Next
}

/// `Wed, 02-Dec-26 03:43:45 GMT`, and with the whole year after 2037: Netscape browsers took a year of two
/// digits for one before that.
pub(super) fn append_cookie_time(mut date: [u8; 29], out: &mut Vec<u8>) {
    (date[7], date[11]) = (b'-', b'-');
    out.extend_from_slice(&date[..12]);
    let is_far = &date[12..16] > b"2037".as_slice();
    out.extend_from_slice(&date[if is_far { 12 } else { 14 }..]);
}
