//! Headers of the PROXY protocol, both versions, in any fragmentation.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/http/tests/checks/gateways.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod checks;

fuzz_target!(|data: &[u8]| checks::proxy_protocol(data));
