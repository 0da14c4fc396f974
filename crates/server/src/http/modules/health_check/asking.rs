//! One check: a request in the protocol of its location, by TLS where that has it, and what its answer is.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use revolve_http::fastcgi::{self, Params, Read as Record, Reader};
use revolve_http::h1::{
    ChunkedDecoder, Decoded, ResponseLimits, ResponseParser, ResponseProgress, writer,
};
use revolve_http::{Method, ResponseFraming, ResponseHead, Version, scgi, uwsgi};
use revolve_reactor::{Address, Stream, timeout};

use super::{Answer, GroupCheck, judge, needs_body};
use crate::http::modules::Settings;
use crate::http::modules::passing::{PassSettings, Protocol};
use crate::http::proxy::answer::status_line;
use crate::http::site::Site;
use crate::log::error_text;
use crate::net::Transport;
use crate::upstream::secure::Secure;

/// What is looked at of a body. NGINX Plus'.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// What memcached is asked, and how its answer begins.
const VERSION_ASKED: &[u8] = b"version\r\n";
const VERSION_TOLD: &[u8] = b"VERSION ";
/// A longer line is none of its.
const LINE_BYTES_MAX: usize = 1024;

/// Asks one peer. Errors: what is wrong with it.
pub(super) async fn probe(
    site: &Site,
    check: &GroupCheck,
    address: &Address,
    group: &str,
) -> Result<(), String> {
    let settings = site.http.settings_of(check);
    let passing = check.protocol.settings(settings);
    let transport = connect(site, check, address, group).await?;
    let request = write(check, settings, group)?;
    let ms = Duration::from_millis;
    let sent = timeout(
        ms(passing.send_timeout_ms),
        transport.send_all(Bytes::from(request)),
    );
    match sent.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(format!("send() failed ({})", error_text(&error))),
        Err(_) => return Err("timed out while sending".into()),
    }
    let mut wire = Wire {
        transport,
        reader: (check.protocol == Protocol::FastCgi).then(Reader::new),
        rest: Vec::new(),
        within: ms(passing.read_timeout_ms),
    };
    if check.protocol == Protocol::Memcached {
        return read_version(&mut wire).await;
    }
    let (head, bytes, body) = read(&mut wire, check, passing).await?;
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

async fn connect(
    site: &Site,
    check: &GroupCheck,
    address: &Address,
    group: &str,
) -> Result<Transport, String> {
    let settings = site.http.settings_of(check);
    let limit = Duration::from_millis(check.protocol.settings(settings).connect_timeout_ms);
    let address = match (address, check.check.port) {
        (Address::Inet(inet), Some(port)) => {
            let mut inet = *inet;
            inet.set_port(port);
            Address::Inet(inet)
        }
        (address, _) => address.clone(),
    };
    let stream = match timeout(limit, Stream::connect(&address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("connect() failed ({})", error_text(&error))),
        Err(_) => return Err("timed out while connecting".into()),
    };
    let ssl = check.protocol.ssl(settings).filter(|ssl| ssl.is_secure);
    let Some((ssl, tls)) = ssl.and_then(|ssl| Some((ssl, ssl.loaded.clone()?))) else {
        return Ok(stream.into());
    };
    // There is no request of a client: a name that is made of one is that of the group.
    let name = ssl.name.as_ref().and_then(|name| name.as_literal());
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let secure = Secure::new(tls, name.unwrap_or(group));
    let now_s = site.logs.clock().unix_s();
    let shaken = secure.shake(stream, limit, now_s).await;
    shaken.map_err(|refusal| format!("{} while SSL handshaking", refusal.what))
}

/// The request. There is none of a client: what is made of one is left out.
fn write(check: &GroupCheck, settings: &Settings, group: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let params = params(check, settings, group);
    let pairs = || {
        let pairs = params.iter();
        pairs.map(|(name, value)| (name.as_bytes(), value.as_slice()))
    };
    match check.protocol {
        Protocol::FastCgi => {
            fastcgi::begin(&mut out, false);
            let mut written = Params::new(&mut out);
            pairs().for_each(|(name, value)| written.push(name, value));
            written.finish();
            out.extend_from_slice(&fastcgi::stdin_head(0));
        }
        Protocol::Scgi => scgi::request_head(&mut out, 0, pairs()),
        Protocol::Uwsgi => {
            let (first, second) = (settings.uwsgi.modifier1, settings.uwsgi.modifier2);
            let written = uwsgi::request_head(&mut out, first, second, pairs());
            written.map_err(|error| error.to_string())?;
        }
        Protocol::Memcached => out.extend_from_slice(VERSION_ASKED),
        _ => write_http(check, settings, group, &mut out),
    }
    Ok(out)
}

