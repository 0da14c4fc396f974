//! `access_log` and `open_log_file_cache`.
//!
//! ```nginx
//! access_log /var/log/revolve/access.log timed if=$loggable;
//! access_log /var/log/revolve/all.log.gz combined buffer=64k flush=5s gzip=1;
//! access_log syslog:server=unix:/dev/log,tag=web combined;
//! access_log /var/log/revolve/$host.log;
//! open_log_file_cache max=100 inactive=20s valid=1m min_uses=2;
//! access_log off;
//! ```

use std::sync::Arc;
use std::time::Duration;

use revolve_conf::directive::Args;
use revolve_conf::value::{number, size, time_ms, time_s};
use revolve_conf::{Diagnostic, Directive, Word};
use rustix::io::Errno;

use crate::config::scope::{HTTP, IF_LOCATION, LOCATION, SERVER, invalid_parameter, set_once};
use crate::config::setting::settings;
use crate::config::syslog;
use crate::config::variable::{Registry, Value};
use crate::file_cache::Found;
use crate::http::modules::core::map_path;
use crate::http::modules::log_format::{self, Format};
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::log::file::STDERR;
use crate::log::{Buffering, PathLimits, Place, Shown, errno_text};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_log_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Log, applies, handle)],
    ..Module::EMPTY
};

/// What `gzip` buffers where no `buffer=` says otherwise.
const GZIP_BUFFER_BYTES: usize = 64 * 1024;

/// Where an `access_log` writes to.
#[derive(Debug)]
enum Target {
    /// A log by its index in the list of all.
    Listed(usize),
    /// A file whose path has variables in it.
    ByPath(Value),
}

/// One `access_log` of a level.
#[derive(Debug)]
struct AccessLog {
    target: Target,
    format: Arc<Format>,
    condition: Option<Value>,
}

/// The `access_log`s of a level.
#[derive(Debug, Default)]
pub(crate) struct AccessLogs {
    list: Vec<AccessLog>,
    /// `off` wins over all that stand beside it.
    is_off: bool,
}

