//! Black-box tests: the real binary, real clients, nothing of the program linked in.
//!
//! - `oracle`: the same bytes to Debian's nginx and to us, and the same bytes back.
//! - `config`: what a wrong configuration and the command line say.
//! - `documents`: what goes with the program, and whether its links lead somewhere.
//! - `process`: master, workers, signals, reload.
//! - `serving`: slow clients, full disks, few descriptors, changing files, cut requests.
//! - `support`: ports, folders, servers and a raw client.

#![forbid(unsafe_code)]

mod config;
mod documents;
mod oracle;
mod process;
mod serving;
mod support;
