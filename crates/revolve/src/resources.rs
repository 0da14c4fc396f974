//! What the master opens for its workers: listening sockets and log files.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use revolve_conf::os_error_text;
use revolve_reactor::{Address, ListenOptions, Listener};
use revolve_server::log::file::{is_standard_stream, standard_stream};
use revolve_server::{Config, ListenSpec, SocketId, ZoneLabel, Zones};

use crate::handover::{Owner, Socket};
use crate::privilege;
use crate::report;

/// How often binding an address in use is tried at start, and how long between: an old server
/// may be about to let go of it. Source: nginx's `ngx_open_listening_sockets`.
const BIND_TRIES: u32 = 5;
const BIND_PAUSE: Duration = Duration::from_millis(500);

/// One address, bound: one socket, or several copies with `reuseport`.
#[derive(Clone)]
pub(crate) struct Bound {
    id: SocketId,
    options: ListenOptions,
    copies: Vec<Rc<OwnedFd>>,
    owner: Owner,
}

/// Open sockets and logs; what a reload keeps is shared by the old and the new set.
#[derive(Clone, Default)]
pub(crate) struct Opened {
    bound: Vec<Bound>,
    logs: Vec<(PathBuf, Arc<File>)>,
    zones: Rc<Zones>,
}

/// Whether to wait for an address that is in use.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Try again for two seconds.
    Wait,
    /// Fail at once.
    None,
}

/// An error while opening, in nginx's words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OpenError {
    /// What failed.
    pub(crate) message: String,
    /// Whether it is that another program has the address.
    pub(crate) is_in_use: bool,
    /// Where the configuration asks for it, and what to do: lines as they follow a diagnostic.
    pub(crate) advice: Option<String>,
}

impl OpenError {
    fn new(message: String) -> OpenError {
        OpenError {
            message,
            is_in_use: false,
            advice: None,
        }
    }

    /// A socket that cannot be bound; `is_final` if it is not tried again.
    fn bind(spec: &ListenSpec, error: &io::Error, is_final: bool) -> OpenError {
        let address = &spec.id;
        OpenError {
            is_in_use: error.kind() == io::ErrorKind::AddrInUse,
            advice: is_final.then(|| bind_advice(spec, error)),
            ..OpenError::new(format!(
                "bind() to {address} failed {}",
                os_error_text(error)
            ))
        }
    }
}

impl Opened {
    /// Opens what `config` needs, taking over from `old` the sockets whose address stays, and
    /// from `zones` those that it still has.
    ///
    /// Of a `reuseport` address there are as many copies as processes. Every error goes to
    /// `report` as it happens; `None` if there was one that counts.
    pub(crate) fn open(
        config: &Config,
        (old, zones): (&Opened, Vec<(ZoneLabel, OwnedFd)>),
        patience: Patience,
        report: &mut dyn FnMut(OpenError),
    ) -> Option<Opened> {
        let logs = open_logs(config, old, report)?;
        make_folders(config, report);
        let workers = config.process().process_count();
        let zones = open_zones(config, zones, report)?;
        let mut bound: Vec<Option<Bound>> = Vec::new();
        let specs: Vec<&ListenSpec> = config.listens().collect();
        bound.resize_with(specs.len(), || None);
        let tries = if patience == Patience::Wait {
            BIND_TRIES
        } else {
            1
        };
        for round in 1..=tries {
            let mut is_complete = true;
            for (spec, slot) in specs
                .iter()
                .zip(&mut bound)
                .filter(|(_, slot)| slot.is_none())
            {
                let has_copies = has_copies(&spec.id.address, &spec.options);
                let count = if has_copies { workers } else { 1 };
                match bind(spec, count, old) {
                    Ok(socket) => *slot = Some(socket),
                    Err(error) => {
                        let is_in_use = error.kind() == io::ErrorKind::AddrInUse;
                        let is_final = !is_in_use || round == tries;
                        report(OpenError::bind(spec, &error, is_final));
                        if !is_in_use {
                            return None;
                        }
                        is_complete = false;
                    }
                }
            }
            if is_complete {
                return Some(Opened {
                    bound: bound.into_iter().flatten().collect(),
                    logs,
                    zones: Rc::new(zones),
                });
            }
            if round < tries {
                std::thread::sleep(BIND_PAUSE);
            }
        }
        if patience == Patience::Wait {
            report(OpenError::new("still could not bind()".into()));
        }
        None
    }

