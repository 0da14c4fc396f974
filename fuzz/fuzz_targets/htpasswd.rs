//! A file of users, a name that is looked for in it, and a password.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| revolve_server::check_users(data));
