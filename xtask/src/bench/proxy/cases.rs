//! What is asked of proxies.

use super::setup::Upstreams;

/// One kind of request.
#[derive(Clone, Copy)]
pub(in crate::bench) struct Case {
    pub(in crate::bench) name: &'static str,
    pub(super) path: &'static str,
    /// Bytes of the request's body; none for GET.
    pub(super) sent_bytes: usize,
    /// Bytes of the answer's body.
    pub(super) answer_bytes: usize,
    pub(super) upstreams: Upstreams,
    /// CPU per request, at most so many times nginx's.
    pub(super) ratio_max: f64,
}

const fn get(name: &'static str, upstreams: Upstreams, kib: usize, ratio_max: f64) -> Case {
    Case {
        name,
        path: if kib == 1 { "/1k" } else { "/1m" },
        sent_bytes: 0,
        answer_bytes: kib << 10,
        upstreams,
        ratio_max,
    }
}

const fn post(name: &'static str, upstreams: Upstreams, kib: usize, ratio_max: f64) -> Case {
    Case {
        name,
        path: "/",
        sent_bytes: kib << 10,
        answer_bytes: 2,
        upstreams,
        ratio_max,
    }
}

pub(in crate::bench) const CASES: [Case; 8] = [
    get("get-1k", Upstreams::Kept, 1, 0.85),
    get("get-1k-each", Upstreams::Each, 1, 1.0),
    get("get-1m", Upstreams::Kept, 1024, 1.0),
    get("get-1m-each", Upstreams::Each, 1024, 1.0),
    post("post-1k", Upstreams::Kept, 1, 0.85),
    post("post-1k-each", Upstreams::Each, 1, 1.0),
    post("post-1m", Upstreams::Kept, 1024, 1.0),
    post("post-1m-each", Upstreams::Each, 1024, 1.0),
];

impl Case {
    pub(super) fn lines(&self) -> &'static [&'static str] {
        match self.upstreams {
            Upstreams::Kept => &[],
            Upstreams::Each => &["Connection: close"],
        }
    }

    /// The request, whole.
    pub(super) fn request(&self) -> Vec<u8> {
        let method = if self.sent_bytes > 0 { "POST" } else { "GET" };
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: localhost\r\n", self.path);
        for line in self.lines() {
            head.push_str(line);
            head.push_str("\r\n");
        }
        if self.sent_bytes > 0 {
            head.push_str(&format!("Content-Length: {}\r\n", self.sent_bytes));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + self.sent_bytes, b'x');
        request
    }
}
