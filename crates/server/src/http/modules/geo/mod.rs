//! Variables whose values depend on an address.
//!
//! ```nginx
//! geo $country {
//!     default       ZZ;
//!     proxy         192.168.100.0/24;   # X-Forwarded-For of these says who asks
//!     127.0.0.0/24  US;
//!     2001:db8::/32 DE;
//! }
//! geo $arg_address $network {
//!     ranges;
//!     10.1.0.0-10.1.255.255 lab;
//! }
//! ```

mod tables;

use std::collections::HashMap;
use std::net::IpAddr;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, Word};
use revolve_http::HeaderId;
use revolve_reactor::Address;

use self::tables::{Addresses, Networks, Ranges, ValueId};
use crate::config::scope::HTTP;
use crate::config::variable::Value;
use crate::http::modules::Module;
use crate::http::modules::map::no_block;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::http::variables::{Definitions, Evaluate};
use crate::net::cidr::{Network, forwarded, parse_ip, parse_v4};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_geo_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "geo",
    contexts: HTTP,
    args: Args::ONE_OR_TWO_BLOCK,
    set: geo,
}];

/// A `geo`.
#[derive(Debug)]
struct Geo {
    /// What the address is taken from; the client's own where there is none.
    subject: Option<Value>,
    proxies: Vec<Network>,
    is_recursive: bool,
    table: Addresses,
    /// Each once, however many networks lead to it.
    values: Vec<Box<[u8]>>,
}

/// What is known while a `geo` is read.
struct Reading<'a> {
    scope: &'a mut Scope,
    kind: Kind,
    values: Vec<Box<[u8]>>,
    /// The values by their texts.
    known: HashMap<&'a str, ValueId>,
    proxies: Vec<Network>,
    is_recursive: bool,
    is_volatile: bool,
}

/// How addresses are written; it is known with the first of them.
enum Kind {
    Open,
    Networks(Networks),
    Ranges(Ranges),
}

fn geo(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (subject, name) = match directive.args.as_slice() {
        [subject, name] => (Some(variable(subject, scope)?), name),
        args => (None, &args[0]),
    };
    let name = Definitions::name(name)?;
    let mut reading = Reading {
        scope,
        kind: Kind::Open,
        values: vec![Box::default()],
        known: HashMap::new(),
        proxies: Vec::new(),
        is_recursive: false,
        is_volatile: false,
    };
    for row in directive.block.as_deref().unwrap_or_default() {
        if let Err(diagnostic) = reading.add(row) {
            reading.scope.shared.diagnostics.push(diagnostic);
        }
    }
    let is_kept = !reading.is_volatile;
    let table = match reading.kind {
        Kind::Open => Networks::default().build(),
        Kind::Networks(networks) => networks.build(),
        Kind::Ranges(ranges) => ranges.build(),
    };
    let geo = Geo {
        subject,
        proxies: reading.proxies,
        is_recursive: reading.is_recursive,
        table,
        values: reading.values,
    };
    let registry = &mut scope.shared.registry;
    scope.definitions.insert(name, geo, is_kept, registry);
    Ok(())
}

/// The one variable that a word names.
fn variable(word: &Word, scope: &mut Scope) -> Result<Value, Diagnostic> {
    let is_one = word.text.len() > 1 && word.text.starts_with('$');
    let value = is_one.then(|| Value::of(word, &mut scope.shared.registry));
    value
        .and_then(Result::ok)
        .filter(Value::is_variable)
        .ok_or_else(|| {
            let message = format!("invalid variable name \"{}\"", word.text);
            Diagnostic::new(word.span, message).label("expected one variable, with its $")
        })
}

impl<'a> Reading<'a> {
    fn add(&mut self, row: &'a Directive) -> Result<(), Diagnostic> {
        no_block(row, "geo")?;
        match (row.name.text.as_str(), row.args.as_slice()) {
            ("ranges", []) => {
                if matches!(self.kind, Kind::Networks(_)) {
                    let message =
                        "the \"ranges\" directive must be the first directive inside \"geo\" block";
                    return Err(Diagnostic::new(row.span, message)
                        .label("networks stand above, and either those or ranges are asked"));
                }
                if matches!(self.kind, Kind::Open) {
                    self.kind = Kind::Ranges(Ranges::default());
                }
            }
            ("proxy_recursive", []) => self.is_recursive = true,
            ("volatile", []) => self.is_volatile = true,
            ("proxy", [word]) => {
                let network = Network::of(word, &mut self.scope.shared.diagnostics)?;
                self.proxies.push(network);
            }
            (_, [value]) => return self.add_addresses(&row.name, value),
            _ => {
                let message = "invalid number of the geo parameters";
                return Err(Diagnostic::new(row.span, message).label(
                    "expected an address and its value, ranges, proxy_recursive or volatile",
                ));
            }
        }
        Ok(())
    }