    /// The sockets that somebody handed to us: [`Opened::open`] takes those that the configuration
    /// names.
    pub(crate) fn inherited(sockets: Vec<Socket<OwnedFd>>) -> Opened {
        let mut bound: Vec<Bound> = Vec::new();
        for socket in sockets {
            let fd = Rc::new(socket.fd);
            let known = bound.iter_mut().find(|known| {
                known.options.reuse_port && socket.is_reuseport && known.id == socket.id
            });
            match known {
                Some(known) => known.copies.push(fd),
                None => bound.push(Bound {
                    id: socket.id,
                    options: ListenOptions {
                        reuse_port: socket.is_reuseport,
                        ..ListenOptions::default()
                    },
                    copies: vec![fd],
                    owner: socket.owner,
                }),
            }
        }
        Opened {
            bound,
            ..Opened::default()
        }
    }

    /// All sockets, to be handed to a new binary.
    pub(crate) fn sockets(&self) -> Vec<Socket<BorrowedFd<'_>>> {
        let mut sockets = Vec::new();
        for bound in &self.bound {
            for fd in &bound.copies {
                sockets.push(Socket {
                    id: bound.id.clone(),
                    is_reuseport: bound.options.reuse_port,
                    owner: bound.owner,
                    fd: fd.as_fd(),
                });
            }
        }
        sockets
    }

    /// What there is to say of backlogs that the kernel cuts, of sockets that `old` does not have: one line
    /// for each length that was asked for.
    ///
    /// Source: listen(2), which does so in silence.
    pub(crate) fn cut_backlogs(&self, old: &Opened) -> Vec<String> {
        let Some(backlog_max) = backlog_max() else {
            return Vec::new();
        };
        let is_old = |bound: &Bound| {
            let mut known = old.bound.iter();
            known
                .any(|other| other.id == bound.id && other.options.backlog == bound.options.backlog)
        };
        let is_cut = |bound: &&Bound| {
            bound.owner == Owner::Us
                && !is_old(bound)
                && u32::try_from(bound.options.backlog).is_ok_and(|backlog| backlog > backlog_max)
        };
        let mut lines = Vec::new();
        let cut: Vec<&Bound> = self.bound.iter().filter(is_cut).collect();
        let mut lengths: Vec<i32> = cut.iter().map(|bound| bound.options.backlog).collect();
        lengths.sort_unstable();
        lengths.dedup();
        for length in lengths {
            let mut those = cut.iter().filter(|bound| bound.options.backlog == length);
            let first = those.next().map(|bound| bound.id.to_string());
            let more = match those.count() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            lines.push(format!(
                "the backlog of {}{more} is {length}, and the kernel cuts it to {backlog_max}: raise \
                 net.core.somaxconn, or set backlog={backlog_max}",
                first.unwrap_or_default()
            ));
        }
        lines
    }

    /// The log files.
    pub(crate) fn logs(&self) -> &[(PathBuf, Arc<File>)] {
        &self.logs
    }

    /// The log files as a message carries them.
    pub(crate) fn log_fds(&self) -> Vec<(PathBuf, BorrowedFd<'_>)> {
        self.logs
            .iter()
            .map(|(path, file)| (path.clone(), file.as_fd()))
            .collect()
    }

    /// State that all workers share.
    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Copies of the descriptors of all zones: for another configuration, or another binary.
    pub(crate) fn zone_copies(&self) -> io::Result<Vec<(ZoneLabel, OwnedFd)>> {
        let copy = |(label, fd): (&ZoneLabel, BorrowedFd<'_>)| {
            Ok((label.clone(), fd.try_clone_to_owned()?))
        };
        self.zones.descriptors().map(copy).collect()
    }

    /// The sockets of one worker: those that all share, and its own copies of the others.
    pub(crate) fn sockets_of(&self, worker: usize) -> Vec<(SocketId, BorrowedFd<'_>)> {
        let socket = |bound: &'_ Bound| {
            let has_copies = has_copies(&bound.id.address, &bound.options);
            if has_copies { worker } else { 0 }
        };
        let mine = self
            .bound
            .iter()
            .filter_map(|bound| Some((bound.id.clone(), bound.copies.get(socket(bound))?.as_fd())));
        mine.collect()
    }

    /// Opens all log files anew; those that cannot be opened are reported and stay as they were.
    pub(crate) fn reopen_logs(&mut self, report: &mut dyn FnMut(OpenError)) {
        // Standard streams stay: a daemon's own are not where they were any more.
        for (path, file) in self
            .logs
            .iter_mut()
            .filter(|(path, _)| !is_standard_stream(path))
        {
            match open_log(path) {
                Ok(opened) => *file = Arc::new(opened),
                Err(error) => report(log_error(path, &error)),
            }
        }
    }

    /// Closes all sockets, and removes the files of Unix ones.
    pub(crate) fn close_sockets(&mut self) {
        for bound in std::mem::take(&mut self.bound) {
            bound.unlink();
        }
    }

    /// Closes all sockets, which another master listens on too. The answer is the Unix ones, for
    /// [`unlink_stale`].
    pub(crate) fn close_shared_sockets(&mut self) -> Vec<Address> {
        let bound = std::mem::take(&mut self.bound);
        let ours = bound.into_iter().filter(|bound| bound.owner == Owner::Us);
        let addresses = ours.map(|bound| bound.id.address);
        addresses.filter(Address::is_unix).collect()
    }

    /// Removes the files of the Unix sockets that `self` has and `new` has not.
    pub(crate) fn unlink_dropped(&self, new: &Opened) {
        let stays = |bound: &Bound| new.bound.iter().any(|other| other.id == bound.id);
        for bound in self.bound.iter().filter(|bound| !stays(bound)) {
            bound.unlink();
        }
    }
}

