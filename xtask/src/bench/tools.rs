//! The programs that the bench runs, and how to install those that are missing.

use std::path::PathBuf;

use super::options::{Mode, Options};

/// Folders of system programs, which an ordinary user's `PATH` may lack.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The path of the program `name`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Checks that every program which `options` needs is installed, and that there are two CPUs.
pub(super) fn require(options: &Options) -> Result<(), String> {
    let mut needed = Vec::new();
    let is_loaded = matches!(options.mode, Mode::Http | Mode::Proxy | Mode::Tls);
    if is_loaded && !options.instructions && !options.memory {
        needed.push("wrk");
    }
    if options.instructions {
        needed.push("valgrind");
    }
    if options.strace {
        needed.push("strace");
    }
    needed.extend(options.servers.iter().filter_map(|kind| kind.package()));
    needed.dedup();
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|name| find(name).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(format!(
            "{} missing. On Debian and Ubuntu: apt-get install {}",
            if missing.len() == 1 {
                "a program is"
            } else {
                "programs are"
            },
            missing.join(" ")
        ));
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if cpus < 2 {
        return Err("the bench needs two CPUs: one for the server, one for the load".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_there_is_found_and_one_that_is_not_is_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-as-this").is_none());
    }
}
