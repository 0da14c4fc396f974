//! Who has linked to us.
//!
//! ```nginx
//! valid_referers none blocked server_names *.example.com example.* www.example.org/galleries/ ~\.google\.;
//! # $invalid_referer is 1 where the Referer is none of these
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Diagnostics, Directive, Span, Word};
use revolve_http::HeaderId;

use crate::config::regex::{Groups, Pattern};
use crate::config::scope::{LOCATION, SERVER, accept_number};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::modules::map::{KeyError, KeySet};
use crate::http::modules::server_name::ServerName;
use crate::http::request::Request;
use crate::http::scope::{Block, DirectiveRow, Scope};
use crate::http::variables::Builtin;
use crate::log::{Level, Shown};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_referer_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    ..Module::EMPTY
};

/// The `valid_referers` of one level.
#[derive(Debug)]
pub(crate) struct Referers {
    hosts: KeySet,
    /// How the path must begin, for those hosts that say so; the first one is empty.
    paths: Vec<Box<[u8]>>,
    /// `none`: no `Referer` is fine.
    none: bool,
    /// `blocked`: one without `http://` and `https://` is fine.
    blocked: bool,
    /// `server_names`: they are added when the server has been read.
    server_names: bool,
    span: Span,
}

settings! {
    /// `valid_referers`.
    pub struct RefererSettings / RawReferer {
        inherit {
            /// A level that has any inherits none.
            referers: Option<Arc<Referers>> = None,
            /// Patterns of the directive, which see all behind the scheme. As in nginx they are inherited
            /// by a level that has referers, but no pattern.
            patterns: Arc<Vec<Pattern>> = Arc::default(),
            /// Patterns of the server's own names, which see the host; the same holds for them.
            name_patterns: Arc<Vec<Pattern>> = Arc::default(),
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "valid_referers",
        contexts: SERVER | LOCATION,
        args: Args::ONE_MORE,
        set: valid_referers,
    },
    DirectiveRow {
        name: "referer_hash_max_size",
        contexts: SERVER | LOCATION,
        args: Args::ONE,
        set: accept_number,
    },
    DirectiveRow {
        name: "referer_hash_bucket_size",
        contexts: SERVER | LOCATION,
        args: Args::ONE,
        set: accept_number,
    },
];

fn valid_referers(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let settings = &mut scope.level.settings.referer;
    let slot = settings.referers.get_or_insert(None);
    let referers = slot.get_or_insert_with(|| {
        Arc::new(Referers {
            hosts: KeySet::default(),
            paths: vec![Box::default()],
            none: false,
            blocked: false,
            server_names: false,
            span: directive.span,
        })
    });
    let referers = Arc::get_mut(referers).expect("nobody shares a level's while it is read");
    for word in &directive.args {
        match word.text.as_str() {
            "none" => referers.none = true,
            "blocked" => referers.blocked = true,
            "server_names" => referers.server_names = true,
            text => match text.strip_prefix('~') {
                Some(source) => {
                    let patterns = Arc::get_mut(settings.patterns.get_or_insert_default());
                    let patterns = patterns.expect("nobody shares a level's while it is read");
                    patterns.push(pattern(word, source)?);
                }
                None => referers.add(word)?,
            },
        }
    }
    Ok(())
}

/// A pattern whose groups nobody asks for.
fn pattern(word: &Word, source: &str) -> Result<Pattern, Diagnostic> {
    if source.is_empty() {
        let message = format!("empty regex in \"{}\"", word.text);
        let label = "expected a regular expression after ~";
        return Err(Diagnostic::new(word.span, message).label(label));
    }
    Pattern::new(source, true).map_err(|reason| {
        let message = format!("invalid regular expression \"{source}\"");
        Diagnostic::new(word.span, message).label(reason)
    })
}

impl Referers {
    fn add(&mut self, word: &Word) -> Result<(), Diagnostic> {
        if word.text.is_empty() {
            let message = format!("invalid referer \"{}\"", word.text);
            return Err(Diagnostic::new(word.span, message).label(
                "expected none, blocked, server_names, a host, *.name, name.*, or ~ and a pattern",
            ));
        }
        let (host, path) = match word.text.find('/') {
            Some(at) => word.text.split_at(at),
            None => (word.text.as_str(), ""),
        };
        let id = match path {
            "" => 0,
            path => {
                self.paths.push(path.as_bytes().into());
                self.paths.len() as u32 - 1
            }
        };
        let added = self.hosts.add(host, true, id);
        added.map_err(|error| refused(host, &error, word.span))
    }

    fn add_name(&mut self, name: &ServerName) -> Result<(), Diagnostic> {
        if matches!(name, ServerName::Regex(..)) {
            return Ok(());
        }
        let name = name.to_string();
        let added = self.hosts.add(&name, true, 0);
        added.map_err(|error| refused(&name, &error, self.span))
    }
}

fn refused(host: &str, error: &KeyError, span: Span) -> Diagnostic {
    match error {
        KeyError::Invalid => {
            let message = format!("invalid hostname or wildcard \"{host}\"");
            Diagnostic::new(span, message).label("expected a host name, *.name, .name or name.*")
        }
        KeyError::Conflicting => {
            let message = format!("conflicting parameter \"{}\"", host.to_ascii_lowercase());
            Diagnostic::new(span, message).label("a host that means the same is there already")
        }
    }
}

/// Adds the names of a server, now that it has been read, where they are asked for.
pub(crate) fn complete(block: &mut Block, names: &[ServerName], diagnostics: &mut Diagnostics) {
    let settings = &mut block.settings.referer;
    if let Some(Some(referers)) = &mut settings.referers {
        let referers = Arc::get_mut(referers).expect("nobody shares a level's yet");
        if referers.server_names {
            for error in names
                .iter()
                .filter_map(|name| referers.add_name(name).err())
            {
                diagnostics.push(error);
            }
            let patterns = names.iter().filter_map(|name| match name {
                ServerName::Regex(pattern, _) => Some(pattern.clone()),
                _ => None,
            });
            let patterns: Vec<Pattern> = patterns.collect();
            settings.name_patterns = (!patterns.is_empty()).then(|| Arc::new(patterns));
        }
        if (referers.none || referers.blocked) && referers.hosts.is_empty() {
            let message = "the \"none\" or \"blocked\" referers are specified in the \
                 \"valid_referers\" directive without any valid referer";
            let label = "expected a host among them, or server_names";
            diagnostics.push(Diagnostic::new(referers.span, message).label(label));
        }
    }
    let inner = block.children.iter_mut();
    let others = block.limit_except.iter_mut().map(|(_, block)| &mut **block);
    for block in inner.chain(others) {
        complete(block, names, diagnostics);
    }
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[Builtin {
    name: "invalid_referer",
    get: |request, out| {
        let referers = request.settings().referer.referers.as_ref();
        if referers.is_some_and(|referers| !is_valid(request, referers)) {
            out.push(b'1');
        }
        true
    },
}];

/// Longer hosts are not looked up, as in nginx.
const HOST_BYTES_MAX: usize = 256;

/// Source: nginx's `ngx_http_referer_variable`.
fn is_valid(request: &Request, referers: &Referers) -> bool {
    let value = request
        .current
        .head_done
        .then(|| request.known(HeaderId::Referer));
    let Some(value) = value.flatten() else {
        return referers.none;
    };
    let Some(rest) = behind_scheme(value) else {
        return referers.blocked;
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b':'));
    let (host, rest_of_it) = rest.split_at(end.unwrap_or(rest.len()));
    if host.len() > HOST_BYTES_MAX {
        return false;
    }
    let host = host.to_ascii_lowercase();
    if let Some(id) = referers.hosts.find(&host) {
        let path = memchr::memchr(b'/', rest_of_it).map_or(&b""[..], |at| &rest_of_it[at..]);
        return path.starts_with(&referers.paths[id as usize]);
    }
    let settings = &request.settings().referer;
    let names = settings.name_patterns.iter().map(|it| (it, &host[..]));
    let patterns = settings.patterns.iter().map(|it| (it, rest));
    let mut groups = Groups::new();
    for (pattern, subject) in names.chain(patterns) {
        match pattern.captures(subject, &mut groups) {
            Ok(false) => {}
            Ok(true) => return true,
            Err(_) => {
                let subject = Shown(subject);
                let message = format_args!(
                    "regular expression given up on \"{subject}\" using \"{pattern}\""
                );
                request.log(Level::Alert, message);
                return false;
            }
        }
    }
    false
}

/// What follows `http://` or `https://`; `None` of what does not begin so, or is too short for a host.
fn behind_scheme(value: &[u8]) -> Option<&[u8]> {
    if value.len() < "http://i.ru".len() {
        return None;
    }
    let schemes = ["http://", "https://"];
    schemes.iter().find_map(|scheme| {
        let (begin, rest) = value.split_at_checked(scheme.len())?;
        begin
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then_some(rest)
    })
}
