//! How many requests of a key may be under way at a time, over all workers.
//!
//! ```nginx
//! limit_conn_zone $binary_remote_addr zone=addr:10m;   # in http
//! limit_conn addr 10;
//! limit_conn_status 429;
//! ```
//!
//! A connection counts from when the head of its request has been read until the answer is out. What
//! a worker's connections count for is taken back when it dies.

mod holds;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::value::number;
use revolve_conf::{Diagnostic, Directive};
use revolve_shm::ZoneError;

use self::holds::{Admission, Hold, Holds};
use crate::config::scope::{HTTP, LOCATION, SERVER, invalid_parameter, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::Settings;
use crate::http::modules::limits::{self, LimitStatus};
pub(crate) use crate::http::modules::limits::{RawRefusals, RefusalSettings};
use crate::http::modules::{Module, RequestState};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::http::variables::Builtin;
use crate::log::{Level, Shown};
use crate::zones::{ZoneId, ZoneKind, ZoneSpec, ZoneState, columns_for, name_and_size};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_limit_conn_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    handlers: &[(Phase::PreAccess, applies, handle)],
    ..Module::EMPTY
};

const ZONE: &str = "limit_conn_zone";

/// Longer keys are not counted, as in nginx.
const KEY_BYTES_MAX: usize = 255;

/// A `limit_conn_zone`: connections by a key.
#[derive(Debug)]
struct LimitConnZone {
    key: Value,
    /// The key as it was written.
    key_text: String,
}

impl ZoneKind for LimitConnZone {
    fn directive(&self) -> &'static str {
        ZONE
    }

    fn key_text(&self) -> &str {
        &self.key_text
    }

    /// How many workers, old ones that end among them, can count in it.
    fn layout(&self, workers: usize) -> u64 {
        columns_for(workers) as u64
    }

    fn create(&self, spec: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        let holds = Holds::create(&spec.name, spec.bytes, spec.layout as usize)?;
        Ok(Box::new(holds))
    }

    fn open(&self, file: OwnedFd, layout: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(Holds::open(file, layout)?))
    }
}

/// What became of a request, and where it counts as being under way.
#[derive(Default)]
pub(crate) struct LimitConnState {
    status: LimitStatus,
    holds: Vec<Hold>,
}

impl RequestState for LimitConnState {
    fn reset(&mut self) {
        self.status = LimitStatus::Unset;
        self.holds.clear();
    }

    /// A request is looked at once, with all that it begins.
    fn for_subrequest(&self) -> Self {
        Self {
            status: self.status,
            holds: Vec::new(),
        }
    }
}

/// One `limit_conn`.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    zone: ZoneId,
    most: u16,
}

