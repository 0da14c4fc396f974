//! One question to a server by HTTP, and its answer as a whole: for what is asked seldom and is short.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use revolve_http::h1::{ChunkedDecoder, Decoded, ResponseLimits, ResponseParser, ResponseProgress};
use revolve_http::{Method, ResponseFraming, ResponseHead};
use revolve_reactor::{Address, Chunk, SendQueue, Stream, timeout};

use revolve_tls::TlsStream;

use super::upstream::{Untrusted, UpstreamTls, server_name};
use crate::net::Transport;
use crate::net::resolver::Resolver;

/// How long a handshake may take, and a send may stand still.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of an answer that are taken at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where a question goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    is_secure: bool,
    /// Host and port, as written.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Reads `http://host[:port][/path]`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::of(text.strip_prefix("http://")?, false)
    }

    /// Reads `https://host[:port][/path]`; `None` for anything else.
    pub(crate) fn parse_secure(text: &str) -> Option<Self> {
        Self::of(text.strip_prefix("https://")?, true)
    }

    fn of(rest: &str, is_secure: bool) -> Option<Self> {
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, if is_secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_sound = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !is_sound(rest) {
            return None;
        }
        Some(Self {
            is_secure,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// What is asked.
pub(crate) struct Question<'a> {
    pub(crate) method: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: Vec<u8>,
}

/// An answer as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names, and values.
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, if it has one and that is text.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        String::from_utf8(found?.1.clone()).ok()
    }
}

/// Posts a body, and takes the body of the answer, if that is 200.
///
/// Errors: why there is none, in a few words.
pub(crate) async fn post(
    resolver: &Resolver,
    url: &Url,
    content_type: &str,
    body: Vec<u8>,
    within: Duration,
) -> Result<Vec<u8>, String> {
    let question = Question {
        method: "POST",
        content_type,
        body,
    };
    match timeout(within, ask(resolver, url, None, question)).await {
        Ok(answer) => {
            let Answer { status, body, .. } = answer?;
            match status {
                200 => Ok(body),
                _ => Err(format!("it answers {status}")),
            }
        }
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Asks, by TLS where that is given with the time in seconds since 1970, and takes the answer.
///
/// Errors: why there is none, in a few words.
pub(crate) async fn ask(
    resolver: &Resolver,
    url: &Url,
    tls: Option<(&UpstreamTls, i64)>,
    question: Question<'_>,
) -> Result<Answer, String> {
    let ips = match url.host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => {
            let answer = resolver.lookup(&url.host).await;
            answer.map_err(|error| error.to_string())?.addresses
        }
    };
    let mut last = "its name has no address".to_owned();
    for ip in ips {
        let address = Address::Inet(SocketAddr::new(ip, url.port));
        let stream = match Stream::connect(&address).await {
            Ok(stream) => stream,
            Err(error) => {
                last = format!("connect() failed {}", revolve_conf::os_error_text(&error));
                continue;
            }
        };
        let transport = match tls {
            None => Transport::from(stream),
            Some((tls, now_s)) => secured(stream, tls, &url.host, now_s).await?,
        };
        return exchange(&transport, url, question).await;
    }
    Err(last)
}

/// The handshake, and whether the server is who it ought to be.
async fn secured(
    stream: Stream,
    tls: &UpstreamTls,
    host: &str,
    now_s: i64,
) -> Result<Transport, String> {
    let stream = TlsStream::new(stream);
    let deadline = revolve_reactor::now() + HANDSHAKE_WITHIN;
    let shaken = stream.connect(tls.config.clone(), server_name(host), deadline);
    shaken.await.map_err(|error| error.to_string())?;
    match tls.judge(&stream, host, now_s) {
        Ok(()) => Ok(Transport::from(stream)),
        Err(Untrusted::Certificate(error)) => Err(format!("its certificate is not good ({error})")),
        Err(Untrusted::Name) => Err("its certificate is for others".to_owned()),
    }
}

async fn exchange(
    transport: &Transport,
    url: &Url,
    question: Question<'_>,
) -> Result<Answer, String> {
    let Url {
        authority, path, ..
    } = url;
    let Question {
        method,
        content_type,
        body,
    } = question;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: revolve\r\nConnection: close\r\n"
    );
    if !body.is_empty() {
        let len = body.len();
        head.push_str(&format!(
            "Content-Type: {content_type}\r\nContent-Length: {len}\r\n"
        ));
    }
    head.push_str("\r\n");
    let mut queue = SendQueue::from(Chunk::Bytes(head.into_bytes().into()));
    queue.push(Chunk::Bytes(body.into()));
    let sent = transport.send(queue, HANDSHAKE_WITHIN).await.0;
    sent.map_err(|error| error.to_string())?;
    let method = match method {
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        _ => Method::Get,
    };
    let mut received = Vec::new();
    loop {
        let more = transport.recv().await.map_err(|error| error.to_string())?;
        let is_end = more.is_empty();
        received.extend_from_slice(&more);
        if let Some(answer) = answer(method, &received, is_end)? {
            return Ok(answer);
        }
        if is_end {
            return Err("it closed the connection".to_owned());
        }
        if received.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".to_owned());
        }
    }
}

