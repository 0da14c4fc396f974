//! Certificates, keys, lists of what was revoked, and what authorities say.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/tls/tests/checks/mod.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod checks;

fuzz_target!(|data: &[u8]| checks::certificates(data));