settings! {
    /// `limit_conn`.
    pub struct LimitConnSettings / RawLimitConn {
        inherit {
            /// `limit_conn`; a level that has one inherits none.
            limits: Arc<Vec<Limit>> = Arc::default(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = limits::rows!(
    limit_conn,
    limit_conn_refusals,
    [
        DirectiveRow {
            name: ZONE,
            contexts: HTTP,
            args: Args::TWO,
            set: zone,
        },
        DirectiveRow {
            name: "limit_conn",
            contexts: ANY,
            args: Args::TWO,
            set: limit,
        },
    ]
);

fn zone(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (key_word, word) = (&directive.args[0], &directive.args[1]);
    let key = Value::of(key_word, &mut scope.shared.registry)?;
    let Some(text) = word.text.strip_prefix("zone=") else {
        return Err(invalid_parameter(word, "expected zone=NAME:SIZE"));
    };
    let (name, bytes) = name_and_size(text, word)?;
    if name.is_empty() {
        let message = format!("\"{ZONE}\" must have \"zone\" parameter");
        return Err(Diagnostic::new(word.span, message).label("expected zone=NAME:SIZE"));
    }
    let declaration = LimitConnZone {
        key,
        key_text: key_word.text.clone(),
    };
    scope
        .shared
        .zones
        .declare((name, bytes), declaration, word)
        .map(|_| ())
}

fn limit(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (name, count) = (&directive.args[0], &directive.args[1]);
    let zone = scope.shared.zones.mention(&name.text, ZONE, name)?;
    let limits = &mut scope.level.settings.limit_conn.limits;
    let limits = limits.get_or_insert_with(Arc::default);
    if limits.iter().any(|limit| limit.zone == zone) {
        return Err(duplicate(directive));
    }
    let most = number(&count.text)
        .filter(|most| *most > 0)
        .ok_or_else(|| {
            let message = format!("invalid number of connections \"{}\"", count.text);
            Diagnostic::new(count.span, message).label("expected a number from 1 to 65535")
        })?;
    let most = u16::try_from(most).map_err(|_| {
        Diagnostic::new(count.span, "connection limit must be less 65536")
            .label("expected a number from 1 to 65535")
    })?;
    Arc::get_mut(limits)
        .expect("nobody shares a level's limits while it is read")
        .push(Limit { zone, most });
    Ok(())
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[Builtin {
    name: "limit_conn_status",
    get: |request, out| request.state.limit_conn.status.append(out),
}];

/// Whether the level has anything to do with this.
pub(crate) fn applies(settings: &Settings) -> bool {
    !settings.limit_conn.limits.is_empty()
}

/// Before access: counts the request, or refuses it. A request is looked at once, also if it is
/// redirected later.
///
/// Source: nginx's `ngx_http_limit_conn_handler`.
pub(crate) fn handle(request: &mut Request) -> Outcome {
    if request.state.limit_conn.status != LimitStatus::Unset {
        return Outcome::Next;
    }
    let limits = Arc::clone(&request.settings().limit_conn.limits);
    let mut key = request.take_spare();
    let refused = limits
        .iter()
        .find(|limit| !admits(request, limit, &mut key))
        .is_some();
    request.give_spare(key);
    if !refused {
        return Outcome::Next;
    }
    request.state.limit_conn.holds.clear();
    let (said, outcome) = request.settings().limit_conn_refusals.refuse();
    request.state.limit_conn.status = said;
    outcome
}

/// Whether a limit lets the request pass; then it counts.
fn admits(request: &mut Request, limit: &Limit, key: &mut Vec<u8>) -> bool {
    let site = request.site.share();
    let LimitConnZone {
        key: value,
        key_text,
    } = site.base.zone(limit.zone).kind();
    key.clear();
    value.append(request, key);
    if key.is_empty() {
        return true;
    }
    if key.len() > KEY_BYTES_MAX {
        let shown = Shown(key);
        request.log(
            Level::Error,
            format_args!("the value of the \"{key_text}\" key is more than 255 bytes: \"{shown}\""),
        );
        return true;
    }
    request.state.limit_conn.status = LimitStatus::Passed;
    let zones = &site.zones;
    let key = zones.state::<Holds>(limit.zone).key(key);
    let zone = (zones, limit.zone);
    let worker = request.connection.state.seat().number();
    match Hold::take(zone, key, limit.most.into(), worker, &site.logs) {
        Ok(hold) => {
            request.state.limit_conn.holds.push(hold);
            true
        }
        Err(refused) => {
            log_refusal(request, zones.name(limit.zone), &refused);
            false
        }
    }
}

fn log_refusal(request: &Request, name: &str, refused: &Admission) {
    let settings = &request.settings().limit_conn_refusals;
    let dry_run = if settings.dry_run { ", dry run," } else { "" };
    match refused {
        Admission::Admitted => {}
        Admission::TooMany => request.log(
            settings.log_level,
            format_args!("limiting connections{dry_run} by zone \"{name}\""),
        ),
        Admission::Full => request.log(
            Level::Crit,
            format_args!("no memory in limit_conn_zone \"{name}\", its size is too small"),
        ),
        Admission::Failed(error) => request.log(
            Level::Crit,
            format_args!("{error} in limit_conn_zone \"{name}\""),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use revolve_conf::Diagnostics;

    use super::*;
    use crate::zones::{Declared, ZoneLabel, Zones};

    fn specs(zones: &[(&str, u64, usize, &str)]) -> Vec<ZoneSpec> {
        let unnamed = Declared::default().finish(1, &mut Diagnostics::default());
        let named = zones
            .iter()
            .map(|(name, bytes, workers_max, key)| ZoneSpec {
                name: (*name).into(),
                bytes: *bytes,
                layout: *workers_max as u64,
                kind: Box::new(LimitConnZone {
                    key: Value::literal(*key),
                    key_text: (*key).into(),
                }) as Box<dyn ZoneKind>,
            });
        unnamed.into_iter().chain(named).collect()
    }

    fn copies(zones: &Zones) -> Vec<(ZoneLabel, OwnedFd)> {
        let copy = |(label, fd): (&ZoneLabel, BorrowedFd<'_>)| {
            (label.clone(), fd.try_clone_to_owned().unwrap())
        };
        zones.descriptors().map(copy).collect()
    }

    /// The third zone: the first two have no name.
    fn first(zones: &Zones) -> &Holds {
        zones.state(ZoneId::named(0))
    }

    /// Whether somebody holds the one that there may be.
    fn is_held(zones: &Zones) -> bool {
        let holds = first(zones);
        holds.admit(&holds.key(b"key"), 0, 1) == Admission::TooMany
    }

    #[test]
    fn what_is_the_same_is_kept_and_the_rest_made_anew() {
        let before = Zones::open(&specs(&[("one", 65536, 8, "$uri")]), Vec::new()).unwrap();
        assert!(!is_held(&before) && is_held(&before));
        let open = |zones: &[_]| Zones::open(&specs(zones), copies(&before));
        let kept = open(&[("one", 65536, 8, "$uri")]).unwrap();
        assert!(is_held(&kept) && kept.notes().is_empty());
        let moved = open(&[("two", 65536, 8, "$uri"), ("one", 65536, 8, "$uri")]).unwrap();
        assert!(!is_held(&moved) && moved.notes().is_empty());
        let larger = open(&[("one", 65537, 8, "$uri")]).unwrap();
        assert!(!is_held(&larger));
        assert_eq!(
            larger.notes(),
            ["the shared memory zone \"one\" is made anew: its size was 65536 and is 65537"]
        );
        let wider = open(&[("one", 65536, 32, "$uri")]).unwrap();
        assert_eq!(
            wider.notes(),
            ["the shared memory zone \"one\" is made anew: it was laid out for fewer workers"]
        );
        // A layout for more is as good, and stays what it is.
        let again = Zones::open(&specs(&[("one", 65536, 8, "$uri")]), copies(&wider)).unwrap();
        let one = again.descriptors().find(|(label, _)| label.name == "one");
        assert!(again.notes().is_empty() && one.unwrap().0.layout == 32);
        let error = open(&[("one", 65536, 8, "$host")]).unwrap_err();
        assert_eq!(
            error,
            "limit_conn_zone \"one\" uses the \"$host\" key while previously it used the \
             \"$uri\" key"
        );
    }

    #[test]
    fn a_file_that_is_no_such_zone_is_not_taken() {
        let before = Zones::open(&specs(&[("one", 65536, 8, "$uri")]), Vec::new()).unwrap();
        let mut given = copies(&before);
        let counts = given[0].1.try_clone().unwrap();
        let one = given.iter_mut().find(|(label, _)| label.name == "one");
        one.unwrap().1 = counts;
        let zones = Zones::open(&specs(&[("one", 65536, 8, "$uri")]), given).unwrap();
        let [note] = zones.notes() else {
            panic!("{:?}", zones.notes());
        };
        assert!(
            note.contains("another layout: kind is 2, expected 1"),
            "{note}"
        );
    }
}
