//! What a worker may do: its user, its limit of open files, its processors.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Group, User};
use revolve_conf::os_error_text;
use revolve_server::Affinity;
use revolve_server::ProcessConfig;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, CpuSet};

/// The user of the workers of a master that is root, where the configuration names none.
pub(crate) const USER: &str = "nobody";

/// A user to change to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    name: CString,
    user: nix::unistd::Uid,
    group: nix::unistd::Gid,
}

/// Whom the workers run as: `None` if the master is not root and so cannot choose.
pub(crate) fn identity(config: &ProcessConfig) -> Result<Option<Identity>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let (name, group) = match &config.user {
        Some((name, group)) => (name.as_str(), group.as_deref()),
        None => (USER, None),
    };
    find(name, group, config.user.is_some()).map(Some)
}

/// nginx's warning, where `user` has no effect because the master is not root.
pub(crate) fn useless_user(config: &ProcessConfig) -> Option<&'static str> {
    let is_useless = config.user.is_some() && !rustix::process::geteuid().is_root();
    is_useless.then_some(
        "the \"user\" directive makes sense only if the master process runs with super-user \
         privileges, ignored",
    )
}

/// As in nginx the group defaults to the one of the user's name.
fn find(name: &str, group: Option<&str>, is_configured: bool) -> Result<Identity, String> {
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => return Err(format!("getpwnam(\"{name}\") failed")),
        Err(error) => return Err(format!("getpwnam(\"{name}\") failed {}", text(error))),
    };
    let group_name = group.unwrap_or(name);
    let gid = match Group::from_name(group_name) {
        Ok(Some(group)) => group.gid,
        // Nobody wrote a group, so that of the user's own entry will do.
        Ok(None) if group.is_none() && !is_configured => user.gid,
        Ok(None) => return Err(format!("getgrnam(\"{group_name}\") failed")),
        Err(error) => return Err(format!("getgrnam(\"{group_name}\") failed {}", text(error))),
    };
    let name = CString::new(name).map_err(|_| format!("invalid user \"{name}\""))?;
    Ok(Identity {
        name,
        user: user.uid,
        group: gid,
    })
}

impl Identity {
    /// Makes a folder this user's, where it is root's or another's.
    pub(crate) fn own(&self, folder: &Path) -> io::Result<()> {
        let owner = std::fs::metadata(folder)?.uid();
        match owner == self.user.as_raw() {
            true => Ok(()),
            false => std::os::unix::fs::chown(folder, Some(self.user.as_raw()), None),
        }
    }

    /// Becomes this user for good, supplementary groups included. The answer is what there is to say
    /// where the kernel keeps those for itself: in a user namespace that denies `setgroups` nobody can
    /// change them, so that to refuse would mean to serve nowhere there. Source: nginx, which goes on.
    pub(crate) fn assume(&self) -> Result<Option<String>, String> {
        let Identity { name, user, group } = self;
        let shown = name.to_string_lossy();
        nix::unistd::setgid(*group)
            .map_err(|error| format!("setgid({group}) failed {}", text(error)))?;
        let failed = |error| format!("initgroups({shown}, {group}) failed {}", text(error));
        let kept = match nix::unistd::initgroups(name, *group) {
            Ok(()) => None,
            Err(nix::errno::Errno::EPERM) if denies_setgroups() => Some(format!(
                "{}, because this user namespace denies it: the worker keeps its master's groups",
                failed(nix::errno::Errno::EPERM)
            )),
            Err(error) => return Err(failed(error)),
        };
        nix::unistd::setuid(*user)
            .map_err(|error| format!("setuid({user}) failed {}", text(error)))?;
        Ok(kept)
    }
}

/// Whether this user namespace denies it to all to change their groups. Source: user_namespaces(7).
fn denies_setgroups() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"))
}

/// Lets go of what a worker does not need whoever it is: capabilities that a master which is not
/// root was started with, and the right to gain any by executing a file. A worker that is to be
/// root stays it.
pub(crate) fn confine() -> Result<(), String> {
    let text = |call: &str, error: rustix::io::Errno| {
        format!("{call} failed {}", os_error_text(&error.into()))
    };
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| text("prctl(PR_SET_NO_NEW_PRIVS)", error))?;
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // Kernels before 4.3 have no such set, and nothing in it.
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(|error| text("capset()", error))
}

/// Lets the kernel write core files of a process that changed its user.
pub(crate) fn allow_core_files() -> Result<(), String> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(|error| {
        let reason = os_error_text(&error.into());
        format!("prctl(PR_SET_DUMPABLE) failed {reason}")
    })
}

fn text(error: nix::errno::Errno) -> String {
    os_error_text(&io::Error::from(error))
}

/// Sets the limit of open files of a worker: `worker_rlimit_nofile`, or as much as its
/// connections may need and the hard limit allows. Answers with what the limit is then.
pub(crate) fn set_open_files(worker: Pid, config: &ProcessConfig) -> Result<u64, String> {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let wanted = match config.worker_rlimit_nofile {
        Some(limit) => Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        },
        None => Rlimit {
            current: raised(now, config.connections_max()),
            maximum: now.maximum,
        },
    };
    let limit = wanted.current.unwrap_or(u64::MAX);
    if wanted.current == now.current && wanted.maximum == now.maximum {
        return Ok(limit);
    }
    rustix::process::prlimit(Some(worker), Resource::Nofile, wanted).map_err(|error| {
        let reason = os_error_text(&error.into());
        format!("setrlimit(RLIMIT_NOFILE, {limit}) failed {reason}")
    })?;
    Ok(limit)
}

