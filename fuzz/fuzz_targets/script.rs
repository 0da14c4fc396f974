//! The scripts of `rewrite`, `if` and `set`, and what they make of requests.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| revolve_server::check_script(data));
