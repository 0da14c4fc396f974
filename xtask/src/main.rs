//! revolve
#![forbid(unsafe_code)]
fn main() {}
