//! Requests passed on to other servers: choose a peer, get a connection, send the request, read the
//! head, decide about another try, stream the body.
//!
//! Source: nginx's `ngx_http_upstream_module`, whose words the error log has.

pub(crate) mod answer;
mod body;
mod exchange;
mod fastcgi;
mod grpc_web;
mod h2;
mod lease;
mod memcached;
mod request_head;
#[cfg(test)]
mod simulation;
mod target;
mod tries;
mod unwrap;
pub(crate) mod variables;
mod written;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use revolve_http::Framing;
use revolve_reactor::timeout;

pub(crate) use self::exchange::Received;
pub(crate) use self::exchange::log_stderr;
use self::exchange::{Exchange, Failure, What};
pub(crate) use self::target::{Named, Resolved, scheme};
pub(crate) use self::tries::AnsweredHead;
pub(crate) use self::tries::Tries;
use self::written::Written;
use crate::http::modules::cache;
use crate::http::modules::core_variables::method_name;
use crate::http::modules::passing::dial::{advice, dial};
use crate::http::modules::passing::{Protocol, next};
use crate::http::modules::sticky;
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::request_body;
use crate::log::Level;
use crate::net::Transport;
use crate::upstream::budget::Budget;
use crate::upstream::pool::Connection;
use crate::upstream::{Peer, Tried};

/// Passes a request on and takes the answer, or gives up with a status of its own.
pub(crate) async fn pass(request: &mut Request, protocol: Protocol) -> Outcome {
    request.state.proxy.protocol = protocol;
    if must_read_body(request)
        && let Err(status) = Box::pin(request_body::read_whole(request)).await
    {
        return Outcome::Finish(status);
    }
    let named = match target::name(request) {
        Ok(named) => named,
        Err(status) => return Outcome::Finish(status),
    };
    // `$proxy_host` and `$proxy_port` may be asked for from here on, by `proxy_ssl_name` for one.
    request.state.proxy.host = named.host.clone();
    request.state.proxy.is_secure = named.is_secure;
    if cache::is_wanted(request) {
        return Box::pin(cache::pass(request, named)).await;
    }
    pass_on(request, named).await
}

/// The same where nothing is kept.
pub(crate) async fn pass_on(request: &mut Request, named: Named) -> Outcome {
    match ask_for(request, named).await {
        Ok((resolved, received)) => answer::take(request, &resolved, received),
        Err(failure) => Outcome::Finish(failure.status()),
    }
}

/// Asks for a request's answer.
///
/// Errors: nobody has given one.
pub(crate) async fn ask_for(
    request: &mut Request,
    named: Named,
) -> Result<(Resolved, Received), Failure> {
    let refused = |status| Failure::new(What::Client(status));
    let resolved = target::resolve(request, named).await.map_err(refused)?;
    let written = Written::of(request, &resolved).map_err(refused)?;
    let received = tries(request, &resolved, &written).await;
    // Nobody else is asked.
    written.replay.lose();
    let received = received?;
    Ok((resolved, received))
}

/// Whether the body is read to its end before anybody is asked.
fn must_read_body(request: &Request) -> bool {
    // What is told of its length beforehand is told when all of it is there.
    let is_told_length = matches!(
        request.state.proxy.protocol,
        Protocol::Uwsgi | Protocol::Scgi
    );
    let is_unknown = request.framing() == Framing::Chunked && is_told_length;
    match request.state.proxy.protocol {
        // They are asked without one.
        Protocol::Memcached | Protocol::Tunnel => false,
        // Both sides may speak at once.
        Protocol::Grpc => false,
        _ => request.passing().request_buffering || is_unknown,
    }
}

/// Asks one peer after the other, until one answers.
async fn tries(
    request: &mut Request,
    resolved: &Resolved,
    written: &Written,
) -> Result<Received, Failure> {
    let site = request.site.share();
    let level = &site.locations[request.current.location as usize].settings;
    let settings = request.state.proxy.protocol.settings(level);
    let began_at = revolve_reactor::now();
    let mut tried = Tried::default();
    let mut left = match settings.tries_max {
        0 => usize::MAX,
        most => most as usize,
    };
    if let Some(budget) = &resolved.group.budget {
        budget.note_request();
    }
    loop {
        let mut is_paid = false;
        let Some(place) = choose_or_wait(request, resolved, &mut tried).await else {
            return Err(nobody_left(request, resolved));
        };
        let peer = &resolved.group.peers[place];
        request.state.proxy.asked = Some((resolved.named.clone(), peer.shown.clone()));
        request.state.proxy.tries.begin(peer.shown.clone());
        let failure = match ask(request, resolved, written, peer).await {
            Ok(received) => match refusal(received.answered.head.status, settings.next_upstream) {
                Some(bit)
                    if may_go_on(request, written, bit, true)
                        && left > 1
                        && !is_last(resolved, &tried)
                        && may_spend(request, resolved) =>
                {
                    is_paid = true;
                    request.state.proxy.tries.end(received.answered.head.status);
                    Failure::of_status(bit, received.answered.head.status)
                }
                _ => {
                    note_answer(request, resolved, peer);
                    return Ok(received);
                }
            },
            Err(failure) => {
                request.state.proxy.tries.end(failure.status());
                failure
            }
        };
        let is_counted = !matches!(failure.bit(), next::HTTP_403 | next::HTTP_404);
        if is_counted && resolved.group.note_failure(place) {
            request.log(
                Level::Warn,
                format_args!("upstream server temporarily disabled"),
            );
        }
        left -= 1;
        let is_late = settings.tries_timeout_ms > 0
            && revolve_reactor::now().saturating_duration_since(began_at)
                >= Duration::from_millis(settings.tries_timeout_ms);
        if left == 0 || is_late || !may_go_on(request, written, failure.bit(), failure.was_sent) {
            return Err(failure);
        }
        if is_last(resolved, &tried) || !is_paid && !may_spend(request, resolved) {
            return Err(failure);
        }
    }
}

