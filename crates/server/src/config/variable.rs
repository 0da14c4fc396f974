//! Variables: names are resolved when the configuration is built, so that a request asks by
//! number.
//!
//! Source: nginx's variables of `ngx_http_variables.c` as documented under "Embedded Variables".

use std::collections::HashMap;

use revolve_conf::{Diagnostic, Span, Word};

use crate::config::regex::Pattern;

/// A variable's number in [`Variables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VariableId(pub(crate) u32);

/// A place in a request for a value that the request itself sets (a pattern's named group).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotId(pub u32);

/// The named groups of a pattern by index, and where their values go.
pub(crate) type GroupSlots = Vec<(usize, SlotId)>;

/// The place of a variable's value.
#[derive(Debug)]
struct Slot {
    id: SlotId,
    is_made: bool,
}

/// Names met while the configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    ids: HashMap<String, VariableId>,
    first_use: Vec<(String, Option<Span>)>,
    slots: HashMap<String, Slot>,
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

    /// The number of a variable by its name, without the dollar.
    pub(crate) fn variable(&mut self, name: &str, span: Span) -> VariableId {
        self.intern(name, Some(span))
    }

    /// Defines a variable whose values are made when they are asked for. Of several definitions of a name
    /// the last one holds.
    pub(crate) fn define_made(&mut self, name: &str) -> SlotId {
        self.define(name, true)
    }

    /// Defines the variables of a pattern's named groups.
    pub(crate) fn define_groups(&mut self, pattern: &Pattern) -> GroupSlots {
        let names = pattern.names().iter().enumerate();
        names
            .filter_map(|(index, name)| Some((index, self.define(name.as_deref()?, false))))
            .collect()
    }

    /// The variables of a pattern's named groups, which are defined.
    pub(crate) fn groups(&self, pattern: &Pattern) -> GroupSlots {
        let names = pattern.names().iter().enumerate();
        names
            .filter_map(|(index, name)| Some((index, self.slot(name.as_deref()?)?)))
            .collect()
    }

    fn define(&mut self, name: &str, is_made: bool) -> SlotId {
        let id = SlotId(self.slots.len() as u32);
        let slot = self.slots.entry(name.to_owned());
        let slot = slot.or_insert(Slot { id, is_made });
        slot.is_made = is_made;
        slot.id
    }

    /// The names met, each with the place where it stood first, in the order of their numbers.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, Option<Span>)> {
        self.first_use
            .iter()
            .map(|(name, span)| (name.as_str(), *span))
    }

    /// Where the value of a variable lies that a request sets itself.
    pub(crate) fn slot(&self, name: &str) -> Option<SlotId> {
        self.slots.get(name).map(|slot| slot.id)
    }

    /// Whether the values of a variable are made when they are asked for.
    pub(crate) fn is_made(&self, name: &str) -> bool {
        self.slots.get(name).is_some_and(|slot| slot.is_made)
    }
}

/// What has variables: a request.
pub(crate) trait Subject {
    /// Appends the value of a variable; false where it has none.
    fn append_variable(&self, id: VariableId, out: &mut Vec<u8>) -> bool;

    /// Appends a group of the pattern that matched last; nothing where there is none.
    fn append_group(&self, index: usize, out: &mut Vec<u8>);
}

/// Text of the configuration with variables in it, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
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
    pub(crate) fn literal(text: impl Into<Vec<u8>>) -> Self {
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
    pub(crate) fn as_literal(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(b""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it is one variable, and nothing beside it.
    pub(crate) fn is_variable(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Variable(_)])
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Appends the value for a request; variables without a value add nothing.
    pub(crate) fn append(&self, subject: &impl Subject, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Variable(id) => {
                    subject.append_variable(*id, out);
                }
                Part::Group(index) => {
                    subject.append_group(*index, out);
                }
            }
        }
    }

    /// The value for a request in a buffer of its own.
    pub(crate) fn evaluate(&self, subject: &impl Subject) -> Vec<u8> {
        let mut out = Vec::new();
        self.append(subject, &mut out);
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
