//! `server_name`: which server answers for a host.
//!
//! ```nginx
//! server_name example.org *.example.org www.example.*;
//! server_name .example.net;                        # the name and all below it
//! server_name $hostname;                           # the name of this machine
//! server_name ~^(?<user>.+)\.example\.com$;        # sets $user
//! ```

use std::collections::HashMap;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::clock::host_name;
use crate::config::regex::{GivenUp, Groups, Pattern};
use crate::config::scope::{HTTP, SERVER, accept_number};
use crate::config::variable::{GroupSlots, SlotId};
use crate::http::location::ServerId;
use crate::http::modules::Module;
use crate::http::scope::{DirectiveRow, Scope};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// One name of a server.
#[derive(Debug, Clone)]
pub(crate) enum ServerName {
    /// A name to be met whole, in lower case; `""` is met by requests without a host.
    Exact(String),
    /// `*.x`, kept as `.x`: any name that ends so. `.x` as written also means `x` itself.
    Leading {
        /// `.example.org`
        suffix: String,
        /// Whether the name without anything before it belongs too.
        bare: bool,
    },
    /// `x.*`, kept as `x.`: any name that begins so.
    Trailing(String),
    /// `~pattern`, with the variables that its named groups set.
    Regex(Pattern, GroupSlots),
}

impl ServerName {
    /// See [`Pattern::note_numbers`].
    pub(crate) fn note_numbers(&mut self, are_used: bool) {
        if let ServerName::Regex(pattern, _) = self {
            pattern.note_numbers(are_used);
        }
    }

    /// Whether it captures a part of the host.
    pub(crate) fn captures(&self) -> bool {
        matches!(self, ServerName::Regex(pattern, _) if pattern.names().len() > 1)
    }
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ServerName::Exact(name) => f.write_str(name),
            ServerName::Leading { suffix, bare: true } => f.write_str(suffix),
            ServerName::Leading {
                suffix,
                bare: false,
            } => write!(f, "*{suffix}"),
            ServerName::Trailing(prefix) => write!(f, "{prefix}*"),
            ServerName::Regex(pattern, _) => write!(f, "~{pattern}"),
        }
    }
}

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "server_name",
        contexts: SERVER,
        args: Args::ONE_MORE,
        set: server_name,
    },
    DirectiveRow {
        name: "server_names_hash_max_size",
        contexts: HTTP,
        args: Args::ONE,
        set: accept_number,
    },
    DirectiveRow {
        name: "server_names_hash_bucket_size",
        contexts: HTTP,
        args: Args::ONE,
        set: accept_number,
    },
];

fn server_name(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    for word in &directive.args {
        let own_name;
        let text = match word.text.as_str() {
            "$hostname" => {
                own_name = String::from_utf8_lossy(&host_name()).into_owned();
                &own_name
            }
            text => text,
        };
        let wrong = |label: &str| {
            let message = format!("server name \"{text}\" is invalid");
            Diagnostic::new(word.span, message).label(label.to_owned())
        };
        let lower = text.to_ascii_lowercase();
        if text == "." {
            return Err(wrong("expected a name after the dot"));
        }
        if text.contains('/') {
            let message = format!("server name \"{text}\" has suspicious symbols");
            let warning = Diagnostic::new(word.span, message).label("a host name has no slash");
            scope.shared.diagnostics.push(warning.warn());
        }
        let name = if let Some(source) = text.strip_prefix('~') {
            if source.is_empty() {
                return Err(wrong("expected a regular expression after ~"));
            }
            let pattern = scope.shared.patterns.compile(word, source, true)?;
            let slots = scope.shared.registry.define_groups(&pattern);
            ServerName::Regex(pattern, slots)
        } else if let Some(suffix) = lower.strip_prefix('*') {
            if !suffix.starts_with('.') || suffix.contains('*') || suffix.len() < 2 {
                return Err(wrong("expected *.name: the star stands for whole labels"));
            }
            ServerName::Leading {
                suffix: suffix.to_owned(),
                bare: false,
            }
        } else if let Some(prefix) = lower.strip_suffix(".*") {
            if prefix.is_empty() || prefix.contains('*') {
                return Err(wrong("expected name.*: the star stands for whole labels"));
            }
            ServerName::Trailing(format!("{prefix}."))
        } else if lower.contains('*') {
            return Err(wrong(
                "a star stands at the beginning or the end, by itself",
            ));
        } else if lower.starts_with('.') && lower.len() > 1 {
            ServerName::Leading {
                suffix: lower,
                bare: true,
            }
        } else {
            ServerName::Exact(lower)
        };
        scope.level.server_names.push(name);
    }
    Ok(())
}

/// Names, or beginnings or ends of names, in bytes: a host that a client names need not be text.
type Names = HashMap<Vec<u8>, ServerId, foldhash::fast::RandomState>;

/// The servers behind one address, ready to be asked for a host.
#[derive(Debug, Default)]
pub(crate) struct VirtualHosts {
    /// Whether connections begin with a handshake.
    pub(crate) is_tls: bool,
    /// Whether connections begin with whom a proxy speaks for.
    pub(crate) takes_proxy_protocol: bool,
    /// Whether HTTP/2 is spoken, whatever the servers say (`listen ... http2`).
    pub(crate) is_http2: bool,
    /// The one that answers where no name fits.
    pub default: ServerId,
    exact: Names,
    leading: Names,
    trailing: Names,
    patterns: Vec<PatternHost>,
    /// Whether a name leads to another server than the default, or sets variables.
    has_choice: bool,
}

