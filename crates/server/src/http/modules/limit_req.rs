//! How many requests of a key may come in a second, over all workers.
//!
//! ```nginx
//! limit_req_zone $binary_remote_addr zone=addr:10m rate=10r/s;   # in http
//! limit_req zone=addr burst=20 delay=5;
//! limit_req_status 429;
//! ```
//!
//! The leaky bucket of nginx: each request adds one to the excess of its key, which drains at the
//! rate. What exceeds `burst` is refused; what exceeds `delay` waits until it does not.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::value::number;
use revolve_conf::{Diagnostic, Directive, Word};
use revolve_shm::{Table, TableError, TableOptions, ZoneError};
use rustix::time::{ClockId, clock_gettime};

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
use crate::log::Level;
use crate::zones::{Key, ZoneId, ZoneKind, ZoneSpec, ZoneState, key_of, name_and_size};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_limit_req_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    handlers: &[(Phase::PreAccess, applies, handle)],
    ..Module::EMPTY
};

const ZONE: &str = "limit_req_zone";

/// Longer keys are not counted, as in nginx.
const KEY_BYTES_MAX: usize = 65_535;
/// nginx's: a state takes 128 bytes.
const STATE_BYTES: u64 = 128;
const SHARD_ENTRIES: usize = 2048;
const SHARDS_MAX: usize = 64;
const SCHEMA: u64 = 1;
/// A clock that goes back further than this has been set, and did not only differ between
/// processors.
const BACK_MS_MAX: i64 = 60_000;

/// A `limit_req_zone`: requests by a key.
#[derive(Debug)]
struct LimitReqZone {
    key: Value,
    /// The key as it was written.
    key_text: String,
    /// Thousandths of a request a second.
    rate: u64,
}

impl ZoneKind for LimitReqZone {
    fn directive(&self) -> &'static str {
        ZONE
    }

    fn key_text(&self) -> &str {
        &self.key_text
    }

    fn create(&self, spec: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(Rates::create(&spec.name, spec.bytes)?))
    }

    fn open(&self, file: OwnedFd, _: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(Rates::open(file)?))
    }
}

/// What became of a request.
#[derive(Default)]
pub(crate) struct LimitReqState {
    status: LimitStatus,
    /// How long it has to wait.
    delay: Duration,
}

impl RequestState for LimitReqState {
    /// A request is looked at once, with all that it begins.
    fn for_subrequest(&self) -> Self {
        Self {
            status: self.status,
            delay: Duration::ZERO,
        }
    }
}

/// One `limit_req`. Requests are counted in thousandths.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    zone: ZoneId,
    burst: u64,
    delay: u64,
}

