//! Variables whose values depend on others.
//!
//! ```nginx
//! map $host $site {
//!     hostnames;
//!     default           other;
//!     example.org       main;
//!     *.example.org     sub;
//!     ~^(?<who>.+)\.net $who-net;
//! }
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::regex::Pattern;
use crate::config::scope::{HTTP, accept_number};
use crate::config::variable::{GroupSlots, Value};
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::http::variables::{Definitions, Evaluate};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_map_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "map",
        contexts: HTTP,
        args: Args::TWO.with_block(),
        set: map,
    },
    DirectiveRow {
        name: "map_hash_max_size",
        contexts: HTTP,
        args: Args::ONE,
        set: accept_number,
    },
    DirectiveRow {
        name: "map_hash_bucket_size",
        contexts: HTTP,
        args: Args::ONE,
        set: accept_number,
    },
];

/// A value's place in [`Map::values`].
type ValueId = u32;

type Keys = HashMap<Box<[u8]>, ValueId, foldhash::fast::RandomState>;

/// A `map`.
#[derive(Debug)]
struct Map {
    subject: Value,
    keys: KeySet,
    /// Those are asked when no key is met, in the order of the file.
    patterns: Vec<MappedPattern>,
    default: Option<ValueId>,
    /// Whether subjects are host names, whose final dot does not count.
    are_hosts: bool,
    /// Each once, however many keys lead to it.
    values: Vec<Value>,
}

/// A pattern, the variables that its groups set, and the value.
#[derive(Debug)]
struct MappedPattern {
    pattern: Pattern,
    slots: GroupSlots,
    value: ValueId,
}

/// Keys in lower case. A key of `hostnames` may stand for many.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    exact: Keys,
    /// `*.x` and `.x`, as `.x`.
    leading: Keys,
    /// `x.*`, as `x.`.
    trailing: Keys,
    /// The length of the longest of `leading` and `trailing`: what is longer need not be looked up.
    wildcard_bytes_max: usize,
}

/// Why a key is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// It is no host name, nor a wildcard.
    Invalid,
    /// The same key, or one that means the same, stands above.
    Conflicting,
}

impl KeySet {
    /// Adds a key; one of a host name may be `*.x`, `.x` or `x.*`.
    ///
    /// Source: nginx's `ngx_hash_add_key`.
    pub(crate) fn add(&mut self, key: &str, is_host: bool, value: ValueId) -> Result<(), KeyError> {
        let key = key.to_ascii_lowercase();
        if !is_host {
            return insert(&mut self.exact, key.as_bytes(), value);
        }
        let stars = key.bytes().filter(|byte| *byte == b'*').count();
        if stars > 1 || key.contains("..") || key.contains('\0') {
            return Err(KeyError::Invalid);
        }
        if key.len() > 1 && key.starts_with('.') {
            if self.exact.contains_key(&key.as_bytes()[1..]) {
                return Err(KeyError::Conflicting);
            }
            self.add_wildcard(true, key.as_bytes(), value)?;
            return insert(&mut self.exact, &key.as_bytes()[1..], value);
        }
        if key.len() > 2 && key.starts_with("*.") {
            return self.add_wildcard(true, &key.as_bytes()[1..], value);
        }
        if key.len() > 2 && key.ends_with(".*") {
            return self.add_wildcard(false, &key.as_bytes()[..key.len() - 1], value);
        }
        if stars > 0 {
            return Err(KeyError::Invalid);
        }
        insert(&mut self.exact, key.as_bytes(), value)
    }

    fn add_wildcard(&mut self, leads: bool, key: &[u8], value: ValueId) -> Result<(), KeyError> {
        self.wildcard_bytes_max = self.wildcard_bytes_max.max(key.len());
        let keys = match leads {
            true => &mut self.leading,
            false => &mut self.trailing,
        };
        insert(keys, key, value)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.leading.is_empty() && self.trailing.is_empty()
    }

