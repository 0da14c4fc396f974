//! Development tasks of the repository: `cargo xtask tidy`, `sanitize` and `bench`.
//!
//! A task is an ordinary program, so that it needs nothing installed but the toolchain. `tidy`
//! holds the shape of the sources (lengths, arrows, what is dead or unused, unsafe code); `sanitize` runs the
//! tests where every access to memory is checked; `bench` measures Revolve beside nginx and beside a
//! bare epoll loop.
#![forbid(unsafe_code)]

mod bench;
mod sanitize;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <task>

  tidy               check the shape of the sources; --write lowers allowances that have shrunk,
                     --arrows shows what still points up
  sanitize [filter]  the tests of the crates with unsafe code under AddressSanitizer (nightly)
  bench [http]       CPU per request, requests per second and p99 beside nginx and the floor;
                     --instructions counts those of user space, --strace system calls,
                     --against BINARY measures another commit's in the same turns
  bench proxy        the same of requests that are passed on, beside nginx and HAProxy; --memory
                     shows what connections cost that wait
  bench tls          CPU per handshake and per request by TLS, beside nginx, h2o and HAProxy; memory of
                     idle connections
  bench memory       resident memory of idle keep-alive connections, beside nginx
  bench dealing      how many of a burst of connections each worker process has
  bench echo         CPU per message of an echo on the reactor, beside the floors; --instructions
                     counts those of user space
  bench models       what a message costs on each I/O model, beside idle connections
  floor PORT BODY_BYTES [HEAD_BYTES]
                     the bare epoll server that the bench compares with
  backend PORT       the bare upstream that bench proxy asks

`cargo xtask bench --help` lists the options of bench.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let outcome = match arguments.first().map(String::as_str) {
        Some("tidy") => tidy::run(&root(), rest),
        Some("sanitize") => sanitize::run(&root(), rest),
        Some("bench") => bench::run(&root(), rest),
        Some("floor") => bench::floor::main(rest),
        Some("backend") => bench::proxy::backend::main(rest),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(format!("there is no task `{other}`\n\n{USAGE}")),
        None => Err(format!("name a task\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {}", message.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// The root of the checkout: the parent of this package's folder.
///
/// Cargo sets `CARGO_MANIFEST_DIR` when it runs the program; without it (the program was started
/// by its path) the place where it was built is taken.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
