//! The client of the control socket: `revolve ctl`, and `revolve -s reload`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use revolve_conf::os_error_text;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};

use super::arguments::{Arguments, Asked};
use super::{Command, arguments, show, socket_path};
use crate::source::Source;
use crate::version::PROGRAM;
use crate::{pid_file, process, report};

/// How long the server may take. It answers within a second, a reload within a few.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer that is believed: ten thousand connections of a thousand loops are less.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// Something in the server is in trouble.
const EXIT_TROUBLE: u8 = 2;

/// Runs `revolve ctl` with the arguments after that word.
pub(crate) fn run(args: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let arguments = match arguments::parse(args) {
        Ok(Asked::Command(arguments)) => *arguments,
        Ok(Asked::Help) => {
            print(&arguments::help());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{PROGRAM}: {error}\nTry \"{PROGRAM} ctl -h\".");
            return ExitCode::FAILURE;
        }
    };
    let answer = find(&arguments).and_then(|socket| {
        let command = with_color(arguments.command.clone());
        ask(&socket, command).map_err(|failure| failure.message)
    });
    let answer = answer.unwrap_or_else(|error| json!({ "error": error }));
    if arguments.json {
        print(&format!("{answer}\n"));
        return exit_code(&answer);
    }
    report_of(&answer, &arguments.command)
}

/// Reloads by the control socket for `-s reload`; `None` where there is none.
pub(crate) fn reload(source: &Source, quiet: bool) -> Option<ExitCode> {
    let socket = socket_path(&source.pid_path().ok()?);
    match ask(&socket, with_color(Command::Reload { color: false })) {
        Ok(answer) if quiet && answer["error"].is_null() => {
            eprint!("{}", answer["said"].as_str().unwrap_or_default());
            Some(exit_code(&answer))
        }
        Ok(answer) => Some(report_of(&answer, &Command::Reload { color: false })),
        Err(failure) if failure.is_absent => None,
        Err(failure) => {
            eprintln!("{PROGRAM}: [error] {}", failure.message);
            Some(ExitCode::FAILURE)
        }
    }
}

/// Diagnostics come as this terminal shows them.
fn with_color(command: Command) -> Command {
    match command {
        Command::Reload { .. } => Command::Reload {
            color: report::has_color(),
        },
        other => other,
    }
}

fn find(arguments: &Arguments) -> Result<PathBuf, String> {
    if let Some(socket) = &arguments.socket {
        return Ok(socket.clone());
    }
    let source = Source::from_options(&arguments.options);
    let pid_path = source.pid_path().map_err(|error| {
        let (shown, reason) = (source.paths.config.display(), os_error_text(&error));
        format!(
            "open() \"{shown}\" failed {reason}; name the server's configuration with -c, \
             or its control socket with -s"
        )
    })?;
    Ok(socket_path(&pid_path))
}

/// Why there is no answer.
struct Failure {
    message: String,
    /// Nobody can be asked this way: there may be a server without a control socket.
    is_absent: bool,
}

fn ask(socket: &Path, command: Command) -> Result<Value, Failure> {
    let mut stream = connect(socket).map_err(|error| Failure {
        message: not_connected(socket, &error),
        is_absent: error.kind() != io::ErrorKind::WouldBlock,
    })?;
    let mut exchange = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{}\n", command.line()).as_bytes())?;
        let mut answer = Vec::new();
        let mut limited = Read::by_ref(&mut stream).take(ANSWER_BYTES_MAX);
        limited.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let shown = socket.display();
    let failed = |message: String| Failure {
        message,
        is_absent: false,
    };
    let no_answer = || {
        failed(format!(
            "the server at \"{shown}\" gave no answer; is it ending?"
        ))
    };
    let answer: Vec<u8> = exchange().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => failed(silent(socket)),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => no_answer(),
        _ => failed(format!(
            "asking the server at \"{shown}\" failed {}",
            os_error_text(&error)
        )),
    })?;
    serde_json::from_slice(&answer).map_err(|_| no_answer())
}

fn silent(socket: &Path) -> String {
    format!(
        "the server at \"{}\" has not answered within {} s; its master process may be stopped",
        socket.display(),
        PATIENCE.as_secs()
    )
}

/// Connects; a server that does not accept is not waited for longer than others.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&fd, Timeout::Send, Some(PATIENCE))?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(socket)?)?;
    Ok(UnixStream::from(fd))
}

fn not_connected(socket: &Path, error: &io::Error) -> String {
    let shown = socket.display();
    let reason = os_error_text(error);
    match error.kind() {
        io::ErrorKind::NotFound => {
            let running = process_of(socket).map_or(String::new(), |pid| {
                format!("; process {pid} runs without one, its error log says why")
            });
            let message =
                format!("no server has its control socket at \"{shown}\" {reason}{running}");
            let mut pid_paths = pid_paths(socket).into_iter();
            pid_paths
                .find_map(|path| {
                    let told = pid_file::with_old_master(&path, message.clone());
                    (told != message).then_some(told)
                })
                .unwrap_or(message)
        }
        io::ErrorKind::ConnectionRefused => {
            format!("no server listens at \"{shown}\" {reason}: the one that did has died")
        }
        io::ErrorKind::PermissionDenied => format!(
            "not permitted to use \"{shown}\" {reason}: be root, or the user that the server runs as"
        ),
        io::ErrorKind::WouldBlock => silent(socket),
        _ => format!("connect() to \"{shown}\" failed {reason}"),
    }
}

/// What the pid file may be called beside which a control socket lies.
fn pid_paths(socket: &Path) -> [PathBuf; 2] {
    [socket.with_extension("pid"), socket.with_extension("")]
}

/// The master whose pid file lies beside a control socket that is not there.
fn process_of(socket: &Path) -> Option<rustix::process::Pid> {
    let named = pid_paths(socket)
        .iter()
        .find_map(|path| pid_file::read(path).ok());
    named.filter(|&pid| process::is_master(pid))
}

/// Prints an answer for a person.
fn report_of(answer: &Value, command: &Command) -> ExitCode {
    eprint!("{}", answer["said"].as_str().unwrap_or_default());
    if let Some(error) = answer["error"].as_str() {
        eprintln!("{PROGRAM}: [error] {error}");
        return ExitCode::FAILURE;
    }
    print(&match command {
        Command::Status => show::status(answer),
        Command::Connections(_) => show::connections(answer),
        Command::Workers => show::workers(answer),
        Command::Certificates => show::certificates(answer),
        Command::Upstreams | Command::Order(_) => show::upstreams(answer),
        Command::Reload { .. } => show::reload(answer),
    });
    exit_code(answer)
}

fn exit_code(answer: &Value) -> ExitCode {
    let workers = answer["workers"].as_array();
    let in_trouble =
        |worker: &Value| !worker["trouble"].is_null() || worker["process_state"] == "stopped";
    let lacks = answer["workers_wanted"].as_u64().is_some_and(|wanted| {
        let serving = workers.into_iter().flatten();
        let serving = serving
            .filter(|worker| worker["state"] == "serving")
            .count();
        (serving as u64) < wanted
    });
    let troubles = answer["trouble"]
        .as_array()
        .is_some_and(|it| !it.is_empty());
    if !answer["error"].is_null() {
        ExitCode::FAILURE
    } else if lacks || troubles || workers.into_iter().flatten().any(in_trouble) {
        ExitCode::from(EXIT_TROUBLE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints to standard output; whoever closed it has seen enough.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
