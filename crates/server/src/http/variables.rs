//! The variables of http: what stands behind each name.
//!
//! Source: nginx's variables of `ngx_http_variables.c` as documented under "Embedded Variables".

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use revolve_conf::{Diagnostic, Diagnostics, Word};

use crate::config::known;
use crate::config::regex::{GivenUp, Groups, Pattern};
use crate::config::variable::{Registry, SlotId, Subject, VariableId};
use crate::http::modules::proxy_protocol::Tlv;
use crate::http::modules::{self, RequestState};
use crate::http::proxy::variables::{append_cookie, append_header};
use crate::http::request::Request;
use crate::log::{Level, Shown};

/// Appends a variable's value; false where it has none ("not found").
pub(crate) type Getter = fn(&Request, &mut Vec<u8>) -> bool;

/// A variable that a module brings: its name without the dollar, and how to get it.
pub(crate) struct Builtin {
    /// The name, without `$`.
    pub name: &'static str,
    /// The getter.
    pub get: Getter,
}

/// Appends a value as it is. What these return says that there is one, as a [`Getter`] does.
pub(crate) fn some(value: &[u8], out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(value);
    true
}

pub(crate) fn text(value: &str, out: &mut Vec<u8>) -> bool {
    some(value.as_bytes(), out)
}

pub(crate) fn number(value: u64, out: &mut Vec<u8>) -> bool {
    text(itoa::Buffer::new().format(value), out)
}

/// Milliseconds as seconds with three decimals.
pub(crate) fn seconds(ms: u64, out: &mut Vec<u8>) -> bool {
    number(ms / 1000, out);
    out.push(b'.');
    three_digits((ms % 1000) as u16, out)
}

/// A number below a thousand with all its digits.
pub(crate) fn three_digits(value: u16, out: &mut Vec<u8>) -> bool {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    some(&[digit(value / 100), digit(value / 10), digit(value)], out)
}

/// A variable that a directive of the configuration defines.
pub(crate) trait Evaluate: std::fmt::Debug + Send + Sync {
    /// Appends the value for a request; false where it has none.
    fn evaluate(&self, request: &Request, out: &mut Vec<u8>) -> bool;
}

/// What a directive says of the variable that it defines.
#[derive(Debug)]
pub(crate) struct Defined {
    evaluate: Box<dyn Evaluate>,
    /// Where its value lies once it is known.
    slot: SlotId,
    /// Whether a request that knows its value keeps it (no `volatile`).
    is_kept: bool,
    /// Whether a variable of this name that is made of the name of something else (`$http_name`) is not
    /// replaced, but only set.
    is_weak: bool,
}

/// The variables that directives define, by their names without the dollar.
#[derive(Debug, Default)]
pub(crate) struct Definitions(HashMap<String, Defined>);

/// The variables of ours that may be set or defined anew, as in nginx.
const CHANGEABLE: [&str; 4] = ["args", "invalid_referer", "limit_rate", "uid_reset"];

impl Definitions {
    /// The name that a directive defines, without its dollar.
    ///
    /// Errors: a word that is no variable, or one whose value is ours.
    pub(crate) fn name(word: &Word) -> Result<&str, Diagnostic> {
        let name = word.text.strip_prefix('$').filter(|name| !name.is_empty());
        let Some(name) = name else {
            let message = format!("invalid variable name \"{}\"", word.text);
            return Err(Diagnostic::new(word.span, message).label("expected $ and a name"));
        };
        let is_ours = modules::variable_names().any(|ours| ours == name);
        if is_ours && !CHANGEABLE.contains(&name) {
            let message = format!("the duplicate \"{name}\" variable");
            let label = "this variable has its value already, and cannot be defined";
            return Err(Diagnostic::new(word.span, message).label(label));
        }
        Ok(name)
    }

    /// Defines a variable. As in nginx the last definition of a name holds.
    pub(crate) fn insert(
        &mut self,
        name: &str,
        evaluate: impl Evaluate + 'static,
        is_kept: bool,
        registry: &mut Registry,
    ) {
        let defined = Defined {
            evaluate: Box::new(evaluate),
            slot: registry.define_made(name),
            is_kept,
            is_weak: false,
        };
        self.0.insert(name.to_owned(), defined);
    }

