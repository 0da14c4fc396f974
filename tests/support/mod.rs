//! What all tests share. Every server here has its own folder and ports, and ends with its test.

pub(crate) mod acme;
pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod folder;
pub(crate) mod http2;
pub(crate) mod http2_upstream;
pub(crate) mod left_out;
pub(crate) mod load;
pub(crate) mod name_server;
pub(crate) mod nginx;
pub(crate) mod ocsp;
pub(crate) mod ports;
pub(crate) mod proc;
pub(crate) mod program;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod wait;

pub(crate) use client::{Client, End, Response, get};
pub(crate) use folder::Folder;
pub(crate) use left_out::left_out;
pub(crate) use load::Load;
pub(crate) use name_server::NameServer;
pub(crate) use server::{Run, Server, revolve};
pub(crate) use upstream::Upstream;
pub(crate) use wait::{until, until_some};
