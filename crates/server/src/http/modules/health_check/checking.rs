//! Health checks of groups, while a configuration is in force: by one loop of all workers at a time, and
//! another takes over where that one ends or stands still.

use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use revolve_http::h1::{
    ChunkedDecoder, Decoded, ResponseLimits, ResponseParser, ResponseProgress, writer,
};
use revolve_http::{Method, ResponseFraming, ResponseHead, Version};
use revolve_reactor::{Address, Stream, now, sleep, spawn, timeout};

use super::{Answer, GroupCheck, judge, needs_body};
use crate::http::site::Site;
use crate::log::{Level, error_text};
use crate::runtime::loop_state::LoopState;
use crate::upstream::Registry;
use crate::upstream::clock::now_ms;
use crate::upstream::peer::Health;

/// How often who does not check looks whether it should, and who checks says that it does.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who has not said so for this long is taken for one that stands still.
const PATIENCE_MS: u64 = 4000;
/// What is looked at of a body. NGINX Plus'.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Makes the checks of a configuration for as long as it is in force.
pub(crate) fn watch(site: &Rc<Site>, registry: &Rc<Registry>) {
    for number in 0..site.http.checks.len() {
        spawn(lead(Rc::downgrade(site), registry.clone(), number));
    }
}

/// How a peer has done lately.
#[derive(Default, Clone, Copy)]
struct Record {
    fails: u32,
    passes: u32,
}

/// The site, while it is the one in force.
fn in_force(site: &Weak<Site>) -> Option<Rc<Site>> {
    site.upgrade().filter(|site| site.is_in_force())
}

async fn lead(site: Weak<Site>, registry: Rc<Registry>, number: usize) {
    let leadership = {
        let Some(site) = in_force(&site) else {
            return;
        };
        let check = &site.http.checks[number];
        registry.leadership(&site.group(check.place).spec, PATIENCE_MS)
    };
    let records = Rc::new(std::cell::RefCell::new(HashMap::new()));
    let mut next_at = now();
    loop {
        let Some(current) = in_force(&site) else {
            return;
        };
        // Where the zone has no room for it, each loop checks for itself.
        let leads = leadership.as_ref().is_none_or(|it| it.leads(now_ms()));
        if !leads {
            next_at = now();
        } else if now() >= next_at {
            let check = &current.http.checks[number].check;
            let jitter = match check.jitter.is_zero() {
                true => Duration::ZERO,
                false => {
                    let place = current.http.checks[number].place;
                    check.jitter.mul_f64(current.group(place).chance())
                }
            };
            next_at = now() + check.interval + jitter;
            check_all(&current, number, &records);
        }
        drop(current);
        let left = next_at.saturating_duration_since(now());
        let pause = if leads {
            left.min(LOOK_EVERY)
        } else {
            LOOK_EVERY
        };
        sleep(pause.max(Duration::from_millis(1))).await;
    }
}

type Records = Rc<std::cell::RefCell<HashMap<Rc<str>, Record>>>;

/// Asks all peers of a group, each in a task of its own.
fn check_all(site: &Rc<Site>, number: usize, records: &Records) {
    let group = site.group(site.http.checks[number].place);
    for place in 0..group.peers.len() {
        let (site, group, records) = (site.clone(), group.clone(), records.clone());
        spawn(async move {
            let check = &site.http.checks[number];
            let peer = &group.peers[place];
            let found = probe(&site, check, &peer.address, &group.spec.name).await;
            let mut records = records.borrow_mut();
            let record = records.entry(peer.shown.clone()).or_default();
            let (health, reason) = match found {
                Ok(()) => {
                    record.fails = 0;
                    record.passes = record.passes.saturating_add(1);
                    let is_healthy = record.passes >= check.check.passes;
                    (is_healthy.then_some(Health::Healthy), String::new())
                }
                Err(reason) => {
                    record.passes = 0;
                    record.fails = record.fails.saturating_add(1);
                    let is_unhealthy = record.fails >= check.check.fails;
                    (is_unhealthy.then_some(Health::Unhealthy), reason)
                }
            };
            if let Some(health) = health
                && peer.set_health(health)
            {
                tell(&group.spec.name, &peer.shown, health, &reason);
            }
        });
    }
}

fn tell(group: &str, peer: &str, health: Health, reason: &str) {
    let Some(state) = LoopState::current() else {
        return;
    };
    match health {
        Health::Unhealthy => state.log(
            Level::Warn,
            format_args!(
                "peer is unhealthy: {reason}, health check of peer {peer} in upstream \"{group}\""
            ),
        ),
        _ => state.log(
            Level::Notice,
            format_args!("peer is healthy, health check of peer {peer} in upstream \"{group}\""),
        ),
    }
}

