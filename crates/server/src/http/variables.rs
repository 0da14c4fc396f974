//! The variables of http: what stands behind each name.
//!
//! Source: nginx's variables of `ngx_http_variables.c` as documented under "Embedded Variables".

use std::collections::HashMap;

use revolve_conf::Diagnostics;
use revolve_http::HeaderId;

use crate::config::known;
use crate::config::variable::{Registry, SlotId, Subject, VariableId};
use crate::http::modules;
use crate::http::proxy::variables::{append_cookie, append_header};
use crate::http::request::Request;

/// Appends a variable's value; false where it has none ("not found").
pub(crate) type Getter = fn(&Request, &mut Vec<u8>) -> bool;

/// A variable that a module brings: its name without the dollar, and how to get it.
pub(crate) struct Builtin {
    /// The name, without `$`.
    pub name: &'static str,
    /// The getter.
    pub get: Getter,
}

/// What stands behind a number.
enum Definition {
    Builtin(Getter),
    /// `$http_name`: a request header; the name in lower case with dashes.
    RequestHeader(Vec<u8>),
    /// The same for one of which nginx, too, takes no spelling but with dashes.
    KnownHeader(HeaderId),
    /// `$sent_http_name`: a response header.
    ResponseHeader(Vec<u8>),
    /// `$sent_trailer_name`: a line behind the body.
    Trailer(Vec<u8>),
    /// `$upstream_http_name`: a header of the upstream's answer.
    UpstreamHeader(Vec<u8>),
    /// `$upstream_cookie_name`.
    UpstreamCookie(Vec<u8>),
    /// `$cookie_name`.
    Cookie(Vec<u8>),
    /// `$arg_name`.
    Argument(Vec<u8>),
    Slot(SlotId),
}

/// Gives each number its meaning; a name that nothing defines is an error where it was used.
pub(crate) fn resolve(registry: &Registry, diagnostics: &mut Diagnostics) -> Variables {
    let builtins: HashMap<&str, Getter> = modules::variables()
        .map(|builtin| (builtin.name, builtin.get))
        .collect();
    let mut definitions = Vec::new();
    for (name, span) in registry.names() {
        let builtin = builtins.get(name).map(|get| Definition::Builtin(*get));
        let definition = builtin
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
    Variables {
        definitions,
        slots: registry.slot_count(),
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
    if let Some(rest) = name.strip_prefix("sent_trailer_") {
        return Some(Definition::Trailer(header(rest)));
    }
    if let Some(rest) = name.strip_prefix("upstream_http_") {
        return Some(Definition::UpstreamHeader(header(rest)));
    }
    if let Some(rest) = name.strip_prefix("upstream_cookie_") {
        return Some(Definition::UpstreamCookie(rest.as_bytes().to_vec()));
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
    pub(crate) fn get(&self, id: VariableId, request: &Request, out: &mut Vec<u8>) -> bool {
        match &self.definitions[id.0 as usize] {
            Definition::Builtin(get) => get(request, out),
            Definition::RequestHeader(name) => request.header_joined(name, out),
            Definition::KnownHeader(id) => request.known_joined(*id, out),
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

impl Subject for Request {
    fn append_variable(&self, id: VariableId, out: &mut Vec<u8>) -> bool {
        self.variables().get(id, self, out)
    }

    fn group(&self, index: usize) -> &[u8] {
        match self.groups.get(index) {
            Some(Some((start, end))) => &self.groups_subject[*start as usize..*end as usize],
            _ => b"",
        }
    }
}
