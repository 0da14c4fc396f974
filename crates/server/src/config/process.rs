//! Directives of the process: the top of the file and `events`.
//!
//! ```nginx
//! user www-data;
//! worker_processes auto;
//! worker_threads 2;            # sub-reactors in each worker; Revolve's own
//! events { use epoll; worker_connections 1024; multi_accept on; }
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use revolve_conf::directive::{Args, Row, duplicate, wrong_count};
use revolve_conf::value::{flag_of, number, number_of, time_ms_of};
use revolve_conf::{Diagnostic, Directive, Span};
use revolve_reactor::{Builder, DriverKind, EventLoop};

use crate::config::scope::{EVENTS, MAIN, Scope, Shared, checked_once, invalid_value, set_once};
use crate::config::surroundings::{self, Surroundings};
use crate::config::{error_log, load_module};
use crate::log::ErrorTarget;
use crate::net::cidr::Network;

/// How many workers: a number, or one a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerCount {
    /// One worker for each processor that the master may run on.
    Auto,
    /// So many workers.
    Count(usize),
}

/// `worker_cpu_affinity`: which processors the workers are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affinity {
    /// One processor a worker, in turn, out of the mask where there is one (bit 0 = CPU 0).
    Auto(Option<Vec<bool>>),
    /// One mask a worker; the last one serves the rest.
    Masks(Vec<Vec<bool>>),
}

/// The settings of the top of the file and of `events`, as written.
///
/// `None` means that the file does not say; the accessors give the defaults.
#[derive(Debug, Default, Clone)]
pub struct ProcessConfig {
    /// `user`: name and group; the group defaults to the user's name.
    pub user: Option<(String, Option<String>)>,
    /// Where `user` stands.
    pub user_span: Option<Span>,
    /// `worker_processes`, default 1.
    pub worker_processes: Option<WorkerCount>,
    /// `worker_threads`, default 1: event loops in each worker.
    pub worker_threads: Option<usize>,
    /// `daemon`, default on.
    pub daemon: Option<bool>,
    /// `master_process`, default on.
    pub master_process: Option<bool>,
    /// `pid`, resolved against the prefix; default `/run/nginx.pid`'s counterpart of the command line.
    pub pid: Option<PathBuf>,
    /// `worker_rlimit_nofile`: the limit of open files in the workers.
    pub worker_rlimit_nofile: Option<u64>,
    /// `worker_cpu_affinity`.
    pub worker_cpu_affinity: Option<Affinity>,
    /// `worker_shutdown_timeout`, milliseconds.
    pub worker_shutdown_timeout_ms: Option<u64>,
    /// `worker_connections`, default 512.
    pub worker_connections: Option<usize>,
    /// `multi_accept`, default off.
    pub multi_accept: Option<bool>,
    /// `use`: how the loops ask the kernel; the default is the reactor's.
    pub driver: Option<DriverKind>,
    /// What a worker runs in: `env`, `working_directory`, `worker_priority`, `worker_rlimit_core`.
    pub surroundings: Surroundings,
    /// Whether an `events` block was there.
    pub events: bool,
}

impl ProcessConfig {
    /// `daemon`, default on.
    pub fn daemon(&self) -> bool {
        self.daemon.unwrap_or(true)
    }

    /// `master_process`, default on.
    pub fn master_process(&self) -> bool {
        self.master_process.unwrap_or(true)
    }

    /// `worker_processes` as a number, at least 1.
    pub fn worker_count(&self) -> usize {
        match self.worker_processes.unwrap_or(WorkerCount::Count(1)) {
            WorkerCount::Count(count) => count,
            WorkerCount::Auto => {
                std::thread::available_parallelism().map_or(1, |count| count.get())
            }
        }
    }

    /// How many processes serve: the workers, or without a master one.
    pub fn process_count(&self) -> usize {
        if self.master_process() {
            self.worker_count()
        } else {
            1
        }
    }

    /// Whether there are several masks of `worker_cpu_affinity`, and not one for each worker.
    pub(crate) fn has_other_count_of_masks(&self) -> bool {
        match &self.worker_cpu_affinity {
            Some(Affinity::Masks(masks)) => masks.len() > 1 && masks.len() != self.worker_count(),
            _ => false,
        }
    }

    /// `worker_threads`, default 1.
    pub fn thread_count(&self) -> usize {
        self.worker_threads.unwrap_or(1)
    }

    /// `worker_connections`, default 512: connections that one worker holds at a time.
    pub fn connections_max(&self) -> usize {
        self.worker_connections.unwrap_or(512)
    }

    /// What an event loop that serves is built with.
    pub fn event_loop(&self) -> Builder {
        let builder = EventLoop::builder();
        match self.driver {
            Some(driver) => builder.driver(driver),
            None => builder,
        }
    }

