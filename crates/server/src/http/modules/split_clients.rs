//! Variables that have one value for so many of a hundred clients, and another for the others.
//!
//! ```nginx
//! split_clients "$remote_addr$http_user_agent" $variant {
//!     0.5%  one;
//!     20%   two;
//!     *     "";
//! }
//! ```

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::scope::HTTP;
use crate::config::variable::Value;
use crate::http::modules::Module;
use crate::http::modules::map::no_block;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::http::variables::{Definitions, Evaluate};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_split_clients_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "split_clients",
    contexts: HTTP,
    args: Args::TWO.with_block(),
    set: split_clients,
}];

/// The whole, in hundredths of a percent.
const WHOLE: u32 = 10_000;

/// A `split_clients`.
#[derive(Debug)]
struct Split {
    subject: Value,
    parts: Vec<Part>,
}

/// A value, and which hashes lead to it: all that are below the end, and lead to no part before.
#[derive(Debug)]
struct Part {
    /// `None` for `*`: all that are left.
    end: Option<u32>,
    value: Box<[u8]>,
}

fn split_clients(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let subject = Value::of(&directive.args[0], &mut scope.shared.registry)?;
    let name = Definitions::name(&directive.args[1])?;
    let mut parts = Vec::new();
    let (mut share, mut end) = (0, 0_u64);
    for row in directive.block.as_deref().unwrap_or_default() {
        no_block(row, "split_clients")?;
        let [value] = row.args.as_slice() else {
            let message = "invalid number of the split_clients parameters";
            return Err(
                Diagnostic::new(row.span, message).label("expected a percentage and its value")
            );
        };
        let part = parse_percent(&row.name)?;
        share = match part {
            Some(part) => share + part,
            None => WHOLE,
        };
        if share > WHOLE {
            let message = "percent total is greater than 100%";
            return Err(Diagnostic::new(row.span, message)
                .label("with this part it is, and nothing may follow *"));
        }
        let part = part.map(|part| {
            end += u64::from(part) * u64::from(u32::MAX) / u64::from(WHOLE);
            end as u32
        });
        parts.push(Part {
            end: part,
            value: value.text.as_bytes().into(),
        });
    }
    let split = Split { subject, parts };
    let registry = &mut scope.shared.registry;
    scope.definitions.insert(name, split, true, registry);
    Ok(())
}

/// Hundredths of a percent; `None` for `*`.
fn parse_percent(word: &Word) -> Result<Option<u32>, Diagnostic> {
    if word.text == "*" {
        return Ok(None);
    }
    let number = word.text.strip_suffix('%').and_then(hundredths);
    number.filter(|it| *it > 0).map(Some).ok_or_else(|| {
        let message = format!("invalid percent value \"{}\"", word.text);
        Diagnostic::new(word.span, message)
            .label("expected a percentage like 20% or 0.5%, or * for the rest")
    })
}

/// A number with two decimals at most, times a hundred.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || !are_digits(whole) || !are_digits(decimals) || decimals.len() > 2 {
        return None;
    }
    // What is too large for a number is too large for a percentage.
    format!("{whole}{decimals:0<2}").parse().ok()
}

impl Evaluate for Split {
    fn evaluate(&self, request: &Request, out: &mut Vec<u8>) -> bool {
        let state = &request.state.core_variables;
        let mut subject = state.take_spare();
        self.subject.append(request, &mut subject);
        let hash = murmur_hash_2(&subject);
        state.give_spare(subject);
        let mut parts = self.parts.iter();
        if let Some(part) = parts.find(|part| part.end.is_none_or(|end| hash < end)) {
            out.extend_from_slice(&part.value);
        }
        true
    }
}

/// MurmurHash2, so that a client gets what nginx would give it. Source: Austin Appleby's, with the seed 0.
fn murmur_hash_2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut padded = [0; 4];
        padded[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(padded)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_murmur_hash_2() {
        assert_eq!(murmur_hash_2(b""), 0);
        assert_eq!(murmur_hash_2(b"a"), 0x9268_5f5e);
        assert_eq!(murmur_hash_2(b"test"), 403_862_830);
    }

    #[test]
    fn percentages_have_two_decimals() {
        for (text, expected) in [
            ("1", Some(100)),
            ("0.5", Some(50)),
            ("0.05", Some(5)),
            ("12.34", Some(1234)),
            ("1.", Some(100)),
            (".5", Some(50)),
            ("1.234", None),
            ("-1", None),
            ("", None),
            ("1x", None),
            ("99999999999", None),
        ] {
            assert_eq!(hundredths(text), expected, "{text}");
        }
    }
}