impl Bound {
    fn unlink(&self) {
        if self.owner == Owner::Us {
            unlink(&self.id.address);
        }
    }
}

/// The longest backlog of this network namespace.
fn backlog_max() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?;
    text.trim().parse().ok()
}

/// Makes the folders that workers write to and cannot make, or not as their own. Who cannot write there goes
/// on without, so that this is no reason not to start.
fn make_folders(config: &Config, report: &mut dyn FnMut(OpenError)) {
    let identity = privilege::identity(config.process()).ok().flatten();
    let caches = config
        .cache_folders()
        .map(|it| (it, "nothing is cached there"));
    let bodies = config.body_folders();
    let bodies = bodies.map(|it| (it, "large bodies of requests are answered with 500"));
    for (folder, otherwise) in caches.chain(bodies) {
        let made = std::fs::create_dir_all(folder.parent().unwrap_or(folder));
        let own = || match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        let owned = made
            .and_then(|()| own())
            .and_then(|()| identity.as_ref().map_or(Ok(()), |it| it.own(folder)));
        if let Err(error) = owned {
            let reason = os_error_text(&error);
            let shown = folder.display();
            report(OpenError::new(format!(
                "mkdir() \"{shown}\" failed {reason}, {otherwise}"
            )));
        }
    }
}

fn open_zones(
    config: &Config,
    given: Vec<(ZoneLabel, OwnedFd)>,
    report: &mut dyn FnMut(OpenError),
) -> Option<Zones> {
    Zones::open(config.zones(), given)
        .map_err(|message| report(OpenError::new(message)))
        .ok()
}

fn open_logs(
    config: &Config,
    old: &Opened,
    report: &mut dyn FnMut(OpenError),
) -> Option<Vec<(PathBuf, Arc<File>)>> {
    let mut logs = Vec::new();
    let mut is_complete = true;
    for path in config.log_paths() {
        let kept = old.logs.iter().find(|(known, _)| known == path);
        let kept = kept.filter(|_| is_standard_stream(path));
        let opened = match kept {
            Some((_, file)) => Ok(Arc::clone(file)),
            None => open_log(path).map(Arc::new),
        };
        match opened {
            Ok(file) => logs.push((path.clone(), file)),
            Err(error) => {
                report(log_error(path, &error));
                is_complete = false;
            }
        }
    }
    is_complete.then_some(logs)
}

/// Opens a log file, or what stands for a standard stream.
fn open_log(path: &Path) -> io::Result<File> {
    if is_standard_stream(path) && path.as_os_str() != "/dev/stdout" {
        return report::stderr().and_then(standard_stream);
    }
    revolve_server::log::file::open(path)
}

fn log_error(path: &Path, error: &io::Error) -> OpenError {
    let reason = os_error_text(error);
    OpenError::new(format!("open() \"{}\" failed {reason}", path.display()))
}

/// Whether each worker has a socket of its own. A Unix socket's file can be bound once.
fn has_copies(address: &Address, options: &ListenOptions) -> bool {
    options.reuse_port && !address.is_unix()
}

