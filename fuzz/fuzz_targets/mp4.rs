//! Files as videos, cut to any time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| revolve_server::check_movie(data));