    fn add_addresses(&mut self, name: &'a Word, value: &'a Word) -> Result<(), Diagnostic> {
        let deletes = name.text == "delete";
        let of_what = if deletes { value } else { name };
        if matches!(self.kind, Kind::Open) {
            self.kind = Kind::Networks(Networks::default());
        }
        let id = match deletes {
            true => 0,
            false => self.value(&value.text),
        };
        let said = match &mut self.kind {
            Kind::Open => unreachable!("it is known by now"),
            Kind::Ranges(ranges) if of_what.text == "default" && !deletes => {
                let old = ranges.default.replace(id);
                old.map(Said::OldDefault).into_iter().collect()
            }
            Kind::Ranges(ranges) => {
                let range = parse_range(of_what)?;
                match deletes {
                    true if ranges.remove(range) => vec![],
                    true => vec![Said::Nothing("address range")],
                    false => {
                        let old = ranges.insert(range, id).map_err(|(from, to)| {
                            let text = &of_what.text;
                            let message = format!("range \"{text}\" overlaps \"{from}-{to}\"");
                            Diagnostic::new(of_what.span, message)
                                .label("a range may lie within one above, and not beyond it")
                        })?;
                        old.into_iter().map(|old| Said::Old("range", old)).collect()
                    }
                }
            }
            Kind::Networks(networks) => {
                let list = networks_of(of_what, deletes, &mut self.scope.shared.diagnostics)?;
                match deletes {
                    true if networks.remove(list[0]) => vec![],
                    true => vec![Said::Nothing("network")],
                    false => {
                        let old = list.into_iter().filter_map(|it| networks.insert(it, id));
                        old.map(|old| Said::Old("network", old)).collect()
                    }
                }
            }
        };
        for said in said {
            self.warn(&said, of_what, id);
        }
        Ok(())
    }

    fn value(&mut self, text: &'a str) -> ValueId {
        let next = self.values.len() as ValueId;
        let id = *self.known.entry(text).or_insert(next);
        if id == next {
            self.values.push(text.as_bytes().into());
        }
        id
    }

    fn warn(&mut self, said: &Said, word: &Word, id: ValueId) {
        let text = &word.text;
        let value = |id: ValueId| String::from_utf8_lossy(&self.values[id as usize]).into_owned();
        let message = match said {
            Said::Nothing(what) => format!("no {what} \"{text}\" to delete"),
            Said::OldDefault(old) => format!(
                "duplicate default geo range value: \"{}\", old value: \"{}\"",
                value(id),
                value(*old)
            ),
            Said::Old(what, old) => format!(
                "duplicate {what} \"{text}\", value: \"{}\", old value: \"{}\"",
                value(id),
                value(*old)
            ),
        };
        let warning = Diagnostic::new(word.span, message).warn();
        self.scope.shared.diagnostics.push(warning);
    }
}

/// What is to be said of a row that is taken all the same.
enum Said {
    /// There is nothing like it to delete.
    Nothing(&'static str),
    OldDefault(ValueId),
    /// It stands above with another value.
    Old(&'static str, ValueId),
}

/// The network of a word; of `default` the two that hold all addresses.
fn networks_of(
    word: &Word,
    deletes: bool,
    diagnostics: &mut revolve_conf::Diagnostics,
) -> Result<Vec<Network>, Diagnostic> {
    match word.text.as_str() {
        "default" if !deletes => Ok(vec![Network::V4(0, 0), Network::V6(0, 0)]),
        "255.255.255.255" => Ok(vec![Network::V4(u32::MAX, 32)]),
        _ => Ok(vec![Network::of(word, diagnostics)?]),
    }
}

fn parse_range(word: &Word) -> Result<(u32, u32), Diagnostic> {
    let range = word.text.split_once('-').and_then(|(from, to)| {
        let from = u32::from(parse_v4(from)?);
        let to = u32::from(parse_v4(to)?);
        (from <= to).then_some((from, to))
    });
    range.ok_or_else(|| {
        let message = format!("invalid range \"{}\"", word.text);
        Diagnostic::new(word.span, message)
            .label("expected two IPv4 addresses: 10.0.0.0-10.0.255.255")
    })
}

impl Geo {
    /// The address that is looked up; `None` where there is none.
    fn address(&self, request: &Request) -> Option<IpAddr> {
        let address = match &self.subject {
            None => request.client().clone(),
            Some(value) => {
                let state = &request.state.core_variables;
                let mut text = state.take_spare();
                value.append(request, &mut text);
                let ip = parse_ip(&text);
                state.give_spare(text);
                Address::Inet((ip?, 0).into())
            }
        };
        let told = (!self.proxies.is_empty() && request.current.head_done).then(|| {
            let headers = request.head().headers.iter();
            let lines = headers.filter(|header| header.id == HeaderId::XForwardedFor);
            let lines = lines.map(|header| request.bytes(header.value));
            forwarded(&address, lines, &self.proxies, self.is_recursive)
        });
        match told.flatten().unwrap_or(address) {
            Address::Inet(address) => Some(address.ip().to_canonical()),
            Address::Unix(_) => None,
        }
    }
}

impl Evaluate for Geo {
    fn evaluate(&self, request: &Request, out: &mut Vec<u8>) -> bool {
        let id = self.table.find(self.address(request));
        out.extend_from_slice(&self.values[id as usize]);
        true
    }
}
