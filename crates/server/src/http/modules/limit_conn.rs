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

use std::sync::Arc;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::value::number;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{
    DirectiveRow, HTTP, LOCATION, SERVER, Scope, invalid_parameter, set_once, slot,
};
use crate::config::setting::settings;
use crate::config::variable::{Builtin, Value};
use crate::http::modules::Settings;
use crate::http::modules::limits::{self, LimitStatus};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::log::{Level, Shown};
use crate::zones::{Admission, Hold, ZoneId, ZoneUse, name_and_size};

const ZONE: &str = "limit_conn_zone";

/// Longer keys are not counted, as in nginx.
const KEY_BYTES_MAX: usize = 255;

/// One `limit_conn`.
#[derive(Debug, Clone)]
pub struct Limit {
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

pub(crate) const DIRECTIVES: &[DirectiveRow] = limits::rows!(
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
    let key = Value::of(key_word, &mut scope.registry)?;
    let Some(text) = word.text.strip_prefix("zone=") else {
        return Err(invalid_parameter(word, "expected zone=NAME:SIZE"));
    };
    let (name, bytes) = name_and_size(text, word)?;
    if name.is_empty() {
        let message = format!("\"{ZONE}\" must have \"zone\" parameter");
        return Err(Diagnostic::new(word.span, message).label("expected zone=NAME:SIZE"));
    }
    let purpose = ZoneUse::LimitConn {
        key,
        key_text: key_word.text.clone(),
        workers_max: 0,
    };
    scope
        .zones
        .declare((name, bytes), purpose, word)
        .map(|_| ())
}

fn limit(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (name, count) = (&directive.args[0], &directive.args[1]);
    let zone = scope.zones.mention(&name.text, ZONE, name)?;
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
pub(crate) const VARIABLES: &[Builtin] = &[Builtin {
    name: "limit_conn_status",
    get: |request, out| request.limit_conn.append(out),
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
    if request.limit_conn != LimitStatus::Unset {
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
    request.holds.clear();
    let (said, outcome) = request.settings().limit_conn_refusals.refuse();
    request.limit_conn = said;
    outcome
}

/// Whether a limit lets the request pass; then it counts.
fn admits(request: &mut Request, limit: &Limit, key: &mut Vec<u8>) -> bool {
    let site = request.site.share();
    let ZoneUse::LimitConn {
        key: value,
        key_text,
        ..
    } = &site.config.zone(limit.zone).purpose
    else {
        unreachable!("the zone was mentioned as one of {ZONE}");
    };
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
    request.limit_conn = LimitStatus::Passed;
    let zones = &site.zones;
    let key = zones.holds(limit.zone).key(key);
    let zone = (zones, limit.zone);
    match Hold::take(zone, key, limit.most.into(), &request.connection.server) {
        Ok(hold) => {
            request.holds.push(hold);
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
