//! Texts with variables in them, and how values are shown.

use super::Shared;
use crate::http::modules::static_files::is_escaped_in_uri;
use crate::http::request::Request;
use crate::log::{Level, Shown};

/// How `echo` shows a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    None,
    Url,
    Entity,
}

impl Encoding {
    pub(super) fn append(self, value: &[u8], out: &mut Vec<u8>) {
        for byte in value {
            match (self, byte) {
                (Encoding::Entity, b'<') => out.extend_from_slice(b"&lt;"),
                (Encoding::Entity, b'>') => out.extend_from_slice(b"&gt;"),
                (Encoding::Entity, b'&') => out.extend_from_slice(b"&amp;"),
                (Encoding::Entity, b'"') => out.extend_from_slice(b"&quot;"),
                (Encoding::Url, byte) if is_escaped_in_url(*byte) => {
                    const HEX: &[u8; 16] = b"0123456789ABCDEF";
                    let digits = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
                    out.extend_from_slice(&[b'%', digits[0], digits[1]]);
                }
                (_, byte) => out.push(*byte),
            }
        }
    }
}

/// Source: nginx's `NGX_ESCAPE_HTML`.
fn is_escaped_in_url(byte: u8) -> bool {
    byte == b'\'' || (byte != b'?' && is_escaped_in_uri(byte))
}

/// Appends the value of a variable: one that a page has set, else the request's; false where there is none.
pub(super) fn variable(request: &Request, shared: &Shared, name: &[u8], out: &mut Vec<u8>) -> bool {
    if let [digit @ b'0'..=b'9'] = name {
        let captures = shared.captures.borrow();
        let (groups, subject) = &*captures;
        if let Some(group) = groups.get(usize::from(digit - b'0')) {
            if let Some((start, end)) = group {
                out.extend_from_slice(&subject[*start as usize..*end as usize]);
            }
            return true;
        }
    }
    let name = name.to_ascii_lowercase();
    let variables = shared.variables.borrow();
    if let Some((_, value)) = variables.iter().find(|(known, _)| *known == name) {
        out.extend_from_slice(value);
        return true;
    }
    drop(variables);
    std::str::from_utf8(&name).is_ok_and(|name| request.variables().get_by_name(name, request, out))
}

/// A text with its variables replaced and its backslashes taken away; nothing where the text is not sound,
/// which was logged.
///
/// Source: nginx's `ngx_http_ssi_evaluate_string`.
pub(super) fn evaluate(request: &Request, shared: &Shared, text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut is_quoted = false;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' if !is_quoted => is_quoted = true,
            b'$' if !is_quoted => {
                let (name, after) = name(request, text, rest)?;
                variable(request, shared, name, &mut out);
                rest = after;
            }
            byte => {
                if is_quoted && !matches!(byte, b'\\' | b'\'' | b'"' | b'$') {
                    out.push(b'\\');
                }
                is_quoted = false;
                out.push(*byte);
            }
        }
    }
    Some(out)
}

/// Splits what follows a dollar into the variable's name and the rest.
fn name<'a>(request: &Request, text: &[u8], rest: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let inner = rest.strip_prefix(b"{");
    let from = inner.unwrap_or(rest);
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let len = from.iter().take_while(|byte| is_of_name(byte)).count();
    let (name, after) = from.split_at(len);
    let after = match inner {
        None => after,
        Some(_) => {
            let Some(after) = after.strip_prefix(b"}") else {
                let name = Shown(name);
                request.log(
                    Level::Error,
                    format_args!("the closing bracket in \"{name}\" variable is missing"),
                );
                return None;
            };
            after
        }
    };
    if name.is_empty() {
        let text = Shown(text);
        request.log(
            Level::Error,
            format_args!("invalid variable name in \"{text}\""),
        );
        return None;
    }
    Some((name, after))
}

/// What is asked for by an `include`: path and arguments; nothing where it leads out of the site, which
/// was logged.
///
/// Source: nginx's `ngx_http_parse_unsafe_uri`.
pub(crate) fn target(request: &Request, uri: Vec<u8>) -> Option<(Vec<u8>, Vec<u8>)> {
    let question = memchr::memchr(b'?', &uri);
    let (path, args) = match question {
        Some(at) => (&uri[..at], uri[at + 1..].to_vec()),
        None => (&uri[..], Vec::new()),
    };
    let is_unsafe = |path: &[u8]| {
        let leads_out = path.split(|byte| *byte == b'/').any(|part| part == b"..");
        path.is_empty() || leads_out || path.contains(&0)
    };
    let refuse = |shown: &[u8]| {
        let shown = Shown(shown);
        request.log(
            Level::Error,
            format_args!("unsafe URI \"{shown}\" was detected"),
        );
        None
    };
    if is_unsafe(path) {
        return refuse(&uri);
    }
    let path = unescape(path);
    if is_unsafe(&path) {
        return refuse(&path);
    }
    Some((path, args))
}

/// What is no escape stays as it is.
fn unescape(path: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    out
}
