//! Regular expressions of locations and server names, and the paths that they are tried on.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "each target uses its part")]
#[path = "../../crates/server/tests/checks/mod.rs"]
mod checks;

fuzz_target!(|data: &[u8]| checks::pattern(data));