/// Asks one peer. Errors: what is wrong with it.
async fn probe(
    site: &Site,
    check: &GroupCheck,
    address: &Address,
    group: &str,
) -> Result<(), String> {
    let settings = site.http.settings_of(check);
    let ms = Duration::from_millis;
    let address = match (address, check.check.port) {
        (Address::Inet(inet), Some(port)) => {
            let mut inet = *inet;
            inet.set_port(port);
            Address::Inet(inet)
        }
        (address, _) => address.clone(),
    };
    let connecting = timeout(
        ms(settings.proxy_passing.connect_timeout_ms),
        Stream::connect(&address),
    );
    let stream = match connecting.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("connect() failed ({})", error_text(&error))),
        Err(_) => return Err("timed out while connecting".into()),
    };
    let request = write_request(site, check, group);
    let sent = timeout(
        ms(settings.proxy_passing.send_timeout_ms),
        stream.send_all(Bytes::from(request)),
    );
    match sent.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(format!("send() failed ({})", error_text(&error))),
        Err(_) => return Err("timed out while sending".into()),
    }
    let within = ms(settings.proxy_passing.read_timeout_ms);
    let (head, bytes, body) = read(
        &stream,
        check,
        settings.proxy_passing.head_bytes_max,
        within,
    )
    .await?;
    let headers = head.headers.iter();
    let headers: Vec<_> = headers
        .map(|it| (it.name.of(&bytes), it.value.of(&bytes)))
        .collect();
    let answer = Answer {
        status: head.status,
        headers: &headers,
        body: &body,
    };
    judge(check.expected.as_deref(), &answer)
}

fn write_request(site: &Site, check: &GroupCheck, group: &str) -> Vec<u8> {
    let mut out = Vec::new();
    writer::request_line(
        &mut out,
        b"GET",
        check.check.uri.as_bytes(),
        Version::HTTP_11,
    );
    // There is no request of a client: what is made of one is left out.
    let set = &site.http.settings_of(check).proxy.set_headers;
    let literal = set
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_literal()?)));
    let literal = literal
        .filter(|(name, value)| !value.is_empty() && !name.eq_ignore_ascii_case("connection"));
    let mut has_host = false;
    for (name, value) in literal {
        has_host |= name.eq_ignore_ascii_case("host");
        writer::header(&mut out, name.as_bytes(), value);
    }
    if !has_host {
        writer::header(&mut out, b"Host", group.as_bytes());
    }
    writer::header(&mut out, b"Connection", b"close");
    out.extend_from_slice(b"\r\n");
    out
}

type Read = (ResponseHead, Vec<u8>, Vec<u8>);

async fn read(
    stream: &Stream,
    check: &GroupCheck,
    head_bytes_max: u64,
    within: Duration,
) -> Result<Read, String> {
    let limits = ResponseLimits {
        head_bytes_max: head_bytes_max as usize,
        ..ResponseLimits::default()
    };
    let mut parser = ResponseParser::new(Method::Get);
    let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
    let end = loop {
        match parser.parse(&mut head, &bytes, &limits) {
            Ok(ResponseProgress::Complete { head_bytes }) => break head_bytes,
            Ok(ResponseProgress::Interim { head_bytes }) => {
                bytes.drain(..head_bytes);
                continue;
            }
            Ok(ResponseProgress::Partial) => {}
            Err(error) => return Err(format!("it sent {error}")),
        }
        if !receive(stream, &mut bytes, within).await? {
            return Err("it closed the connection before its answer".into());
        }
    };
    let mut raw = bytes.split_off(end);
    if !needs_body(check.expected.as_deref()) {
        return Ok((head, bytes, Vec::new()));
    }
    let mut decoder = ChunkedDecoder::new();
    let mut body = Vec::new();
    loop {
        let is_whole = take(&head, &mut decoder, &mut raw, &mut body)?;
        let is_enough = is_whole || body.len() >= BODY_BYTES_MAX;
        if is_enough || !receive(stream, &mut raw, within).await? {
            body.truncate(BODY_BYTES_MAX);
            return Ok((head, bytes, body));
        }
    }
}

/// Takes what is there of the body; whether that is all of it.
fn take(
    head: &ResponseHead,
    decoder: &mut ChunkedDecoder,
    raw: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> Result<bool, String> {
    if head.framing != ResponseFraming::Chunked {
        body.append(raw);
        return Ok(match head.framing {
            ResponseFraming::None => true,
            ResponseFraming::Length(length) => body.len() as u64 >= length,
            _ => false,
        });
    }
    loop {
        match decoder.decode(raw) {
            Ok(Decoded::Data {
                start,
                end,
                consumed,
            }) => {
                body.extend_from_slice(&raw[start..end]);
                raw.drain(..consumed);
            }
            Ok(Decoded::NeedMore { consumed }) => {
                raw.drain(..consumed);
                return Ok(false);
            }
            Ok(Decoded::Done { .. }) => return Ok(true),
            Err(_) => return Err("it sent an invalid chunked body".into()),
        }
    }
}

/// Receives more; false at the end.
async fn receive(stream: &Stream, bytes: &mut Vec<u8>, within: Duration) -> Result<bool, String> {
    match stream.recv().within(within).await {
        Ok(received) => {
            bytes.extend_from_slice(&received);
            Ok(!received.is_empty())
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err("timed out while waiting for its answer".into())
        }
        Err(error) => Err(format!("recv() failed ({})", error_text(&error))),
    }
}