/// A server that a pattern leads to.
#[derive(Debug)]
struct PatternHost {
    pattern: Pattern,
    server: ServerId,
    slots: GroupSlots,
}

/// A server found for a host, with the variables that its pattern sets.
#[derive(Debug)]
pub(crate) struct FoundServer<'a> {
    /// The server.
    pub server: ServerId,
    /// Whether one of its names was found, and it is not the default alone.
    pub is_named: bool,
    /// Where it was found by a pattern: its named groups and their variables.
    pub groups: Option<&'a [(usize, SlotId)]>,
}

impl VirtualHosts {
    /// No names yet: this server answers for every host.
    pub(crate) fn with_default(default: ServerId) -> Self {
        Self {
            default,
            ..Self::default()
        }
    }

    /// Adds a server's name; false if a server has it already.
    pub(crate) fn add(&mut self, name: &ServerName, server: ServerId) -> bool {
        self.has_choice |= server != self.default || matches!(name, ServerName::Regex(..));
        let insert = |map: &mut Names, key: &str| match map.get(key.as_bytes()) {
            Some(_) => false,
            None => {
                map.insert(key.into(), server);
                true
            }
        };
        match name {
            ServerName::Exact(name) => insert(&mut self.exact, name),
            // Either of the two that `.x` means is enough to make it a conflict.
            ServerName::Leading { suffix, bare } => {
                if *bare && self.exact.contains_key(&suffix.as_bytes()[1..]) {
                    return false;
                }
                let fresh = insert(&mut self.leading, suffix);
                if fresh && *bare {
                    self.exact.insert(suffix[1..].into(), server);
                }
                fresh
            }
            ServerName::Trailing(prefix) => insert(&mut self.trailing, prefix),
            ServerName::Regex(pattern, slots) => {
                let (pattern, slots) = (pattern.clone(), slots.clone());
                self.patterns.push(PatternHost {
                    pattern,
                    server,
                    slots,
                });
                true
            }
        }
    }

    /// Whether every host gets the same answer, so that none need be looked up.
    pub(crate) fn is_single(&self) -> bool {
        !self.has_choice
    }

    /// Finds the server of a host: the exact name, the longest `*.x`, the longest `x.*`, the
    /// first pattern that matches (in the order of the file), or the default.
    ///
    /// `host` is in lower case and without port and final dot.
    ///
    /// Errors: a pattern was given up.
    pub(crate) fn find(
        &self,
        host: &[u8],
        groups: &mut Groups,
    ) -> Result<FoundServer<'_>, GivenUp> {
        if let Some(server) = self.find_name(host) {
            return Ok(FoundServer {
                server,
                is_named: true,
                groups: None,
            });
        }
        for PatternHost {
            pattern,
            server,
            slots,
        } in &self.patterns
        {
            if pattern.captures(host, groups)? {
                return Ok(FoundServer {
                    server: *server,
                    is_named: true,
                    groups: Some(slots),
                });
            }
        }
        Ok(FoundServer {
            server: self.default,
            is_named: false,
            groups: None,
        })
    }

    fn find_name(&self, host: &[u8]) -> Option<ServerId> {
        if let Some(server) = self.exact.get(host) {
            return Some(*server);
        }
        let inner = 1..host.len().saturating_sub(usize::from(host.ends_with(b".")));
        let dots = inner.filter(|at| host[*at] == b'.');
        if !self.leading.is_empty()
            && let Some(server) = dots.clone().find_map(|at| self.leading.get(&host[at..]))
        {
            return Some(*server);
        }
        if !self.trailing.is_empty()
            && let Some(server) = dots.rev().find_map(|at| self.trailing.get(&host[..=at]))
        {
            return Some(*server);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_documentation() {
        let mut hosts = VirtualHosts::default();
        assert!(hosts.add(&ServerName::Exact("a.example.org".into()), 1));
        let leading = |text: &str, bare| ServerName::Leading {
            suffix: text.into(),
            bare,
        };
        assert!(hosts.add(&leading(".example.org", false), 2));
        assert!(hosts.add(&leading(".b.example.org", true), 3));
        assert!(hosts.add(&ServerName::Trailing("www.".into()), 4));
        assert!(hosts.add(&ServerName::Trailing("www.example.".into()), 5));
        let pattern = Pattern::new(r"^(.+)\.example\.net$", true).unwrap();
        assert!(hosts.add(&ServerName::Regex(pattern, vec![]), 6));
        assert!(!hosts.add(&ServerName::Exact("a.example.org".into()), 7));
        let mut groups = Groups::new();
        let mut find = |host: &str| hosts.find(host.as_bytes(), &mut groups).unwrap().server;
        assert_eq!(find("a.example.org"), 1);
        assert_eq!(find("x.y.example.org"), 2);
        assert_eq!(find("example.org"), 0);
        assert_eq!(find("b.example.org"), 3);
        assert_eq!(find("c.b.example.org"), 3);
        assert_eq!(find("www.example.org"), 2);
        assert_eq!(find("www.example.net"), 5);
        assert_eq!(find("www.other.net"), 4);
        assert_eq!(find("m.example.net"), 6);
        assert_eq!(find(""), 0);
    }
}
