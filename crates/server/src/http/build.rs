//! From the parsed document to the typed configuration.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use revolve_conf::{Diagnostic, Diagnostics, Directive, Span};

use crate::acme::Wanted;
use crate::config::Prefix;
use crate::config::scope::{HTTP, Shared};
use crate::config::setting::Inherit;
use crate::config::variable::Value;
use crate::http::hosts;
use crate::http::location::{Location, LocationId, LookupBuilder, ServerId};
use crate::http::modules::core::Root;
use crate::http::modules::health_check::GroupCheck;
use crate::http::modules::server_name::ServerName;
use crate::http::modules::upstream::Upstream;
use crate::http::modules::{self, RawSettings, Settings, access_log, health_check, ssl};
use crate::http::scope::{Block, LocationMatch, Scope};
use crate::http::{Http, Names, Server, variables};
use crate::log::Place;

impl Http {
    /// Reads and builds an `http` block. What all blocks share comes back with it, and what is wrong is
    /// among its diagnostics.
    pub(crate) fn build(shared: Shared, block: &Directive, prefix: &Prefix) -> (Http, Shared) {
        let error_log = Some(shared.error_log.clone());
        let mut scope = Scope::read_http(shared, block);
        set_defaults(&mut scope, prefix);
        let mut top = RawSettings::default();
        top.error_log.targets = error_log;
        let top = top.merge(None);
        let mut diagnostics = Diagnostics::default();
        let http = build(&mut scope, &top, &mut diagnostics);
        let mut shared = scope.shared;
        shared.diagnostics.append(diagnostics);
        (http, shared)
    }
}

/// Gives `http` its access log and its root, nginx's `html` in the prefix, where it has none.
fn set_defaults(scope: &mut Scope, prefix: &Prefix) {
    use std::os::unix::ffi::OsStringExt;
    if scope.level.settings.access_log.logs.is_none()
        && let Some(path) = &prefix.access_log
    {
        let file = scope.shared.log_index(Place::File(path.clone()));
        let log = access_log::combined_log(&mut scope.shared.registry, file);
        scope.level.settings.access_log.logs = Some(Arc::new(log));
    }
    let path = scope.shared.full_path("html").into_os_string().into_vec();
    let path = Value::literal(path);
    let alias = None;
    let root = &mut scope.level.settings.core.root;
    root.get_or_insert(Root { path, alias });
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// What grows while the levels are merged.
struct Merging<'a> {
    locations: Vec<Location>,
    diagnostics: &'a mut Diagnostics,
    scope: &'a mut Scope,
    secured: modules::passing_ssl::Known,
}

fn build(scope: &mut Scope, top: &Settings, diagnostics: &mut Diagnostics) -> Http {
    let http = Block::new(HTTP, LocationMatch::Server, None);
    let level = std::mem::replace(&mut scope.level, http);
    let settings = level.settings.merge(Some(top));
    modules::charset::check(&settings.charset, &top.charset, diagnostics);
    let mut merging = Merging {
        locations: Vec::new(),
        diagnostics,
        scope,
        secured: Default::default(),
    };
    let mut servers = Vec::new();
    let mut listens = Vec::new();
    let mut spans = Vec::new();
    let mut wanted = Vec::new();
    for (index, mut server) in level.children.into_iter().enumerate() {
        let id = index as ServerId;
        spans.push(server.span);
        let mut names = std::mem::take(&mut server.server_names);
        for name in &mut names {
            name.note_numbers(merging.scope.shared.registry.uses_numbers);
        }
        listens.push((id, std::mem::take(&mut server.listens), names.clone()));
        let mut named = HashMap::new();
        let first = merging.locations.len();
        let location = merging.add(server, &settings, &mut named);
        let mut all = merging.locations[first..].iter();
        let allows_connect = all.any(|it| modules::tunnel::applies(&it.settings));
        let own = &merging.locations[location as usize].settings;
        let head_limits = own.client.head_limits();
        let tls = load_tls(merging.scope, own, &names, &mut wanted, merging.diagnostics);
        servers.push(Server {
            primary_name: primary_name(&names),
            location,
            head_limits,
            allows_connect,
            named,
            tls,
        });
    }
    let Merging {
        locations,
        diagnostics,
        scope,
        ..
    } = merging;
    let (ports, by_tls) = hosts::build(&listens, diagnostics);
    check_certificates(&by_tls, &servers, &spans, diagnostics);
    let caches = std::mem::take(&mut scope.caches).finish(diagnostics);
    let (upstreams, checks) = finish_upstreams(scope, &locations, diagnostics);
    let definitions = std::mem::take(&mut scope.definitions);
    let variables = variables::resolve(&scope.shared.registry, definitions, diagnostics);
    Http {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        servers,
        locations: locations.into(),
        ports,
        upstreams,
        acme: modules::acme::finish(std::mem::take(&mut scope.acme), wanted),
        caches,
        checks,
        names: Names {
            spec: settings.resolver.spec.clone(),
            timeout_ms: settings.resolver.timeout_ms,
        },
        variables,
        file_limits: settings.file_cache.limits,
        files_within: settings.file_cache.within.clone(),
    }
}