    /// Defines a variable that a request sets, and what it is until then. Any other definition of its name
    /// holds instead. The answer is where its value lies.
    pub(crate) fn insert_weak(
        &mut self,
        name: &str,
        unset: impl Evaluate + 'static,
        registry: &mut Registry,
    ) -> SlotId {
        if let Some(slot) = registry.slot(name) {
            return slot;
        }
        let slot = registry.define_made(name);
        let defined = Defined {
            evaluate: Box::new(unset),
            slot,
            is_kept: true,
            is_weak: true,
        };
        self.0.insert(name.to_owned(), defined);
        slot
    }
}

/// What stands behind a number.
enum Definition {
    Builtin(Getter),
    /// By its name.
    Defined(String, Defined),
    /// `$http_name`: a request header; the name in lower case with dashes.
    RequestHeader(Vec<u8>),
    /// `$sent_http_name`: a response header.
    ResponseHeader(Vec<u8>),
    /// `$sent_trailer_name`: a line behind the body.
    Trailer(Vec<u8>),
    /// `$upstream_http_name`: a header of the upstream's answer.
    UpstreamHeader(Vec<u8>),
    /// `$upstream_cookie_name`.
    UpstreamCookie(Vec<u8>),
    /// `$proxy_protocol_tlv_name`.
    Tlv(Tlv),
    /// `$cookie_name`.
    Cookie(Vec<u8>),
    /// `$arg_name`.
    Argument(Vec<u8>),
    Slot(SlotId),
    /// What was set, and otherwise the other.
    Set(SlotId, Box<Definition>),
}

/// Gives each number its meaning; a name that nothing defines is an error where it was used.
pub(crate) fn resolve(
    registry: &Registry,
    mut defined: Definitions,
    diagnostics: &mut Diagnostics,
) -> Variables {
    let builtins: HashMap<&str, Getter> = modules::variables()
        .map(|builtin| (builtin.name, builtin.get))
        .collect();
    let mut definitions = Vec::new();
    let mut names = HashMap::new();
    for (name, span) in registry.names() {
        names.insert(name.to_owned(), definitions.len());
        let defined = defined.0.remove(name).filter(|_| registry.is_made(name));
        let definition = defined
            .map(|defined| defined.of(name))
            .or_else(|| builtins.get(name).map(|get| Definition::Builtin(*get)))
            .or_else(|| registry.slot(name).map(Definition::Slot))
            .or_else(|| by_prefix(name));
        match definition {
            Some(definition) => definitions.push(definition),
            None => {
                let ours = modules::variable_names();
                diagnostics.push(known::unknown_variable(name, span, ours));
            }
        }
    }
    // Nothing of the configuration asks for these; what it serves may, by their names.
    for (name, defined) in defined.0 {
        if registry.is_made(&name) {
            names.insert(name.clone(), definitions.len());
            definitions.push(Definition::Defined(name, defined));
        }
    }
    Variables { definitions, names }
}

impl Defined {
    fn of(self, name: &str) -> Definition {
        match by_prefix(name).filter(|_| self.is_weak) {
            Some(definition) => Definition::Set(self.slot, Box::new(definition)),
            None => Definition::Defined(name.to_owned(), self),
        }
    }
}

fn by_prefix(name: &str) -> Option<Definition> {
    let header = |name: &str| name.to_ascii_lowercase().replace('_', "-").into_bytes();
    if let Some(rest) = name.strip_prefix("http_") {
        return Some(Definition::RequestHeader(header(rest)));
    }
    if let Some(rest) = name.strip_prefix("sent_http_") {
        return Some(Definition::ResponseHeader(header(rest)));
    }
    if let Some(rest) = name.strip_prefix("sent_trailer_") {
        return Some(Definition::Trailer(header(rest)));
    }
    if let Some(rest) = name.strip_prefix("upstream_http_") {
        return Some(Definition::UpstreamHeader(header(rest)));
    }
    if let Some(rest) = name.strip_prefix("upstream_cookie_") {
        return Some(Definition::UpstreamCookie(rest.as_bytes().to_vec()));
    }
    if let Some(rest) = name.strip_prefix("proxy_protocol_tlv_") {
        return Tlv::named(rest).map(Definition::Tlv);
    }
    if let Some(rest) = name.strip_prefix("cookie_") {
        return Some(Definition::Cookie(rest.as_bytes().to_vec()));
    }
    let rest = name.strip_prefix("arg_")?;
    Some(Definition::Argument(rest.as_bytes().to_vec()))
}

/// The variables of one configuration.
pub(crate) struct Variables {
    definitions: Vec<Definition>,
    /// Their places by their names.
    names: HashMap<String, usize>,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Variables({} names)", self.definitions.len())
    }
}

