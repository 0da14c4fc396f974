//! `cargo xtask bench`: Revolve beside nginx and beside a bare epoll loop, in one run.
//!
//! Every figure is a ratio against something that ran in the same minute on the same machine: the
//! servers are pinned to one CPU, the load to another, and they are measured in turns (A B C A B
//! C), so that what slows one slows all.

pub(crate) mod floor;
pub(crate) mod proxy;

mod callgrind;
mod clients;
mod dealing;
mod echo;
mod echo_server;
mod http;
mod http_instructions;
mod load;
mod memory;
mod models;
mod options;
mod process;
mod servers;
mod site;
mod strace;
mod table;
mod tls;
mod tools;
mod wrk;

use std::path::Path;

use options::{Mode, Options};

/// Runs the bench that `arguments` name.
///
/// # Errors
///
/// A missing tool (with how to install it), a server that does not start, a load that fails.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::USAGE);
        return Ok(());
    };
    tools::require(&options)?;
    servers::build(root, &options)?;
    match options.mode {
        Mode::Http if options.strace => strace::run(root, &options),
        Mode::Http if options.instructions => http_instructions::run(root, &options),
        Mode::Http => http::run(root, &options),
        Mode::Proxy => proxy::run(root, &options),
        Mode::Memory => memory::run(root, &options),
        Mode::Dealing => dealing::run(root, &options),
        Mode::Tls => tls::run(root, &options),
        Mode::Echo => echo::run(root, &options),
        Mode::Models => models::run(root, &options),
    }
}
