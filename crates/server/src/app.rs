//! The configuration as a whole, and which application serves a listener: the one file that knows them
//! all.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Diagnostics, Directive, Document, Files, Sources};
use revolve_reactor::Lease;

use crate::acme::NamedCertificate;
use crate::config::process::ProcessScope;
use crate::config::scope::{self, MAIN, Scope as _, Shared, Vocabulary};
use crate::config::{Base, Prefix, ProcessConfig, known};
use crate::http::h1::{self, Serve};
use crate::http::h2;
use crate::http::{Http, HttpLoop, modules};
use crate::log::{Destination, ErrorTarget, Level, Place};
use crate::net::ListenSpec;
use crate::runtime::connection::Connection;
use crate::runtime::loop_state::{Applications, Installed};
use crate::runtime::report::LoopReport;
use crate::runtime::worker::{self, Descriptors};
use crate::upstream::report::{UpstreamOrder, UpstreamReport};
use crate::zones::ZoneSpec;

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// What it says whatever is served.
    pub base: Arc<Base>,
    /// The `http` block, where there is one.
    pub http: Option<Arc<Http>>,
}

impl Config {
    /// The settings of the process.
    pub fn process(&self) -> &ProcessConfig {
        &self.base.process
    }

    /// The sockets to listen on.
    pub fn listens(&self) -> impl Iterator<Item = &ListenSpec> {
        self.base.listens()
    }

    /// State that all processes share, in memory files.
    pub fn zones(&self) -> &[ZoneSpec] {
        &self.base.zones
    }

    /// The certificates of its servers, by their files, with those that it gets itself as they lie there now;
    /// not those that other variables name. Reads files.
    pub fn certificates(&self) -> Vec<NamedCertificate> {
        let mut found: Vec<NamedCertificate> = Vec::new();
        let servers = self.http.iter().flat_map(|http| &http.servers);
        for (path, facts) in servers.flat_map(|it| &it.tls).flat_map(|tls| &tls.facts) {
            if found.iter().all(|known| known.path != *path) {
                found.push(NamedCertificate {
                    path: path.clone(),
                    facts: facts.clone(),
                    acme_issuer: None,
                });
            }
        }
        let acme = self.http.iter().filter_map(|http| http.acme.as_ref());
        found.extend(acme.flat_map(|acme| acme.certificates()));
        found
    }

    /// The file that keeps what an operator says of the servers of a group, where it has one.
    pub fn upstream_state(&self, group: &str) -> Option<&Path> {
        let upstreams = self.http.iter().flat_map(|http| &http.upstreams);
        let mut named = upstreams.filter(|upstream| upstream.spec.name == group);
        named.find_map(|upstream| upstream.state.as_deref())
    }

    /// The folders that answers of upstreams are kept in.
    pub fn cache_folders(&self) -> impl Iterator<Item = &Path> {
        let caches = self.http.iter().flat_map(|http| &http.caches);
        caches.map(|cache| cache.folder.path.as_path())
    }

    /// The folders that bodies of requests lie in which are too large for memory, each once.
    pub fn body_folders(&self) -> impl Iterator<Item = &Path> {
        let locations = self.http.iter().flat_map(|http| http.locations.iter());
        let paths = locations.filter_map(|it| it.settings.client.body_temp_path.as_ref());
        let folders: BTreeSet<&Path> = paths.map(|path| path.folder.as_path()).collect();
        folders.into_iter()
    }

    /// Every log file that is to be opened; the one named `stderr` is standard error.
    pub fn log_paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.base.logs.iter().filter_map(Destination::path)
    }
}

/// Reads and builds a configuration.
///
/// All errors are found at once; the configuration is there only if there is none. Warnings come
/// with it.
pub fn load(
    main: &Path,
    prefix: &Prefix,
    globals: Option<&str>,
    files: &mut dyn Files,
) -> (Option<Arc<Config>>, Sources, Diagnostics) {
    let (document, mut diagnostics) = revolve_conf::parse(main, globals, files);
    let mut shared = Shared::new(&prefix.prefix, files.host_names(), VOCABULARY);
    shared.secrets = files.secrets();
    shared.conf_prefix = main.parent().unwrap_or(&prefix.prefix).to_owned();
    let (config, shared) = build(&document, prefix, shared, &mut diagnostics);
    files.keep_host_names(shared.hosts);
    files.keep_secrets(shared.secrets);
    diagnostics.sort();
    let config = (!diagnostics.has_errors()).then(|| Arc::new(config));
    (config, document.sources, diagnostics)
}

