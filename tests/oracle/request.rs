//! Requests as a table of them reads well.

use std::fmt;

/// A request being written down. It asks `first.example` over HTTP/1.1 and says that the
/// connection may be closed after it.
#[derive(Clone)]
pub(super) struct Request {
    method: &'static str,
    target: String,
    version: &'static str,
    host: Option<String>,
    lines: Vec<String>,
    closes: bool,
    body: Vec<u8>,
}

/// `GET target`.
pub(super) fn get(target: impl Into<String>) -> Request {
    method("GET", target)
}

/// `HEAD target`.
pub(super) fn head(target: impl Into<String>) -> Request {
    method("HEAD", target)
}

/// `POST target` with a body and its length.
pub(super) fn post(target: impl Into<String>, body: &str) -> Request {
    let request = method("POST", target);
    request
        .line(format!("Content-Length: {}", body.len()))
        .body(body)
}

/// Any method.
pub(super) fn method(method: &'static str, target: impl Into<String>) -> Request {
    Request {
        method,
        target: target.into(),
        version: "1.1",
        host: Some("first.example".into()),
        lines: Vec::new(),
        closes: true,
        body: Vec::new(),
    }
}

impl Request {
    /// Another host.
    pub(super) fn host(mut self, host: &str) -> Self {
        self.host = Some(host.into());
        self
    }

    /// No `Host` line.
    pub(super) fn no_host(mut self) -> Self {
        self.host = None;
        self
    }

    /// HTTP/1.0.
    pub(super) fn http_10(mut self) -> Self {
        self.version = "1.0";
        self
    }

    /// One more header line.
    pub(super) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Without `Connection: close`.
    pub(super) fn stay(mut self) -> Self {
        self.closes = false;
        self
    }

    /// Bytes after the head.
    pub(super) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// This request, and another right behind it.
    pub(super) fn then(self, next: Request) -> Case {
        let mut case = Case::from(self);
        case.0.extend(Case::from(next).0);
        case
    }
}

/// The bytes of one or more requests.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Case(pub(super) Vec<u8>);

/// Any bytes.
pub(super) fn raw(bytes: impl AsRef<[u8]>) -> Case {
    Case(bytes.as_ref().to_vec())
}

impl Case {
    /// These bytes, and another request right behind them.
    pub(super) fn then(mut self, next: impl Into<Case>) -> Case {
        self.0.extend(next.into().0);
        self
    }
}

impl From<Request> for Case {
    fn from(request: Request) -> Case {
        let Request {
            method,
            target,
            version,
            ..
        } = &request;
        let mut text = format!("{method} {target} HTTP/{version}\r\n");
        let host = request.host.map(|host| format!("Host: {host}"));
        let close = request.closes.then(|| "Connection: close".to_owned());
        for line in host.into_iter().chain(request.lines).chain(close) {
            text.push_str(&line);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend(request.body);
        Case(bytes)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(400)];
        write!(f, "{}", shown.escape_ascii())
    }
}
