//! revolve-http
#![forbid(unsafe_code)]
