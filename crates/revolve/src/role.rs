//! What a process started by another of ours is told, and what it tells when it ends.

/// The executable that is running, also after its file was replaced or removed: workers are
/// always of their master's version.
pub(crate) const EXECUTABLE: &str = "/proc/self/exe";
/// The environment variable that tells a process started by another of ours what it is.
pub(crate) const ROLE: &str = "REVOLVE_ROLE";
pub(crate) const ROLE_DAEMON: &str = "daemon";
pub(crate) const ROLE_WORKER: &str = "worker";
/// A role that other versions give and take: it must not change.
pub(crate) const ROLE_SUCCESSOR: &str = "successor";
/// The exit code of a worker that cannot serve what it was handed. Source: nginx's fatal code.
pub(crate) const EXIT_UNFIT: u8 = 2;
/// What process lists show of a worker, as of nginx's.
pub(crate) const WORKER_TITLE: &str = "revolve: worker process";
