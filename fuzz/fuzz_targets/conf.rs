//! The grammar of `nginx.conf`, its diagnostics, and encoded snapshots.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/conf/tests/checks/mod.rs"]
mod checks;

fuzz_target!(|data: &[u8]| checks::conf(data));