impl Variables {
    /// Appends the value of a variable for this request; false where it has none.
    pub(crate) fn get(&self, id: VariableId, request: &Request, out: &mut Vec<u8>) -> bool {
        self.definitions[id.0 as usize].get(request, out)
    }

    /// The same of a variable that is known by its name alone, without the dollar.
    pub(crate) fn get_by_name(&self, name: &str, request: &Request, out: &mut Vec<u8>) -> bool {
        if let Some(place) = self.names.get(name) {
            return self.definitions[*place].get(request, out);
        }
        if let Some(builtin) = modules::variables().find(|builtin| builtin.name == name) {
            return (builtin.get)(request, out);
        }
        by_prefix(name).is_some_and(|definition| definition.get(request, out))
    }
}

impl Definition {
    fn get(&self, request: &Request, out: &mut Vec<u8>) -> bool {
        match self {
            Definition::Builtin(get) => get(request, out),
            Definition::RequestHeader(name) => request.header_joined(name, out),
            Definition::ResponseHeader(name) => request.response.header_joined(name, out),
            Definition::Trailer(name) => {
                let trailers = &request.response.trailers;
                let value = trailers.get(name);
                value.is_some_and(|value| {
                    out.extend_from_slice(value);
                    true
                })
            }
            Definition::UpstreamHeader(name) => append_header(request, name, out),
            Definition::UpstreamCookie(name) => append_cookie(request, name, out),
            Definition::Tlv(tlv) => tlv.append(request, out),
            Definition::Cookie(name) => request.cookie(name, out),
            Definition::Argument(name) => request.argument(name, out),
            Definition::Defined(name, defined) => get_defined(name, defined, request, out),
            Definition::Slot(slot) => {
                let kept = request.state.core_variables.append_kept(*slot, out);
                kept.unwrap_or(false)
            }
            Definition::Set(slot, otherwise) => {
                let kept = request.state.core_variables.append_kept(*slot, out);
                kept.unwrap_or_else(|| otherwise.get(request, out))
            }
        }
    }
}

/// How deep variables may be made of others, as in nginx.
const DEPTH_MAX: u8 = 100;

fn get_defined(name: &str, defined: &Defined, request: &Request, out: &mut Vec<u8>) -> bool {
    let state = &request.state.core_variables;
    if let Some(is_found) = state.append_kept(defined.slot, out) {
        return is_found;
    }
    let depth = state.depth.get();
    if depth == DEPTH_MAX {
        let message = format_args!("cycle while evaluating variable \"{name}\"");
        request.log(Level::Error, message);
        return false;
    }
    state.depth.set(depth + 1);
    let start = out.len();
    let is_found = defined.evaluate.evaluate(request, out);
    state.depth.set(depth);
    if defined.is_kept {
        state.keep(defined.slot, is_found.then(|| &out[start..]));
    }
    is_found
}

/// What a request keeps of its variables.
#[derive(Default)]
pub(crate) struct VariableState {
    /// What its subrequests share with it, as in nginx.
    shared: Rc<SharedVariables>,
    captures: RefCell<Captures>,
    /// How many variables are being made of others right now.
    depth: Cell<u8>,
    /// Memory for what variables are made of.
    spare: RefCell<Vec<Vec<u8>>>,
}

#[derive(Default)]
struct SharedVariables {
    kept: RefCell<Kept>,
    request_id: Cell<Option<[u8; 16]>>,
}

/// Values by their slots.
#[derive(Default)]
struct Kept {
    slots: Vec<Option<KeptValue>>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
enum KeptValue {
    /// It has none.
    NotFound,
    /// These of the bytes.
    Found { start: usize, end: usize },
}

/// What the pattern that matched last has captured: `$1` to `$9`.
#[derive(Default)]
pub(crate) struct Captures {
    pub(crate) groups: Groups,
    /// The text that it matched, where there are groups.
    pub(crate) subject: Vec<u8>,
}

impl Captures {
    fn group(&self, index: usize) -> &[u8] {
        match self.groups.get(index) {
            Some(Some((start, end))) => &self.subject[*start as usize..*end as usize],
            _ => b"",
        }
    }
}

impl RequestState for VariableState {
    fn reset(&mut self) {
        match Rc::get_mut(&mut self.shared) {
            Some(shared) => {
                let kept = shared.kept.get_mut();
                kept.slots.clear();
                kept.bytes.clear();
                shared.request_id.set(None);
            }
            // A subrequest goes on with them.
            None => self.shared = Rc::default(),
        }
        self.captures.get_mut().groups.clear();
        self.depth.set(0);
    }