settings! {
    /// `limit_req`.
    pub struct LimitReqSettings / RawLimitReq {
        inherit {
            /// `limit_req`; a level that has one inherits none.
            limits: Arc<Vec<Limit>> = Arc::default(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = limits::rows!(
    limit_req,
    limit_req_refusals,
    [
        DirectiveRow {
            name: ZONE,
            contexts: HTTP,
            args: Args::THREE,
            set: zone,
        },
        DirectiveRow {
            name: "limit_req",
            contexts: ANY,
            args: Args::ONE_TO_THREE,
            set: limit,
        },
    ]
);

fn zone(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let key_word = &directive.args[0];
    let key = Value::of(key_word, &mut scope.shared.registry)?;
    let mut named = None;
    let mut rate = 1000;
    for word in &directive.args[1..] {
        if let Some(text) = word.text.strip_prefix("zone=") {
            named = Some((name_and_size(text, word)?, word));
        } else if let Some(text) = word.text.strip_prefix("rate=") {
            rate = parse_rate(text, word)?;
        } else {
            return Err(invalid_parameter(
                word,
                "expected zone=NAME:SIZE or rate=10r/s",
            ));
        }
    }
    let Some(((name, bytes), word)) = named.filter(|((name, _), _)| !name.is_empty()) else {
        let message = format!("\"{ZONE}\" must have \"zone\" parameter");
        return Err(Diagnostic::new(directive.span, message).label("expected zone=NAME:SIZE"));
    };
    let declaration = LimitReqZone {
        key,
        key_text: key_word.text.clone(),
        rate,
    };
    scope
        .shared
        .zones
        .declare((name, bytes), declaration, word)
        .map(|_| ())
}

/// `10r/s` and `30r/m` in thousandths of a request a second.
fn parse_rate(text: &str, word: &Word) -> Result<u64, Diagnostic> {
    let (digits, seconds) = match (text.strip_suffix("r/s"), text.strip_suffix("r/m")) {
        (Some(digits), _) => (digits, 1),
        (_, Some(digits)) => (digits, 60),
        _ => (text, 1),
    };
    let rate = number(digits).filter(|rate| *rate > 0);
    let thousandths = rate.and_then(|rate| rate.checked_mul(1000));
    thousandths.map(|rate| rate / seconds).ok_or_else(|| {
        Diagnostic::new(word.span, format!("invalid rate \"{}\"", word.text))
            .label("expected a number of requests a second or a minute: rate=10r/s, rate=30r/m")
    })
}

fn limit(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut zone = None;
    let (mut burst, mut delay) = (0, 0);
    for word in &directive.args {
        if let Some(name) = word.text.strip_prefix("zone=") {
            zone = Some(scope.shared.zones.mention(name, ZONE, word)?);
        } else if let Some(text) = word.text.strip_prefix("burst=") {
            burst = thousandths(text, "burst value", word)?;
        } else if let Some(text) = word.text.strip_prefix("delay=") {
            delay = thousandths(text, "delay value", word)?;
        } else if word.text == "nodelay" {
            delay = u64::MAX;
        } else {
            let expected = "expected zone=NAME, burst=NUMBER, delay=NUMBER or nodelay";
            return Err(invalid_parameter(word, expected));
        }
    }
    let zone = zone.ok_or_else(|| {
        let message = "\"limit_req\" must have \"zone\" parameter";
        Diagnostic::new(directive.span, message).label("expected zone=NAME")
    })?;
    let limits = &mut scope.level.settings.limit_req.limits;
    let limits = limits.get_or_insert_with(Arc::default);
    if limits.iter().any(|limit| limit.zone == zone) {
        return Err(duplicate(directive));
    }
    Arc::get_mut(limits)
        .expect("nobody shares a level's limits while it is read")
        .push(Limit { zone, burst, delay });
    Ok(())
}

fn thousandths(text: &str, what: &str, word: &Word) -> Result<u64, Diagnostic> {
    let count = number(text).filter(|count| *count > 0);
    count
        .and_then(|count| count.checked_mul(1000))
        .ok_or_else(|| {
            Diagnostic::new(word.span, format!("invalid {what} \"{}\"", word.text))
                .label("expected a number of requests, at least 1")
        })
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[Builtin {
    name: "limit_req_status",
    get: |request, out| request.state.limit_req.status.append(out),
}];

/// What is kept of a key: its excess, and when it was that.
type State = [u64; 2];

/// The rates of a zone's keys. The least recently used make room for new ones.
#[derive(Debug)]
struct Rates {
    table: Table<Key, State>,
}

impl Rates {
    fn create(name: &str, bytes: u64) -> Result<Self, ZoneError> {
        let entries = usize::try_from(bytes / STATE_BYTES).unwrap_or(usize::MAX);
        let options = TableOptions::new(name)
            .entries_max(entries)
            .shards((entries / SHARD_ENTRIES).clamp(1, SHARDS_MAX))
            .schema(SCHEMA);
        let table = Table::create(&options)?;
        Ok(Self { table })
    }

    fn open(file: OwnedFd) -> Result<Self, ZoneError> {
        let table = Table::open(file, SCHEMA)?;
        Ok(Self { table })
    }

    fn key(&self, bytes: &[u8]) -> Key {
        key_of(bytes, |bytes| self.table.keyed_hash(bytes))
    }

    /// The excess that one request more would make, without counting it.
    fn excess(&self, key: &Key, rate: u64, now_ms: u64) -> Result<u64, TableError> {
        let state = self.table.peek(key)?;
        Ok(state.map_or(0, |state| excess_at(state, rate, now_ms).0))
    }

    /// Counts a request, unless that makes the excess more than `burst`. The answer is the excess.
    fn count(
        &self,
        key: &Key,
        (rate, burst): (u64, u64),
        now_ms: u64,
    ) -> Result<Result<u64, u64>, TableError> {
        self.table.modify(key, |entry| {
            let Some(state) = entry else {
                *entry = Some([0, now_ms]);
                return Ok(0);
            };
            let (excess, moved) = excess_at(*state, rate, now_ms);
            if excess > burst {
                return Err(excess);
            }
            *state = [excess, if moved { now_ms } else { state[1] }];
            Ok(excess)
        })
    }
}

impl ZoneState for Rates {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.table.descriptor()
    }
}

/// The excess of a state with one request more, and whether time has gone on since.
fn excess_at([excess, last_ms]: State, rate: u64, now_ms: u64) -> (u64, bool) {
    let passed_ms = match now_ms.wrapping_sub(last_ms) as i64 {
        ms if ms < -BACK_MS_MAX => 1,
        ms => ms.max(0),
    };
    let drained = u128::from(rate) * passed_ms as u128 / 1000;
    let left = (u128::from(excess) + 1000).saturating_sub(drained);
    (u64::try_from(left).unwrap_or(u64::MAX), passed_ms != 0)
}

/// Milliseconds of the one clock that all processes have in common and nobody sets.
fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// How long a request waits until its excess is no more than `delay`.
fn delay_ms(excess: u64, limit: &Limit, rate: u64) -> u64 {
    let over = excess.saturating_sub(limit.delay);
    u64::try_from(u128::from(over) * 1000 / u128::from(rate.max(1))).unwrap_or(u64::MAX)
}

/// A limit that applies to the request.
struct Applied {
    limit: Limit,
    key: Key,
    rate: u64,
}

/// Which limit says most: by its excess.
struct Verdict {
    excess: u64,
    zone: ZoneId,
}

/// Whether the level has anything to do with this.
pub(crate) fn applies(settings: &Settings) -> bool {
    !settings.limit_req.limits.is_empty()
}

/// Before access: lets the request pass, has it wait, or refuses it. A request is looked at once,
/// also if it is redirected later.
///
/// Source: nginx's `ngx_http_limit_req_handler`.
pub(crate) fn handle(request: &mut Request) -> Outcome {
    if request.state.limit_req.status != LimitStatus::Unset {
        return Outcome::Next;
    }
    let limits = Arc::clone(&request.settings().limit_req.limits);
    let verdict = match limits.as_slice() {
        // One limit, which is what most have, needs no memory.
        [limit] => applied(request, limit).map(|one| judge(request, &one, &[])),
        limits => {
            let applied = limits.iter().filter_map(|limit| applied(request, limit));
            let applied: Vec<Applied> = applied.collect();
            let split = applied.split_last();
            split.map(|(last, before)| judge(request, last, before))
        }
    };
    let Some(verdict) = verdict else {
        return Outcome::Next;
    };
    match verdict {
        Err(error) => {
            request.log(Level::Crit, format_args!("{error} in {ZONE}"));
            refuse(request)
        }
        Ok(Err(verdict)) => {
            log(request, "limiting requests", &verdict, false);
            refuse(request)
        }
        Ok(Ok((0, _))) => {
            request.state.limit_req.status = LimitStatus::Passed;
            Outcome::Next
        }
        Ok(Ok((delay_ms, verdict))) => {
            log(request, "delaying request", &verdict, true);
            if request.settings().limit_req_refusals.dry_run {
                request.state.limit_req.status = LimitStatus::DelayedDryRun;
                return Outcome::Next;
            }
            let state = &mut request.state.limit_req;
            state.status = LimitStatus::Delayed;
            state.delay = Duration::from_millis(delay_ms);
            Outcome::Await(|request| {
                let delay = request.state.limit_req.delay;
                Box::pin(async move {
                    revolve_reactor::sleep(delay).await;
                    Outcome::Next
                })
            })
        }
    }
}

fn refuse(request: &mut Request) -> Outcome {
    let (said, outcome) = request.settings().limit_req_refusals.refuse();
    request.state.limit_req.status = said;
    outcome
}

/// The limit with the request's key; nothing where there is none, or one too long.
fn applied(request: &mut Request, limit: &Limit) -> Option<Applied> {
    let site = request.site.share();
    let LimitReqZone {
        key: value,
        key_text,
        rate,
    } = site.base.zone(limit.zone).kind();
    let mut bytes = request.take_spare();
    value.append(request, &mut bytes);
    let fits = !bytes.is_empty() && bytes.len() <= KEY_BYTES_MAX;
    let applied = fits.then(|| Applied {
        limit: limit.clone(),
        key: site.zones.state::<Rates>(limit.zone).key(&bytes),
        rate: *rate,
    });
    if bytes.len() > KEY_BYTES_MAX {
        request.log(
            Level::Error,
            format_args!("the value of the \"{key_text}\" key is more than 65535 bytes"),
        );
    }
    request.give_spare(bytes);
    applied
}

/// Asks all limits before any but the last counts the request, so that one which refuses leaves
/// the others as they were. The answer is how long to wait, or that one refuses.
fn judge(
    request: &Request,
    last: &Applied,
    before: &[Applied],
) -> Result<Result<(u64, Verdict), Verdict>, TableError> {
    let now_ms = now_ms();
    let zones = &request.site.zones;
    for it in before {
        let zone = it.limit.zone;
        let excess = zones
            .state::<Rates>(zone)
            .excess(&it.key, it.rate, now_ms)?;
        if excess > it.limit.burst {
            return Ok(Err(Verdict { excess, zone }));
        }
    }
    let mut longest = None;
    for it in std::iter::once(last).chain(before.iter().rev()) {
        let zone = it.limit.zone;
        // The others are counted whatever came in between: they were asked already.
        let is_last = std::ptr::eq(it, last);
        let burst = if is_last { it.limit.burst } else { u64::MAX };
        let rates = zones.state::<Rates>(zone);
        let excess = match rates.count(&it.key, (it.rate, burst), now_ms)? {
            Ok(excess) => excess,
            Err(excess) => return Ok(Err(Verdict { excess, zone })),
        };
        let delay_ms = delay_ms(excess, &it.limit, it.rate);
        let is_longest = longest
            .as_ref()
            .is_none_or(|(longest_ms, _)| delay_ms > *longest_ms);
        if is_longest {
            longest = Some((delay_ms, Verdict { excess, zone }));
        }
    }
    Ok(Ok(longest.expect("there is a limit")))
}

fn log(request: &Request, what: &str, verdict: &Verdict, is_delay: bool) {
    let settings = &request.settings().limit_req_refusals;
    let dry_run = if settings.dry_run { ", dry run" } else { "" };
    let (whole, part) = (verdict.excess / 1000, verdict.excess % 1000);
    let name = request.site.zones.name(verdict.zone);
    // nginx puts a comma before "by" for delays alone.
    let (level, comma) = if is_delay {
        (below(settings.log_level), ",")
    } else {
        (settings.log_level, "")
    };
    request.log(
        level,
        format_args!("{what}{dry_run}, excess: {whole}.{part:03}{comma} by zone \"{name}\""),
    );
}

/// The next level that is less severe.
fn below(level: Level) -> Level {
    match level {
        Level::Error => Level::Warn,
        Level::Warn => Level::Notice,
        Level::Notice => Level::Info,
        _ => Level::Debug,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates() -> Rates {
        Rates::create("test", 64 << 10).unwrap()
    }

    /// Counts at these times; which were let in.
    fn admitted(rates: &Rates, limits: (u64, u64), times_ms: &[u64]) -> Vec<u64> {
        let key = rates.key(b"key");
        let count = |now_ms: &&u64| rates.count(&key, limits, **now_ms).unwrap().is_ok();
        times_ms.iter().filter(count).copied().collect()
    }

    #[test]
    fn the_excess_grows_by_one_and_drains_at_the_rate() {
        let rates = rates();
        let key = rates.key(b"key");
        let count = |now_ms| rates.count(&key, (2000, 3000), now_ms).unwrap();
        assert_eq!(
            [count(10_000), count(10_000), count(10_000)],
            [Ok(0), Ok(1000), Ok(2000)]
        );
        assert_eq!((count(10_000), count(10_000)), (Ok(3000), Err(4000)));
        // Two a second: after 250 ms half a request more.
        assert_eq!(rates.excess(&key, 2000, 10_250), Ok(3500));
        assert_eq!((count(10_250), count(10_500)), (Err(3500), Ok(3000)));
        assert_eq!(count(20_000), Ok(0));
        assert_eq!(rates.excess(&rates.key(b"other"), 2000, 10_250), Ok(0));
    }

    #[test]
    fn clocks_that_go_back_a_little_do_not_count() {
        let state = [2000, 100_000];
        assert_eq!(excess_at(state, 1000, 99_000), (3000, false));
        assert_eq!(excess_at(state, 1000, 100_000), (3000, false));
        // Back by more than a minute: the clock was set.
        assert_eq!(excess_at(state, 1000, 10_000), (2999, true));
        assert_eq!(
            excess_at([u64::MAX, 0], u64::MAX, 1),
            (u64::MAX - u64::MAX / 1000 + 1000, true)
        );
    }

    #[test]
    fn a_delay_is_what_the_rate_takes_for_what_is_too_much() {
        let zone = crate::zones::Declared::default()
            .mention("one", ZONE, &word())
            .unwrap();
        let limit = |delay| Limit {
            zone,
            burst: 9000,
            delay,
        };
        assert_eq!(delay_ms(3000, &limit(0), 2000), 1500);
        assert_eq!(delay_ms(3000, &limit(2000), 2000), 500);
        assert_eq!(delay_ms(3000, &limit(3000), 2000), 0);
        assert_eq!(delay_ms(u64::MAX, &limit(u64::MAX), 1), 0);
        assert_eq!(delay_ms(u64::MAX, &limit(0), 1), u64::MAX);
    }

    fn word() -> Word {
        let mut snapshot = revolve_conf::Snapshot::default();
        snapshot.insert_file("/x", b"one;".to_vec());
        let mut files = revolve_conf::SnapshotFiles::new(snapshot);
        let (document, _) = revolve_conf::parse("/x".as_ref(), None, &mut files);
        document.directives[0].name.clone()
    }

    proptest! {
        /// Whatever comes when, no stretch of time sees more than the rate and the burst allow, and
        /// what comes at half the rate is never refused.
        #[test]
        fn no_stretch_of_time_sees_more(
            rate in 1..50_000_u64,
            burst in 0..20_u64,
            gaps in prop::collection::vec(0..400_u64, 1..200),
        ) {
            let mut now_ms = 1_000_000;
            let times: Vec<u64> = gaps.iter().map(|gap| { now_ms += gap; now_ms }).collect();
            let let_in = admitted(&rates(), (rate, burst * 1000), &times);
            prop_assert_eq!(let_in.first(), times.first());
            for (at, begin) in let_in.iter().enumerate() {
                for (number, end) in let_in[at..].iter().enumerate() {
                    // Thousandths, rounded down once a request in the client's favour.
                    let allowed = (burst + 1) * 1001 + number as u64 + rate * (end - begin) / 1000;
                    prop_assert!((number as u64 + 1) * 1000 <= allowed + 1000);
                }
            }
            let slow: Vec<u64> = (0..50).map(|number| 1_000_000 + number * 2_000_000 / rate + number).collect();
            prop_assert_eq!(admitted(&rates(), (rate, burst * 1000), &slow).len(), 50);
        }
    }
}
