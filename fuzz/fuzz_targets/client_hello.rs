//! What clients of TLS say first.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/tls/tests/checks/mod.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod checks;

fuzz_target!(|data: &[u8]| checks::client_hello(data));
