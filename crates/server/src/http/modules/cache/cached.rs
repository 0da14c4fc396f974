//! Requests whose answers are kept: answered by what is there, or passed on and kept.
//!
//! Source: nginx's `ngx_http_upstream_cache` and `ngx_http_file_cache_open`.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use revolve_http::{HeaderId, Method, ResponseFraming};
use revolve_reactor::{spawn, timeout};

use super::filling::{self, Held};
use super::{CachePath, CacheSettings, UPDATING, holds};
use crate::file_cache::FileEntry;
use crate::http::body::Piece;
use crate::http::cache::rules::{self, Verdict};
use crate::http::cache::{Folder, Found, Key, Kind, Record};
use crate::http::location::LocationId;
use crate::http::modules::error_page;
use crate::http::modules::passing::{Protocol, next};
use crate::http::phase::Outcome;
use crate::http::proxy::{
    AnsweredHead, Named, Received, answer, ask_for, pass_on, refusal, scheme,
};
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
use crate::http::site::Site;
use crate::http::subrequest::stand_in;
use crate::log::{Level, error_text};

/// How often those that wait for another worker's answer look whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An answer that is renewed by another is waited for by nobody, however long that takes.
const FOREVER: Duration = Duration::MAX;

/// `$upstream_cache_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheStatus {
    Miss,
    Bypass,
    Expired,
    Stale,
    Updating,
    Revalidated,
    Hit,
}

impl CacheStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            CacheStatus::Miss => "MISS",
            CacheStatus::Bypass => "BYPASS",
            CacheStatus::Expired => "EXPIRED",
            CacheStatus::Stale => "STALE",
            CacheStatus::Updating => "UPDATING",
            CacheStatus::Revalidated => "REVALIDATED",
            CacheStatus::Hit => "HIT",
        }
    }
}

/// What the cache has to do with a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheState {
    pub(crate) status: Option<CacheStatus>,
    /// Whether the answer may be kept, so that the whole of it is asked for.
    is_kept: bool,
    /// Whether GET is asked with in HEAD's place.
    pub(crate) converts_head: bool,
    /// `Last-Modified` of what is there, where the upstream is asked whether that still holds.
    pub(crate) last_modified: Vec<u8>,
    /// `ETag` of it.
    pub(crate) etag: Vec<u8>,
}

impl CacheState {
    /// Whether a header of the client says what answer it wants, which is not for others.
    pub(crate) fn leaves_out(&self, id: HeaderId) -> bool {
        self.is_kept
            && matches!(
                id,
                HeaderId::IfMatch
                    | HeaderId::IfModifiedSince
                    | HeaderId::IfNoneMatch
                    | HeaderId::IfRange
                    | HeaderId::IfUnmodifiedSince
                    | HeaderId::Range
            )
    }

    /// What is asked in its place.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&'static [u8], &[u8])> {
        let all: [(&[u8], _); 2] = [
            (b"If-Modified-Since", self.last_modified.as_slice()),
            (b"If-None-Match", self.etag.as_slice()),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty())
    }

    /// Whether the answer may be kept.
    pub(crate) fn keeps_answer(&self) -> bool {
        self.is_kept
    }

    /// Whether ranges may be cut out of an answer: it was asked for as a whole.
    pub(crate) fn allows_ranges(&self, status: u16) -> bool {
        self.is_kept && status == 200
    }
}

/// Whether a request's answer may be kept, or be one that is.
pub(crate) fn is_wanted(request: &Request) -> bool {
    let rules = request.state.proxy.protocol.cache(request.settings());
    rules.is_some_and(|rules| rules.zone.is_some() && rules.takes(request.current.method))
}

/// A request, as far as the cache has to know it.
#[derive(Clone)]
struct Job {
    site: Rc<Site>,
    location: LocationId,
    protocol: Protocol,
    folder: Folder,
    /// The key of all its answers.
    main: Key,
    /// The key of the one for this request.
    key: Key,
    named: Named,
}

/// What comes of being the one that fetches.
enum Locked {
    /// Nothing where the disk does not allow it.
    Fetch(Option<Held>),
    Another,
}