/// A peer has answered, and that is what the client gets.
fn note_answer(request: &mut Request, resolved: &Resolved, peer: &Peer) {
    peer.note_success();
    request.state.proxy.peer_id = peer.id.clone();
    if resolved.group.spec.balance.compares_times() {
        request.state.proxy.tries.time(peer);
    }
}

/// Whether the group has anything left for asking another of its peers.
fn may_spend(request: &Request, resolved: &Resolved) -> bool {
    let group = &resolved.group;
    let may = group.budget.as_ref().is_none_or(Budget::spend);
    if !may {
        let name = &group.spec.name;
        request.log(
            Level::Warn,
            format_args!("no other server is asked: proxy_retry_budget of \"{name}\" is spent"),
        );
    }
    may
}

/// How often those that wait for a peer look whether one is free in the eyes of other workers.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The peer to be asked next, which the request may have to wait for.
async fn choose_or_wait(
    request: &Request,
    resolved: &Resolved,
    tried: &mut Tried,
) -> Option<usize> {
    match choose(request, resolved, tried) {
        Some(place) => Some(place),
        None => Box::pin(queue(request, resolved, tried)).await,
    }
}

/// The peer to be asked next.
fn choose(request: &Request, resolved: &Resolved, tried: &mut Tried) -> Option<usize> {
    let bound = sticky::bound(request, resolved.place);
    let is_bound = |peer: &Peer| bound.as_ref().is_some_and(|bound| bound.is_to(&peer.id));
    let chosen = resolved.group.choose(tried, &resolved.key, is_bound);
    chosen.map(|(place, _)| place)
}

/// The same, where none is free now and the request may wait for one (`queue`).
async fn queue(request: &Request, resolved: &Resolved, tried: &mut Tried) -> Option<usize> {
    let group = &resolved.group;
    let upstream = resolved.place.map(|at| &request.http().upstreams[at]);
    let queue = upstream.and_then(|upstream| upstream.queue.as_ref())?;
    if group.waiting.get() >= queue.most || !group.is_worth_waiting(tried) {
        return None;
    }
    let _waits = Waits::begin(&group.waiting);
    let until = revolve_reactor::now() + queue.timeout;
    loop {
        let left = until.saturating_duration_since(revolve_reactor::now());
        if left.is_zero() {
            return None;
        }
        let _ = timeout(left.min(LOOK_EVERY), group.freed.notified()).await;
        if let Some(place) = choose(request, resolved, tried) {
            return Some(place);
        }
    }
}

/// Counts a request that waits for a peer.
struct Waits(Rc<Cell<u64>>);

