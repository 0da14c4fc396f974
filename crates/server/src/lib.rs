//! revolve-server
#![forbid(unsafe_code)]
