//! What upstreams have answered, kept on disk and answered with (`proxy_cache` and its like).
//!
//! ```nginx
//! proxy_cache_path /var/cache/site levels=1:2 keys_zone=site:10m max_size=1g inactive=60m;
//! server {
//!     location / {
//!         proxy_pass http://127.0.0.1:8080;
//!         proxy_cache site;
//!         proxy_cache_valid 200 302 10m;
//!         proxy_cache_use_stale error timeout updating http_500;
//!         add_header X-Cache-Status $upstream_cache_status;
//!     }
//! }
//! ```

mod cached;
mod filling;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use revolve_conf::directive::Args;
use revolve_conf::value::{offset, time_ms, time_s};
use revolve_conf::{Diagnostic, Diagnostics, Directive, Span, Word};
use revolve_http::Method;
use revolve_reactor::local::Notify;
use revolve_reactor::{sleep, spawn};

pub(crate) use self::cached::{CacheState, is_wanted, pass};
use crate::config::scope::{
    HTTP, LOCATION, SERVER, Shared, choice, invalid_parameter, invalid_value, set_once,
};
use crate::config::setting::settings;
use crate::config::variable::{Registry, Value};
use crate::http::cache::manager::{Bounds, Office, Round};
use crate::http::cache::{Folder, Key};
use crate::http::modules::Module;
use crate::http::modules::passing::next;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::http::site::Site;
use crate::zones::name_and_size;

/// The module.
pub(crate) const MODULE: Module = Module {
    directives: DIRECTIVES,
    ..Module::EMPTY
};

settings! {
    /// Which answers are kept, and when they are answered with.
    pub struct CacheSettings / RawCache {
        inherit {
            /// `*_cache`: the cache's name; `None` for `off`.
            zone: Option<Arc<Value>> = None,
            /// `*_cache_key`.
            key: Option<Arc<Value>> = None,
            /// `*_cache_valid`.
            valid: Arc<Vec<Valid>> = Arc::default(),
            /// `*_cache_use_stale`, as bits of [`next`] and [`UPDATING`].
            use_stale: u32 = 0,
            /// `*_cache_lock`, default off.
            lock: bool = false,
            /// `*_cache_lock_timeout`, milliseconds, default 5 s.
            lock_timeout_ms: u64 = 5000,
            /// `*_cache_lock_age`, milliseconds, default 5 s.
            lock_age_ms: u64 = 5000,
            /// `*_cache_bypass`.
            bypass: Arc<Vec<Value>> = Arc::default(),
            /// `*_no_cache`.
            no_cache: Arc<Vec<Value>> = Arc::default(),
            /// `*_cache_purge`.
            purge: Arc<Vec<Value>> = Arc::default(),
            /// `*_cache_min_uses`, default 1.
            min_uses: u64 = 1,
            /// `*_cache_methods`: whether POST is among them, as GET and HEAD always are.
            keeps_post: bool = false,
            /// `*_cache_revalidate`, default off.
            revalidate: bool = false,
            /// `*_cache_background_update`, default off.
            background_update: bool = false,
            /// `proxy_cache_convert_head`, default on.
            convert_head: bool = true,
            /// `*_cache_max_range_offset`; no limit where nobody sets one.
            range_offset_max: u64 = u64::MAX,
        }
        own {}
    }
}

/// `updating` of `*_cache_use_stale`, beside the bits of [`next`].
pub(crate) const UPDATING: u32 = 1 << 20;

/// One `*_cache_valid`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Valid {
    /// `None` for any.
    status: Option<u16>,
    seconds: u64,
}

/// One `*_cache_path`.
#[derive(Debug)]
pub(crate) struct CachePath {
    pub(crate) name: String,
    pub(crate) folder: Folder,
    bounds: Bounds,
}

/// The caches of a configuration while that is read, and the places that use one.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    paths: Vec<CachePath>,
    uses: Vec<(String, String, Span)>,
}

