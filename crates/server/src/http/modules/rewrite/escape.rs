//! How nginx escapes what scripts make.

use crate::config::variable::{Part, Subject as _, Value};
use crate::http::modules::rewrite::script::Failed;
use crate::http::request::Request;
use crate::log::Level;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Whether the path that the client sent has an escape or a plus in it.
///
/// Source: nginx's `quoted_uri` and `plus_in_uri`.
fn is_path_quoted(request: &Request) -> bool {
    let path = request.bytes(request.head().target.path);
    memchr::memchr2(b'%', b'+', path).is_some()
}

/// The longest text that a script makes of variables. Of what doubles itself (`set $a $a$a`) nobody has
/// as much memory as it asks for.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Appends a value; `quotes` says whether groups in it are escaped as arguments, which they are where
/// [the path that the client sent](is_path_quoted) was.
///
/// Errors: it is longer than a megabyte, which the error log tells.
pub(super) fn append(
    value: &Value,
    quotes: bool,
    request: &Request,
    out: &mut Vec<u8>,
) -> Result<(), Failed> {
    for part in value.parts() {
        match part {
            Part::Literal(text) => out.extend_from_slice(text),
            Part::Variable(id) => {
                request.append_variable(*id, out);
            }
            Part::Group(index) => {
                let start = out.len();
                request.append_group(*index, out);
                if quotes && is_path_quoted(request) {
                    escape_tail(out, start);
                }
            }
        }
        if out.len() > TEXT_BYTES_MAX {
            let message = format_args!("a script makes more than {TEXT_BYTES_MAX} bytes of text");
            request.log(Level::Error, message);
            return Err(Failed);
        }
    }
    Ok(())
}

/// Escapes what follows `start` as a part of arguments.
///
/// Source: nginx's `NGX_ESCAPE_ARGS`.
fn escape_tail(out: &mut Vec<u8>, start: usize) {
    let count = out[start..]
        .iter()
        .filter(|byte| is_escaped(**byte))
        .count();
    if count == 0 {
        return;
    }
    let raw = out.split_off(start);
    out.reserve(raw.len() + 2 * count);
    for byte in raw {
        match is_escaped(byte) {
            true => out.extend_from_slice(&[
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
            false => out.push(byte),
        }
    }
}

fn is_escaped(byte: u8) -> bool {
    matches!(
        byte,
        0..=b' '
            | b'"'
            | b'#'
            | b'%'
            | b'&'
            | b'+'
            | b';'
            | b'<'
            | b'>'
            | b'?'
            | b'\\'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | 0x7f..
    )
}

/// Takes back the escapes of a redirect that need not be, up to a `?`. What would end a line stays
/// escaped; an escape that is none loses its `%`.
///
/// Source: nginx's `ngx_unescape_uri` with `NGX_UNESCAPE_REDIRECT`.
pub(super) fn unescape_redirect(url: &mut Vec<u8>) {
    let Some(first) = memchr::memchr(b'%', url) else {
        return;
    };
    if memchr::memchr(b'?', &url[..first]).is_some() {
        return;
    }
    let rest = url.split_off(first);
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        at += 1;
        if *byte != b'%' {
            url.push(*byte);
            if *byte == b'?' {
                break;
            }
            continue;
        }
        let Some(high) = rest.get(at) else { break };
        at += 1;
        let Some(high_digit) = digit(*high) else {
            url.push(*high);
            continue;
        };
        let Some(low) = rest.get(at) else { break };
        at += 1;
        let Some(low_digit) = digit(*low) else {
            continue;
        };
        match high_digit << 4 | low_digit {
            b'?' => {
                url.push(b'?');
                break;
            }
            decoded @ b'&'..0x7f => url.push(decoded),
            _ => url.extend_from_slice(&[b'%', *high, *low]),
        }
    }
    url.extend_from_slice(&rest[at..]);
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_unescaped_as_in_nginx() {
        for (url, expected) in [
            ("/a", "/a"),
            ("/a%20b%3Fq?%41", "/a%20b?q?%41"),
            ("/?%41%3f", "/?%41%3f"),
            ("/%41%2B%7e%7F%25%0d%0A", "/A+~%7F%25%0d%0A"),
            ("/z%zz%4", "/zzz"),
            ("/%4", "/"),
            ("/%", "/"),
            ("/%4z!", "/!"),
            ("/%%41", "/%41"),
        ] {
            let mut bytes = url.as_bytes().to_vec();
            unescape_redirect(&mut bytes);
            assert_eq!(String::from_utf8_lossy(&bytes), expected, "{url}");
        }
    }

    #[test]
    fn groups_are_escaped_as_arguments() {
        let mut out = b"?".to_vec();
        out.extend_from_slice("a b\"#%&+;<>?\\^`{|}~!$'()*,-./:=@[]_\u{e4}\r".as_bytes());
        escape_tail(&mut out, 1);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "?a%20b%22%23%25%26%2B%3B%3C%3E%3F%5C%5E%60%7B%7C%7D~!$'()*,-./:=@[]_%C3%A4%0D"
        );
    }
}