impl Waits {
    fn begin(count: &Rc<Cell<u64>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn is_last(resolved: &Resolved, tried: &Tried) -> bool {
    tried.count() >= resolved.group.peers.len()
}

/// No peer may be asked.
fn nobody_left(request: &mut Request, resolved: &Resolved) -> Failure {
    let host = Rc::from(resolved.named.host.as_str());
    request.state.proxy.asked = Some((resolved.named.clone(), host));
    request.log(
        Level::Error,
        format_args!("no live upstreams while connecting to upstream"),
    );
    let name = Rc::from(resolved.group.spec.name.as_str());
    request.state.proxy.tries.begin(name);
    request.state.proxy.tries.end(502);
    Failure::of_nobody()
}

/// Whether another peer may be asked after a failure of this kind.
fn may_go_on(request: &Request, written: &Written, bit: u32, was_sent: bool) -> bool {
    let allowed = request.passing().next_upstream;
    if allowed & next::OFF != 0 || allowed & bit == 0 {
        return false;
    }
    // A body that goes out as it comes is gone once it was sent, unless that was kept.
    let is_replayable = !request.body.is_streamed() || written.replay.is_whole();
    is_replayable && (!was_sent || is_idempotent(request) || allowed & next::NON_IDEMPOTENT != 0)
}

/// The kind of failure that a status is.
pub(crate) fn refusal(status: u16, allowed: u32) -> Option<u32> {
    let bit = match status {
        500 => next::HTTP_500,
        502 => next::HTTP_502,
        503 => next::HTTP_503,
        504 => next::HTTP_504,
        403 => next::HTTP_403,
        404 => next::HTTP_404,
        429 => next::HTTP_429,
        _ => return None,
    };
    (allowed & bit != 0).then_some(bit)
}

/// Asks one peer: over a kept connection, or over a new one where that turns out to be closed.
async fn ask(
    request: &mut Request,
    resolved: &Resolved,
    written: &Written,
    peer: &Peer,
) -> Result<Received, Failure> {
    if h2::is_spoken(request) {
        return h2::ask(request, resolved, written, peer).await;
    }
    let in_use = Rc::new(peer.begin());
    // What may be sent but once takes none that its peer may be closing at this moment. An application
    // that keeps a connection serves no other meanwhile, so that there it is taken all the same.
    let protocol = request.state.proxy.protocol;
    let once = protocol != Protocol::FastCgi && !may_repeat(request);
    let identity = resolved.secure.as_ref().map(|it| &it.identity);
    let kept = match protocol {
        Protocol::Tunnel => None,
        // What goes out as it comes cannot be begun again.
        _ if once && request.body.is_streamed() => None,
        _ => peer.state.pool.take(identity, once),
    };
    if let Some(mut connection) = kept {
        connection.requests += 1;
        let exchange = Exchange::new(request, resolved, written, peer, connection, in_use.clone());
        match exchange.run(request).await {
            // It was closed before a byte of the answer came: as if it had not been there.
            Err(failure) if failure.was_stale && may_repeat(request) => peer.state.pool.distrust(),
            Err(failure) if failure.was_stale => {
                peer.state.pool.distrust();
                request.log(
                    Level::Error,
                    format_args!(
                        "upstream prematurely closed connection while reading response header from upstream"
                    ),
                );
                return Err(failure);
            }
            result => return result,
        }
    }
    // Rare things are no part of what every request waits in.
    let connection = Box::pin(connect(request, resolved, peer)).await?;
    let exchange = Exchange::new(request, resolved, written, peer, connection, in_use);
    match protocol {
        Protocol::Tunnel => Ok(exchange.tunnel()),
        _ => exchange.run(request).await,
    }
}

/// Whether a request may be sent again although its first bytes may have been read (RFC 9110, 9.2.2).
fn may_repeat(request: &Request) -> bool {
    is_idempotent(request) && !request.body.is_streamed()
}

fn is_idempotent(request: &Request) -> bool {
    !matches!(method_name(request), b"POST" | b"LOCK" | b"PATCH")
}

async fn connect(
    request: &mut Request,
    resolved: &Resolved,
    peer: &Peer,
) -> Result<Connection, Failure> {
    match reach(request, resolved, peer).await {
        Ok(transport) => {
            let identity = resolved.secure.as_ref().map(|it| it.identity.clone());
            let mut connection = Connection::new(transport, identity);
            connection.requests = 1;
            Ok(connection)
        }
        Err((what, message)) => {
            request.log(Level::Error, format_args!("{message}"));
            Err(Failure::new(what))
        }
    }
}

/// A new connection to a peer, secured where it is to be.
///
/// Errors: what went wrong, and what the error log is to say.
async fn reach(
    request: &mut Request,
    resolved: &Resolved,
    peer: &Peer,
) -> Result<Transport, (What, String)> {
    let limit = Duration::from_millis(request.passing().connect_timeout_ms);
    let began_at = revolve_reactor::now();
    let stream = match timeout(limit, dial(request, &peer.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let (reason, advice) = (crate::log::error_text(&error), advice(&error));
            let message =
                format!("connect() failed ({reason}) while connecting to upstream{advice}");
            return Err((What::Error, message));
        }
        Err(_) => {
            let message =
                "upstream timed out (110: Connection timed out) while connecting to upstream";
            return Err((What::Timeout, message.to_owned()));
        }
    };
    let transport = match &resolved.secure {
        None => Transport::from(stream),
        Some(secure) => {
            let now_s = request.site.logs.clock().unix_s();
            let shaken = secure.shake(stream, limit, now_s).await;
            shaken.map_err(|refusal| {
                let message = format!("{} while SSL handshaking to upstream", refusal.what);
                match refusal.is_late {
                    true => (What::Timeout, message),
                    false => (What::Error, message),
                }
            })?
        }
    };
    request.state.proxy.tries.note_connected(began_at);
    Ok(transport)
}
