//! The master's own lines in the error log.

use std::io::Write;
use std::rc::Rc;
use std::{fs::File, path::PathBuf};

use revolve_server::Config;
use revolve_server::log::{Level, format_line};

use crate::version::PROGRAM;

/// Writes lines to the error log of the top of the configuration, and the worse ones to standard
/// error too while somebody may be looking, as nginx does.
pub(crate) struct MasterLog {
    targets: Vec<(Rc<File>, Level, bool)>,
    /// The server does not serve yet: who started it reads on standard error why not.
    is_starting: bool,
    /// Whether standard error is still where the person who started us looks.
    has_terminal: bool,
}

impl MasterLog {
    /// Before any configuration: standard error alone, if somebody looks there.
    pub(crate) fn to_stderr(has_terminal: bool) -> MasterLog {
        MasterLog {
            targets: Vec::new(),
            is_starting: true,
            has_terminal,
        }
    }

    /// Writes to the log files of `config` from now on.
    pub(crate) fn use_files(&mut self, config: &Config, files: &[(PathBuf, Rc<File>)]) {
        let paths = config.log_paths();
        let target = |target: &revolve_server::log::ErrorTarget| {
            let path = paths.get(target.file)?;
            let (_, file) = files.iter().find(|(known, _)| known == path)?;
            Some((Rc::clone(file), target.level, is_stderr(path)))
        };
        self.targets = config.process_log.iter().filter_map(target).collect();
    }

    /// The server serves. From now on a log on standard error has the form of a log, and that of a
    /// daemon is nobody's terminal.
    pub(crate) fn serving(&mut self, is_daemon: bool) {
        self.is_starting = false;
        self.has_terminal = !is_daemon;
    }

    /// The first file that is not standard error.
    pub(crate) fn first_file(&self) -> Option<Rc<File>> {
        self.targets
            .iter()
            .find(|(.., is_stderr)| !is_stderr)
            .map(|(file, ..)| Rc::clone(file))
    }

    /// Writes one line.
    pub(crate) fn write(&self, level: Level, message: &str) {
        self.write_files(level, message);
        let is_for_person = level <= Level::Warn && self.has_terminal;
        if is_for_person && self.is_starting {
            return eprintln!("{PROGRAM}: [{}] {message}", level.name());
        }
        let mut on_stderr = self.targets.iter().filter(|(.., is_stderr)| *is_stderr);
        let is_said =
            on_stderr.any(|(file, level_max, _)| write_line(file, *level_max, level, message));
        if is_for_person && !is_said {
            eprintln!("{PROGRAM}: [{}] {message}", level.name());
        }
    }

    /// Writes one line to the files alone, where standard error gets it in another form.
    pub(crate) fn write_files(&self, level: Level, message: &str) {
        for (file, level_max, _) in self.targets.iter().filter(|(.., is_stderr)| !is_stderr) {
            write_line(file, *level_max, level, message);
        }
    }

    /// Writes a line at level `notice`.
    pub(crate) fn notice(&self, message: &str) {
        self.write(Level::Notice, message);
    }
}

fn write_line(file: &File, level_max: Level, level: Level, message: &str) -> bool {
    let is_wanted = level <= level_max;
    if is_wanted {
        // A log that cannot be written leaves nowhere to say so.
        let mut file = file;
        let _ = file.write_all(&format_line(level, format_args!("{message}")));
    }
    is_wanted
}

fn is_stderr(path: &std::path::Path) -> bool {
    path.as_os_str() == "stderr" || path.as_os_str() == "/dev/stderr"
}
