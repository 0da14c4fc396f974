//! The echo servers that are compared: the reactor, the floors below it, and other libraries.

use std::path::Path;
use std::process::Command;

use super::echoes::{self, Asked};
use super::process::{self, LOAD_CPU};
use super::table::Table;

/// What the kernel tells a server: that a socket is ready, or that an operation is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Epoll,
    IoUring,
}

impl Kind {
    /// The kind of a name on the command line.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "epoll" => Some(Kind::Epoll),
            "io_uring" => Some(Kind::IoUring),
            _ => None,
        }
    }
}

/// A server that can be started.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    program: Program,
    arguments: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Program {
    Models,
    Revolve(&'static str),
    Tokio,
    Monoio,
}

const ANY: &str = "127.0.0.1:0";

/// Measures all of them, the load on a processor of its own, each a row of the table. What goes wrong
/// with one is said, and the others follow.
pub(super) fn fill(
    table: &mut Table,
    measure: impl Fn(&Contender) -> Result<Vec<String>, String>,
) -> Result<(), String> {
    process::on_cpu(LOAD_CPU, || {
        for contender in &ALL {
            match measure(contender) {
                Ok(row) => table.row(row),
                Err(error) => eprintln!("{error}"),
            }
        }
    })
}

/// All of them; the first of each kind is the floor of that kind.
pub(super) const ALL: [Contender; 7] = [
    Contender {
        name: "epoll floor",
        kind: Kind::Epoll,
        program: Program::Models,
        arguments: &["epoll", ANY],
    },
    Contender {
        name: "revolve epoll",
        kind: Kind::Epoll,
        program: Program::Revolve("epoll"),
        arguments: &["single", ANY],
    },
    Contender {
        name: "tokio",
        kind: Kind::Epoll,
        program: Program::Tokio,
        arguments: &[ANY],
    },
    Contender {
        name: "monoio epoll",
        kind: Kind::Epoll,
        program: Program::Monoio,
        arguments: &["epoll", ANY],
    },
    Contender {
        name: "io_uring floor",
        kind: Kind::IoUring,
        program: Program::Models,
        arguments: &["io_uring", ANY],
    },
    Contender {
        name: "revolve io_uring",
        kind: Kind::IoUring,
        program: Program::Revolve("io_uring"),
        arguments: &["single", ANY],
    },
    Contender {
        name: "monoio io_uring",
        kind: Kind::IoUring,
        program: Program::Monoio,
        arguments: &["uring", ANY],
    },
];

impl Contender {
    /// How it is started; run by `runner` (a program and its arguments) where that is not empty.
    pub(super) fn command(&self, root: &Path, runner: &[&str]) -> Command {
        let target = echoes::target(root);
        let program = match self.program {
            Program::Models => target.join("release/examples/models"),
            Program::Revolve(_) => target.join("release/examples/echo"),
            Program::Tokio => target.join("rivals/release/tokio_echo"),
            Program::Monoio => target.join("rivals/release/monoio_echo"),
        };
        let mut command = process::run_by(runner, program);
        if let Program::Revolve(driver) = self.program {
            command.env("REVOLVE_DRIVER", driver);
        }
        command.args(self.arguments);
        command
    }
}

/// Builds all of them, unless that was not wanted.
pub(super) fn build(root: &Path, asked: &Asked) -> Result<(), String> {
    if !asked.build {
        return Ok(());
    }
    let package = ["--package", "revolve-reactor"];
    let examples = ["--example", "echo", "--example", "models"];
    echoes::build(root, &[&package[..], &examples].concat())?;
    let rivals = echoes::target(root).join("rivals");
    let manifest = ["--manifest-path", "xtask/rivals/Cargo.toml", "--target-dir"];
    echoes::build(
        root,
        &[&manifest[..], &[&rivals.to_string_lossy()]].concat(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_stands_first_of_its_kind() {
        for kind in [Kind::Epoll, Kind::IoUring] {
            let first = ALL.iter().find(|contender| contender.kind == kind);
            assert!(first.is_some_and(|first| first.name.ends_with("floor")));
        }
    }

    #[test]
    fn a_runner_stands_before_the_program() {
        let command = ALL[1].command(Path::new("/root"), &["valgrind", "--quiet"]);
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        assert_eq!(command.get_program(), "valgrind");
        assert!(
            words[0] == "--quiet" && words[1].ends_with("examples/echo"),
            "{words:?}"
        );
        assert_eq!(words[2], "single");
    }
}
