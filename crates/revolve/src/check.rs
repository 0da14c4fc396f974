//! `-t` and `-T`: is the configuration fit for use, and what is it.

use std::io::{self, Write};
use std::process::ExitCode;

use revolve_conf::Sources;

use crate::source::{Loaded, Source};
use crate::version::PROGRAM;
use crate::{pid_file, privilege, report, resources};

/// Tests the configuration, and prints it for `dump`. What nginx would say on success is left out
/// for `quiet`.
pub(crate) fn run(source: &Source, quiet: bool, dump: bool) -> ExitCode {
    let shown = source.paths.config.display();
    let loaded = source.load();
    report::print(&loaded);
    let Loaded {
        config: Some(config),
        sources,
        ..
    } = loaded
    else {
        eprintln!("{PROGRAM}: configuration file {shown} test failed");
        return ExitCode::FAILURE;
    };
    if !quiet {
        eprintln!("{PROGRAM}: the configuration file {shown} syntax is ok");
    }
    let mut is_fine = resources::test(&config, &mut |error| {
        report::not_opened(&error.message, error.advice.as_deref());
    });
    let process = config.process();
    if let Some(warning) = privilege::useless_user(process) {
        report::warn(warning);
    }
    let pid_path = crate::service::pid_path(process);
    if let Some(warning) = pid_file::foreign(&pid_path) {
        eprintln!("{PROGRAM}: [warn] {warning}");
    }
    let others = [
        privilege::identity(process).map(|_| ()),
        pid_file::check(&pid_path),
    ];
    for error in others.into_iter().filter_map(Result::err) {
        report::emerg(&error);
        is_fine = false;
    }
    if !is_fine {
        eprintln!("{PROGRAM}: configuration file {shown} test failed");
        return ExitCode::FAILURE;
    }
    if !quiet {
        eprintln!("{PROGRAM}: configuration file {shown} test is successful");
    }
    if dump && let Err(error) = print(&sources) {
        report::emerg(&format!(
            "write() to stdout failed {}",
            revolve_conf::os_error_text(&error)
        ));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Every file once, under its name, in the form that tools cut at.
fn print(sources: &Sources) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (_, source) in sources
        .iter()
        .filter(|(_, source)| !source.is_command_line())
    {
        writeln!(out, "# configuration file {}:", source.path().display())?;
        out.write_all(source.bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
