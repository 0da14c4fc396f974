//! The master's own lines in the error log.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revolve_conf::ShownLine;
use revolve_server::Clock;
use revolve_server::Config;
use revolve_server::log::file::is_standard_stream;
use revolve_server::log::{ErrorTarget, Level, Output, say_on_stderr};

use crate::version::PROGRAM;

/// Writes lines to the error log of the top of the configuration, and the worse ones to standard
/// error too while somebody may be looking, as nginx does.
pub(crate) struct MasterLog {
    targets: Vec<Target>,
    clock: Clock,
    /// The server does not serve yet: who started it reads on standard error why not.
    is_starting: bool,
    /// Whether standard error is still where the person who started us looks.
    has_terminal: bool,
}

/// One error log of the top of the configuration.
struct Target {
    output: Output,
    level_max: Level,
    is_stderr: bool,
    /// The file, where it is one.
    file: Option<Arc<File>>,
}

impl MasterLog {
    /// Before any configuration: standard error alone, if somebody looks there.
    pub(crate) fn to_stderr(has_terminal: bool) -> MasterLog {
        MasterLog {
            targets: Vec::new(),
            clock: Clock::without_loop(),
            is_starting: true,
            has_terminal,
        }
    }

    /// Writes to the logs of `config` from now on, whose files are open.
    pub(crate) fn use_files(&mut self, config: &Config, files: &[(PathBuf, Arc<File>)]) {
        let target = |target: &ErrorTarget| {
            let destination = config.base.logs.get(target.file)?;
            let path = destination.path();
            let file = files.iter().find(|(known, _)| Some(known) == path);
            let file = file.map(|(_, file)| Arc::clone(file));
            let output = Output::new(destination, file.clone());
            if !self.is_starting {
                output.queue_writes();
            }
            Some(Target {
                output,
                level_max: target.level,
                is_stderr: path.is_some_and(|path| is_stderr(path)),
                file,
            })
        };
        self.targets = config.base.process_log.iter().filter_map(target).collect();
    }

    /// Waits for a moment until all is written, before the process ends.
    pub(crate) fn finish(&self) {
        for target in &self.targets {
            if let Some(complaint) = target.output.finish() {
                say_on_stderr(&self.clock, Level::Alert, format_args!("{complaint}"));
            }
        }
    }

    /// The server serves. From now on a log on standard error has the form of a log, and that of a
    /// daemon is nobody's terminal.
    pub(crate) fn serving(&mut self, is_daemon: bool) {
        self.is_starting = false;
        self.has_terminal = !is_daemon;
        // A disk that hangs shall not keep it from replacing a worker.
        for target in &self.targets {
            target.output.queue_writes();
        }
    }

    /// The first file that is not standard error. A pipe is none: what it does not take would
    /// stop whoever writes to it.
    pub(crate) fn first_file(&self) -> Option<Arc<File>> {
        let is_file = |file: &Arc<File>| file.metadata().is_ok_and(|it| it.is_file());
        self.targets
            .iter()
            .filter(|target| !target.is_stderr)
            .find_map(|target| target.file.clone().filter(is_file))
    }

    /// Writes one line.
    pub(crate) fn write(&self, level: Level, message: &str) {
        self.write_files(level, message);
        let is_for_person = level <= Level::Warn && self.has_terminal;
        if is_for_person && self.is_starting {
            return say(level, message);
        }
        let mut is_said = false;
        for target in self.targets.iter().filter(|target| target.is_stderr) {
            is_said |= self.write_to(target, level, message);
        }
        if is_for_person && !is_said {
            say(level, message);
        }
    }

    /// Writes one line to all logs but standard error, which gets it in another form.
    pub(crate) fn write_files(&self, level: Level, message: &str) {
        for target in self.targets.iter().filter(|target| !target.is_stderr) {
            self.write_to(target, level, message);
        }
    }

    /// Writes a line at level `notice`.
    pub(crate) fn notice(&self, message: &str) {
        self.write(Level::Notice, message);
    }

    /// Writes a line to one log if that wants it; the answer is whether it does.
    fn write_to(&self, target: &Target, level: Level, message: &str) -> bool {
        let is_wanted = level <= target.level_max;
        if is_wanted {
            let line = format_args!("{message}");
            if let Some(complaint) = target.output.write_line(&self.clock, level, line) {
                say_on_stderr(&self.clock, Level::Alert, format_args!("{complaint}"));
            }
        }
        is_wanted
    }
}

/// Says something to who started the server, in the form of the command's other errors.
fn say(level: Level, message: &str) {
    // Where nobody can be told there is nothing to do about it.
    let (name, message) = (level.name(), ShownLine(message.as_bytes()));
    let _ = writeln!(io::stderr(), "{PROGRAM}: [{name}] {message}");
}

fn is_stderr(path: &Path) -> bool {
    is_standard_stream(path) && path.as_os_str() != "/dev/stdout"
}