    /// The value of the key that is met: the exact one, the longest `*.x`, the longest `x.*`.
    ///
    /// `subject` is in lower case.
    pub(crate) fn find(&self, subject: &[u8]) -> Option<ValueId> {
        if let Some(value) = self.exact.get(subject) {
            return Some(*value);
        }
        if self.wildcard_bytes_max == 0 {
            return None;
        }
        let from = subject.len().saturating_sub(self.wildcard_bytes_max);
        let mut suffixes = memchr::memchr_iter(b'.', &subject[from..]);
        if let Some(value) = suffixes.find_map(|at| self.leading.get(&subject[from + at..])) {
            return Some(*value);
        }
        let to = subject.len().min(self.wildcard_bytes_max);
        let prefixes = memchr::memchr_iter(b'.', &subject[..to]).rev();
        prefixes
            .filter_map(|at| self.trailing.get(&subject[..=at]))
            .copied()
            .next()
    }
}

fn insert(keys: &mut Keys, key: &[u8], value: ValueId) -> Result<(), KeyError> {
    match keys.entry(key.into()) {
        Entry::Occupied(_) => Err(KeyError::Conflicting),
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
    }
}

/// What is known while a `map` is read.
struct Reading<'a> {
    scope: &'a mut Scope,
    map: Map,
    /// The values by how they were written.
    known: HashMap<&'a str, ValueId>,
    is_volatile: bool,
}

fn map(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let subject = Value::of(&directive.args[0], &mut scope.shared.registry)?;
    let name = Definitions::name(&directive.args[1])?;
    let mut reading = Reading {
        scope,
        map: Map {
            subject,
            keys: KeySet::default(),
            patterns: Vec::new(),
            default: None,
            are_hosts: false,
            values: Vec::new(),
        },
        known: HashMap::new(),
        is_volatile: false,
    };
    for row in directive.block.as_deref().unwrap_or_default() {
        if let Err(diagnostic) = reading.add(row) {
            reading.scope.shared.diagnostics.push(diagnostic);
        }
    }
    let Reading {
        scope,
        map,
        is_volatile,
        ..
    } = reading;
    let registry = &mut scope.shared.registry;
    scope.definitions.insert(name, map, !is_volatile, registry);
    Ok(())
}

impl<'a> Reading<'a> {
    fn add(&mut self, row: &'a Directive) -> Result<(), Diagnostic> {
        let key = &row.name;
        no_block(row, "map")?;
        let value = match row.args.as_slice() {
            [] if key.text == "hostnames" => {
                self.map.are_hosts = true;
                return Ok(());
            }
            [] if key.text == "volatile" => {
                self.is_volatile = true;
                return Ok(());
            }
            [value] => self.value(value)?,
            _ => {
                let message = "invalid number of the map parameters";
                return Err(Diagnostic::new(row.span, message)
                    .label("expected a key and its value, hostnames or volatile"));
            }
        };
        if key.text == "default" {
            if self.map.default.replace(value).is_some() {
                let message = "duplicate default map parameter";
                return Err(
                    Diagnostic::new(key.span, message).label("a map has one value for the rest")
                );
            }
            return Ok(());
        }
        if let Some(source) = key.text.strip_prefix('~') {
            return self.add_pattern(key, source, value);
        }
        let text = key.text.strip_prefix('\\').unwrap_or(&key.text);
        let are_hosts = self.map.are_hosts;
        let added = self.map.keys.add(text, are_hosts, value);
        added.map_err(|error| match error {
            KeyError::Invalid => {
                let message = format!("invalid hostname or wildcard \"{text}\"");
                Diagnostic::new(key.span, message)
                    .label("expected a host name, *.name, .name or name.*")
            }
            KeyError::Conflicting => {
                let text = text.to_ascii_lowercase();
                let message = format!("conflicting parameter \"{text}\"");
                Diagnostic::new(key.span, message).label("a key that means the same stands above")
            }
        })
    }

    fn add_pattern(&mut self, key: &Word, source: &str, value: ValueId) -> Result<(), Diagnostic> {
        let (source, ignore_case) = match source.strip_prefix('*') {
            Some(source) => (source, true),
            None => (source, false),
        };
        let shared = &mut self.scope.shared;
        let pattern = shared.patterns.compile(key, source, ignore_case)?;
        let slots = shared.registry.define_groups(&pattern);
        self.map.patterns.push(MappedPattern {
            pattern,
            slots,
            value,
        });
        Ok(())
    }

