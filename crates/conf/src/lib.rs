//! revolve-conf
#![forbid(unsafe_code)]
