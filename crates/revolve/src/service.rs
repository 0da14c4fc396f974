//! The configuration in force, and all that is open for it: what a master and a single process
//! have in common.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use revolve_conf::Snapshot;
use revolve_reactor::{Address, DriverKind};
use revolve_server::log::Level;
use revolve_server::{Config, ProcessConfig, ZoneLabel};

use crate::changes::{Changes, Version};
use crate::daemon;
use crate::folder::Folder;
use crate::handover::Handover;
use crate::inboxes::Inboxes;
use crate::log::MasterLog;
use crate::message::Bundle;
use crate::privilege::{self, Identity};
use crate::resources::{OpenError, Opened, Patience};
use crate::source::{Loaded, Source};
use crate::starter::Starter;
use crate::systemd::notify::Notifier;
use crate::{paths, pid_file, report, resources, version};

/// See the module.
pub(crate) struct Service {
    pub(crate) log: MasterLog,
    pub(crate) config: Arc<Config>,
    pub(crate) identity: Option<Identity>,
    /// Counts the configurations, from 1.
    pub(crate) generation: u64,
    /// Since when this process runs.
    pub(crate) started: Instant,
    /// Since when this configuration is the one.
    pub(crate) taken_at: Instant,
    source: Source,
    folder: Option<Folder>,
    snapshot: Snapshot,
    opened: Opened,
    pid_path: Option<PathBuf>,
    inboxes: Inboxes,
    /// Where the workers get connections from those of the master before us.
    inherited: Option<OwnedFd>,
    starter: Starter,
    notifier: Notifier,
    /// Whether a new binary has our sockets, and our pid file another name.
    steps_aside: bool,
    /// Unix sockets whose files may have become nobody's.
    left_behind: Vec<Address>,
}

/// What came of reading the configuration again.
pub(crate) struct Reloaded {
    /// What is different now; `None` if nothing was taken.
    pub(crate) changes: Option<Changes>,
    /// What there is to say about the files, as printed to whoever asked.
    pub(crate) said: String,
}

impl Reloaded {
    /// Nothing was read, and why.
    pub(crate) fn refused(why: &str) -> Reloaded {
        Reloaded {
            changes: None,
            said: format!("{}: [error] {why}\n", version::PROGRAM),
        }
    }
}

/// The pid file that a configuration names.
pub(crate) fn pid_path(config: &ProcessConfig) -> PathBuf {
    config.pid.clone().unwrap_or_else(|| paths::PID.into())
}

/// Whether the place of a server is free. Whoever is told that it runs already need not be told that its
/// addresses are in use; a new binary takes a place that is taken.
fn claim(
    process: &ProcessConfig,
    folder: Option<&Folder>,
    starter: &Starter,
) -> Result<(), String> {
    if folder.is_some() || starter.is_successor() {
        return Ok(());
    }
    pid_file::claim(&pid_path(process))
}

/// nginx's line about what the loops wait by: what `use` says, or the environment, or the default.
fn event_method(process: &ProcessConfig) -> String {
    // A name in the environment that is none ends the start with words of its own.
    let driver = process.driver.or_else(|| DriverKind::from_env().ok());
    let driver = driver.unwrap_or_default();
    match driver {
        DriverKind::IoUring => {
            "using the \"io_uring\" event method, or \"epoll\" where the kernel refuses it"
                .to_owned()
        }
        other => format!("using the \"{other}\" event method"),
    }
}

impl Service {
    /// Opens what the configuration needs and writes the pid file. What fails is on standard
    /// error and, as far as it is open, in the error log.
    pub(crate) fn start(
        source: Source,
        folder: Option<Folder>,
        (config, snapshot): (Arc<Config>, Snapshot),
        mut starter: Starter,
    ) -> Option<Service> {
        let mut log = MasterLog::to_stderr(starter.has_terminal());
        let process = config.process();
        claim(process, folder.as_ref(), &starter)
            .map_err(|it| report::emerg(&it))
            .ok()?;
        let identity = privilege::identity(process)
            .map_err(|it| report::emerg(&it))
            .ok()?;
        let patience = if folder.is_some() {
            Patience::None
        } else {
            Patience::Wait
        };
        let mut report = |error: OpenError| match &folder {
            Some(folder) if error.is_in_use => {
                report::emerg(&error.message);
                eprintln!("  = help: {}", folder.in_use_help());
            }
            _ => report::not_opened(&error.message, error.advice.as_deref()),
        };
        let mut warnings = Vec::new();
        let inherited = starter.take_sockets(&config, &mut warnings);
        let zones = starter.take_zones();
        let connections = starter.take_connections();
        let (notifier, heard) = Notifier::from_environment(starter.is_successor());
        warnings.extend(heard.err());
        let opened = Opened::open(&config, (&inherited, zones), patience, &mut report)?;
        log.use_files(&config, opened.logs());
        // Those that were handed over were told about when they were bound.
        warnings.extend(opened.cut_backlogs(&inherited));
        let mut service = Service {
            log,
            identity,
            generation: 1,
            started: Instant::now(),
            taken_at: Instant::now(),
            source,
            pid_path: None,
            folder,
            snapshot,
            opened,
            config,
            inboxes: Inboxes::default(),
            inherited: connections,
            starter,
            notifier,
            steps_aside: false,
            left_behind: Vec::new(),
        };
        service.make_inboxes();
        for warning in &warnings {
            service.log.write(Level::Warn, warning);
        }
        // Where an old master still serves, its pid file gets a successor when we do.
        let is_first = !service.starter.has_predecessor();
        if is_first && let Err(error) = service.write_pid_file() {
            service.log.write(Level::Emerg, &error);
            service.close_sockets();
            return None;
        }
        service.introduce();
        Some(service)
    }