    fn for_subrequest(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            ..Self::default()
        }
    }
}

impl VariableState {
    /// What the pattern that matched last has captured, for whoever asks the next one.
    pub(crate) fn captures_mut(&mut self) -> &mut Captures {
        self.captures.get_mut()
    }

    /// Sets the variables of a pattern's named groups from what it has captured.
    pub(crate) fn set_slots(&self, slots: &[(usize, SlotId)]) {
        let captures = self.captures.borrow();
        for (index, slot) in slots {
            self.keep(*slot, Some(captures.group(*index)));
        }
    }

    /// Forgets what the pattern that matched last has captured.
    pub(crate) fn clear_captures(&self) {
        self.captures.borrow_mut().groups.clear();
    }

    /// Sets a variable, whatever it was before.
    pub(crate) fn set(&self, slot: SlotId, value: &[u8]) {
        self.keep(slot, Some(value));
    }

    /// `$request_id`, which is made when it is asked for first.
    pub(crate) fn request_id(&self, make: impl FnOnce() -> [u8; 16]) -> [u8; 16] {
        let id = self.shared.request_id.get().unwrap_or_else(make);
        self.shared.request_id.set(Some(id));
        id
    }

    /// Empty memory; it is given back with [`VariableState::give_spare`].
    pub(crate) fn take_spare(&self) -> Vec<u8> {
        let mut spare = self.spare.borrow_mut().pop().unwrap_or_default();
        spare.clear();
        spare
    }

    pub(crate) fn give_spare(&self, spare: Vec<u8>) {
        self.spare.borrow_mut().push(spare);
    }

    /// Appends a value that is known, and says whether it is one; nothing where it is not known.
    fn append_kept(&self, slot: SlotId, out: &mut Vec<u8>) -> Option<bool> {
        let kept = self.shared.kept.borrow();
        match (*kept.slots.get(slot.0 as usize)?)? {
            KeptValue::NotFound => Some(false),
            KeptValue::Found { start, end } => {
                out.extend_from_slice(&kept.bytes[start..end]);
                Some(true)
            }
        }
    }

    fn keep(&self, slot: SlotId, value: Option<&[u8]>) {
        let mut kept = self.shared.kept.borrow_mut();
        let Kept { slots, bytes } = &mut *kept;
        let place = slot.0 as usize;
        if slots.len() <= place {
            slots.resize(place + 1, None);
        }
        slots[place] = Some(match value {
            None => KeptValue::NotFound,
            Some(value) => {
                let start = match slots[place] {
                    // Set again and again, it need not grow.
                    Some(KeptValue::Found { start, end }) if end - start >= value.len() => {
                        bytes[start..start + value.len()].copy_from_slice(value);
                        start
                    }
                    _ => {
                        bytes.extend_from_slice(value);
                        bytes.len() - value.len()
                    }
                };
                let end = start + value.len();
                KeptValue::Found { start, end }
            }
        });
    }
}

impl Request {
    /// Whether a pattern of a variable's definition matches. What it captured is `$1` to `$9` from then
    /// on, as in nginx, and sets the variables of its named groups.
    pub(crate) fn matches(
        &self,
        pattern: &Pattern,
        slots: &[(usize, SlotId)],
        subject: &[u8],
    ) -> Result<bool, GivenUp> {
        let state = &self.state.core_variables;
        let mut captures = state.captures.borrow_mut();
        match pattern.captures(subject, &mut captures.groups) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(given_up) => {
                drop(captures);
                let subject = Shown(subject);
                self.log(
                    Level::Alert,
                    format_args!(
                        "regular expression given up on \"{subject}\" using \"{pattern}\""
                    ),
                );
                return Err(given_up);
            }
        }
        captures.subject.clear();
        captures.subject.extend_from_slice(subject);
        drop(captures);
        state.set_slots(slots);
        Ok(true)
    }
}

impl Subject for Request {
    fn append_variable(&self, id: VariableId, out: &mut Vec<u8>) -> bool {
        self.variables().get(id, self, out)
    }

    fn append_group(&self, index: usize, out: &mut Vec<u8>) {
        let captures = self.state.core_variables.captures.borrow();
        out.extend_from_slice(captures.group(index));
    }
}
