//! What stands before the body in the file of a cached answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| revolve_server::check_record(data));