pub(crate) async fn pass(request: &mut Request, named: Named) -> Outcome {
    let Some(mut job) = Job::of(request, &named) else {
        return pass_on(request, named).await;
    };
    drop(named);
    let site = job.site.clone();
    let rules = rules_of(&site, job.location, job.protocol);
    if holds(&rules.purge, request) {
        return purge(request, &job);
    }
    let is_head = request.current.method == Method::Head;
    let is_http = job.protocol == Protocol::Http;
    let state = &mut request.state.proxy.cache;
    state.converts_head = is_head && is_http && rules.convert_head;
    // An application is not told to answer otherwise.
    state.is_kept = !is_head || is_http;
    if holds(&rules.bypass, request) {
        request.state.proxy.cache.status = Some(CacheStatus::Bypass);
        return fetch(request, job, None, None).await;
    }
    let uses = match rules.min_uses {
        0 | 1 => u64::MAX,
        _ => request.http_loop.caches.count_use(&job.main),
    };
    match job.look(request) {
        Some(found) if found.record.valid_until >= now() => {
            serve(request, &job, found, CacheStatus::Hit)
        }
        Some(found) => expired(request, job, found).await,
        None => {
            request.state.proxy.cache.status = Some(CacheStatus::Miss);
            if uses < rules.min_uses {
                request.state.proxy.cache.is_kept = false;
                return fetch(request, job, None, None).await;
            }
            if !rules.lock || !request.state.proxy.cache.is_kept {
                return fetch(request, job, None, None).await;
            }
            match wait(request, &mut job, rules).await {
                Waited::Found(found) => serve(request, &job, *found, CacheStatus::Hit),
                Waited::Fetch(held) => fetch(request, job, None, held).await,
                Waited::TooLong => {
                    request.state.proxy.cache.is_kept = false;
                    fetch(request, job, None, None).await
                }
            }
        }
    }
}

/// Whether nothing but the head of an answer will come.
fn asks_for_head(request: &Request) -> bool {
    request.current.method == Method::Head && !request.state.proxy.cache.converts_head
}

/// Whether a page of ours takes the place of an answer with this status.
fn is_intercepted(request: &Request, status: u16) -> bool {
    request.passing().intercept_errors && error_page::is_chosen(request, status)
}

fn rules_of(site: &Site, location: LocationId, protocol: Protocol) -> &CacheSettings {
    let settings = &site.locations[location as usize].settings;
    let rules = protocol.cache(settings);
    rules.expect("it was asked whether there are any")
}

