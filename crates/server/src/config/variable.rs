//! Variables: names are resolved when the configuration is built, so that a request asks by
//! number.
//!
//! Source: nginx's variables of `ngx_http_variables.c` as documented under "Embedded Variables".

use std::collections::HashMap;

use revolve_conf::{Diagnostic, Diagnostics, Span, Word};
use revolve_http::h1::HeaderId;

use crate::config::known;
use crate::config::regex::Pattern;
use crate::http::modules;
use crate::http::request::Request;

/// Appends a variable's value; false where it has none ("not found").
pub type Getter = fn(&Request, &mut Vec<u8>) -> bool;

/// A variable that a module brings: its name without the dollar, and how to get it.
pub struct Builtin {
    /// The name, without `$`.
    pub name: &'static str,
    /// The getter.
    pub get: Getter,
}

/// A variable's number in [`Variables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VariableId(u32);

/// A place in a request for a value that the request itself sets (a pattern's named group).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotId(pub u32);

/// The named groups of a pattern by index, and where their values go.
pub type GroupSlots = Vec<(usize, SlotId)>;

/// What stands behind a number.
enum Definition {
    Builtin(Getter),
    /// `$http_name`: a request header; the name in lower case with dashes.
    RequestHeader(Vec<u8>),
    /// The same for one of which nginx, too, takes no spelling but with dashes.
    KnownHeader(HeaderId),
    /// `$sent_http_name`: a response header.
    ResponseHeader(Vec<u8>),
    /// `$cookie_name`.
    Cookie(Vec<u8>),
    /// `$arg_name`.
    Argument(Vec<u8>),
    Slot(SlotId),
}

/// Names met while the configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    ids: HashMap<String, VariableId>,
    first_use: Vec<(String, Option<Span>)>,
    slots: HashMap<String, SlotId>,
    /// Whether `$1` to `$9` stand anywhere.
    pub(crate) uses_numbers: bool,
}

impl Registry {
    /// The number of a variable, which may be defined later in the file.
    fn intern(&mut self, name: &str, span: Option<Span>) -> VariableId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = VariableId(self.first_use.len() as u32);
        self.ids.insert(name.to_owned(), id);
        self.first_use.push((name.to_owned(), span));
        id
    }

    /// Defines the variables of a pattern's named groups.
    pub(crate) fn define_groups(&mut self, pattern: &Pattern) -> GroupSlots {
        let mut slots = Vec::new();
        for (index, name) in pattern.names().iter().enumerate() {
            if let Some(name) = name {
                let next = SlotId(self.slots.len() as u32);
                slots.push((index, *self.slots.entry(name.clone()).or_insert(next)));
            }
        }
        slots
    }

    /// Gives each number its meaning; a name that nothing defines is an error where it was used.
    pub(crate) fn resolve(&self, diagnostics: &mut Diagnostics) -> Variables {
        let builtins: HashMap<&str, Getter> = modules::variables()
            .map(|builtin| (builtin.name, builtin.get))
            .collect();
        let mut definitions = Vec::with_capacity(self.first_use.len());
        for (name, span) in &self.first_use {
            let definition = match builtins.get(name.as_str()) {
                Some(get) => Definition::Builtin(*get),
                None => match self.slots.get(name) {
                    Some(slot) => Definition::Slot(*slot),
                    None => match by_prefix(name) {
                        Some(definition) => definition,
                        None => {
                            diagnostics.push(known::unknown_variable(name, *span));
                            continue;
                        }
                    },
                },
            };
            definitions.push(definition);
        }
        Variables {
            definitions,
            slots: self.slots.len(),
        }
    }
}

/// Headers that have a variable of their own in nginx, and are not looked for by the name of it.
const DASHED: [HeaderId; 6] = [
    HeaderId::Cookie,
    HeaderId::Host,
    HeaderId::Referer,
    HeaderId::UserAgent,
    HeaderId::Via,
    HeaderId::XForwardedFor,
];

fn by_prefix(name: &str) -> Option<Definition> {
    let header = |name: &str| name.to_ascii_lowercase().replace('_', "-").into_bytes();
    if let Some(rest) = name.strip_prefix("http_") {
        let name = header(rest);
        let id = HeaderId::of_name(&name);
        return Some(match DASHED.contains(&id) {
            true => Definition::KnownHeader(id),
            false => Definition::RequestHeader(name),
        });
    }
    if let Some(rest) = name.strip_prefix("sent_http_") {
        return Some(Definition::ResponseHeader(header(rest)));
    }
    if let Some(rest) = name.strip_prefix("cookie_") {
        return Some(Definition::Cookie(rest.as_bytes().to_vec()));
    }
    let rest = name.strip_prefix("arg_")?;
    Some(Definition::Argument(rest.as_bytes().to_vec()))
}

