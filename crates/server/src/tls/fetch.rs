//! One question to a server by HTTP, and its answer as a whole: for what is asked seldom and is short.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use revolve_http::h1::{ChunkedDecoder, Decoded, ResponseLimits, ResponseParser, ResponseProgress};
use revolve_http::{Method, ResponseFraming, ResponseHead};
use revolve_reactor::{Address, Chunk, SendQueue, Stream, timeout};

use crate::net::resolver::Resolver;

/// Bytes of an answer that are taken at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where a question goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Host and port, as written.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Reads `http://host[:port][/path]`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_sound = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !is_sound(rest) {
            return None;
        }
        Some(Self {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
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
    match timeout(within, ask(resolver, url, content_type, body)).await {
        Ok(answer) => answer,
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn ask(
    resolver: &Resolver,
    url: &Url,
    content_type: &str,
    body: Vec<u8>,
) -> Result<Vec<u8>, String> {
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
        match Stream::connect(&address).await {
            Ok(stream) => return exchange(&stream, url, content_type, body).await,
            Err(error) => {
                last = format!("connect() failed {}", revolve_conf::os_error_text(&error))
            }
        }
    }
    Err(last)
}

async fn exchange(
    stream: &Stream,
    url: &Url,
    content_type: &str,
    body: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let Url {
        authority, path, ..
    } = url;
    let len = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {content_type}\r\n\
         Content-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    let mut queue = SendQueue::from(Chunk::Bytes(head.into_bytes().into()));
    queue.push(Chunk::Bytes(body.into()));
    let sent = stream.send(queue).await.0;
    sent.map_err(|error| error.to_string())?;
    let mut received = Vec::new();
    loop {
        let more = stream.recv().await.map_err(|error| error.to_string())?;
        let is_end = more.is_empty();
        received.extend_from_slice(&more);
        if let Some(answer) = answer(&received, is_end)? {
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

/// The body of an answer, once that is whole.
fn answer(received: &[u8], is_end: bool) -> Result<Option<Vec<u8>>, String> {
    let mut parser = ResponseParser::new(Method::Post);
    let mut head = ResponseHead::default();
    let mut bytes = received;
    let limits = ResponseLimits::default();
    loop {
        match parser.parse(&mut head, bytes, &limits) {
            Ok(ResponseProgress::Partial) => return Ok(None),
            Ok(ResponseProgress::Interim { head_bytes }) => bytes = &bytes[head_bytes..],
            Ok(ResponseProgress::Complete { head_bytes }) => {
                bytes = &bytes[head_bytes..];
                break;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    if head.status != 200 {
        let status = head.status;
        return Err(format!("it answers {status}"));
    }
    Ok(match head.framing {
        ResponseFraming::Length(len) => {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            bytes.get(..len).map(<[u8]>::to_vec)
        }
        ResponseFraming::Chunked => unchunked(bytes)?,
        ResponseFraming::UntilClose if is_end => Some(bytes.to_vec()),
        ResponseFraming::None => Some(Vec::new()),
        _ => None,
    })
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
        let whole = |text: &str| answer(text.as_bytes(), true);
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(whole(length), Ok(Some(b"abc".to_vec())));
        for at in 0..length.len() {
            assert_eq!(answer(&length.as_bytes()[..at], false), Ok(None));
        }
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(whole(chunked), Ok(Some(b"abcd".to_vec())));
        let closed = "HTTP/1.0 200 OK\r\n\r\nabc";
        assert_eq!(whole(closed), Ok(Some(b"abc".to_vec())));
        assert_eq!(answer(closed.as_bytes(), false), Ok(None));
        assert!(whole("HTTP/1.1 404 Not Found\r\n\r\n").is_err());
        assert!(whole("nonsense\r\n\r\n").is_err());
    }
}
