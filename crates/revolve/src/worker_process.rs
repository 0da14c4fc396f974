//! Starting a worker process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::rc::Rc;

use revolve_reactor::Readable;
use revolve_server::Surroundings;
use revolve_server::log::Level;
use rustix::process::Pid;

use crate::message::Message;
use crate::role::{EXECUTABLE, ROLE, ROLE_WORKER, WORKER_TITLE};
use crate::service::Service;
use crate::{control, privilege};

/// How the names of those variables begin that are read when the program starts: our own, and those
/// of the dynamic linker, the C library, the allocator and the Rust runtime.
const OWN_VARIABLES: [&str; 5] = [
    "REVOLVE_",
    "LD_",
    "GLIBC_TUNABLES",
    "MIMALLOC_",
    "RUST_BACKTRACE",
];

/// Starts the worker with this index and hands it all that it needs. The answer is the process
/// and the master's end of their socket.
pub(crate) fn start(index: usize, service: &Service) -> io::Result<(Child, Rc<Readable>)> {
    let (ours, theirs) = control::pair()?;
    let mut command = Command::new(EXECUTABLE);
    command.arg0(WORKER_TITLE).env_clear().stdin(theirs);
    command.envs(environment(&service.config.process().surroundings));
    command.env(ROLE, ROLE_WORKER);
    let (output, errors) = service.worker_output()?;
    let mut child = command.stdout(output).stderr(errors).spawn()?;
    // Before it has read its first message the worker has one thread, so that these hold for all
    // that follow.
    limit(child.id(), index, service);
    let bundle = Message::Configure(Box::new(service.bundle(index)));
    let (body, fds) = bundle.encode();
    // Should this fail, the socket is closed, and the worker, which serves nothing yet, ends.
    let registered = control::send(&ours, &body, &fds).and_then(|()| Readable::new(ours));
    match registered {
        Ok(socket) => Ok((child, Rc::new(socket))),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// The variables that a worker gets: those of `env`, and those without which our program, which is
/// executed anew and not forked, would start differently.
fn environment(surroundings: &Surroundings) -> BTreeMap<OsString, OsString> {
    let is_ours = |name: &OsStr| {
        let starts = |start: &str| name.as_encoded_bytes().starts_with(start.as_bytes());
        name == "TZ" || OWN_VARIABLES.into_iter().any(starts)
    };
    let mut variables: BTreeMap<_, _> = std::env::vars_os()
        .filter(|(name, _)| is_ours(name))
        .collect();
    for variable in &surroundings.env {
        let inherited = || std::env::var_os(&variable.name);
        let value = variable.value.clone().map(OsString::from);
        if let Some(value) = value.or_else(inherited) {
            variables.insert(OsString::from(&variable.name), value);
        }
    }
    variables
}

/// Sets a worker's limits, priority and processors as the configuration says.
pub(crate) fn limit(worker: u32, index: usize, service: &Service) {
    let Some(pid) = i32::try_from(worker).ok().and_then(Pid::from_raw) else {
        return;
    };
    let process = service.config.process();
    match privilege::set_open_files(pid, process) {
        Err(error) => service.log.write(Level::Alert, &error),
        Ok(limit) if index == 0 && limit < process.connections_max() as u64 => {
            let connections = process.connections_max();
            let message = format!(
                "{connections} worker_connections exceed open file resource limit: {limit}"
            );
            service.log.write(Level::Warn, &message);
        }
        Ok(_) => {}
    }
    if let Some(affinity) = &process.worker_cpu_affinity
        && let Err(error) = privilege::set_affinity(pid, index, affinity)
    {
        service.log.write(Level::Alert, &error);
    }
    let surroundings = &process.surroundings;
    let settings = [
        surroundings
            .core_bytes
            .map(|bytes| privilege::set_core_size(pid, bytes)),
        // As in nginx: who is not root may not.
        surroundings
            .priority
            .filter(|_| rustix::process::geteuid().is_root())
            .map(|priority| privilege::set_priority(pid, priority)),
    ];
    for error in settings.into_iter().flatten().filter_map(Result::err) {
        service.log.write(Level::Alert, &error);
    }
}
