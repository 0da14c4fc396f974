//! Revolve: an event-driven web server that reads `nginx.conf`.
//!
//! This crate is the program: its command line, its master and worker processes, and its life as
//! a daemon. What is served and how lies in `revolve-server`.

#![forbid(unsafe_code)]

mod changes;
mod check;
mod cli;
mod control;
mod ctl;
mod daemon;
mod expiry;
mod folder;
mod handover;
mod inboxes;
mod log;
mod master;
mod message;
mod paths;
mod pid_file;
mod privilege;
mod process;
mod report;
mod resources;
mod role;
mod self_made;
mod service;
mod signal_process;
mod single;
mod source;
mod starter;
mod successor;
mod systemd;
mod title;
mod upgrade;
mod version;
mod worker;
mod worker_process;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use cli::Options;
use daemon::Readiness;
use folder::Folder;
use handover::Predecessor;
use role::{ROLE, ROLE_DAEMON, ROLE_SUCCESSOR, ROLE_WORKER};
use service::Service;
use source::Source;
use starter::Starter;
use systemd::activation::Activated;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A process started through /proc/self/exe is called `exe` where only that name is shown.
    let _ = rustix::thread::set_name(c"revolve");
    let role = std::env::var_os(ROLE);
    if role.as_deref().is_some_and(|role| role == ROLE_WORKER) {
        return worker::run();
    }
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some("ctl") => return ctl::client::run(arguments.split_off(1)),
        Some("help") => arguments[0] = "-h".into(),
        _ => {}
    }
    // Before any descriptor is taken, because those are not for the program executed anew.
    if role.is_none() && cli::parse(arguments.clone()).is_ok_and(|it| it.is_master()) {
        title::assume();
    }
    let activated = Activated::take();
    let options = match cli::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{}: {error}", version::PROGRAM);
            return ExitCode::FAILURE;
        }
    };
    let starter = match starter(role.as_deref(), activated) {
        Ok(starter) => starter,
        Err(error) => {
            report::emerg(&error);
            return ExitCode::FAILURE;
        }
    };
    // Huge pages would make a few connections cost megabytes; refused on old kernels.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    run(&options, starter)
}

fn starter(role: Option<&OsStr>, activated: Activated) -> Result<Starter, String> {
    match role.and_then(OsStr::to_str) {
        Some(ROLE_DAEMON) => Readiness::new()
            .map(Starter::Waiting)
            .map_err(|error| format!("setsid() failed {}", revolve_conf::os_error_text(&error))),
        Some(ROLE_SUCCESSOR) => Predecessor::greet().map(Starter::Master),
        _ => {
            activated.said.iter().for_each(|it| report::warn(it));
            Ok(Starter::Person(activated.sockets))
        }
    }
}

fn run(options: &Options, starter: Starter) -> ExitCode {
    if options.version {
        eprint!("{}", version::version());
        if options.help {
            eprint!("{}", version::help());
        }
        if options.build {
            eprint!("{}", version::build(revolve_server::modules::names()));
        }
        if !options.test {
            return ExitCode::SUCCESS;
        }
    }
    let folder = match options
        .serves_folder()
        .then(|| Folder::new(options))
        .transpose()
    {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("{}: {error}", version::PROGRAM);
            return ExitCode::FAILURE;
        }
    };
    let source = match &folder {
        Some(folder) => folder.source(options),
        None => Source::from_options(options),
    };
    if options.test {
        return check::run(&source, options.quiet, options.dump);
    }
    if options.upgrade {
        return upgrade::run(&source, options.quiet);
    }
    match options.signal {
        Some(signal) => signal_process::run(&source, signal, options.quiet),
        None => serve(source, folder, starter),
    }
}

fn serve(source: Source, folder: Option<Folder>, starter: Starter) -> ExitCode {
    let loaded = source.load();
    // A daemon's warnings were printed by the process that started it.
    if !matches!(starter, Starter::Waiting(_)) || loaded.config.is_none() {
        report::print(&loaded);
    }
    let Some(config) = loaded.config else {
        return ExitCode::FAILURE;
    };
    if config.process().daemon()
        && let Starter::Person(sockets) = &starter
    {
        if !sockets.is_empty() {
            report::warn("sockets that systemd opened are for a server with \"daemon off\"");
        }
        return daemon::start();
    }
    let is_master = config.process().master_process();
    let taken = (config, loaded.snapshot);
    let Some(service) = Service::start(source, folder, taken, starter) else {
        return ExitCode::FAILURE;
    };
    if is_master {
        master::run(service)
    } else {
        single::run(service)
    }
}
