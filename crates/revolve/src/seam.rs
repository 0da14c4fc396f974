#![allow(missing_docs, dead_code)]
//! A stand-in for the server crate until that is here: the same names, and one fixed answer.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use revolve_conf::{Diagnostics, Directive, Files, Sources};
use revolve_reactor::{Address, JoinHandle, ListenOptions, Listener, SendQueue, Stream};

pub(crate) mod log {
    use std::fmt;
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) enum Level {
        Emerg,
        Alert,
        Error,
        Warn,
        Notice,
        Info,
    }
    impl Level {
        pub(crate) fn name(self) -> &'static str {
            ["emerg", "alert", "error", "warn", "notice", "info"][self as usize]
        }
    }
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct ErrorTarget {
        pub(crate) file: usize,
        pub(crate) level: Level,
    }
    pub(crate) fn format_line(level: Level, message: fmt::Arguments<'_>) -> Vec<u8> {
        let pid = std::process::id();
        format!(
            "1970/01/01 00:00:00 [{}] {pid}#{pid}: {message}\n",
            level.name()
        )
        .into_bytes()
    }
    pub(crate) mod file {
        use std::os::fd::AsFd;
        pub(crate) fn open(path: &std::path::Path) -> std::io::Result<std::fs::File> {
            if path.as_os_str() == "stderr" {
                return Ok(std::fs::File::from(
                    std::io::stderr().as_fd().try_clone_to_owned()?,
                ));
            }
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Prefix {
    pub(crate) prefix: PathBuf,
    pub(crate) error_log: PathBuf,
    pub(crate) access_log: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Affinity {
    Auto(Option<Vec<bool>>),
    Masks(Vec<Vec<bool>>),
}

#[derive(Debug, Default, Clone)]
pub(crate) struct ProcessConfig {
    pub(crate) user: Option<(String, Option<String>)>,
    worker_processes: Option<usize>,
    daemon: Option<bool>,
    master_process: Option<bool>,
    pub(crate) pid: Option<PathBuf>,
    pub(crate) worker_rlimit_nofile: Option<u64>,
    pub(crate) worker_cpu_affinity: Option<Affinity>,
    pub(crate) worker_shutdown_timeout_ms: Option<u64>,
}

impl ProcessConfig {
    pub(crate) fn daemon(&self) -> bool {
        self.daemon.unwrap_or(true)
    }
    pub(crate) fn master_process(&self) -> bool {
        self.master_process.unwrap_or(true)
    }
    pub(crate) fn worker_count(&self) -> usize {
        self.worker_processes.unwrap_or(1)
    }
    pub(crate) fn thread_count(&self) -> usize {
        1
    }
    pub(crate) fn connections_max(&self) -> usize {
        512
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ListenSpec {
    pub(crate) address: Address,
    pub(crate) options: ListenOptions,
}

#[derive(Debug, Default)]
pub(crate) struct Config {
    process: ProcessConfig,
    listens: Vec<ListenSpec>,
    log_paths: Vec<PathBuf>,
    pub(crate) process_log: Vec<log::ErrorTarget>,
    body: String,
}

impl Config {
    pub(crate) fn process(&self) -> &ProcessConfig {
        &self.process
    }
    pub(crate) fn listens(&self) -> impl Iterator<Item = &ListenSpec> {
        self.listens.iter()
    }
    pub(crate) fn log_paths(&self) -> &[PathBuf] {
        &self.log_paths
    }
}

pub(crate) fn module_names() -> impl Iterator<Item = &'static str> {
    std::iter::empty()
}

pub(crate) fn load(
    main: &Path,
    prefix: &Prefix,
    globals: Option<&str>,
    files: &mut dyn Files,
) -> (Option<Arc<Config>>, Sources, Diagnostics) {
    let (document, mut diagnostics) = revolve_conf::parse(main, globals, files);
    let mut config = Config::default();
    walk(&document.directives, prefix, &mut config, &mut diagnostics);
    if config.process_log.is_empty() {
        config.log_paths.push(prefix.error_log.clone());
        config.process_log.push(log::ErrorTarget {
            file: config.log_paths.len() - 1,
            level: log::Level::Error,
        });
    }
    config.log_paths.extend(prefix.access_log.clone());
    let config = (!diagnostics.has_errors()).then(|| Arc::new(config));
    (config, document.sources, diagnostics)
}

fn walk(
    directives: &[Directive],
    prefix: &Prefix,
    config: &mut Config,
    diagnostics: &mut Diagnostics,
) {
    for it in directives {
        let arg = it
            .args
            .first()
            .map(|word| word.text.clone())
            .unwrap_or_default();
        match it.name.text.as_str() {
            "worker_processes" => config.process.worker_processes = Some(arg.parse().unwrap_or(2)),
            "daemon" => config.process.daemon = Some(arg == "on"),
            "master_process" => config.process.master_process = Some(arg == "on"),
            "pid" => config.process.pid = Some(prefix.prefix.join(arg)),
            "user" => {
                config.process.user = Some((arg, it.args.get(1).map(|word| word.text.clone())))
            }
            "error_log" => {
                config.log_paths.push(if arg == "stderr" {
                    arg.into()
                } else {
                    prefix.prefix.join(arg)
                });
                config.process_log.push(log::ErrorTarget {
                    file: config.log_paths.len() - 1,
                    level: log::Level::Info,
                });
            }
            "access_log" => config.log_paths.push(prefix.prefix.join(arg)),
            "listen" => {
                let address = match arg.strip_prefix("unix:") {
                    Some(path) => Address::Unix(path.into()),
                    None => Address::Inet(arg.parse().unwrap()),
                };
                let options = ListenOptions {
                    reuse_port: it.args.len() > 1,
                    ..ListenOptions::default()
                };
                config.listens.push(ListenSpec { address, options });
            }
            "return" => config.body = it.args[1].text.clone(),
            "bogus" => diagnostics.push(revolve_conf::directive::unknown(it, std::iter::empty())),
            _ => walk(
                it.block.as_deref().unwrap_or_default(),
                prefix,
                config,
                diagnostics,
            ),
        }
    }
}

pub(crate) struct Descriptors {
    pub(crate) listeners: Vec<(Address, usize, OwnedFd)>,
    pub(crate) logs: Vec<(PathBuf, OwnedFd)>,
}

type Shared = Rc<RefCell<Arc<Config>>>;

pub(crate) struct Worker {
    config: Shared,
    tasks: RefCell<Vec<(Address, usize, JoinHandle<()>)>>,
    logs: RefCell<Vec<(PathBuf, OwnedFd)>>,
}

impl Worker {
    pub(crate) fn start(config: Arc<Config>, d: Descriptors) -> std::io::Result<Worker> {
        let worker = Worker {
            config: Rc::new(RefCell::new(config)),
            tasks: RefCell::default(),
            logs: RefCell::new(d.logs),
        };
        worker.listen(d.listeners);
        Ok(worker)
    }
    fn listen(&self, listeners: Vec<(Address, usize, OwnedFd)>) {
        let mut new = Vec::new();
        let mut old = self.tasks.borrow_mut();
        for (address, copy, fd) in listeners {
            if let Some(at) = old.iter().position(|(a, c, _)| *a == address && *c == copy) {
                new.push(old.remove(at));
                continue;
            }
            let config = Rc::clone(&self.config);
            new.push((
                address,
                copy,
                revolve_reactor::spawn(async move {
                    let listener = Listener::from_fd(fd).unwrap();
                    while let Ok((fd, _)) = listener.accept().await {
                        let config = Rc::clone(&config);
                        revolve_reactor::spawn(async move {
                            let stream = Stream::from_fd(fd).unwrap();
                            while let Ok(buffer) = stream.recv().await
                                && !buffer.is_empty()
                            {
                                let body = config
                                    .borrow()
                                    .body
                                    .replace("$pid", &std::process::id().to_string());
                                let text = format!(
                                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                                    body.len()
                                );
                                let mut queue = SendQueue::new();
                                queue.push(revolve_reactor::Chunk::Bytes(text.into_bytes().into()));
                                if stream.send(queue).await.0.is_err() {
                                    break;
                                }
                            }
                        });
                    }
                }),
            ));
        }
        for (_, _, task) in old.drain(..) {
            task.cancel();
        }
        *old = new;
    }
    pub(crate) fn reload(&self, config: Arc<Config>, d: Descriptors) {
        self.config.replace(config);
        self.listen(d.listeners);
        self.logs.replace(d.logs);
    }
    pub(crate) fn reopen(&self, logs: Vec<(PathBuf, OwnedFd)>) {
        self.logs.replace(logs);
    }
    pub(crate) async fn drain(&self) {
        for (_, _, task) in self.tasks.borrow_mut().drain(..) {
            task.cancel();
        }
    }
}