    /// `multi_accept`, default off.
    pub fn multi_accept(&self) -> bool {
        self.multi_accept.unwrap_or(false)
    }
}

/// A row of the tables of the process.
pub(crate) type DirectiveRow = Row<ProcessScope>;

/// The top of the file and `events` as they are read.
#[derive(Debug)]
pub(crate) struct ProcessScope {
    pub(crate) shared: Shared,
    pub(crate) process: ProcessConfig,
    /// `error_log`, where it stands at the top of the file.
    pub(crate) error_log: Option<Arc<Vec<ErrorTarget>>>,
    context: u32,
    /// No directive may stand in both blocks, so one list serves them.
    checked: Vec<String>,
}

impl ProcessScope {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared,
            process: ProcessConfig::default(),
            error_log: None,
            context: MAIN,
            checked: Vec::new(),
        }
    }
}

impl Scope for ProcessScope {
    fn rows() -> impl Iterator<Item = &'static DirectiveRow> {
        DIRECTIVES.iter().chain(surroundings::DIRECTIVES)
    }

    fn context(&self) -> u32 {
        self.context
    }

    fn shared(&mut self) -> &mut Shared {
        &mut self.shared
    }

    fn checked(&mut self) -> &mut Vec<String> {
        &mut self.checked
    }
}

/// The directives of the process.
const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "error_log",
        contexts: MAIN,
        args: Args::ONE_MORE,
        set: |scope, d| {
            let targets = scope.error_log.get_or_insert_with(Arc::default);
            error_log::add(targets, &mut scope.shared, d)
        },
    },
    DirectiveRow {
        name: "user",
        contexts: MAIN,
        args: Args::ONE_OR_TWO,
        set: user,
    },
    DirectiveRow {
        name: "worker_processes",
        contexts: MAIN,
        args: Args::ONE,
        set: processes,
    },
    DirectiveRow {
        name: "worker_threads",
        contexts: MAIN,
        args: Args::ONE,
        set: threads,
    },
    DirectiveRow {
        name: "worker_cpu_affinity",
        contexts: MAIN,
        args: Args::ONE_MORE,
        set: affinity,
    },
    DirectiveRow {
        name: "worker_rlimit_nofile",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            let value = number_of(&d.args[0], &d.name.text)?;
            set_once(&mut scope.process.worker_rlimit_nofile, value, d)
        },
    },
    DirectiveRow {
        name: "worker_shutdown_timeout",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            let value = time_ms_of(&d.args[0], &d.name.text)?;
            set_once(&mut scope.process.worker_shutdown_timeout_ms, value, d)
        },
    },
    DirectiveRow {
        name: "daemon",
        contexts: MAIN,
        args: Args::FLAG,
        set: |scope, d| set_once(&mut scope.process.daemon, flag(d)?, d),
    },
    DirectiveRow {
        name: "master_process",
        contexts: MAIN,
        args: Args::FLAG,
        set: |scope, d| set_once(&mut scope.process.master_process, flag(d)?, d),
    },
    DirectiveRow {
        name: "pid",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            let path = scope.shared.full_path(&d.args[0].text);
            set_once(&mut scope.process.pid, path, d)
        },
    },
    DirectiveRow {
        name: "pcre_jit",
        contexts: MAIN,
        args: Args::FLAG,
        set: checked_once,
    },
    // What lies in files is read anew by each reload, and nothing of it is made again that is the same.
    DirectiveRow {
        name: "ssl_object_cache_inheritable",
        contexts: MAIN,
        args: Args::FLAG,
        set: checked_once,
    },
    DirectiveRow {
        name: "load_module",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| load_module::load_module(&mut scope.shared, scope.process.events, d),
    },
    DirectiveRow {
        name: "events",
        contexts: MAIN,
        args: Args::BLOCK,
        set: events,
    },
    DirectiveRow {
        name: "worker_connections",
        contexts: EVENTS,
        args: Args::ONE,
        set: |scope, d| {
            let word = &d.args[0];
            let value = number(&word.text).ok_or_else(|| {
                let message = format!("invalid number \"{}\"", word.text);
                Diagnostic::new(word.span, message).label("expected a number of connections")
            })? as usize;
            if value == 0 {
                return Err(invalid_value(&d.args[0], d, "at least 1 connection"));
            }
            set_once(&mut scope.process.worker_connections, value, d)
        },
    },
    DirectiveRow {
        name: "multi_accept",
        contexts: EVENTS,
        args: Args::FLAG,
        set: |scope, d| set_once(&mut scope.process.multi_accept, flag(d)?, d),
    },
    DirectiveRow {
        name: "accept_mutex",
        contexts: EVENTS,
        args: Args::FLAG,
        set: checked_once,
    },
    DirectiveRow {
        name: "accept_mutex_delay",
        contexts: EVENTS,
        args: Args::ONE,
        set: |scope, d| {
            time_ms_of(&d.args[0], &d.name.text)?;
            checked_once(scope, d)
        },
    },
    DirectiveRow {
        name: "epoll_events",
        contexts: EVENTS,
        args: Args::ONE,
        set: checked_number,
    },
    DirectiveRow {
        name: "worker_aio_requests",
        contexts: EVENTS,
        args: Args::ONE,
        set: checked_number,
    },
    DirectiveRow {
        name: "debug_connection",
        contexts: EVENTS,
        args: Args::ONE,
        set: debug_connection,
    },
    DirectiveRow {
        name: "use",
        contexts: EVENTS,
        args: Args::ONE,
        set: driver,
    },
];

