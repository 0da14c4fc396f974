//! The filters of bodies: whatever pieces a body comes in, they make the same of it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| revolve_server::check_filters(data));
