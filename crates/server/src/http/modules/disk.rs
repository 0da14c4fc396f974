//! How nginx reads files from the disk.
//!
//! ```nginx
//! aio            threads;
//! directio       4m;
//! output_buffers 2 32k;
//! ```
//!
//! Here a file goes out by `sendfile` or from memory, and never through buffers of the process, so
//! `directio`, `output_buffers` and their like are checked and have nothing to set. With `aio threads` what a
//! disk may hold up is done by threads: files that are not cached are read by them before they are sent or
//! filtered, and with `aio_write on` what is too large for memory is written by them.

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::value::{offset, offset_of, size_of};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, checked_once, invalid_value, set_once};
use crate::config::setting::settings;
use crate::config::thread_pool::{DEFAULT, DiskThreads};
use crate::http::modules::gzip::buffers;
use crate::http::modules::{Module, Settings};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::log::Level;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

settings! {
    /// Who waits for disks.
    pub struct DiskSettings / RawDisk {
        inherit {
            /// `aio threads`, default none.
            threads: Option<Arc<DiskThreads>> = None,
            /// `aio_write`, default off.
            aio_write: bool = false,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(ANY, "aio", Args::ONE, aio),
    row(ANY, "aio_write", Args::FLAG, slot!(flag disk.aio_write)),
    row(ANY, "directio", Args::ONE, directio),
    row(ANY, "directio_alignment", Args::ONE, |scope, d| {
        offset_of(&d.args[0], &d.name.text)?;
        checked_once(scope, d)
    }),
    row(ANY, "read_ahead", Args::ONE, |scope, d| {
        size_of(&d.args[0], &d.name.text)?;
        checked_once(scope, d)
    }),
    row(ANY, "output_buffers", Args::TWO, |scope, d| {
        buffers(d)?;
        checked_once(scope, d)
    }),
];

fn aio(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let threads = match word.text.as_str() {
        "on" | "off" => None,
        "threads" => scope.shared.thread_pools.get(DEFAULT),
        text => {
            let name = text
                .strip_prefix("threads=")
                .filter(|name| !name.is_empty());
            let expected = "on, off, threads or threads=POOL";
            let name = name.ok_or_else(|| invalid_value(word, directive, expected))?;
            Some(scope.shared.thread_pools.get(name).ok_or_else(|| {
                Diagnostic::new(word.span, format!("unknown thread pool \"{name}\""))
                    .label("no `thread_pool` at the top of the file has this name")
            })?)
        }
    };
    set_once(&mut scope.level.settings.disk.threads, threads, directive)
}

fn directio(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    if word.text != "off" && offset(&word.text).is_none() {
        return Err(invalid_value(
            word,
            directive,
            "off, or a size like 512k or 4m",
        ));
    }
    checked_once(scope, directive)
}

/// The threads that wait for disks at a level, where it has any.
pub(crate) fn threads(settings: &Settings) -> Option<&Arc<DiskThreads>> {
    settings.disk.threads.as_ref()
}

/// The threads that write what is too large for memory, where threads are to.
pub(crate) fn writes_by_threads(settings: &Settings) -> Option<&Arc<DiskThreads>> {
    threads(settings).filter(|_| settings.disk.aio_write)
}

/// Does something that may wait for a disk on a thread; `None` where that cannot be, which is in the log.
pub(crate) async fn run<T: Send + 'static>(
    request: &Request,
    threads: &DiskThreads,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let name = threads.name();
    let pool = threads.handle().map_err(|error| {
        let message = format_args!("thread pool \"{name}\" cannot be started ({error})");
        request.log(Level::Alert, message);
    });
    let pool = pool.ok()?;
    let waiting = pool.stats().queued;
    if waiting > threads.queued_max() {
        let message =
            format_args!("thread pool \"{name}\" queue overflow: {waiting} tasks waiting");
        request.log(Level::Error, message);
        return None;
    }
    match pool.run(work).await {
        Ok(done) => Some(done),
        Err(error) => {
            request.log(
                Level::Alert,
                format_args!("thread pool \"{name}\": {error}"),
            );
            None
        }
    }
}
