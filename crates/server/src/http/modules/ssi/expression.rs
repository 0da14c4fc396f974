//! The expressions of `if` and `elif`.

use super::text::evaluate;
use super::{SHARED_BYTES_MAX, Shared};
use crate::config::regex::{Groups, Pattern};
use crate::http::request::Request;
use crate::log::{Level, Shown};

/// Whether an expression holds: a text that is not empty, or two that are the same (`=`), are not (`!=`),
/// or of which the first is like the second (`= /pattern/`). Nothing where it is not sound, which was
/// logged.
///
/// Source: nginx's `ngx_http_ssi_if`.
pub(super) fn holds(request: &Request, shared: &Shared, expression: &[u8]) -> Option<bool> {
    let is_of_left = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'{' | b'}' | b'_' | b'"' | b'\'')
    };
    let len = expression
        .iter()
        .take_while(|byte| is_of_left(byte))
        .count();
    let (left, rest) = expression.split_at(len);
    let left = evaluate(request, shared, &left.to_ascii_lowercase())?;
    let rest = after_spaces(rest);
    if rest.is_empty() {
        return Some(!left.is_empty());
    }
    let (is_negative, right) = match rest {
        [b'=', right @ ..] => (false, right),
        [b'!', b'=', right @ ..] => (true, right),
        _ => return invalid(request, expression),
    };
    let right = after_spaces(right);
    let is_same = match right {
        [b'/', pattern @ .., b'/'] => matches(request, shared, pattern, left)?,
        [b'/', _, ..] => return invalid(request, expression),
        [b'\\', text @ ..] if text.first() == Some(&b'/') => {
            left == evaluate(request, shared, text)?
        }
        text => left == evaluate(request, shared, text)?,
    };
    Some(is_same != is_negative)
}

fn after_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    &text[spaces..]
}

fn invalid(request: &Request, expression: &[u8]) -> Option<bool> {
    let shown = Shown(expression);
    request.log(
        Level::Error,
        format_args!("invalid expression in \"{shown}\""),
    );
    None
}

/// Whether a text matches a pattern. What that has captured are variables from then on.
fn matches(request: &Request, shared: &Shared, pattern: &[u8], subject: Vec<u8>) -> Option<bool> {
    let pattern = evaluate(request, shared, pattern)?;
    let source = String::from_utf8_lossy(&pattern);
    let compiled = match Pattern::new(&source, false) {
        Ok(compiled) => compiled,
        Err(error) => {
            request.log(
                Level::Error,
                format_args!("{error} in \"{}\"", Shown(&pattern)),
            );
            return None;
        }
    };
    let mut groups = Groups::new();
    let Ok(is_match) = compiled.captures(&subject, &mut groups) else {
        let (subject, pattern) = (Shown(&subject), Shown(&pattern));
        request.log(
            Level::Alert,
            format_args!("regular expression given up on \"{subject}\" using \"{pattern}\""),
        );
        return None;
    };
    if is_match {
        for (index, name) in compiled.names().iter().enumerate() {
            if let (Some(name), Some(Some((start, end)))) = (name, groups.get(index)) {
                let value = subject[*start as usize..*end as usize].to_vec();
                set(shared, name.as_bytes(), value);
            }
        }
        *shared.captures.borrow_mut() = (groups, subject);
    }
    Some(is_match)
}

/// Sets a variable of the page; false where there are too many.
pub(super) fn set(shared: &Shared, name: &[u8], value: Vec<u8>) -> bool {
    let name = name.to_ascii_lowercase();
    let mut variables = shared.variables.borrow_mut();
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes + name.len() + value.len() > SHARED_BYTES_MAX {
        return false;
    }
    match variables.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => variables.push((name, value)),
    }
    true
}