/// The variables of one configuration.
pub struct Variables {
    definitions: Vec<Definition>,
    /// How many slots a request of this configuration has.
    pub slots: usize,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Variables({} names, {} slots)",
            self.definitions.len(),
            self.slots
        )
    }
}

impl Variables {
    /// Appends the value of a variable for this request; false where it has none.
    pub fn get(&self, id: VariableId, request: &Request, out: &mut Vec<u8>) -> bool {
        match &self.definitions[id.0 as usize] {
            Definition::Builtin(get) => get(request, out),
            Definition::RequestHeader(name) => request.header_joined(name, out),
            Definition::KnownHeader(id) => request.known_joined(*id, out),
            Definition::ResponseHeader(name) => request.response.header_joined(name, out),
            Definition::Cookie(name) => request.cookie(name, out),
            Definition::Argument(name) => request.argument(name, out),
            Definition::Slot(slot) => match &request.slots[slot.0 as usize] {
                Some(value) => {
                    out.extend_from_slice(value);
                    true
                }
                None => false,
            },
        }
    }
}

/// Text of the configuration with variables in it, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(Vec<u8>),
    Variable(VariableId),
    /// `$1` to `$9`: a group of the pattern that matched last.
    Group(usize),
}

impl Value {
    /// A value without variables.
    pub fn literal(text: impl Into<Vec<u8>>) -> Self {
        Self {
            parts: vec![Part::Literal(text.into())],
        }
    }

    /// Compiles `text`; the word it stands in is what a diagnostic points at.
    pub(crate) fn compile(
        text: &str,
        word: &Word,
        registry: &mut Registry,
    ) -> Result<Self, Diagnostic> {
        Self::parse(text, Some(word.span), registry).ok_or_else(|| {
            Diagnostic::new(word.span, "invalid variable name")
                .label("expected a name, {name} or a digit after $")
        })
    }

    /// Compiles text of the program itself.
    pub(crate) fn builtin(text: &'static str, registry: &mut Registry) -> Self {
        Self::parse(text, None, registry).expect("the program's own text names its variables well")
    }

    fn parse(text: &str, span: Option<Span>, registry: &mut Registry) -> Option<Self> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            literal.extend_from_slice(&rest.as_bytes()[..at]);
            let (name, left) = variable_name(&rest[at + 1..])?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(match name.as_bytes() {
                [digit @ b'1'..=b'9'] => {
                    registry.uses_numbers = true;
                    Part::Group(usize::from(digit - b'0'))
                }
                _ => Part::Variable(registry.intern(name, span)),
            });
            rest = left;
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Some(Self { parts })
    }

    /// Compiles a whole word.
    pub(crate) fn of(word: &Word, registry: &mut Registry) -> Result<Self, Diagnostic> {
        Self::compile(&word.text, word, registry)
    }

    /// The text, where no variable is in it.
    pub fn as_literal(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(b""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Appends the value for a request; variables without a value add nothing.
    pub fn append(&self, request: &Request, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Variable(id) => {
                    request.variables().get(*id, request, out);
                }
                Part::Group(index) => {
                    out.extend_from_slice(request.group(*index));
                }
            }
        }
    }

    /// The value for a request in a buffer of its own.
    pub fn evaluate(&self, request: &Request) -> Vec<u8> {
        let mut out = Vec::new();
        self.append(request, &mut out);
        out
    }
}

/// Splits what follows a dollar into the variable's name and the rest.
fn variable_name(text: &str) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('{') {
        let end = inner.find('}')?;
        let name = &inner[..end];
        let valid = !name.is_empty() && name.bytes().all(is_name_byte);
        return valid.then(|| (name, &inner[end + 1..]));
    }
    if text.starts_with(|first| matches!(first, '1'..='9')) {
        return Some(text.split_at(1));
    }
    let end = text
        .bytes()
        .position(|byte| !is_name_byte(byte))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_nginx_ends_them() {
        assert_eq!(variable_name("uri/x"), Some(("uri", "/x")));
        assert_eq!(variable_name("{uri}x"), Some(("uri", "x")));
        assert_eq!(variable_name("12"), Some(("1", "2")));
        assert_eq!(variable_name("01"), Some(("01", "")));
        assert_eq!(variable_name(""), None);
        assert_eq!(variable_name("{uri"), None);
        assert_eq!(variable_name("-"), None);
    }
}