/// What a server agrees to by TLS, where it has any, and which certificates are ordered for it.
fn load_tls(
    scope: &mut Scope,
    own: &Settings,
    names: &[ServerName],
    wanted: &mut Vec<Wanted>,
    diagnostics: &mut Diagnostics,
) -> Option<ssl::ServerTls> {
    modules::acme::note(wanted, &scope.acme, own, names, diagnostics);
    let secrets = &mut scope.shared.secrets;
    own.ssl
        .load((&own.ssl_client, &own.ssl_ocsp), secrets, diagnostics)
}

/// The name of a server where one is asked for. `.example.org` is the name and all below it; here it is the
/// name.
fn primary_name(names: &[ServerName]) -> String {
    let name = names.first().map(ToString::to_string).unwrap_or_default();
    match name.strip_prefix('.') {
        Some(name) => name.to_owned(),
        None => name,
    }
}

/// The groups of servers, and the checks of their health.
fn finish_upstreams(
    scope: &mut Scope,
    locations: &[Location],
    diagnostics: &mut Diagnostics,
) -> (Vec<Upstream>, Vec<GroupCheck>) {
    let upstreams = std::mem::take(&mut scope.upstreams);
    let mut upstreams = upstreams.finish(&mut scope.shared.hosts, diagnostics);
    let matches = std::mem::take(&mut scope.matches);
    let checks = health_check::collect(locations, &matches, &mut upstreams, diagnostics);
    (upstreams, checks)
}

/// Whoever answers a client that names no server has a certificate, or refuses; then all others have one.
fn check_certificates(
    by_tls: &hosts::TlsAddresses,
    servers: &[Server],
    spans: &[Option<Span>],
    diagnostics: &mut Diagnostics,
) {
    let has = |id: &ServerId| servers[*id as usize].tls.as_ref();
    // What could not be loaded was said already.
    if diagnostics.has_errors() {
        return;
    }
    for (default, all) in by_tls {
        let lacking = match has(default) {
            None => Some(default),
            Some(tls) if tls.certificates.is_some() => None,
            Some(_) => all.iter().find(|id| has(id).is_none()),
        };
        if let Some(id) = lacking {
            diagnostics.push(ssl::no_certificate(spans[*id as usize]));
            return;
        }
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
        level: Block,
        parent: &Settings,
        named: &mut HashMap<String, LocationId>,
    ) -> LocationId {
        let mut settings = level.settings.merge(Some(parent));
        let secrets = &mut self.scope.shared.secrets;
        modules::passing_ssl::load(&mut settings, &mut self.secured, secrets, self.diagnostics);
        modules::charset::check(&settings.charset, &parent.charset, self.diagnostics);
        let mut lookup = LookupBuilder::default();
        let mut blocks = Vec::new();
        for mut child in level.children {
            let matching = child.matching.clone();
            let span = child.span;
            if let LocationMatch::If(_) = matching {
                child.settings.take_handler(&settings);
            }
            let id = self.add(child, &settings, named);
            let (fresh, name) = match matching {
                LocationMatch::Server => unreachable!("no level holds a server but `http`"),
                LocationMatch::Exact(path) => (lookup.exact(&path, id), path),
                LocationMatch::Prefix {
                    path,
                    regex_follows,
                } => (lookup.prefix(&path, regex_follows, id), path),
                LocationMatch::Regex(mut pattern) => {
                    pattern.note_numbers(self.scope.shared.registry.uses_numbers);
                    lookup.pattern(pattern, id);
                    continue;
                }
                LocationMatch::Named(name) => {
                    self.add_named(name, id, span, named);
                    continue;
                }
                LocationMatch::If(_) => {
                    blocks.push(id);
                    continue;
                }
            };
            if !fresh {
                let message = format!("duplicate location \"{name}\"");
                self.diagnostics
                    .push(Diagnostic::new(span, message).label("the same location stands above"));
            }
        }
        let uses_numbers = self.scope.shared.registry.uses_numbers;
        settings.rewrite.script.link(blocks, uses_numbers);
        let name = level.matching.name();
        let group_slots = match &level.matching {
            LocationMatch::Regex(pattern) => self.scope.shared.registry.groups(pattern),
            _ => Vec::new(),
        };
        let inner = lookup.build();
        let limit_except = level.limit_except;
        let limit_except = limit_except.map(|(methods, mut level)| {
            level.settings.take_handler(&settings);
            (methods, self.add(*level, &settings, named))
        });
        self.locations.push(Location {
            name,
            steps: modules::steps(&settings),
            header_filters: modules::header_filters(&settings),
            settings,
            group_slots,
            inner,
            limit_except,
        });
        (self.locations.len() - 1) as LocationId
    }
}
