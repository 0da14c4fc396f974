//! Debian's nginx, which says what is right.

use std::path::Path;
use std::process::Command;

use super::{Folder, Run, Server};

const NGINX: &str = "/usr/sbin/nginx";

/// Whether nginx can be asked. Where it is missing the test that asks is skipped, with a word;
/// in CI it must be there.
pub(crate) fn is_here() -> bool {
    let is_here = Path::new(NGINX).exists();
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(is_here || !is_ci, "{NGINX} is missing; .ci/run installs it");
    if !is_here {
        crate::support::left_out("nginx is missing (apt-get install nginx)");
    }
    is_here
}

/// nginx with a prefix and a configuration file, ready for more arguments.
pub(crate) fn command(folder: &Folder, config: &str) -> Command {
    let mut command = Command::new(NGINX);
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

/// `nginx/1.22.1`, as it names itself.
pub(crate) fn signature() -> String {
    let run = Run::of(Command::new(NGINX).arg("-v"));
    let version = run.err.trim().rsplit(' ').next().unwrap_or_default();
    assert!(version.starts_with("nginx/"), "{:?}", run.err);
    version.to_owned()
}
