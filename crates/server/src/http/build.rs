//! From the parsed document to the typed configuration.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use revolve_conf::{Diagnostic, Diagnostics, Document, HostNames, Span};

use crate::config::scope::{Level, LocationMatch, Scope};
use crate::config::setting::Inherit;
use crate::config::variable::Value;
use crate::config::{Config, Http, Prefix, Server};
use crate::http::hosts;
use crate::http::location::{Location, LocationId, LookupBuilder, ServerId};
use crate::http::modules::core::Root;
use crate::http::modules::{self, Settings, access_log};
use crate::log::{ErrorTarget, Level as Severity, Place};

/// Builds what the document says; what is wrong goes to `diagnostics`. `hosts` comes back with the
/// names that were asked about.
pub(crate) fn build(
    document: &Document,
    prefix: &Prefix,
    hosts: HostNames,
    diagnostics: &mut Diagnostics,
) -> (Config, HostNames) {
    let mut scope = Scope::new(&prefix.prefix, hosts);
    scope.read(&document.directives);
    set_default_logs(&mut scope, prefix);
    set_default_root(&mut scope);
    if !scope.process.events && !diagnostics.has_errors() && !scope.diagnostics.has_errors() {
        // nginx's words; it asks for the block even if it is empty.
        let message = "no \"events\" section in configuration";
        diagnostics.push(Diagnostic::new(None, message).help("add `events {}`"));
    }
    if scope.process.has_other_count_of_masks() {
        let message = "the number of \"worker_processes\" is not equal to the number of \
                       \"worker_cpu_affinity\" masks, using last mask for remaining worker processes";
        diagnostics.push(Diagnostic::new(None, message).warn());
    }
    let main = std::mem::take(&mut scope.level.settings).merge(None);
    let process_log = main.error_log.targets.to_vec();
    let http = scope
        .http
        .take()
        .map(|level| build_http(&mut scope, level, &main, diagnostics));
    for diagnostic in scope.diagnostics.iter() {
        diagnostics.push(diagnostic.clone());
    }
    let workers = scope.process.process_count();
    let zones = scope.zones.finish(workers, diagnostics);
    let config = Config {
        process: scope.process,
        http,
        prefix: prefix.prefix.clone(),
        logs: scope.logs,
        process_log,
        zones,
    };
    (config, scope.hosts)
}

/// Gives the top of the file its error log, and `http` its access log, where they have none.
fn set_default_logs(scope: &mut Scope, prefix: &Prefix) {
    if scope.level.settings.error_log.targets.is_none() {
        let file = scope.log_index(Place::File(prefix.error_log.clone()));
        let target = ErrorTarget {
            file,
            level: Severity::Error,
        };
        scope.level.settings.error_log.targets = Some(Arc::new(vec![target]));
    }
    let unset = scope
        .http
        .as_ref()
        .is_some_and(|http| http.settings.access_log.logs.is_none());
    if unset && let Some(path) = &prefix.access_log {
        let file = scope.log_index(Place::File(path.clone()));
        let log = access_log::combined_log(&mut scope.registry, file);
        if let Some(http) = &mut scope.http {
            http.settings.access_log.logs = Some(Arc::new(log));
        }
    }
}