/// An answer, once that is whole.
fn answer(method: Method, received: &[u8], is_end: bool) -> Result<Option<Answer>, String> {
    let mut parser = ResponseParser::new(method);
    let mut head = ResponseHead::default();
    let mut bytes = received;
    let limits = ResponseLimits::default();
    let head_bytes = loop {
        match parser.parse(&mut head, bytes, &limits) {
            Ok(ResponseProgress::Partial) => return Ok(None),
            Ok(ResponseProgress::Interim { head_bytes }) => bytes = &bytes[head_bytes..],
            Ok(ResponseProgress::Complete { head_bytes }) => break head_bytes,
            Err(error) => return Err(error.to_string()),
        }
    };
    let (head_text, bytes) = bytes.split_at(head_bytes);
    let body = match head.framing {
        ResponseFraming::Length(len) => {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            bytes.get(..len).map(<[u8]>::to_vec)
        }
        ResponseFraming::Chunked => unchunked(bytes)?,
        ResponseFraming::UntilClose if is_end => Some(bytes.to_vec()),
        ResponseFraming::None => Some(Vec::new()),
        _ => None,
    };
    let headers = head.headers.iter();
    let headers = headers.map(|it| {
        (
            it.name.of(head_text).to_vec(),
            it.value.of(head_text).to_vec(),
        )
    });
    Ok(body.map(|body| Answer {
        status: head.status,
        headers: headers.collect(),
        body,
    }))
}

fn unchunked(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut decoder = ChunkedDecoder::new();
    let mut out = Vec::new();
    loop {
        match decoder.decode(bytes) {
            Ok(Decoded::Data {
                start,
                end,
                consumed,
            }) => {
                out.extend_from_slice(&bytes[start..end]);
                bytes = &bytes[consumed..];
            }
            Ok(Decoded::NeedMore { .. }) => return Ok(None),
            Ok(Decoded::Done { .. }) => return Ok(Some(out)),
            Err(_) => return Err("its chunks are not sound".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let parts = |text| Url::parse(text).map(|it| (it.host, it.port, it.path));
        let expected = |host: &str, port, path: &str| Some((host.into(), port, path.into()));
        assert_eq!(parts("http://a.test"), expected("a.test", 80, "/"));
        assert_eq!(
            parts("http://a.test:81/b/c"),
            expected("a.test", 81, "/b/c")
        );
        assert_eq!(parts("http://[::1]:81/"), expected("::1", 81, "/"));
        assert_eq!(parts("http://[::1]/"), expected("::1", 80, "/"));
        for wrong in [
            "https://a",
            "http://",
            "http://a:b/",
            "http://a/ b",
            "http://a/\r\n",
            "ldap://a",
        ] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_taken_as_a_whole() {
        let taken = |text: &str, is_end| {
            let answer = answer(Method::Post, text.as_bytes(), is_end);
            answer.map(|answer| answer.map(|it| (it.status, it.header("x"), it.body)))
        };
        let expected = |header: Option<&str>, body: &str| {
            Ok(Some((
                200,
                header.map(str::to_owned),
                body.as_bytes().to_vec(),
            )))
        };
        let length = "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(taken(length, true), expected(Some("y"), "abc"));
        for at in 0..length.len() {
            assert_eq!(taken(&length[..at], false), Ok(None));
        }
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(taken(chunked, true), expected(None, "abcd"));
        let closed = "HTTP/1.0 200 OK\r\n\r\nabc";
        assert_eq!(taken(closed, true), expected(None, "abc"));
        assert_eq!(taken(closed, false), Ok(None));
        assert!(taken("nonsense\r\n\r\n", true).is_err());
    }
}