impl Declared {
    /// The caches. One that is used and declared nowhere is an error.
    pub(crate) fn finish(self, diagnostics: &mut Diagnostics) -> Vec<CachePath> {
        for (directive, name, span) in self.uses {
            if !self.paths.iter().any(|path| path.name == name) {
                let message = format!("\"{directive}\" zone \"{name}\" is unknown");
                let unknown =
                    Diagnostic::new(span, message).label("used here and declared nowhere");
                let help =
                    format!("declare it in `http`: {directive}_path FOLDER keys_zone={name}:10m;");
                diagnostics.push(unknown.help(help));
            }
        }
        self.paths
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

/// The directives of one protocol.
macro_rules! rows {
    ($(($protocol:literal, $group:ident)),*) => {
        &[
            $(
            row(HTTP, concat!($protocol, "_cache_path"), Args::range(2, u16::MAX), cache_path),
            row(ANY, concat!($protocol, "_cache"), Args::ONE, |scope, d| {
                let zone = zone(scope, d)?;
                set_once(&mut scope.level.settings.$group.zone, zone, d)
            }),
            row(ANY, concat!($protocol, "_cache_key"), Args::ONE, |scope, d| {
                let key = Some(Arc::new(Value::of(&d.args[0], &mut scope.shared.registry)?));
                set_once(&mut scope.level.settings.$group.key, key, d)
            }),
            row(ANY, concat!($protocol, "_cache_valid"), Args::ONE_MORE, |scope, d| {
                add_valid(&mut scope.level.settings.$group.valid, d)
            }),
            row(ANY, concat!($protocol, "_cache_use_stale"), Args::ONE_MORE, |scope, d| {
                let bits = use_stale(d)?;
                set_once(&mut scope.level.settings.$group.use_stale, bits, d)
            }),
            row(ANY, concat!($protocol, "_cache_lock"), Args::FLAG, slot!(flag $group.lock)),
            row(ANY, concat!($protocol, "_cache_lock_timeout"), Args::ONE, slot!(time_ms $group.lock_timeout_ms)),
            row(ANY, concat!($protocol, "_cache_lock_age"), Args::ONE, slot!(time_ms $group.lock_age_ms)),
            row(ANY, concat!($protocol, "_cache_bypass"), Args::ONE_MORE, |scope, d| {
                let values = values(&mut scope.shared, d)?;
                set_once(&mut scope.level.settings.$group.bypass, values, d)
            }),
            row(ANY, concat!($protocol, "_no_cache"), Args::ONE_MORE, |scope, d| {
                let values = values(&mut scope.shared, d)?;
                set_once(&mut scope.level.settings.$group.no_cache, values, d)
            }),
            row(ANY, concat!($protocol, "_cache_purge"), Args::ONE_MORE, |scope, d| {
                let values = values(&mut scope.shared, d)?;
                set_once(&mut scope.level.settings.$group.purge, values, d)
            }),
            row(ANY, concat!($protocol, "_cache_min_uses"), Args::ONE, slot!(number $group.min_uses)),
            row(ANY, concat!($protocol, "_cache_methods"), Args::ONE_MORE, |scope, d| {
                let keeps_post = methods(d)?;
                set_once(&mut scope.level.settings.$group.keeps_post, keeps_post, d)
            }),
            row(ANY, concat!($protocol, "_cache_revalidate"), Args::FLAG, slot!(flag $group.revalidate)),
            row(ANY, concat!($protocol, "_cache_background_update"), Args::FLAG, slot!(flag $group.background_update)),
            row(ANY, concat!($protocol, "_cache_max_range_offset"), Args::ONE, slot!(offset $group.range_offset_max)),
            )*
            row(ANY, "proxy_cache_convert_head", Args::FLAG, slot!(flag proxy_cache.convert_head)),
        ]
    };
}

const DIRECTIVES: &[DirectiveRow] = rows!(
    ("proxy", proxy_cache),
    ("fastcgi", fastcgi_cache),
    ("uwsgi", uwsgi_cache),
    ("scgi", scgi_cache)
);

/// The most levels of folders, as in nginx.
const LEVELS_MAX: usize = 3;

fn cache_path(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut levels = Vec::new();
    let mut name = None;
    let mut inactive = Duration::from_secs(600);
    let mut bounds = Bounds {
        bytes_max: None,
        free_min: 0,
    };
    for word in &directive.args[1..] {
        let (parameter, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
        let wrong = |expected: &str| invalid_value(word, directive, expected);
        match parameter {
            "levels" => levels = levels_of(value).ok_or_else(|| wrong("levels such as 1:2"))?,
            "keys_zone" => name = Some(name_and_size(value, word)?.0.to_owned()),
            "inactive" => {
                let seconds = time_s(value).ok_or_else(|| wrong("a time such as 60m"))?;
                inactive = Duration::from_secs(seconds);
            }
            "max_size" => {
                let bytes = offset(value).ok_or_else(|| wrong("a size such as 1g"))?;
                bounds.bytes_max = Some(bytes);
            }
            "min_free" => {
                bounds.free_min = offset(value).ok_or_else(|| wrong("a size such as 1g"))?;
            }
            // What is written lies beside its own place always.
            "use_temp_path" if matches!(value, "on" | "off") => {}
            // The manager goes at a pace of its own, and nothing need be loaded.
            "manager_files" | "loader_files" if value.parse::<u32>().is_ok() => {}
            "manager_sleep" | "manager_threshold" | "loader_sleep" | "loader_threshold"
                if time_ms(value).is_some() => {}
            _ => {
                return Err(invalid_parameter(
                    word,
                    "expected keys_zone=, levels=, inactive=, max_size= or min_free=",
                ));
            }
        }
    }
    let word = &directive.args[0];
    let directive_name = &directive.name.text;
    let Some(name) = name else {
        let message = format!("\"{directive_name}\" must have \"keys_zone\" parameter");
        return Err(Diagnostic::new(directive.span, message).label("expected keys_zone=NAME:SIZE"));
    };
    let path = scope.shared.full_path(&word.text);
    let caches = &mut scope.caches.paths;
    if caches.iter().any(|it| it.name == name) {
        let message = format!("duplicate zone \"{name}\"");
        return Err(Diagnostic::new(directive.span, message).label("declared a second time"));
    }
    if caches.iter().any(|it| it.folder.path == path) {
        let message = format!("the folder \"{}\" has a cache already", path.display());
        return Err(Diagnostic::new(word.span, message).label("expected a folder of its own"));
    }
    let folder = Folder {
        path,
        levels,
        inactive,
    };
    caches.push(CachePath {
        name,
        folder,
        bounds,
    });
    Ok(())
}

fn levels_of(text: &str) -> Option<Vec<usize>> {
    let levels = text.split(':').map(|level| match level {
        "1" => Some(1),
        "2" => Some(2),
        _ => None,
    });
    let levels = levels.collect::<Option<Vec<_>>>()?;
    (levels.len() <= LEVELS_MAX).then_some(levels)
}

fn zone(scope: &mut Scope, directive: &Directive) -> Result<Option<Arc<Value>>, Diagnostic> {
    let word = &directive.args[0];
    if word.text == "off" {
        return Ok(None);
    }
    let value = Value::of(word, &mut scope.shared.registry)?;
    if value.as_literal().is_some() {
        let used = (directive.name.text.clone(), word.text.clone(), word.span);
        scope.caches.uses.push(used);
    }
    Ok(Some(Arc::new(value)))
}

fn status_of(word: &Word, directive: &Directive) -> Result<Option<u16>, Diagnostic> {
    if word.text == "any" {
        return Ok(None);
    }
    let status = word
        .text
        .parse()
        .ok()
        .filter(|status| (100..=599).contains(status));
    let wrong = || {
        let message = format!(
            "invalid status \"{}\" in \"{}\" directive",
            word.text, directive.name.text
        );
        Diagnostic::new(word.span, message).label("expected a status, or any")
    };
    status.map(Some).ok_or_else(wrong)
}

fn add_valid(slot: &mut Option<Arc<Vec<Valid>>>, directive: &Directive) -> Result<(), Diagnostic> {
    let (last, statuses) = directive.args.split_last().expect("it has an argument");
    let seconds = time_s(&last.text).ok_or_else(|| {
        let message = format!(
            "invalid time value \"{}\" in \"{}\" directive",
            last.text, directive.name.text
        );
        Diagnostic::new(last.span, message).label("expected a time such as 10m")
    })?;
    let statuses = match statuses {
        [] => vec![Some(200), Some(301), Some(302)],
        words => words
            .iter()
            .map(|word| status_of(word, directive))
            .collect::<Result<_, _>>()?,
    };
    let list = slot.get_or_insert_with(Arc::default);
    let list = Arc::get_mut(list).expect("nobody shares a level's list while it is read");
    list.extend(statuses.into_iter().map(|status| Valid { status, seconds }));
    Ok(())
}

fn use_stale(directive: &Directive) -> Result<u32, Diagnostic> {
    let mut bits = 0;
    for word in &directive.args {
        bits |= choice(
            word,
            [
                ("error", next::ERROR),
                ("timeout", next::TIMEOUT),
                ("invalid_header", next::INVALID_HEADER),
                ("updating", UPDATING),
                ("http_500", next::HTTP_500),
                ("http_502", next::HTTP_502),
                ("http_503", next::HTTP_503),
                ("http_504", next::HTTP_504),
                ("http_403", next::HTTP_403),
                ("http_404", next::HTTP_404),
                ("http_429", next::HTTP_429),
                ("off", next::OFF),
            ],
        )?;
    }
    Ok(if bits & next::OFF != 0 { 0 } else { bits })
}

fn methods(directive: &Directive) -> Result<bool, Diagnostic> {
    let mut keeps_post = false;
    for word in &directive.args {
        keeps_post |= choice(word, [("GET", false), ("HEAD", false), ("POST", true)])?;
    }
    Ok(keeps_post)
}

pub(crate) fn values(
    shared: &mut Shared,
    directive: &Directive,
) -> Result<Arc<Vec<Value>>, Diagnostic> {
    let registry: &mut Registry = &mut shared.registry;
    let values = directive.args.iter().map(|word| Value::of(word, registry));
    Ok(Arc::new(values.collect::<Result<_, _>>()?))
}

impl CacheSettings {
    /// The cache that a request's answer may lie in; a name that there is none of is none.
    pub(crate) fn cache<'a>(&self, request: &'a Request) -> Option<&'a CachePath> {
        let name = self.zone.as_ref()?.evaluate(request);
        let mut caches = request.http().caches.iter();
        caches.find(|cache| cache.name.as_bytes() == name)
    }

    /// Whether answers to a method may be kept, or be those that are kept.
    pub(crate) fn takes(&self, method: Method) -> bool {
        matches!(method, Method::Get | Method::Head) || method == Method::Post && self.keeps_post
    }

    /// For how many seconds an answer is kept that says nothing itself; 0: not at all.
    pub(crate) fn valid_s(&self, status: u16) -> u64 {
        let mut valid = self.valid.iter();
        let found = valid.find(|it| it.status.is_none_or(|known| known == status));
        found.map_or(0, |it| it.seconds)
    }
}

/// Whether one of these is neither empty nor 0.
pub(crate) fn holds(conditions: &[Value], request: &Request) -> bool {
    conditions.iter().any(|value| {
        let value = value.evaluate(request);
        !value.is_empty() && value != b"0"
    })
}

/// What a loop knows of its caches besides what lies on disk.
#[derive(Default)]
pub(crate) struct LoopCaches {
    /// Told when this loop has fetched an answer, or has given up.
    pub(crate) ended: Rc<Notify>,
    uses: RefCell<HashMap<[u8; 16], u64>>,
}

/// How many keys' uses are counted.
const COUNTED_MAX: usize = 100_000;

impl LoopCaches {
    /// How often a key was asked for in this loop, this time included; all is forgotten where it gets too
    /// much.
    pub(crate) fn count_use(&self, key: &Key) -> u64 {
        let mut uses = self.uses.borrow_mut();
        if uses.len() >= COUNTED_MAX {
            uses.clear();
        }
        let count = uses.entry(key.hash()).or_default();
        *count += 1;
        *count
    }
}

/// How long the manager rests between two rounds, at least.
const ROUND_EVERY: Duration = Duration::from_secs(10);
/// So many files are looked at before other work has its turn.
const FILES_A_STEP: usize = 50;
const STEP_EVERY: Duration = Duration::from_millis(5);

/// Manages the caches of a configuration for as long as it is in force.
pub(crate) fn watch(site: &Rc<Site>) {
    for number in 0..site.http.caches.len() {
        spawn(manage(Rc::downgrade(site), number));
    }
}

async fn manage(site: Weak<Site>, number: usize) {
    let in_force = || site.upgrade().filter(|site| site.is_in_force());
    let mut office = None;
    loop {
        let Some(current) = in_force() else {
            return;
        };
        let folder = current.http.caches[number].folder.clone();
        let bounds = current.http.caches[number].bounds;
        drop(current);
        office = office.or_else(|| Office::take(&folder));
        let began_at = Instant::now();
        if office.is_some() {
            let mut round = Round::new(&folder);
            while round.step(&folder, &bounds, FILES_A_STEP) {
                sleep(STEP_EVERY).await;
                if in_force().is_none() {
                    return;
                }
            }
        }
        // A folder that takes long to look through is looked through the more seldom.
        let most = folder.inactive.clamp(Duration::from_secs(1), ROUND_EVERY);
        sleep(most.max(began_at.elapsed())).await;
    }
}