/// The blocks of the applications: their names, and how they are written.
const BLOCKS: &[(&str, Args)] = &[("http", Args::BLOCK)];

/// The top of the file, with the blocks of the applications. Those are read when the top of the file has
/// been, whose settings they inherit wherever those stand.
struct MainScope<'d> {
    process: ProcessScope,
    http: Option<&'d Directive>,
}

impl<'d> MainScope<'d> {
    fn read(&mut self, directives: &'d [Directive]) {
        for directive in directives {
            let name = directive.name.text.as_str();
            let applied = match BLOCKS.iter().find(|(block, _)| *block == name) {
                Some((_, args)) => self.block(*args, directive),
                None => self.process.apply(directive),
            };
            if let Err(diagnostic) = applied {
                self.process.shared.note_error(directive, diagnostic);
            }
        }
    }

    fn block(&mut self, args: Args, directive: &'d Directive) -> Result<(), Diagnostic> {
        revolve_conf::directive::check_args(args, directive)?;
        match self.http.replace(directive) {
            Some(_) => Err(duplicate(directive)),
            None => Ok(()),
        }
    }
}

/// Every directive of every kind of block, and the contexts in which it may stand.
fn rows() -> impl Iterator<Item = (&'static str, u32)> {
    let process = ProcessScope::rows().map(|row| (row.name, row.contexts));
    let blocks = BLOCKS.iter().map(|(name, _)| (*name, MAIN));
    process
        .chain(blocks)
        .chain(modules::rows().map(|row| (row.name, row.contexts)))
}

/// Every directive, and the names of the contexts in which it may stand, outermost first.
///
/// `include` is not among them: the grammar knows it, and it may stand anywhere.
pub fn directives() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    rows().map(|(name, contexts)| {
        let named = scope::CONTEXTS.iter();
        let named = named.filter(move |(bit, _)| contexts & bit != 0);
        (name, named.map(|(_, name)| *name).collect())
    })
}

const VOCABULARY: Vocabulary = Vocabulary {
    refuse: |directive| {
        let name = directive.name.text.as_str();
        let elsewhere = rows().filter(|row| row.0 == name).map(|row| row.1);
        match elsewhere.reduce(|all, contexts| all | contexts) {
            Some(contexts) => scope::not_allowed_here(directive, contexts),
            None => known::unknown(directive, rows().map(|row| row.0)),
        }
    },
    is_builtin: |name| modules::variables().any(|builtin| builtin.name == name),
    has_module: |name| modules::names().any(|known| known == name),
};

/// Builds what the document says; what is wrong goes to `diagnostics`. What all blocks share comes back
/// with the names and the secret files that were asked about.
fn build(
    document: &Document,
    prefix: &Prefix,
    shared: Shared,
    diagnostics: &mut Diagnostics,
) -> (Config, Shared) {
    let mut main = MainScope {
        process: ProcessScope::new(shared),
        http: None,
    };
    main.read(&document.directives);
    let MainScope {
        process:
            ProcessScope {
                mut shared,
                process,
                error_log,
                ..
            },
        http,
    } = main;
    shared.error_log =
        error_log.unwrap_or_else(|| Arc::new(vec![default_error_log(&mut shared, prefix)]));
    let process_log = shared.error_log.to_vec();
    let (http, mut shared) = match http {
        Some(directive) => {
            let (http, shared) = Http::build(shared, directive, prefix);
            (Some(Arc::new(http)), shared)
        }
        None => (None, shared),
    };
    check_process(&process, diagnostics, &shared.diagnostics);
    diagnostics.append(std::mem::take(&mut shared.diagnostics));
    for warning in shared.patterns.warnings.drain(..) {
        diagnostics.push(warning);
    }
    let base = Base {
        zones: std::mem::take(&mut shared.zones).finish(process.process_count(), diagnostics),
        process,
        prefix: prefix.prefix.clone(),
        logs: std::mem::take(&mut shared.logs),
        process_log,
        listens: http
            .iter()
            .flat_map(|http| http.listens().cloned())
            .map(|spec| spec.placed(&document.sources))
            .collect(),
        file_limits: http
            .as_ref()
            .map(|http| http.file_limits)
            .unwrap_or_default(),
        files_within: http.as_ref().and_then(|http| http.files_within.clone()),
    };
    let base = Arc::new(base);
    (Config { base, http }, shared)
}

