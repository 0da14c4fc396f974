//! Starting a worker process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::rc::Rc;

use revolve_reactor::Readable;
use revolve_server::log::Level;
use rustix::process::Pid;

use crate::message::Message;
use crate::service::Service;
use crate::{EXECUTABLE, ROLE, ROLE_WORKER, control, privilege, systemd};

/// What process lists show, as of nginx's.
const TITLE: &str = "revolve: worker process";

/// Starts the worker with this index and hands it all that it needs. The answer is the process
/// and the master's end of their socket.
pub(crate) fn start(index: usize, service: &Service) -> io::Result<(Child, Rc<Readable>)> {
    let (ours, theirs) = control::pair()?;
    let mut command = Command::new(EXECUTABLE);
    command.arg0(TITLE).env(ROLE, ROLE_WORKER).stdin(theirs);
    for variable in systemd::VARIABLES {
        command.env_remove(variable);
    }
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

/// Sets a worker's limit of open files and its processors as the configuration says.
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
}