    fn value(&mut self, word: &'a Word) -> Result<ValueId, Diagnostic> {
        if let Some(known) = self.known.get(word.text.as_str()) {
            return Ok(*known);
        }
        let id = self.map.values.len() as ValueId;
        let value = Value::of(word, &mut self.scope.shared.registry)?;
        self.map.values.push(value);
        self.known.insert(&word.text, id);
        Ok(id)
    }
}

/// Refuses a block where rows of a table are expected.
pub(super) fn no_block(row: &Directive, table: &str) -> Result<(), Diagnostic> {
    if row.block.is_none() {
        return Ok(());
    }
    let message = "unexpected \"{\"";
    let label = format!("expected a row of \"{table}\", which ends with ;");
    Err(Diagnostic::new(row.span, message).label(label))
}

impl Map {
    fn find(&self, request: &Request, subject: &[u8]) -> Option<ValueId> {
        let found = if subject.iter().any(u8::is_ascii_uppercase) {
            let state = &request.state.core_variables;
            let mut lower = state.take_spare();
            lower.extend_from_slice(subject);
            lower.make_ascii_lowercase();
            let found = self.keys.find(&lower);
            state.give_spare(lower);
            found
        } else {
            self.keys.find(subject)
        };
        if found.is_some() || subject.is_empty() {
            return found;
        }
        for mapped in &self.patterns {
            match request.matches(&mapped.pattern, &mapped.slots, subject) {
                Ok(true) => return Some(mapped.value),
                Ok(false) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

impl Evaluate for Map {
    fn evaluate(&self, request: &Request, out: &mut Vec<u8>) -> bool {
        let mut subject = request.state.core_variables.take_spare();
        self.subject.append(request, &mut subject);
        let asked = match subject.strip_suffix(b".") {
            Some(rest) if self.are_hosts => rest,
            _ => &subject,
        };
        let found = self.find(request, asked).or(self.default);
        request.state.core_variables.give_spare(subject);
        if let Some(id) = found {
            self.values[id as usize].append(request, out);
        }
        // Without a default it is empty, and there all the same.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_key_then_the_longest_wildcard() {
        let mut keys = KeySet::default();
        for (value, key) in [
            "a.Example.org",
            "*.example.org",
            ".b.example.org",
            "www.*",
            "www.example.*",
            "",
            ".",
        ]
        .iter()
        .enumerate()
        {
            assert_eq!(keys.add(key, true, value as ValueId), Ok(()), "{key}");
        }
        for (subject, found) in [
            ("a.example.org", Some(0)),
            ("x.example.org", Some(1)),
            ("x.y.example.org", Some(1)),
            (".example.org", Some(1)),
            ("example.org", None),
            ("b.example.org", Some(2)),
            ("c.b.example.org", Some(2)),
            ("www.other", Some(3)),
            ("www.", Some(3)),
            ("www..x", Some(3)),
            ("www", None),
            ("www.example.net", Some(4)),
            ("www.example.org", Some(1)),
            ("", Some(5)),
            (".", Some(6)),
            ("x", None),
        ] {
            assert_eq!(keys.find(subject.as_bytes()), found, "{subject}");
        }
        for (key, error) in [
            ("A.example.org", KeyError::Conflicting),
            (".a.example.org", KeyError::Conflicting),
            ("*.b.example.org", KeyError::Conflicting),
            ("b.example.org", KeyError::Conflicting),
            ("www.*", KeyError::Conflicting),
            ("*", KeyError::Invalid),
            ("*a.org", KeyError::Invalid),
            ("*.a.*", KeyError::Invalid),
            ("a..b", KeyError::Invalid),
        ] {
            assert_eq!(keys.add(key, true, 9), Err(error), "{key}");
        }
        assert_eq!(keys.add("*.a..*", false, 7), Ok(()));
        assert_eq!(keys.find(b"*.a..*"), Some(7));
    }
}