fn flag(directive: &Directive) -> Result<bool, Diagnostic> {
    flag_of(&directive.args[0], &directive.name.text)
}

fn checked_number(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    number_of(&directive.args[0], &directive.name.text)?;
    checked_once(scope, directive)
}

/// Whose lines of the level `debug` are written even where no log wants them: there are too few of them
/// here to choose among. It may stand several times.
fn debug_connection(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let is_known = word.text == "unix:" || Network::parse(&word.text).is_some();
    let mut found = || scope.shared.hosts.addresses(&word.text).unwrap_or_default();
    if !is_known && found().is_empty() {
        let message = format!("host not found in debug_connection \"{}\"", word.text);
        let label = "expected an address, a network like 10.0.0.0/8, unix: or the name of a host";
        return Err(Diagnostic::new(word.span, message).label(label));
    }
    let name = &directive.name.text;
    if !scope.checked.contains(name) {
        scope.checked.push(name.clone());
    }
    Ok(())
}

fn user(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    let name = directive.args[0].text.clone();
    let group = directive.args.get(1).map(|word| word.text.clone());
    scope.process.user_span = Some(directive.span);
    set_once(&mut scope.process.user, (name, group), directive)
}

fn processes(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let count = if word.text == "auto" {
        WorkerCount::Auto
    } else {
        match revolve_conf::value::number(&word.text) {
            Some(count @ 1..=1024) => WorkerCount::Count(count as usize),
            _ => {
                return Err(invalid_value(
                    word,
                    directive,
                    "a number from 1 to 1024, or auto",
                ));
            }
        }
    };
    set_once(&mut scope.process.worker_processes, count, directive)
}

fn threads(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let count = match word.text.as_str() {
        "auto" => std::thread::available_parallelism().map_or(1, |count| count.get()),
        text => match revolve_conf::value::number(text) {
            Some(count @ 1..=256) => count as usize,
            _ => {
                return Err(invalid_value(
                    word,
                    directive,
                    "a number from 1 to 256, or auto",
                ));
            }
        },
    };
    set_once(&mut scope.process.worker_threads, count, directive)
}

fn affinity(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    let mask = |word: &revolve_conf::Word| {
        let expected = "a mask of 0 and 1, lowest CPU last";
        if word.text.is_empty() {
            return Err(invalid_value(word, directive, expected));
        }
        let is_wrong = |found: &char| !matches!(found, '0' | '1' | ' ');
        if let Some(found) = word.text.chars().rev().find(is_wrong) {
            let message = format!("invalid character \"{found}\" in \"worker_cpu_affinity\"");
            return Err(Diagnostic::new(word.span, message).label(format!("expected {expected}")));
        }
        Ok(word
            .text
            .bytes()
            .rev()
            .filter(|byte| *byte != b' ')
            .map(|byte| byte == b'1')
            .collect())
    };
    let value = if directive.args[0].text == "auto" {
        if directive.args.len() > 2 {
            return Err(wrong_count(directive).label("expected one mask at most after auto"));
        }
        Affinity::Auto(directive.args.get(1).map(mask).transpose()?)
    } else {
        Affinity::Masks(directive.args.iter().map(mask).collect::<Result<_, _>>()?)
    };
    set_once(&mut scope.process.worker_cpu_affinity, value, directive)
}

fn driver(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let Some(driver) = DriverKind::from_event_type(&word.text) else {
        let message = format!("invalid event type \"{}\"", word.text);
        let expected: Vec<_> = DriverKind::event_types().collect();
        let label = format!("expected {}", expected.join(" or "));
        return Err(Diagnostic::new(word.span, message).label(label));
    };
    set_once(&mut scope.process.driver, driver, directive)
}

fn events(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    if std::mem::replace(&mut scope.process.events, true) {
        return Err(duplicate(directive));
    }
    scope.context = EVENTS;
    scope.read(directive.block.as_deref().unwrap_or_default());
    scope.context = MAIN;
    Ok(())
}