    /// The first lines of the log, those of nginx.
    fn introduce(&self) {
        if let Some(warning) = privilege::useless_user(self.config.process()) {
            self.log.write(Level::Warn, warning);
        }
        self.log.notice(&event_method(self.config.process()));
        self.log.notice(&version::name());
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let shown = |limit: Option<u64>| limit.map_or("unlimited".into(), |it| it.to_string());
        let (soft, hard) = (shown(limit.current), shown(limit.maximum));
        self.log
            .notice(&format!("getrlimit(RLIMIT_NOFILE): {soft}:{hard}"));
    }

    fn write_pid_file(&mut self) -> Result<(), String> {
        // A folder is served by whoever types the command: no pid file is in the way.
        if self.folder.is_none() {
            let path = pid_path(self.config.process());
            pid_file::write(&path)?;
            self.pid_path = Some(path);
        }
        Ok(())
    }

    /// The server serves: tells whoever waits for it. An error means that it must not.
    pub(crate) fn serving(&mut self) -> Result<(), String> {
        let is_daemon = self.starter.is_daemon();
        if self.pid_path.is_none() {
            self.write_pid_file()?;
        }
        self.log.serving(is_daemon);
        if let Some(folder) = &self.folder {
            println!(
                "Revolve serves {} on {}",
                folder.path.display(),
                folder.place()
            );
            if let Some(said) = folder.workers() {
                eprintln!("{}: {said}", version::PROGRAM);
            }
        }
        let error_log = self.log.first_file();
        if let Err(error) = self.starter.serving(error_log.as_deref()) {
            let reason = revolve_conf::os_error_text(&error);
            let message = format!("saying that the server serves failed {reason}");
            self.log.write(Level::Alert, &message);
        }
        self.told(self.notifier.ready(&self.status()));
        Ok(())
    }

    /// One line about the server, for `systemctl status`.
    fn status(&self) -> String {
        let workers = self.config.process().worker_count();
        format!(
            "serving configuration {} with worker_processes {workers}",
            self.generation
        )
    }

    fn told(&self, result: Result<(), String>) {
        if let Err(error) = result {
            self.log.write(Level::Alert, &error);
        }
    }

    /// A reload is over: whoever is to serve the configuration does, or it was refused.
    pub(crate) fn settled(&self) {
        if self.notifier.is_reloading() {
            self.told(self.notifier.ready(&self.status()));
        }
    }

    /// The server is about to end; `successor` is the new binary that goes on.
    pub(crate) fn stopping(&self, successor: Option<u32>) {
        self.told(match successor {
            Some(pid) => self.notifier.main_pid(pid),
            None => self.notifier.stopping(),
        });
    }

    /// What can be read when the master whose place we take has left it to us.
    pub(crate) fn predecessor(&self) -> Option<io::Result<OwnedFd>> {
        self.starter.predecessor()
    }

    /// The place is ours: says so to whoever looks after us.
    pub(crate) fn become_main(&self) {
        self.notifier.become_main();
        // The time since the old one's last sign of life counts against us.
        self.alive();
        self.told(self.notifier.ready(&self.status()));
    }