fn now() -> i64 {
    let passed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(passed.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

impl Job {
    /// `None` where nothing is kept: the cache's name leads to none, or there is no key.
    fn of(request: &Request, named: &Named) -> Option<Self> {
        let site = request.site.share();
        let (location, protocol) = (request.current.location, request.state.proxy.protocol);
        let rules = rules_of(&site, location, protocol);
        let CachePath { folder, .. } = rules.cache(request)?;
        let text = match (&rules.key, protocol) {
            (Some(key), _) => key.evaluate(request),
            (None, Protocol::Http) => {
                let mut text = scheme(named.is_secure).as_bytes().to_vec();
                text.extend_from_slice(named.host.as_bytes());
                text.extend_from_slice(&named.uri);
                text
            }
            (None, _) => return None,
        };
        let (folder, main) = (folder.clone(), Key::of(text));
        Some(Self {
            location,
            protocol,
            folder,
            key: main.clone(),
            main,
            named: named.clone(),
            site,
        })
    }

    fn rules(&self) -> &CacheSettings {
        rules_of(&self.site, self.location, self.protocol)
    }

    /// What is kept for the request, fresh or not.
    fn look(&mut self, request: &Request) -> Option<Found> {
        self.key = self.main.clone();
        let mut found = self.find(request, &self.main)?;
        if found.record.kind == Kind::Variants {
            let chooses = chooses(request, &found.record.vary);
            self.key = self.main.variant(found.record.generation, &chooses);
            found = self.find(request, &self.key)?;
        }
        let is_whole = match found.record.kind {
            Kind::Answer => true,
            Kind::HeadAnswer => {
                asks_for_head(request) || is_intercepted(request, found.record.status)
            }
            Kind::Variants => false,
        };
        is_whole.then_some(found)
    }

    fn find(&self, request: &Request, key: &Key) -> Option<Found> {
        self.folder.find(key).unwrap_or_else(|error| {
            self.tell(request, "reading a cached answer", &error);
            None
        })
    }

    fn tell(&self, request: &Request, doing: &str, error: &io::Error) {
        let (shown, reason) = (self.folder.path.display(), error_text(error));
        let message = format_args!("{doing} in \"{shown}\" failed ({reason})");
        request.log(Level::Crit, message);
    }

    /// Tries to become the one that fetches the answer.
    fn lock(&self, request: &Request, age: Duration) -> Locked {
        match self.folder.lock(&self.key, age) {
            Ok(Some(lock)) => Locked::Fetch(Some(Held {
                lock: Some(lock),
                ended: request.http_loop.caches.ended.clone(),
            })),
            Ok(None) => Locked::Another,
            Err(error) => {
                self.tell(request, "locking a cached answer", &error);
                Locked::Fetch(None)
            }
        }
    }
}

/// What of a request chooses among answers that differ by these headers.
fn chooses(request: &Request, vary: &[u8]) -> Vec<u8> {
    rules::chooses(vary, |name, out| {
        request.header_joined(name, out);
    })
}

enum Waited {
    Found(Box<Found>),
    Fetch(Option<Held>),
    /// It goes without the cache.
    TooLong,
}

/// Waits until an answer is there that another request fetches, or nobody does.
async fn wait(request: &Request, job: &mut Job, rules: &CacheSettings) -> Waited {
    let until = revolve_reactor::now() + Duration::from_millis(rules.lock_timeout_ms);
    let age = Duration::from_millis(rules.lock_age_ms);
    let ended = request.http_loop.caches.ended.clone();
    loop {
        let locked = job.lock(request, age);
        // It may have come before the lock was free.
        let found = job.look(request);
        if let Some(found) = found.filter(|found| found.record.valid_until >= now()) {
            return Waited::Found(Box::new(found));
        }
        if let Locked::Fetch(held) = locked {
            return Waited::Fetch(held);
        }
        let left = until.saturating_duration_since(revolve_reactor::now());
        if left.is_zero() {
            return Waited::TooLong;
        }
        let _ = timeout(left.min(LOOK_EVERY), ended.notified()).await;
    }
}

/// What is there is no longer fresh.
async fn expired(request: &mut Request, job: Job, found: Found) -> Outcome {
    let rules = job.rules();
    let record = &found.record;
    let is_recent = record
        .valid_until
        .saturating_add(i64::from(record.updating_s))
        >= now();
    let may_be_stale = rules.use_stale & UPDATING != 0 || is_recent;
    let held = match job.lock(request, FOREVER) {
        Locked::Another if may_be_stale => {
            return serve(request, &job, found, CacheStatus::Updating);
        }
        Locked::Another => None,
        Locked::Fetch(held) => held,
    };
    let status = &mut request.state.proxy.cache.status;
    *status = Some(CacheStatus::Expired);
    if rules.revalidate {
        note_validators(request, record);
    }
    let is_plain = matches!(request.body, RequestBody::None) && request.state.proxy.cache.is_kept;
    if may_be_stale && rules.background_update && is_plain {
        renew_behind(request, &job, record.clone(), held);
        return serve(request, &job, found, CacheStatus::Stale);
    }
    fetch(request, job, Some(found), held).await
}

/// What the upstream is asked by whether an answer still holds.
fn note_validators(request: &mut Request, record: &Record) {
    let value = |name: &str| {
        let mut lines = record.head.split(|byte| *byte == b'\n');
        let line = lines.find_map(|line| {
            let (known, value) = line.split_at_checked(name.len() + 1)?;
            let is_it = known[..name.len()].eq_ignore_ascii_case(name.as_bytes());
            (is_it && known[name.len()] == b':').then_some(value)
        });
        line.map(|value| value.trim_ascii().to_vec())
            .unwrap_or_default()
    };
    let state = &mut request.state.proxy.cache;
    state.last_modified = value("last-modified");
    state.etag = value("etag");
}

/// Has an answer renewed while what is there is served.
fn renew_behind(request: &Request, job: &Job, record: Record, held: Option<Held>) {
    let mut child = stand_in(request);
    child.current.is_subrequest = true;
    child.current.uri_changed = request.current.uri_changed;
    let state = &request.state.proxy;
    child.state.proxy.protocol = state.protocol;
    child.state.proxy.host = state.host.clone();
    child.state.proxy.is_secure = state.is_secure;
    child.state.proxy.cache = state.cache.clone();
    let job = job.clone();
    spawn(async move {
        // Whatever comes of it, the client has its answer; what is to be kept is written by itself.
        renew(&mut child, job, record, held).await;
    });
}

async fn renew(request: &mut Request, job: Job, record: Record, held: Option<Held>) {
    let Ok((resolved, received)) = ask_for(request, job.named.clone()).await else {
        return;
    };
    if is_still_so(request, &received) {
        revalidate(request, &job, record, received);
        return;
    }
    let outcome = answer::take(request, &resolved, received);
    if is_answer(request, &outcome) {
        keep(request, &job, held);
    }
}

/// Whether the head of an answer decided on what is to come, if only that a page of ours takes its place.
fn is_answer(request: &Request, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Respond => true,
        Outcome::Finish(status) => is_intercepted(request, *status),
        _ => false,
    }
}

/// Whether the upstream says that what is there still holds.
fn is_still_so(request: &Request, received: &Received) -> bool {
    let asked = request.state.proxy.cache.conditions().next().is_some();
    asked && received.answered.head.status == 304
}

/// Passes the request on, and keeps the answer where it may be. What is stale is answered with where there
/// is nothing better.
async fn fetch(
    request: &mut Request,
    job: Job,
    stale: Option<Found>,
    held: Option<Held>,
) -> Outcome {
    if begins_too_far(request, job.rules().range_offset_max) {
        request.state.proxy.cache.is_kept = false;
    }
    let asked = ask_for(request, job.named.clone()).await;
    match (asked, stale) {
        (Ok((_, received)), Some(found)) if is_still_so(request, &received) => {
            let record = found.record.clone();
            revalidate(request, &job, record, received);
            serve(request, &job, found, CacheStatus::Revalidated)
        }
        (Ok((_, received)), Some(found))
            if may_be_stale(&job, &found, received.answered.head.status) =>
        {
            answer::let_go(request, received);
            serve(request, &job, found, CacheStatus::Stale)
        }
        (Ok((resolved, received)), _) => {
            let outcome = answer::take(request, &resolved, received);
            if is_answer(request, &outcome) {
                keep(request, &job, held);
            }
            outcome
        }
        (Err(failure), Some(found))
            if job.rules().use_stale & failure.bit() != 0
                || failure.bit() != next::OFF && is_within_error(&found) =>
        {
            serve(request, &job, found, CacheStatus::Stale)
        }
        (Err(failure), _) => Outcome::Finish(failure.status()),
    }
}

/// Whether a client wants only what lies so far behind that fetching all before it takes too long.
fn begins_too_far(request: &Request, offset_max: u64) -> bool {
    let range = request.known(HeaderId::Range).unwrap_or_default();
    let first = range.strip_prefix(b"bytes=").unwrap_or_default();
    let digits = first
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let first = std::str::from_utf8(&first[..digits]).ok();
    first
        .and_then(|first| first.parse::<u64>().ok())
        .is_some_and(|first| first > offset_max)
}

fn is_within_error(found: &Found) -> bool {
    let record = &found.record;
    record.valid_until.saturating_add(i64::from(record.error_s)) >= now()
}

/// Whether a stale answer is better than one with this status.
fn may_be_stale(job: &Job, found: &Found, status: u16) -> bool {
    // RFC 5861, section 4.
    let is_error = matches!(status, 500 | 502 | 503 | 504) && is_within_error(found);
    is_error || refusal(status, job.rules().use_stale).is_some()
}

/// What is there holds for as long again as the upstream says.
fn revalidate(request: &mut Request, job: &Job, mut record: Record, received: Received) {
    let verdict = judge(request, job, &received.answered, record.status);
    answer::let_go(request, received);
    if let Some(verdict) = verdict {
        record.valid_until = verdict.valid_until;
        record.updating_s = verdict.updating_s;
        record.error_s = verdict.error_s;
        if let Err(error) = job.folder.renew(&job.key, &record) {
            job.tell(request, "renewing a cached answer", &error);
        }
    }
}

fn judge(request: &Request, job: &Job, answered: &AnsweredHead, status: u16) -> Option<Verdict> {
    let headers = answered.head.headers.iter();
    let headers = headers.map(|it| (it.name.of(&answered.bytes), it.value.of(&answered.bytes)));
    rules::judge(
        headers,
        &request.passing().ignored,
        now(),
        job.rules().valid_s(status),
    )
}

/// Has the answer at hand kept, where it may be.
fn keep(request: &mut Request, job: &Job, held: Option<Held>) {
    let is_wanted = request.state.proxy.cache.is_kept && request.response.tunnel.is_none();
    if !is_wanted || holds(&job.rules().no_cache, request) {
        return;
    }
    let tries = request.state.proxy.tries.clone();
    let Some(answered) = tries.answered() else {
        return;
    };
    let status = answered.head.status;
    // It holds for who has the content already.
    if status == 304 {
        return;
    }
    let Some(verdict) = judge(request, job, answered, status) else {
        return;
    };
    let is_head = asks_for_head(request) || is_intercepted(request, status);
    let record = Record {
        kind: if is_head {
            Kind::HeadAnswer
        } else {
            Kind::Answer
        },
        status,
        valid_until: verdict.valid_until,
        updating_s: verdict.updating_s,
        error_s: verdict.error_s,
        generation: 0,
        body_bytes: 0,
        vary: Vec::new(),
        key: job.main.text.clone(),
        head: answered.bytes.clone(),
    };
    let has_body = !is_head && answered.head.framing != ResponseFraming::None;
    if let Err(error) = write(request, job, (record, verdict.vary), has_body, held) {
        job.tell(request, "writing a cached answer", &error);
    }
}

/// Writes an answer, at once or while its body comes.
fn write(
    request: &mut Request,
    job: &Job,
    (record, vary): (Record, Vec<u8>),
    has_body: bool,
    held: Option<Held>,
) -> io::Result<()> {
    let key = match vary.is_empty() {
        true => job.main.clone(),
        false => variant(request, job, &record, vary)?,
    };
    if !has_body || request.response.source.is_none() {
        return job.folder.put(&key, record);
    }
    let writing = job.folder.create(&key, record)?;
    let source = request.response.source.take();
    request.response.source = source.map(|source| filling::begin(source, writing, held));
    Ok(())
}

/// The key of an answer that is not for all requests, which is noted beforehand.
fn variant(request: &Request, job: &Job, record: &Record, vary: Vec<u8>) -> io::Result<Key> {
    let known = job.folder.find(&job.main)?.map(|found| found.record);
    let known = known.filter(|known| known.kind == Kind::Variants && known.vary == vary);
    let chooses = chooses(request, &vary);
    let generation = match known {
        Some(known) => known.generation,
        None => {
            let generation = request.http_loop.random();
            let marker = Record {
                kind: Kind::Variants,
                generation,
                vary,
                head: Vec::new(),
                ..record.clone()
            };
            job.folder.put(&job.main, marker)?;
            generation
        }
    };
    Ok(job.main.variant(generation, &chooses))
}

/// Answers with what is there.
fn serve(request: &mut Request, job: &Job, found: Found, status: CacheStatus) -> Outcome {
    request.state.proxy.cache.status = Some(status);
    request.state.proxy.cache.is_kept = true;
    if let Err(status) = request.discard_body() {
        return Outcome::Finish(status);
    }
    match answer::take_kept(request, &job.named, &found.record) {
        Some(Outcome::Respond) => {}
        Some(other) => return other,
        None => {
            let shown = job.folder.path.display();
            request.log(
                Level::Alert,
                format_args!("a cached answer in \"{shown}\" has no head"),
            );
            return Outcome::Finish(500);
        }
    }
    let len = found.record.body_bytes;
    if len > 0 {
        let piece = match found.body {
            Some(bytes) => Piece::Bytes(bytes),
            None => Piece::File {
                file: Rc::new(FileEntry::of_parts(found.file)),
                start: found.body_at,
                len,
            },
        };
        request.response.body.push(piece);
    }
    Outcome::Respond
}

/// Takes away what is there, for all requests of the key; 404 where there is nothing.
fn purge(request: &mut Request, job: &Job) -> Outcome {
    if let Err(status) = request.discard_body() {
        return Outcome::Finish(status);
    }
    match job.folder.remove(&job.main) {
        Ok(true) => {
            request.response.status = 204;
            Outcome::Respond
        }
        Ok(false) => Outcome::Finish(404),
        Err(error) => {
            job.tell(request, "purging a cached answer", &error);
            Outcome::Finish(500)
        }
    }
}
