//! The command line of `revolve ctl`.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser};

use super::order::Order;
use super::{Command, LISTED, LISTED_MAX};
use crate::cli::Options;
use crate::paths;
use crate::version::PROGRAM;

/// `revolve ctl …`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// What to ask.
    pub(super) command: Command,
    /// `--json`
    pub(super) json: bool,
    /// `-s`: the socket, in place of the one that the configuration leads to.
    pub(super) socket: Option<PathBuf>,
    /// `-c`, `-p` and `-g`, with their meanings everywhere else.
    pub(super) options: Options,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// This help.
    Help,
    /// A command for the server.
    Command(Box<Arguments>),
}

/// Reads the arguments after `ctl`.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let mut parser = Parser::from_args(args);
    let mut words: Vec<String> = Vec::new();
    let mut max = None;
    let (mut json, mut socket, mut options) = (false, None, Options::default());
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let value = |parser: &mut Parser, what: &str| {
            let value = parser.value().ok().filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("option {what}"))
        };
        match argument {
            Arg::Short('h' | '?') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Long("json") => json = true,
            Arg::Long("max") => {
                let text = value(&mut parser, "\"--max\" requires a number")?;
                max = Some(text.to_string_lossy().into_owned());
            }
            Arg::Short('s') => {
                socket = Some(value(&mut parser, "\"-s\" requires a socket's path")?.into());
            }
            Arg::Short('c') => {
                options.config = Some(value(&mut parser, "\"-c\" requires file name")?.into());
            }
            Arg::Short('p') => {
                options.prefix = Some(value(&mut parser, "\"-p\" requires directory name")?.into());
            }
            Arg::Short('g') => {
                let text = value(&mut parser, "\"-g\" requires parameter")?;
                let globals = options.globals.get_or_insert_default();
                globals.push_str(&text.to_string_lossy());
            }
            Arg::Value(word) if words.is_empty() || words[0] == "upstream" => {
                words.push(word.to_string_lossy().into_owned());
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = command(&words, max.as_deref())?;
    Ok(command.map_or(Asked::Help, |command| {
        Asked::Command(Box::new(Arguments {
            command,
            json,
            socket,
            options,
        }))
    }))
}

/// `None` is `help`.
fn command(words: &[&str], max: Option<&str>) -> Result<Option<Command>, String> {
    let expected =
        "expected status, connections, workers, certificates, upstreams, upstream or reload";
    let (name, order) = words
        .split_first()
        .ok_or_else(|| format!("no command, {expected}"))?;
    let name = *name;
    if max.is_some() && name != "connections" {
        return Err("option \"--max\" is for \"connections\"".into());
    }
    Ok(Some(match name {
        "help" => return Ok(None),
        "status" => Command::Status,
        "connections" => match max.map(str::parse) {
            None => Command::Connections(LISTED),
            Some(Ok(max @ 1..=LISTED_MAX)) => Command::Connections(max),
            Some(_) => {
                let max = max.unwrap_or_default();
                return Err(format!(
                    "invalid value \"{max}\" of option \"--max\", expected 1 to {LISTED_MAX}"
                ));
            }
        },
        "workers" => Command::Workers,
        "certificates" => Command::Certificates,
        "upstreams" => Command::Upstreams,
        "upstream" => Command::Order(Order::parse(order)?),
        "reload" => Command::Reload { color: false },
        other => return Err(format!("unknown command \"{other}\", {expected}")),
    }))
}

/// `revolve ctl -h`.
pub(crate) fn help() -> String {
    format!(
        "\
Usage: {PROGRAM} ctl command [--json] [-c filename] [-p prefix] [-g directives]
       {PROGRAM} ctl command [--json] -s socket

Asks the running server, by the control socket beside its pid file.

Commands:
  status        : processes, event loops, connections, requests, memory
  connections   : open connections: client, state, age, bytes
  workers       : worker processes, without asking them
  certificates  : certificates: their names, who has issued them, days left
  upstreams     : groups of servers: their state, connections, requests
  upstream NAME server ADDRESS down|up|drain|weight N
                : what is to become of a server of a group
  reload        : read the configuration again, and say what that changed

Options:
  --json        : one line of JSON in place of text
  --max number  : connections shown of each event loop (default: {LISTED}, at most {LISTED_MAX})
  -c filename   : the server's configuration file (default: {config})
  -p prefix     : the server's prefix path (default: {prefix}/)
  -g directives : the server's global directives
  -s socket     : the control socket itself

Exit code: 0 all is well; 1 nothing was done, and standard error says why;
2 the server answered, and something in it is in trouble.
",
        config = paths::CONFIG,
        prefix = paths::PREFIX,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        match parse(line.split_whitespace().map(OsString::from))? {
            Asked::Command(arguments) => Ok(*arguments),
            Asked::Help => Err("help".into()),
        }
    }

    #[test]
    fn options_stand_before_and_behind_the_command() {
        let status = read("status --json -c x").unwrap();
        assert_eq!(read("-cx --json status"), Ok(status.clone()));
        assert_eq!(status.command, Command::Status);
        assert!(status.json && status.socket.is_none());
        assert_eq!(status.options.config, Some("x".into()));
        let listed = read("connections --max 5 -s /x.ctl").unwrap();
        assert_eq!(listed.command, Command::Connections(5));
        assert_eq!(listed.socket, Some("/x.ctl".into()));
        for help in ["help", "-h", "status --help", "-?"] {
            assert_eq!(read(help), Err("help".into()));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (line, says) in [
            ("", "no command, expected status,"),
            ("dance", "unknown command \"dance\""),
            ("status --frob", "--frob"),
            ("status now", "now"),
            ("upstream", "expected upstream NAME server"),
            ("upstream a server b weight x", "invalid weight"),
            ("status -c", "option \"-c\" requires file name"),
            ("status --max 5", "is for \"connections\""),
            ("connections --max 0", "invalid value \"0\""),
            ("connections --max x", "invalid value \"x\""),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