    /// How often [`Service::alive`] is to be said, if at all.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.notifier.watchdog_interval()
    }

    /// The event loop turns.
    pub(crate) fn alive(&self) {
        if self.watchdog_interval().is_some() {
            self.told(self.notifier.alive());
        }
    }

    /// Reads the configuration again. If anything is wrong with it that is reported, whole, and
    /// nothing changes. With `color` what is said has a terminal's colours.
    pub(crate) fn reload(&mut self, color: bool) -> Reloaded {
        self.told(self.notifier.reloading());
        let loaded = self.source.load();
        self.report_diagnostics(&loaded);
        let mut said = loaded
            .diagnostics
            .render(&loaded.sources, version::PROGRAM, color);
        let changes = self.take(loaded, &mut said);
        match &changes {
            Some(changes) => {
                let (generation, summary) = (self.generation, changes.summary());
                self.log
                    .notice(&format!("configuration {generation}: {summary}"));
            }
            None => {
                let message = "the new configuration was not taken, nothing changed";
                self.log.write(Level::Error, message);
                self.settled();
            }
        }
        Reloaded { changes, said }
    }

    /// Opens what a configuration needs, and takes it; errors go to the log and to `said`.
    fn take(&mut self, loaded: Loaded, said: &mut String) -> Option<Changes> {
        let config = loaded.config?;
        let process = config.process();
        let log = &self.log;
        let mut report = |message: &str, advice: Option<String>| {
            log.write(Level::Emerg, message);
            said.push_str(&format!("{}: [emerg] {message}\n", version::PROGRAM));
            said.push_str(&advice.unwrap_or_default());
        };
        let identity = privilege::identity(process)
            .map_err(|error| report(&error, None))
            .ok()?;
        let zones = self
            .opened
            .zone_copies()
            .map_err(|error| {
                let reason = revolve_conf::os_error_text(&error);
                report(
                    &format!("copying shared memory zones failed {reason}"),
                    None,
                );
            })
            .ok()?;
        let opened = Opened::open(
            &config,
            (&self.opened, zones),
            Patience::None,
            &mut |error: OpenError| report(&error.message, error.advice),
        )?;
        if process.driver != self.config.process().driver {
            self.log.notice(&event_method(process));
        }
        for note in opened.zones().notes() {
            self.log.notice(note);
        }
        for warning in opened.cut_backlogs(&self.opened) {
            self.log.write(Level::Warn, &warning);
        }
        let changes = Changes::between(
            &self.version(&self.snapshot, &self.config),
            &self.version(&loaded.snapshot, &config),
        );
        if let Err(error) = self.move_pid_file(pid_path(process)) {
            said.push_str(&format!("{}: [emerg] {error}\n", version::PROGRAM));
            self.log.write(Level::Emerg, &error);
            return None;
        }
        self.opened.unlink_dropped(&opened);
        self.opened = opened;
        self.identity = identity;
        self.config = config;
        self.snapshot = loaded.snapshot;
        self.generation += 1;
        self.taken_at = Instant::now();
        self.use_logs();
        self.make_inboxes();
        Some(changes)
    }

    /// Makes as many inboxes as there are workers. Without them connections are not dealt, and
    /// that is all.
    fn make_inboxes(&mut self) {
        let count = self.config.process().process_count();
        if let Err(error) = self.inboxes.set_count(count) {
            let reason = revolve_conf::os_error_text(&error);
            let message = format!("connections are not dealt evenly: socketpair() failed {reason}");
            self.log.write(Level::Warn, &message);
        }
    }

    /// A worker has died: what it held in state that all share is taken back.
    pub(crate) fn take_back_from_dead(&self) {
        self.opened.zones().take_back_from_dead();
    }

    fn version<'a>(&'a self, snapshot: &'a Snapshot, config: &'a Config) -> Version<'a> {
        Version {
            main: &self.source.paths.config,
            globals: self.source.globals.as_deref(),
            snapshot,
            config,
        }
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> &Path {
        &self.source.paths.config
    }

    /// The pid file, where there is one.
    pub(crate) fn pid_path(&self) -> Option<&Path> {
        self.pid_path.as_deref()
    }

    fn report_diagnostics(&self, loaded: &Loaded) {
        for diagnostic in &loaded.diagnostics {
            let level = match diagnostic.level {
                revolve_conf::Level::Emerg => Level::Emerg,
                revolve_conf::Level::Warn => Level::Warn,
            };
            self.log
                .write_files(level, &diagnostic.headline(&loaded.sources));
        }
        if let Some(more) = loaded.diagnostics.more() {
            self.log.write_files(Level::Emerg, &more);
        }
        report::print(loaded);
    }

    /// Gives the pid file another place. An error means that the old one holds.
    fn move_pid_file(&mut self, new: PathBuf) -> Result<(), String> {
        let Some(old) = self.pid_path.clone().filter(|old| *old != new) else {
            return Ok(());
        };
        pid_file::write(&new)?;
        self.remove_pid_file(&old);
        self.pid_path = Some(new);
        Ok(())
    }

    fn remove_pid_file(&self, path: &Path) {
        if let Err(error) = pid_file::remove(path) {
            self.log.write(Level::Alert, &error);
        }
    }

    fn use_logs(&mut self) {
        self.log.use_files(&self.config, self.opened.logs());
        if self.starter.is_daemon()
            && let Some(file) = self.log.first_file()
        {
            // Without it standard error stays in the old file, which is no worse.
            let _ = daemon::redirect_stderr(&file);
        }
    }

    /// Opens the log files anew.
    pub(crate) fn reopen_logs(&mut self) {
        let log = &self.log;
        self.opened
            .reopen_logs(&mut |error| log.write(Level::Emerg, &error.message));
        self.use_logs();
    }

    /// The log files as a message carries them.
    pub(crate) fn log_fds(&self) -> Vec<(PathBuf, BorrowedFd<'_>)> {
        self.opened.log_fds()
    }

    /// Standard output and error for a worker: ours, unless we are about to let go of them.
    pub(crate) fn worker_output(&self) -> io::Result<(Stdio, Stdio)> {
        if !self.starter.is_daemon() {
            return Ok((Stdio::inherit(), Stdio::from(report::stderr()?)));
        }
        let errors = match self.log.first_file() {
            Some(file) => Stdio::from(file.try_clone()?),
            None => Stdio::null(),
        };
        Ok((Stdio::null(), errors))
    }

    /// What the worker with this index needs.
    pub(crate) fn bundle(&self, worker: usize) -> Bundle<BorrowedFd<'_>> {
        Bundle {
            generation: self.generation,
            config: self.source.paths.config.clone(),
            prefix: self.source.paths.prefix.clone(),
            error_log: self.source.error_log.clone(),
            access_log: self.source.access_log.clone(),
            globals: self.source.globals.clone(),
            changes_user: self.identity.is_some(),
            snapshot: self.snapshot.clone(),
            listeners: self.opened.sockets_of(worker),
            logs: self.opened.log_fds(),
            zones: self.zone_fds(),
            dealing: self.inboxes.of(worker),
            inherited: self.inherited.as_ref().map(OwnedFd::as_fd),
        }
    }

    /// State that all workers share, as a message carries it.
    fn zone_fds(&self) -> Vec<(ZoneLabel, BorrowedFd<'_>)> {
        let zones = self.opened.zones().descriptors();
        zones.map(|(label, fd)| (label.clone(), fd)).collect()
    }

    /// What a new binary needs to serve on the same sockets, and to get our connections.
    pub(crate) fn handover<'a>(
        &'a self,
        stderr: BorrowedFd<'a>,
        connections: BorrowedFd<'a>,
    ) -> Handover<BorrowedFd<'a>> {
        Handover {
            is_daemon: self.starter.is_daemon(),
            stderr: Some(stderr),
            connections: Some(connections),
            sockets: self.opened.sockets(),
            zones: self.zone_fds(),
        }
    }

    /// Whether we have, or are about to have, no terminal.
    pub(crate) fn is_daemon(&self) -> bool {
        self.starter.is_daemon()
    }

    /// Whether the pid file of our configuration names this process.
    pub(crate) fn names(&self, pid: u32) -> bool {
        let named = pid_file::read(&pid_path(self.config.process()));
        named.is_ok_and(|named| named.as_raw_nonzero().get().unsigned_abs() == pid)
    }

    /// Whether we are a new binary ourselves, whose old master still lives.
    pub(crate) fn has_predecessor(&self) -> bool {
        self.starter.has_predecessor()
    }

    /// Makes way for a new binary: the pid file's name is its.
    pub(crate) fn step_aside(&mut self) -> Result<(), String> {
        if let Some(path) = &self.pid_path {
            let old = pid_file::old(path);
            pid_file::rename(path, &old, "before executing the new binary")?;
            self.pid_path = Some(old);
        }
        self.steps_aside = true;
        Ok(())
    }

    /// The new binary is gone: the pid file has its name again.
    pub(crate) fn step_back(&mut self) {
        self.steps_aside = false;
        if self.folder.is_some() {
            return;
        }
        let path = pid_path(self.config.process());
        let old = pid_file::old(&path);
        if let Err(error) = pid_file::claim(&path) {
            return self.log.write(Level::Alert, &error);
        }
        match pid_file::rename(&old, &path, "after the new binary was gone") {
            Ok(()) => self.pid_path = Some(path),
            Err(error) => self.log.write(Level::Alert, &error),
        }
    }

    /// Stops listening: new connections are refused from now on, unless another master has the
    /// same sockets.
    pub(crate) fn close_sockets(&mut self) {
        if self.steps_aside || self.starter.has_predecessor() {
            let unix = self.opened.close_shared_sockets();
            self.left_behind.extend(unix);
        } else {
            self.opened.close_sockets();
        }
    }

    /// The end: the pid file goes, and the log says so.
    pub(crate) fn finish(&mut self) {
        self.close_sockets();
        if self.steps_aside {
            // The new binary may listen elsewhere.
            resources::unlink_stale(&self.left_behind);
        }
        if let Some(path) = self.pid_path.take() {
            self.remove_pid_file(&path);
        }
        self.log.notice("exit");
        self.log.finish();
    }
}
