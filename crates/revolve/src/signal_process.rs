//! `-s`: sends a signal to the running master.

use std::process::ExitCode;

use revolve_conf::os_error_text;
use rustix::process::Signal;

use crate::cli::SignalName;
use crate::source::Source;
use crate::version::PROGRAM;
use crate::{ctl, pid_file, report, service};

/// Finds the master by the configuration's pid file and the control socket beside it, and signals it. A reload goes by the control
/// socket where there is one: so whoever asked for it learns what came of it.
pub(crate) fn run(source: &Source, name: SignalName, quiet: bool) -> ExitCode {
    if name == SignalName::Reload
        && let Some(code) = ctl::client::reload(source, quiet)
    {
        return code;
    }
    let loaded = source.load();
    report::print(&loaded);
    let Some(config) = loaded.config else {
        return ExitCode::FAILURE;
    };
    let (signal, number) = match name {
        SignalName::Stop => (Signal::TERM, 15),
        SignalName::Quit => (Signal::QUIT, 3),
        SignalName::Reopen => (Signal::USR1, 10),
        SignalName::Reload => (Signal::HUP, 1),
    };
    let pid = match pid_file::master(&service::pid_path(config.process())) {
        Ok(pid) => pid,
        Err(message) => {
            eprintln!("{PROGRAM}: [error] {message}");
            return ExitCode::FAILURE;
        }
    };
    match rustix::process::kill_process(pid, signal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = os_error_text(&error.into());
            eprintln!("{PROGRAM}: [alert] kill({pid}, {number}) failed {reason}");
            ExitCode::FAILURE
        }
    }
}
