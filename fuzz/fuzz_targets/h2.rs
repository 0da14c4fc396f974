//! An HTTP/2 peer, in any fragmentation.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/http/tests/checks/http2.rs"]
mod checks;

fuzz_target!(|data: &[u8]| checks::h2(data));
