//! The command that sets the record by which a name is shown to be ours. Source: RFC 8555, 8.4.
//!
//! It is run without a shell, as the workers' user, with its own arguments and then `add` or `remove`, the
//! name of the record and its value; its environment is `PATH` and `LC_ALL` alone, its folder `/`, its input
//! empty. What it writes goes to the error log.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use revolve_reactor::{now, sleep};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process_group};

use super::spec::DnsCommand;
use crate::log::Shown;

/// Where the command finds others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How often it is looked whether it has ended: it takes seconds, and runs once in weeks.
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes of its output that go to the log.
const OUTPUT_BYTES_MAX: usize = 4096;

/// What is done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Add,
    Remove,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Add => "add",
            Action::Remove => "remove",
        }
    }
}

/// The name of the record for a name, and its value.
pub(super) fn record(name: &str, shown: &str) -> (String, String) {
    let digest = revolve_tls::digest(shown.as_bytes());
    (
        format!("_acme-challenge.{name}"),
        super::account::base64url(&digest),
    )
}

/// Runs the command, and waits until it has ended well.
///
/// Errors: why it has not, in a few words.
pub(super) async fn run(
    command: &DnsCommand,
    action: Action,
    (name, value): &(String, String),
    say: &impl Fn(bool, String),
) -> Result<(), String> {
    let shown = command.program.display();
    let words = [action.word(), name, value];
    let started = start(command, words).map_err(|error| {
        let reason = revolve_conf::os_error_text(&error);
        format!("the command \"{shown}\" cannot be run {reason}")
    });
    let (mut child, mut output) = started?;
    let mut written = Vec::new();
    let ended = wait(&mut child, command.within, || {
        collect(&mut output, &mut written)
    })
    .await;
    collect(&mut output, &mut written);
    tell(&command.program, &written, say);
    match ended {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!(
            "\"{shown} {}\" has ended with {status}",
            action.word()
        )),
        Ok(None) => {
            let seconds = command.within.as_secs();
            Err(format!(
                "\"{shown} {}\" was ended after {seconds} s",
                action.word()
            ))
        }
        Err(error) => {
            let reason = revolve_conf::os_error_text(&error);
            Err(format!("waiting for \"{shown}\" failed {reason}"))
        }
    }
}

fn start(command: &DnsCommand, words: [&str; 3]) -> io::Result<(Child, File)> {
    let (output, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&output, true)?;
    let child = std::process::Command::new(&command.program)
        .args(&command.arguments)
        .args(words)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(theirs.try_clone()?))
        .stderr(Stdio::from(theirs))
        .process_group(0)
        .spawn()?;
    Ok((child, File::from(output)))
}

/// Waits until it has ended; after the time that it may take it is killed with all that it has started, and
/// the answer is `None`.
async fn wait(
    child: &mut Child,
    within: Duration,
    mut collect: impl FnMut(),
) -> io::Result<Option<ExitStatus>> {
    let deadline = now() + within;
    let mut was_killed = false;
    loop {
        collect();
        if let Some(status) = child.try_wait()? {
            return Ok((!was_killed).then_some(status));
        }
        if now() >= deadline && !was_killed {
            was_killed = true;
            // It has not been waited for, so that the number is its own.
            kill_process_group(Pid::from_child(child), Signal::KILL)?;
        }
        sleep(PAUSE).await;
    }
}

/// Takes what was written, as far as it is kept.
fn collect(output: &mut File, written: &mut Vec<u8>) {
    let mut memory = [0; 1024];
    while let Ok(read @ 1..) = output.read(&mut memory) {
        let room = OUTPUT_BYTES_MAX - written.len();
        written.extend_from_slice(&memory[..read.min(room)]);
    }
}

fn tell(program: &Path, written: &[u8], say: &impl Fn(bool, String)) {
    for line in written.split(|byte| *byte == b'\n') {
        if !line.is_empty() {
            let (program, line) = (program.display(), Shown(line));
            say(false, format!("\"{program}\" says: {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Instant;

    use super::*;

    /// What comes of running a line in a shell, and what was said.
    fn run_line(line: &str, within: Duration) -> (Result<(), String>, Vec<String>) {
        let command = DnsCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), line.into(), "sh".into()],
            within,
        };
        let said = RefCell::new(Vec::new());
        let say = |_, what| said.borrow_mut().push(what);
        let record = ("_acme-challenge.a.test".into(), "value".into());
        let mut event_loop = revolve_reactor::EventLoop::new().unwrap();
        let done = event_loop.block_on(run(&command, Action::Add, &record, &say));
        (done, said.into_inner())
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn words_and_environment_are_these_alone() {
        let line =
            r#"echo "$@"; pwd; env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= | sort; echo oops >&2"#;
        let (done, said) = run_line(line, PATIENCE);
        assert_eq!(done, Ok(()));
        let path = format!("\"/bin/sh\" says: PATH={PATH}");
        let expected = [
            "\"/bin/sh\" says: add _acme-challenge.a.test value",
            "\"/bin/sh\" says: /",
            "\"/bin/sh\" says: LC_ALL=C",
            &path,
            "\"/bin/sh\" says: oops",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_fails_or_hangs_is_said() {
        let (done, _) = run_line("exit 3", PATIENCE);
        let expected = "\"/bin/sh add\" has ended with exit status: 3";
        assert_eq!(done, Err(expected.into()));
        let begun = Instant::now();
        let (done, said) = run_line("echo before; sleep 600 & sleep 600", Duration::from_secs(1));
        assert_eq!(done, Err("\"/bin/sh add\" was ended after 1 s".into()));
        assert_eq!(said, ["\"/bin/sh\" says: before"]);
        assert!(begun.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn much_output_is_cut_and_holds_nobody_up() {
        let (done, said) = run_line("yes 0123456789 | head -c 1000000", PATIENCE);
        assert_eq!(done, Ok(()));
        assert_eq!(said.len(), OUTPUT_BYTES_MAX.div_ceil(11));
    }
}
