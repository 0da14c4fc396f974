//! `proxy_cookie_domain`, `proxy_cookie_path`, `proxy_cookie_flags`: what becomes of an upstream's cookies.
//!
//! ```nginx
//! proxy_cookie_domain localhost example.org;
//! proxy_cookie_path   /two/ /;
//! proxy_cookie_flags  ~ secure samesite=strict;
//! ```

use std::sync::Arc;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::regex::Pattern;
use crate::config::scope::{HTTP, LOCATION, SERVER, invalid_parameter};
use crate::config::setting::settings;
use crate::config::variable::{GroupSlots, Value};
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_proxy_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// What is looked for.
#[derive(Debug)]
enum Sought {
    Text(Value),
    Pattern(Pattern, GroupSlots),
}

/// One `proxy_cookie_domain` or `proxy_cookie_path`.
#[derive(Debug)]
pub(crate) struct Replacement {
    from: Sought,
    to: Value,
}

/// One `proxy_cookie_flags`.
#[derive(Debug)]
pub(crate) struct Flags {
    /// The name of the cookie.
    name: Sought,
    flags: Vec<Value>,
}

settings! {
    /// What becomes of cookies. A level that has one of a kind inherits none of it.
    pub struct CookieSettings / RawCookies {
        inherit {
            /// `proxy_cookie_domain`.
            domains: Arc<Vec<Replacement>> = Arc::default(),
            /// `proxy_cookie_path`.
            paths: Arc<Vec<Replacement>> = Arc::default(),
            /// `proxy_cookie_flags`.
            flags: Arc<Vec<Flags>> = Arc::default(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(ANY, "proxy_cookie_domain", Args::ONE_OR_TWO, |scope, d| {
        let rule = replacement(scope, d, true)?;
        add(&mut scope.level.settings.proxy_cookie.domains, rule, d)
    }),
    row(ANY, "proxy_cookie_path", Args::ONE_OR_TWO, |scope, d| {
        let rule = replacement(scope, d, false)?;
        add(&mut scope.level.settings.proxy_cookie.paths, rule, d)
    }),
    row(ANY, "proxy_cookie_flags", Args::range(1, 4), |scope, d| {
        let rule = flags(scope, d)?;
        add(&mut scope.level.settings.proxy_cookie.flags, rule, d)
    }),
];

/// Adds a rule; none is `off`, beside which no other may stand.
fn add<T>(
    slot: &mut Option<Arc<Vec<T>>>,
    rule: Option<T>,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    let is_off = slot.as_ref().is_some_and(|rules| rules.is_empty());
    if is_off || rule.is_none() && slot.is_some() {
        return Err(duplicate(directive));
    }
    let rules = slot.get_or_insert_with(Arc::default);
    let rules = Arc::get_mut(rules).expect("nobody shares a level's rules while it is read");
    rules.extend(rule);
    Ok(())
}

fn replacement(
    scope: &mut Scope,
    directive: &Directive,
    is_domain: bool,
) -> Result<Option<Replacement>, Diagnostic> {
    let from = &directive.args[0];
    let Some(to) = directive.args.get(1) else {
        return match from.text.as_str() {
            "off" => Ok(None),
            _ => Err(invalid_parameter(
                from,
                "expected off, or what is replaced and by what",
            )),
        };
    };
    let strip = |word: &Word| match is_domain {
        true => word.text.strip_prefix('.').unwrap_or(&word.text).to_owned(),
        false => word.text.clone(),
    };
    let registry = &mut scope.shared.registry;
    let to = Value::compile(&strip(to), to, registry)?;
    let from = match from.text.strip_prefix('~') {
        // nginx compares domains without regard to case, by a pattern too.
        Some(source) if is_domain => pattern(scope, from, source, true)?,
        Some(source) => match source.strip_prefix('*') {
            Some(source) => pattern(scope, from, source, true)?,
            None => pattern(scope, from, source, false)?,
        },
        None => Sought::Text(Value::compile(&strip(from), from, registry)?),
    };
    Ok(Some(Replacement { from, to }))
}

fn pattern(
    scope: &mut Scope,
    word: &Word,
    source: &str,
    ignore_case: bool,
) -> Result<Sought, Diagnostic> {
    let mut pattern = scope.shared.patterns.compile(word, source, ignore_case)?;
    let slots = scope.shared.registry.define_groups(&pattern);
    pattern.note_numbers(true);
    Ok(Sought::Pattern(pattern, slots))
}

fn flags(scope: &mut Scope, directive: &Directive) -> Result<Option<Flags>, Diagnostic> {
    let name = &directive.args[0];
    if directive.args.len() == 1 {
        return match name.text.as_str() {
            "off" => Ok(None),
            _ => Err(invalid_parameter(
                name,
                "expected off, or a cookie and its flags",
            )),
        };
    }
    let flags = directive.args[1..].iter();
    let flags = flags.map(|word| Value::of(word, &mut scope.shared.registry));
    let flags = flags.collect::<Result<_, _>>()?;
    let name = match name.text.strip_prefix('~') {
        Some(source) => pattern(scope, name, source, true)?,
        None => Sought::Text(Value::of(name, &mut scope.shared.registry)?),
    };
    Ok(Some(Flags { name, flags }))
}

/// A part of a cookie between two semicolons.
struct Part {
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Part {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// What a level makes of an upstream's cookie; nothing where it leaves it as it is.
///
/// Source: nginx's `ngx_http_proxy_rewrite_cookie`.
pub(crate) fn rewritten(request: &mut Request, cookie: &[u8]) -> Option<Vec<u8>> {
    let site = request.site.share();
    let settings = &site.locations[request.current.location as usize]
        .settings
        .proxy_cookie;
    if settings.domains.is_empty() && settings.paths.is_empty() && settings.flags.is_empty() {
        return None;
    }
    let mut parts: Vec<Part> = cookie.split(|byte| *byte == b';').map(part).collect();
    let mut changed = false;
    for part in &mut parts[1..] {
        let rules = match () {
            () if part.is("domain") => &settings.domains,
            () if part.is("path") => &settings.paths,
            () => continue,
        };
        let is_domain = part.is("domain");
        if let Some(value) = &part.value
            && let Some(new) = rules
                .iter()
                .find_map(|it| replaced(request, it, value, is_domain))
        {
            part.value = Some(new);
            changed = true;
        }
    }
    changed |= set_flags(request, &settings.flags, &mut parts);
    changed.then(|| joined(&parts))
}

fn part(text: &[u8]) -> Part {
    let text = text.trim_ascii();
    match text.iter().position(|byte| *byte == b'=') {
        Some(at) => Part {
            name: text[..at].trim_ascii_end().to_vec(),
            value: Some(text[at + 1..].trim_ascii_start().to_vec()),
        },
        None => Part {
            name: text.to_vec(),
            value: None,
        },
    }
}

fn joined(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(&part.name);
        if let Some(value) = &part.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}

fn replaced(
    request: &mut Request,
    rule: &Replacement,
    value: &[u8],
    is_domain: bool,
) -> Option<Vec<u8>> {
    match &rule.from {
        Sought::Pattern(pattern, slots) => {
            let is_met = request.matches(pattern, slots, value).unwrap_or(false);
            is_met.then(|| rule.to.evaluate(request))
        }
        Sought::Text(text) if is_domain => {
            let dots = usize::from(value.starts_with(b"."));
            let (dot, domain) = value.split_at(dots);
            let is_met = domain.eq_ignore_ascii_case(&text.evaluate(request));
            is_met.then(|| [dot, &rule.to.evaluate(request)].concat())
        }
        Sought::Text(text) => {
            let rest = value.strip_prefix(text.evaluate(request).as_slice())?;
            Some([rule.to.evaluate(request).as_slice(), rest].concat())
        }
    }
}

/// Source: nginx's `ngx_http_proxy_rewrite_cookie_flags`.
fn set_flags(request: &mut Request, rules: &[Flags], parts: &mut Vec<Part>) -> bool {
    let name = parts[0].name.clone();
    let rule = rules.iter().find(|rule| match &rule.name {
        Sought::Text(text) => text.evaluate(request).eq_ignore_ascii_case(&name),
        Sought::Pattern(pattern, slots) => request.matches(pattern, slots, &name).unwrap_or(false),
    });
    // What is no name with a value is no cookie.
    let Some(rule) = rule.filter(|_| parts[0].value.is_some()) else {
        return false;
    };
    for flag in &rule.flags {
        let flag = flag.evaluate(request).to_ascii_lowercase();
        let (name, value) = match flag.as_slice() {
            b"secure" => ("Secure", Some(None)),
            b"httponly" => ("HttpOnly", Some(None)),
            b"samesite=strict" => ("SameSite", Some(Some("Strict"))),
            b"samesite=lax" => ("SameSite", Some(Some("Lax"))),
            b"samesite=none" => ("SameSite", Some(Some("None"))),
            b"nosecure" => ("Secure", None),
            b"nohttponly" => ("HttpOnly", None),
            b"nosamesite" => ("SameSite", None),
            _ => continue,
        };
        set_flag(parts, name, value);
    }
    true
}

/// Gives a cookie a flag, in the place of one of its name; `None` takes it away.
fn set_flag(parts: &mut Vec<Part>, name: &str, value: Option<Option<&str>>) {
    let Some(value) = value else {
        let mut rest = parts.split_off(1);
        rest.retain(|part| !part.is(name));
        parts.append(&mut rest);
        return;
    };
    let known = parts.iter_mut().skip(1).find(|part| part.is(name));
    match (known, value) {
        // It stays as it is written.
        (Some(_), None) => {}
        (Some(part), Some(value)) => {
            let is_said = part.value.as_ref();
            if is_said.is_some_and(|it| it.eq_ignore_ascii_case(value.as_bytes())) {
                return;
            }
            part.name = name.into();
            part.value = Some(value.into());
        }
        (None, value) => parts.push(Part {
            name: name.into(),
            value: value.map(Into::into),
        }),
    }
}