/// What an application is told: what CGI has of any request (RFC 3875), and what the location says of all.
fn params(check: &GroupCheck, settings: &Settings, group: &str) -> Vec<(String, Vec<u8>)> {
    let uri = check.check.uri.as_str();
    let (path, args) = uri.split_once('?').unwrap_or((uri, ""));
    let own = [
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", uri),
        ("DOCUMENT_URI", path),
        ("QUERY_STRING", args),
        ("CONTENT_LENGTH", ""),
        ("CONTENT_TYPE", ""),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", group),
        ("HTTP_HOST", group),
    ];
    // uWSGI's applications go by the one, those of FastCGI and SCGI by the other.
    let place = match check.protocol {
        Protocol::Uwsgi => vec![("PATH_INFO", path)],
        _ => vec![("SCRIPT_NAME", path), ("SCRIPT_FILENAME", path)],
    };
    let mut all: Vec<(String, Vec<u8>)> = own
        .into_iter()
        .chain(place)
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    for param in check.protocol.params(settings) {
        let Some(value) = param.value.as_literal() else {
            continue;
        };
        match all.iter_mut().find(|(name, _)| *name == param.name) {
            Some((_, known)) => *known = value.to_vec(),
            None => all.push((param.name.clone(), value.to_vec())),
        }
    }
    all
}

fn write_http(check: &GroupCheck, settings: &Settings, group: &str, out: &mut Vec<u8>) {
    writer::request_line(out, b"GET", check.check.uri.as_bytes(), Version::HTTP_11);
    let set = &settings.proxy.set_headers;
    let literal = set
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_literal()?)));
    let literal = literal
        .filter(|(name, value)| !value.is_empty() && !name.eq_ignore_ascii_case("connection"));
    let mut has_host = false;
    for (name, value) in literal {
        has_host |= name.eq_ignore_ascii_case("host");
        writer::header(out, name.as_bytes(), value);
    }
    if !has_host {
        writer::header(out, b"Host", group.as_bytes());
    }
    writer::header(out, b"Connection", b"close");
    out.extend_from_slice(b"\r\n");
}

/// What comes back, out of the records that it may come in.
struct Wire {
    transport: Transport,
    reader: Option<Reader>,
    /// Bytes of a record that is not whole.
    rest: Vec<u8>,
    within: Duration,
}

impl Wire {
    /// Receives more; false at the end.
    async fn receive(&mut self, out: &mut Vec<u8>) -> Result<bool, String> {
        let received = match self.transport.recv().within(self.within).await {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err("timed out while waiting for its answer".into());
            }
            Err(error) => return Err(format!("recv() failed ({})", error_text(&error))),
        };
        let Some(reader) = &mut self.reader else {
            out.extend_from_slice(&received);
            return Ok(!received.is_empty());
        };
        let mut is_over = received.is_empty();
        self.rest.extend_from_slice(&received);
        loop {
            let read = reader.read(&self.rest);
            let consumed = match read.map_err(|error| format!("it sent {error}"))? {
                Record::Stdout { start, consumed } => {
                    out.extend_from_slice(&self.rest[start..consumed]);
                    consumed
                }
                Record::Stderr { consumed, .. } => consumed,
                Record::End { .. } => {
                    is_over = true;
                    break;
                }
                Record::NeedMore { consumed } => {
                    self.rest.drain(..consumed);
                    break;
                }
            };
            self.rest.drain(..consumed);
        }
        Ok(!is_over)
    }
}

/// memcached answers that it is there.
async fn read_version(wire: &mut Wire) -> Result<(), String> {
    let mut line = Vec::new();
    while !line.contains(&b'\n') && line.len() < LINE_BYTES_MAX {
        if !wire.receive(&mut line).await? {
            return Err("it closed the connection before its answer".into());
        }
    }
    match line.starts_with(VERSION_TOLD) {
        true => Ok(()),
        false => Err("it does not answer as memcached does".into()),
    }
}

type Read = (ResponseHead, Vec<u8>, Vec<u8>);

async fn read(wire: &mut Wire, check: &GroupCheck, passing: &PassSettings) -> Result<Read, String> {
    let limits = ResponseLimits {
        head_bytes_max: passing.head_bytes_max as usize,
        status_line: status_line(check.protocol),
        ..ResponseLimits::default()
    };
    let mut parser = ResponseParser::new(Method::Get);
    let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
    let mut is_over = false;
    let end = loop {
        match parser.parse(&mut head, &bytes, &limits) {
            Ok(ResponseProgress::Complete { head_bytes }) => break head_bytes,
            Ok(ResponseProgress::Interim { head_bytes }) => {
                bytes.drain(..head_bytes);
                continue;
            }
            Ok(ResponseProgress::Partial) if is_over => {
                return Err("it closed the connection before its answer".into());
            }
            Ok(ResponseProgress::Partial) => {}
            Err(error) => return Err(format!("it sent {error}")),
        }
        is_over = !wire.receive(&mut bytes).await?;
    };
    let mut raw = bytes.split_off(end);
    if !needs_body(check.expected.as_deref()) {
        return Ok((head, bytes, Vec::new()));
    }
    let mut decoder = ChunkedDecoder::new();
    let mut body = Vec::new();
    loop {
        let is_whole = take(&head, &mut decoder, &mut raw, &mut body)?;
        if is_whole || is_over || body.len() >= BODY_BYTES_MAX {
            body.truncate(BODY_BYTES_MAX);
            return Ok((head, bytes, body));
        }
        is_over = !wire.receive(&mut raw).await?;
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