/// Gives `http` the root that its levels have where none is set: nginx's `html` in the prefix.
fn set_default_root(scope: &mut Scope) {
    use std::os::unix::ffi::OsStringExt;
    let path = scope.full_path("html").into_os_string().into_vec();
    if let Some(http) = &mut scope.http {
        let path = Value::literal(path);
        let alias = None;
        http.settings.core.root.get_or_insert(Root { path, alias });
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// What grows while the levels are merged.
struct Merging<'a> {
    locations: Vec<Location>,
    diagnostics: &'a mut Diagnostics,
    scope: &'a mut Scope,
}

fn build_http(
    scope: &mut Scope,
    level: Level,
    main: &Settings,
    diagnostics: &mut Diagnostics,
) -> Http {
    let settings = level.settings.merge(Some(main));
    let mut merging = Merging {
        locations: Vec::new(),
        diagnostics,
        scope,
    };
    let mut servers = Vec::new();
    let mut listens = Vec::new();
    for (index, mut server) in level.children.into_iter().enumerate() {
        let id = index as ServerId;
        let mut names = std::mem::take(&mut server.server_names);
        for name in &mut names {
            name.note_numbers(merging.scope.registry.uses_numbers);
        }
        listens.push((id, std::mem::take(&mut server.listens), names.clone()));
        let mut named = HashMap::new();
        let location = merging.add(server, &settings, id, &mut named);
        let own = &merging.locations[location as usize].settings;
        let head_limits = own.client.head_limits();
        let primary_name = names.first().map(ToString::to_string).unwrap_or_default();
        // `.example.org` is the name and all below it; where one name is asked for, it is the name.
        let primary_name = match primary_name.strip_prefix('.') {
            Some(name) => name.to_owned(),
            None => primary_name,
        };
        servers.push(Server {
            primary_name,
            location,
            head_limits,
            named,
        });
    }
    let Merging {
        locations,
        diagnostics,
        scope,
    } = merging;
    let ports = hosts::build(&listens, diagnostics);
    let variables = scope.registry.resolve(diagnostics);
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let file_limits = settings.file_cache.limits;
    let files_within = settings.file_cache.within.clone();
    Http {
        id,
        servers,
        locations: locations.into(),
        ports,
        variables,
        file_limits,
        files_within,
    }
}

impl Merging<'_> {
    /// Adds a named location. Of two with one name nginx takes the first, without a word.
    fn add_named(
        &mut self,
        name: String,
        id: LocationId,
        span: Option<Span>,
        named: &mut HashMap<String, LocationId>,
    ) {
        match named.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(id);
            }
            Entry::Occupied(entry) => {
                let message = format!("duplicate location \"@{}\", ignored", entry.key());
                let warning = Diagnostic::new(span, message).label("the first one answers");
                self.diagnostics.push(warning.warn());
            }
        }
    }

    /// Adds a level and all below it; the answer is its number.
    fn add(
        &mut self,
        level: Level,
        parent: &Settings,
        server: ServerId,
        named: &mut HashMap<String, LocationId>,
    ) -> LocationId {
        let settings = level.settings.merge(Some(parent));
        let mut lookup = LookupBuilder::default();
        for child in level.children {
            let matching = child.matching.clone();
            let span = child.span;
            let id = self.add(child, &settings, server, named);
            let (fresh, name) = match matching {
                LocationMatch::Server => unreachable!("no level holds a server but `http`"),
                LocationMatch::Exact(path) => (lookup.exact(&path, id), path),
                LocationMatch::Prefix {
                    path,
                    regex_follows,
                } => (lookup.prefix(&path, regex_follows, id), path),
                LocationMatch::Regex(mut pattern) => {
                    pattern.note_numbers(self.scope.registry.uses_numbers);
                    lookup.pattern(pattern, id);
                    continue;
                }
                LocationMatch::Named(name) => {
                    self.add_named(name, id, span, named);
                    continue;
                }
            };
            if !fresh {
                let message = format!("duplicate location \"{name}\"");
                self.diagnostics
                    .push(Diagnostic::new(span, message).label("the same location stands above"));
            }
        }
        let (name, is_regex, is_named) = match &level.matching {
            LocationMatch::Server => (String::new(), false, false),
            LocationMatch::Exact(path) | LocationMatch::Prefix { path, .. } => {
                (path.clone(), false, false)
            }
            LocationMatch::Regex(pattern) => (pattern.to_string(), true, false),
            LocationMatch::Named(name) => (format!("@{name}"), false, true),
        };
        let group_slots = match &level.matching {
            LocationMatch::Regex(pattern) => self.scope.registry.define_groups(pattern),
            _ => Vec::new(),
        };
        let inner = lookup.build();
        self.locations.push(Location {
            name,
            is_regex,
            is_named,
            server,
            steps: modules::steps(&settings),
            header_filters: modules::header_filters(&settings),
            settings,
            group_slots,
            inner,
        });
        (self.locations.len() - 1) as LocationId
    }
}