/// Where the configuration asks for an address that cannot be bound, and what to do about it.
fn bind_advice(spec: &ListenSpec, error: &io::Error) -> String {
    let (address, place) = (&spec.id.address, &spec.place);
    let port = address.as_inet().map_or(0, |address| address.port());
    let help = match error.kind() {
        io::ErrorKind::AddrInUse if port > 0 => format!(
            "another program listens on port {port}; `ss -ltnp 'sport = :{port}'`, as root, says \
             which. End it, or listen on another port"
        ),
        io::ErrorKind::AddrInUse => {
            "another program listens there; end it, or listen on another path".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has the address; `ip address` lists those there are"
                .into()
        }
        io::ErrorKind::PermissionDenied if port > 0 && port < 1024 => {
            "ports below 1024 are for root: start as root, give the program the capability \
             CAP_NET_BIND_SERVICE, or listen on a port from 1024 on"
                .into()
        }
        io::ErrorKind::PermissionDenied => "this user may not write to its folder".into(),
        io::ErrorKind::NotFound => "the folder of the socket does not exist; make it".into(),
        _ if address.as_inet().is_some_and(|address| address.is_ipv6()) => {
            "IPv6 may be switched off on this machine; leave the address out".into()
        }
        _ => return format!(" --> {place}\n"),
    };
    format!(" --> {place}\n  = help: {help}\n")
}

/// Binds `count` sockets to an address, beside those that are bound already.
fn bind(spec: &ListenSpec, count: usize, old: &Opened) -> io::Result<Bound> {
    let options = &spec.options;
    // An address stays bound; whether it may be bound again was settled when it was.
    let kept = old
        .bound
        .iter()
        .find(|bound| bound.id == spec.id && bound.options.reuse_port == options.reuse_port);
    let mut copies: Vec<Rc<OwnedFd>> = kept.map(|bound| bound.copies.clone()).unwrap_or_default();
    copies.truncate(count);
    if kept.is_some_and(|bound| bound.owner == Owner::Us) {
        // It may have another backlog by now, or the kernel another limit.
        for socket in &copies {
            rustix::net::listen(socket, options.backlog)?;
        }
    }
    while copies.len() < count {
        copies.push(Rc::new(bind_one(&spec.id.address, options)?));
    }
    Ok(Bound {
        id: spec.id.clone(),
        options: options.clone(),
        copies,
        owner: kept.map_or(Owner::Us, |bound| bound.owner),
    })
}

fn bind_one(address: &Address, options: &ListenOptions) -> io::Result<OwnedFd> {
    let socket = match Listener::bind(address, options) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(address) => {
            unlink(address);
            Listener::bind(address, options)?
        }
        result => result?,
    };
    if let Some(path) = unix_path(address) {
        // As in nginx everybody may connect; the folder's mode says who reaches it.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    }
    Ok(socket)
}

/// Whether a Unix socket's file is left of a server that died: nobody listens on it.
fn is_stale(address: &Address) -> bool {
    let Some(path) = unix_path(address) else {
        return false;
    };
    let is_socket = path
        .symlink_metadata()
        .is_ok_and(|it| it.file_type().is_socket());
    let connected = UnixStream::connect(path);
    is_socket && connected.is_err_and(|it| it.kind() == io::ErrorKind::ConnectionRefused)
}

/// Removes the files of those Unix sockets on which nobody listens any more.
pub(crate) fn unlink_stale(addresses: &[Address]) {
    addresses.iter().filter(|it| is_stale(it)).for_each(unlink);
}

fn unix_path(address: &Address) -> Option<&Path> {
    match address {
        Address::Unix(path) if !path.as_os_str().as_encoded_bytes().starts_with(&[0]) => Some(path),
        _ => None,
    }
}

fn unlink(address: &Address) {
    if let Some(path) = unix_path(address) {
        // It may be gone already; then there is nothing to do.
        let _ = std::fs::remove_file(path);
    }
}

/// What `-t` tries: opens the logs and binds the addresses, and closes all again. An address in
/// use is fine: it is most likely the running server's. Source: nginx's `ngx_init_cycle`.
pub(crate) fn test(config: &Config, report: &mut dyn FnMut(OpenError)) -> bool {
    let mut is_fine = open_logs(config, &Opened::default(), report).is_some();
    for spec in config.listens() {
        match bind(spec, 1, &Opened::default()) {
            Ok(bound) => unlink(&bound.id.address),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => {
                report(OpenError::bind(spec, &error, true));
                is_fine = false;
            }
        }
    }
    is_fine
}
