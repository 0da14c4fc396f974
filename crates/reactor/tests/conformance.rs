//! One suite of what an operation promises, run on every driver that the system has, and in memory.
//!
//! The files under `conformance/` hold the tests.

mod common;
#[macro_use]
#[path = "conformance/mod.rs"]
mod suite;

/// Sockets in memory, in the system's time and without faults.
fn in_memory(seed: u64) -> revolve_reactor::Simulation {
    revolve_reactor::Simulation {
        seed,
        in_memory: true,
        ..revolve_reactor::Simulation::CALM
    }
}

macro_rules! on_driver {
    ($driver:ident: $kind:expr; $($faults:ident { $($file:ident: $($test:ident)+;)+ })+) => {
        mod $driver {
            $($($(#[test]
            fn $test() {
                let on = crate::suite::On::from($kind);
                if crate::suite::exists(on) {
                    crate::suite::$file::$test(on);
                }
            })+)+)+
        }
    };
}

with_all_tests! { on_driver! epoll: revolve_reactor::DriverKind::Epoll; }
with_all_tests! { on_driver! io_uring: revolve_reactor::DriverKind::IoUring; }
with_all_tests! { on_driver! poll: revolve_reactor::DriverKind::Poll; }
with_all_tests! { on_driver! select: revolve_reactor::DriverKind::Select; }
with_all_tests! { on_driver! portable: revolve_reactor::DriverKind::Portable; }
with_all_tests! { on_driver! sim: revolve_reactor::DriverKind::Sim; }
with_all_tests! { on_driver! memory_tells_edges: crate::in_memory(0); }
with_all_tests! { on_driver! memory_tells_levels: crate::in_memory(1); }