fn default_error_log(shared: &mut Shared, prefix: &Prefix) -> ErrorTarget {
    ErrorTarget {
        file: shared.log_index(Place::File(prefix.error_log.clone())),
        level: Level::Error,
    }
}

/// What can be said of the top of the file only when all of it was read.
fn check_process(process: &ProcessConfig, found: &mut Diagnostics, read: &Diagnostics) {
    if !process.events && !found.has_errors() && !read.has_errors() {
        // nginx's words; it asks for the block even if it is empty.
        let message = "no \"events\" section in configuration";
        found.push(Diagnostic::new(None, message).help("add `events {}`"));
    }
    if process.has_other_count_of_masks() {
        let message = "the number of \"worker_processes\" is not equal to the number of \
                       \"worker_cpu_affinity\" masks, using last mask for remaining worker processes";
        found.push(Diagnostic::new(None, message).warn());
    }
}

/// The applications of one loop.
struct Apps {
    http: Rc<HttpLoop>,
    serve_http: Serve,
}

impl Apps {
    fn boxed() -> Box<dyn Applications> {
        let http = Rc::new(HttpLoop::default());
        let serve_http = h1::serve(http.clone(), h2::serve(http.clone()));
        Box::new(Self { http, serve_http })
    }
}

impl Applications for Apps {
    fn configure(&self, installed: &Rc<Installed>) {
        let config = Arc::clone(&installed.whole).downcast::<Config>();
        let config = config.expect("a worker is given whole configurations");
        if let Some(http) = &config.http {
            self.http.configure(http, installed);
        }
    }

    fn speaks_tls(&self, connection: &Connection) -> bool {
        self.http.speaks_tls(connection)
    }

    fn upstreams(&self, order: Option<&UpstreamOrder>) -> Vec<UpstreamReport> {
        let groups = self.http.groups();
        if let Some(order) = order {
            order.apply(&groups);
        }
        groups.iter().map(|group| group.report()).collect()
    }

    fn serve(&self, connection: Rc<Connection>, lease: Option<Lease>) {
        (self.serve_http)(connection, lease);
    }
}

/// The loops of one process, and what they serve.
pub struct Worker(worker::Worker);

impl Worker {
    /// Serves a configuration on the current thread's loop; with `worker_threads` above 1 that
    /// loop accepts, and as many others, in threads of their own, serve.
    ///
    /// Errors: a socket that cannot be listened on, a zone, a thread or a loop that cannot be made.
    pub fn start(config: Arc<Config>, descriptors: Descriptors) -> io::Result<Worker> {
        let configuration = (config.base.clone(), config as Arc<_>);
        worker::Worker::start(configuration, descriptors, Apps::boxed).map(Self)
    }

    /// Takes a new configuration; open connections stay, requests under way end on the old one.
    ///
    /// Errors: as [`Worker::start`].
    pub fn reload(&self, config: Arc<Config>, descriptors: Descriptors) -> io::Result<()> {
        let configuration = (config.base.clone(), config as Arc<_>);
        self.0.reload(configuration, descriptors)
    }

    /// Takes newly opened log files in place of those of the same paths.
    pub fn reopen(&self, logs: Vec<(PathBuf, OwnedFd)>) {
        self.0.reopen(logs);
    }

    /// Writes a line about the process to its error log.
    pub fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        self.0.log(level, message);
    }

    /// What each loop has to tell, the one that accepts first, with so many of its connections at
    /// most; `None` for a loop that did not answer within `patience`.
    pub async fn report(
        &self,
        connections_max: usize,
        patience: Duration,
    ) -> Vec<Option<LoopReport>> {
        self.0.report(connections_max, patience).await
    }

    /// The groups of servers as each loop has them; an order is obeyed before.
    pub async fn upstreams(
        &self,
        order: Option<UpstreamOrder>,
        patience: Duration,
    ) -> Vec<Vec<UpstreamReport>> {
        self.0.upstreams(order, patience).await
    }

    /// Stops accepting, and waits until all connections have ended, for `worker_shutdown_timeout`
    /// at most. Those that idle for a second are closed; the others are told so with their next
    /// response. Where there are `successors`, who have the other end of what is
    /// [`Descriptors::inherited`] there, they get each connection that idles, as soon as it does.
    pub async fn drain(&self, successors: Option<OwnedFd>) {
        self.0.drain(successors).await;
    }

    /// Writes what the logs have gathered, before the process ends. It waits for the other loops,
    /// and for a moment for a pipe that is full.
    pub fn flush(&self) {
        self.0.flush();
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.0.connection_count()
    }
}
