//! The conformance suite in memory: what operations promise holds whatever a seed decides.

use revolve_reactor::Simulation;

use super::suite::{self, On};
use super::{SEEDS_CONFORMANCE, seeds_or};

macro_rules! under_seeds {
    (
        under_faults { $($file:ident: $($test:ident)+;)+ }
        without_faults { $($not:tt)* }
    ) => {
        $($(#[test]
        fn $test() {
            for seed in seeds_or(SEEDS_CONFORMANCE) {
                suite::$file::$test(On::from(Simulation::seeded(seed)));
            }
        })+)+
    };
}

with_all_tests! { under_seeds! }
