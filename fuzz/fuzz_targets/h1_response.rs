//! Response heads, in any fragmentation.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/http/tests/checks/mod.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod checks;

fuzz_target!(|data: &[u8]| checks::h1_response(data));
