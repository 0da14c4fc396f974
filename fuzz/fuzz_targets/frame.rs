//! Frames, lines and lengths, in any fragmentation.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/reactor/tests/checks/mod.rs"]
mod checks;

fuzz_target!(|data: &[u8]| checks::any_frame(data));
