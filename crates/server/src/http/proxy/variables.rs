//! `$upstream_*` and `$proxy_*`.

use revolve_http::HeaderId;

use crate::http::proxy::tries::Try;
use crate::http::request::Request;
use crate::http::variables::{Builtin, number, seconds, some, text};

pub(crate) const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "proxy_host",
        get: |r, out| {
            let host = &r.state.proxy.host;
            !host.is_empty() && text(host, out)
        },
    },
    Builtin {
        name: "proxy_port",
        get: |r, out| {
            let host = &r.state.proxy.host;
            let port = host.rsplit_once(':').map(|(_, port)| port);
            let default = if r.state.proxy.is_secure { "443" } else { "80" };
            let port = port.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
            !host.is_empty() && text(port.unwrap_or(default), out)
        },
    },
    Builtin {
        name: "proxy_add_x_forwarded_for",
        get: |r, out| {
            if r.known_joined(HeaderId::XForwardedFor, out) {
                out.extend_from_slice(b", ");
            }
            r.append_client(out);
            true
        },
    },
    Builtin {
        name: "upstream_addr",
        get: |r, out| {
            each(r, out, |it, out| {
                !it.address.is_empty() && text(&it.address, out)
            })
        },
    },
    Builtin {
        name: "upstream_cache_status",
        get: |r, out| {
            let status = r.state.proxy.cache.status;
            status.is_some_and(|it| text(it.name(), out))
        },
    },
    Builtin {
        name: "upstream_cache_last_modified",
        get: |r, out| {
            let value = &r.state.proxy.cache.last_modified;
            !value.is_empty() && some(value, out)
        },
    },
    Builtin {
        name: "upstream_cache_etag",
        get: |r, out| {
            let value = &r.state.proxy.cache.etag;
            !value.is_empty() && some(value, out)
        },
    },
    Builtin {
        name: "upstream_status",
        get: |r, out| {
            each(r, out, |it, out| {
                it.status != 0 && number(u64::from(it.status), out)
            })
        },
    },
    Builtin {
        name: "upstream_connect_time",
        get: |r, out| {
            each(r, out, |it, out| {
                it.connect_ms.is_some_and(|ms| seconds(ms, out))
            })
        },
    },
    Builtin {
        name: "upstream_header_time",
        get: |r, out| {
            each(r, out, |it, out| {
                it.header_ms.is_some_and(|ms| seconds(ms, out))
            })
        },
    },
    Builtin {
        name: "upstream_response_time",
        get: |r, out| {
            each(r, out, |it, out| {
                it.response_ms.is_some_and(|ms| seconds(ms, out))
            })
        },
    },
    Builtin {
        name: "upstream_response_length",
        get: |r, out| each(r, out, |it, out| number(it.body_bytes, out)),
    },
    Builtin {
        name: "upstream_bytes_received",
        get: |r, out| each(r, out, |it, out| number(it.received_bytes, out)),
    },
    Builtin {
        name: "upstream_bytes_sent",
        get: |r, out| each(r, out, |it, out| number(it.sent_bytes, out)),
    },
];

fn each(request: &Request, out: &mut Vec<u8>, append: impl Fn(&Try, &mut Vec<u8>) -> bool) -> bool {
    request.state.proxy.tries.append(out, append)
}

/// Appends the values of a header of the upstream's answer, joined by ", ". `name` is in lower case with
/// dashes.
pub(crate) fn append_header(request: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(answered) = request.state.proxy.tries.answered() else {
        return false;
    };
    let mut found = false;
    for header in &answered.head.headers {
        let known = header.name.of(&answered.bytes);
        let is_it = known.len() == name.len()
            && known.iter().zip(name).all(|(known, wanted)| {
                let known = known.to_ascii_lowercase();
                known == *wanted || (known == b'_' && *wanted == b'-')
            });
        if is_it {
            if found {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(header.value.of(&answered.bytes));
            found = true;
        }
    }
    found
}

/// Appends the value of a cookie that the upstream sets.
pub(crate) fn append_cookie(request: &Request, name: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(answered) = request.state.proxy.tries.answered() else {
        return false;
    };
    for header in &answered.head.headers {
        let is_cookie = header
            .name
            .of(&answered.bytes)
            .eq_ignore_ascii_case(b"set-cookie");
        let value = header.value.of(&answered.bytes);
        if is_cookie
            && let Some(at) = memchr::memchr(b'=', value)
            && value[..at].trim_ascii().eq_ignore_ascii_case(name)
        {
            let value = &value[at + 1..];
            let end = memchr::memchr(b';', value).unwrap_or(value.len());
            out.extend_from_slice(value[..end].trim_ascii());
            return true;
        }
    }
    false
}