/// Sets the size of a worker's core files, as `worker_rlimit_core` says.
pub(crate) fn set_core_size(worker: Pid, bytes: u64) -> Result<(), String> {
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    rustix::process::prlimit(Some(worker), Resource::Core, limit)
        .map(|_| ())
        .map_err(|error| {
            let reason = os_error_text(&error.into());
            format!("setrlimit(RLIMIT_CORE, {bytes}) failed {reason}")
        })
}

/// Sets a worker's priority, that of all its threads, as `worker_priority` says.
pub(crate) fn set_priority(worker: Pid, priority: i32) -> Result<(), String> {
    let threads = std::fs::read_dir(format!("/proc/{worker}/task"));
    let named = threads.into_iter().flatten().flatten();
    let ids = named.filter_map(|it| it.file_name().to_str()?.parse().ok());
    for thread in ids.filter_map(Pid::from_raw) {
        rustix::process::setpriority_process(Some(thread), priority).map_err(|error| {
            let reason = os_error_text(&error.into());
            format!("setpriority({priority}) failed {reason}")
        })?;
    }
    Ok(())
}

/// Room for a file beside each connection, and for what else a worker holds open.
fn raised(now: Rlimit, connections: usize) -> Option<u64> {
    const BESIDES: u64 = 512;
    let wanted = 2 * connections as u64 + BESIDES;
    let soft = now.current?;
    let hard = now.maximum.unwrap_or(u64::MAX);
    Some(soft.max(wanted.min(hard)))
}

/// Binds a worker to its processors, as `worker_cpu_affinity` says.
pub(crate) fn set_affinity(worker: Pid, index: usize, affinity: &Affinity) -> Result<(), String> {
    let Some(processors) = processors(index, affinity, available()) else {
        return Ok(());
    };
    let mut set = CpuSet::new();
    for &processor in processors
        .iter()
        .filter(|&&processor| processor < CpuSet::MAX_CPU)
    {
        set.set(processor);
    }
    rustix::thread::sched_setaffinity(Some(worker), &set).map_err(|error| {
        format!(
            "sched_setaffinity() failed {}",
            os_error_text(&error.into())
        )
    })
}

/// The processors that the master may run on.
fn available() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU)
        .filter(|&processor| set.is_set(processor))
        .collect()
}

/// The processors of the worker with this index; `None` for no binding.
fn processors(index: usize, affinity: &Affinity, available: Vec<usize>) -> Option<Vec<usize>> {
    let in_mask = |mask: &[bool]| {
        mask.iter()
            .enumerate()
            .filter(|(_, is_set)| **is_set)
            .map(|(place, _)| place)
            .collect()
    };
    match affinity {
        Affinity::Auto(mask) => {
            let allowed: Vec<usize> = match mask {
                Some(mask) => in_mask(mask),
                None => available,
            };
            (!allowed.is_empty()).then(|| vec![allowed[index % allowed.len()]])
        }
        Affinity::Masks(masks) => masks.get(index).or(masks.last()).map(|mask| in_mask(mask)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let root = find("root", None, true).unwrap();
        assert_eq!((root.user.as_raw(), root.group.as_raw()), (0, 0));
        assert_eq!(find("root", Some("root"), true), Ok(root));
        assert_eq!(
            find("no-such", None, true).unwrap_err(),
            "getpwnam(\"no-such\") failed"
        );
        let error = find("root", Some("no-such"), true).unwrap_err();
        assert_eq!(error, "getgrnam(\"no-such\") failed");
    }

    #[test]
    fn workers_are_dealt_over_processors() {
        let of = |index, affinity: &Affinity| processors(index, affinity, vec![0, 2, 5]);
        assert_eq!(of(1, &Affinity::Auto(None)), Some(vec![2]));
        assert_eq!(of(3, &Affinity::Auto(None)), Some(vec![0]));
        assert_eq!(
            of(1, &Affinity::Auto(Some(vec![false, true, false, true]))),
            Some(vec![3])
        );
        let masks = Affinity::Masks(vec![vec![true], vec![false, true, true]]);
        assert_eq!(of(0, &masks), Some(vec![0]));
        assert_eq!(of(1, &masks), Some(vec![1, 2]));
        assert_eq!(of(9, &masks), Some(vec![1, 2]));
        assert_eq!(of(0, &Affinity::Auto(Some(vec![false]))), None);
    }

    #[test]
    fn open_files_are_raised_as_far_as_they_may() {
        let limit = |soft, hard| Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        assert_eq!(raised(limit(1024, 4096), 512), Some(1536));
        assert_eq!(raised(limit(1024, 1200), 512), Some(1200));
        assert_eq!(raised(limit(64, 64), 512), Some(64));
        assert_eq!(raised(limit(9999, 99999), 512), Some(9999));
    }
}