settings! {
    /// Access logs.
    pub struct AccessLogSettings / RawAccessLog {
        inherit {
            /// `access_log`; a level that has one inherits none.
            logs: Arc<AccessLogs> = Arc::default(),
            /// `open_log_file_cache`.
            path_limits: Option<Arc<PathLimits>> = None,
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "access_log",
        contexts: HTTP | SERVER | LOCATION | IF_LOCATION,
        args: Args::ONE_MORE,
        set: access_log,
    },
    DirectiveRow {
        name: "open_log_file_cache",
        contexts: HTTP | SERVER | LOCATION,
        args: Args::range(1, 4),
        set: open_log_file_cache,
    },
];

fn access_log(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let logs = scope.level.settings.access_log.logs.get_or_insert_default();
    if word.text == "off" {
        Arc::get_mut(logs).expect(NOT_SHARED).is_off = true;
        return match directive.args.get(1) {
            Some(extra) => Err(invalid_parameter(extra, "nothing follows `off`")),
            None => Ok(()),
        };
    }
    let format = log_format::find(scope, directive.args.get(1), word.span)?;
    let target = target(scope, word)?;
    let parameters = Parameters::read(scope, directive.args.get(2..).unwrap_or_default())?;
    if let Some(buffering) = parameters.buffering(word)? {
        buffer(scope, word, &target, buffering)?;
    }
    let log = AccessLog {
        target,
        format,
        condition: parameters.condition,
    };
    let logs = scope.level.settings.access_log.logs.get_or_insert_default();
    Arc::get_mut(logs).expect(NOT_SHARED).list.push(log);
    Ok(())
}

const NOT_SHARED: &str = "nobody shares a level's logs while it is read";

fn target(scope: &mut Scope, word: &Word) -> Result<Target, Diagnostic> {
    let text = word.text.as_str();
    let place = if let Some(parameters) = text.strip_prefix("syslog:") {
        Place::Syslog(Arc::new(syslog::server(word, parameters)?))
    } else if text.contains('$') {
        let path = scope.shared.full_path(text);
        let path = path.to_string_lossy();
        return Value::compile(&path, word, &mut scope.shared.registry).map(Target::ByPath);
    } else if text == STDERR {
        Place::File(STDERR.into())
    } else {
        Place::File(scope.shared.full_path(text))
    };
    Ok(Target::Listed(scope.shared.log_index(place)))
}

/// What stands behind the format.
#[derive(Default)]
struct Parameters<'a> {
    buffer_bytes: Option<usize>,
    flush: Option<(Duration, &'a Word)>,
    gzip_level: Option<u8>,
    condition: Option<Value>,
}

impl<'a> Parameters<'a> {
    fn read(scope: &mut Scope, words: &'a [Word]) -> Result<Self, Diagnostic> {
        let mut found = Self::default();
        for word in words {
            let wrong = |what: &str, value: &str, expected: &str| {
                let message = format!("invalid {what} \"{value}\"");
                Diagnostic::new(word.span, message).label(format!("expected {expected}"))
            };
            match word.text.split_once('=') {
                Some(("buffer", value)) => {
                    let bytes = size(value).filter(|bytes| *bytes > 0);
                    let wrong = || wrong("buffer size", value, "a size like 64k");
                    found.buffer_bytes = Some(bytes.ok_or_else(wrong)? as usize);
                }
                Some(("flush", value)) => {
                    let ms = time_ms(value).filter(|ms| *ms > 0);
                    let wrong = || wrong("flush time", value, "a time like 5s");
                    let flush = Duration::from_millis(ms.ok_or_else(wrong)?);
                    found.flush = Some((flush, word));
                }
                None if word.text == "gzip" => found.gzip_level = Some(1),
                Some(("gzip", value)) => {
                    let level = number(value).filter(|level| (1..=9).contains(level));
                    let wrong = || wrong("compression level", value, "a number from 1 to 9");
                    found.gzip_level = Some(level.ok_or_else(wrong)? as u8);
                }
                Some(("if", value)) => {
                    found.condition =
                        Some(Value::compile(value, word, &mut scope.shared.registry)?);
                }
                _ => {
                    return Err(invalid_parameter(
                        word,
                        "expected buffer=, flush=, gzip= or if=",
                    ));
                }
            }
        }
        Ok(found)
    }

    fn buffering(&self, log: &Word) -> Result<Option<Buffering>, Diagnostic> {
        let default = self.gzip_level.map(|_| GZIP_BUFFER_BYTES);
        let Some(bytes) = self.buffer_bytes.or(default) else {
            return match self.flush {
                None => Ok(None),
                Some((_, word)) => {
                    let message = format!("no buffer is defined for access_log \"{}\"", log.text);
                    Err(Diagnostic::new(word.span, message).label("there is nothing to flush")
                        .help("add `buffer=64k`, or take `flush=` away: without a buffer lines are written at once"))
                }
            };
        };
        Ok(Some(Buffering {
            bytes,
            flush: self.flush.map(|(flush, _)| flush),
            gzip_level: self.gzip_level,
        }))
    }
}

/// Has a log hold lines back, which is the same for all `access_log`s that write to it.
fn buffer(
    scope: &mut Scope,
    word: &Word,
    target: &Target,
    buffering: Buffering,
) -> Result<(), Diagnostic> {
    let Target::Listed(index) = target else {
        let message = "buffered logs cannot have variables in name";
        return Err(Diagnostic::new(word.span, message)
            .label("expected a path without variables, or no buffer=, flush= and gzip="));
    };
    let log = &mut scope.shared.logs[*index];
    if matches!(log.place, Place::Syslog(_)) {
        let message = "logs to syslog cannot be buffered";
        return Err(Diagnostic::new(word.span, message)
            .label("expected no buffer=, flush= and gzip=: each line is a datagram"));
    }
    match log.buffering {
        Some(known) if known != buffering => {
            let message = format!(
                "access_log \"{}\" already defined with conflicting parameters",
                log.place
            );
            Err(Diagnostic::new(word.span, message)
                .label("expected the buffer=, flush= and gzip= of the other"))
        }
        _ => {
            log.buffering = Some(buffering);
            Ok(())
        }
    }
}

fn open_log_file_cache(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut files_max = None;
    let mut limits = PathLimits {
        files_max: 0,
        inactive: Duration::from_secs(10),
        uses_min: 1,
        valid: Duration::from_secs(60),
    };
    let mut is_off = false;
    for word in &directive.args {
        let value = word.text.split_once('=');
        let known = match value {
            None => {
                is_off = word.text == "off";
                is_off.then_some(())
            }
            Some(("max", value)) => {
                files_max = number(value).filter(|max| *max > 0);
                files_max.map(|_| ())
            }
            Some(("inactive", value)) => {
                time_s(value).map(|seconds| limits.inactive = Duration::from_secs(seconds))
            }
            Some(("valid", value)) => {
                time_s(value).map(|seconds| limits.valid = Duration::from_secs(seconds))
            }
            Some(("min_uses", value)) => number(value)
                .filter(|uses| *uses > 0)
                .map(|uses| limits.uses_min = uses),
            Some(_) => None,
        };
        if known.is_none() {
            let message = format!(
                "invalid \"open_log_file_cache\" parameter \"{}\"",
                word.text
            );
            return Err(Diagnostic::new(word.span, message)
                .label("expected max=, inactive=time, min_uses=, valid=time, or off"));
        }
    }
    let limits = match files_max {
        Some(max) => {
            limits.files_max = max as usize;
            (!is_off).then(|| Arc::new(limits))
        }
        None if is_off => None,
        None => {
            let message = "\"open_log_file_cache\" must have \"max\" parameter";
            return Err(Diagnostic::new(directive.span, message).label("expected max=N"));
        }
    };
    let slot = &mut scope.level.settings.access_log.path_limits;
    set_once(slot, limits, directive)
}

/// nginx's default log: the `combined` form, in a log of the list.
pub(crate) fn combined_log(registry: &mut Registry, log: usize) -> AccessLogs {
    AccessLogs {
        list: vec![AccessLog {
            target: Target::Listed(log),
            format: Arc::new(log_format::combined(registry)),
            condition: None,
        }],
        is_off: false,
    }
}

/// Whether a line is written.
fn applies(settings: &Settings) -> bool {
    let logs = &settings.access_log.logs;
    !logs.is_off && !logs.list.is_empty()
}

/// Log phase: a line in each log of the level.
fn handle(request: &mut Request) -> Outcome {
    write(request);
    Outcome::Next
}

fn write(request: &Request) {
    let settings = &request.settings().access_log;
    for log in &settings.logs.list {
        if let Some(condition) = &log.condition {
            let value = condition.evaluate(request);
            if value.is_empty() || value == b"0" {
                continue;
            }
        }
        let line = |out: &mut Vec<u8>| log.format.append(request, out);
        match &log.target {
            Target::Listed(index) => request.site.logs.append(*index, line),
            Target::ByPath(path) => {
                if request.state.core.root_seen || root_exists(request) {
                    let (path, limits) = (path.evaluate(request), settings.path_limits.as_ref());
                    request.site.logs.append_by_path(&path, limits, line);
                }
            }
        }
    }
}

/// Whether the request's root is there. Where it is not, a client has made the path up, and gets
/// no file for it. Source: nginx's `access_log`.
fn root_exists(request: &Request) -> bool {
    let mut root = Vec::new();
    map_path(request, b"", &mut root);
    let error = match request.connection.state.files.lookup(&root) {
        Found::Directory => return true,
        Found::File(_) => Errno::NOTDIR,
        Found::Missing(error) => error,
    };
    let (root, reason) = (Shown(&root), errno_text(error));
    let why = format!("testing \"{root}\" existence failed ({reason})");
    request.site.logs.lose(why);
    false
}
