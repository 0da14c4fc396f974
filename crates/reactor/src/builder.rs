//! How a loop is to be built.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{self, BufferPool};
use crate::event_loop::{EventLoop, try_with_core};
use crate::net::descriptors::explain;
use crate::sys::{AnyDriver, DriverKind, Limits, Schedule, Simulated, Simulation};
use crate::watchdog::{self, Stall, Watchdog};

/// How a loop is to be built. Every setter states its default and what it costs.
#[derive(Clone, Debug)]
pub struct Builder {
    driver: Option<DriverKind>,
    simulation: Option<Simulated>,
    limits: Limits,
    buffer_bytes: usize,
    buffers_kept_max: usize,
    measure_turns: bool,
    watchdog: Option<watchdog::Settings>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            driver: None,
            simulation: None,
            limits: Limits {
                events_per_poll: 32,
                recv_bytes: usize::MAX,
                send_bytes: 2 << 20,
            },
            buffer_bytes: buffer::LARGE_BYTES,
            buffers_kept_max: 64,
            measure_turns: false,
            watchdog: None,
        }
    }
}

impl Builder {
    /// The kernel mechanism. Default: what the environment variable `REVOLVE_DRIVER` names (`epoll`,
    /// `io_uring`, `poll`, `select`, `portable`, `sim`) when the loop is built, else [`DriverKind::default`].
    pub fn driver(mut self, kind: DriverKind) -> Builder {
        self.driver = Some(kind);
        self
    }

    /// Runs the loop on [`DriverKind::Sim`], with these faults and this clock. Default: what
    /// [`Simulation::from_env`] gives, where that driver is chosen.
    pub fn simulation(mut self, simulation: Simulation) -> Builder {
        self.driver = Some(DriverKind::Sim);
        self.simulation = Some(Simulated::Alone(simulation));
        self
    }

    /// Makes the loop one of several that take turns under one seed: see [`Schedule`].
    pub fn schedule(mut self, schedule: &Schedule) -> Builder {
        self.driver = Some(DriverKind::Sim);
        self.simulation = Some(Simulated::Scheduled(schedule.clone()));
        self
    }

    /// Events taken from the kernel in one call. Default 32, at least 1: what they bring in is
    /// received before any task runs, so more of them in one turn leave the processor's caches, and
    /// fewer cost more calls.
    pub fn events_per_poll(mut self, events: usize) -> Builder {
        self.limits.events_per_poll = events.max(1);
        self
    }

    /// Bytes of one pooled buffer, and so what one receive takes at most. Default 16.5 KiB (16,896),
    /// from 1 byte to 1 GiB. Streams that bring few bytes are received into 2 KiB.
    pub fn buffer_bytes(mut self, bytes: usize) -> Builder {
        self.buffer_bytes = bytes.clamp(1, 1 << 30);
        self
    }

    /// Buffers that the loop keeps for use again. Default 64: 1 MiB with buffers of the default
    /// size.
    pub fn buffers_kept_max(mut self, buffers: usize) -> Builder {
        self.buffers_kept_max = buffers;
        self
    }

    /// Bytes that one connection may receive in one turn, if that is to be less than a buffer.
    /// Default: a buffer.
    pub fn recv_budget_bytes(mut self, bytes: usize) -> Builder {
        self.limits.recv_bytes = bytes.max(1);
        self
    }

    /// Bytes of memory that one connection may send in one turn before the others have theirs (one
    /// system call may exceed it). Default 2 MiB. Files have a budget of their own, see
    /// [`SendQueue::file_bytes_per_turn_max`](crate::SendQueue::file_bytes_per_turn_max).
    pub fn send_budget_bytes(mut self, bytes: u64) -> Builder {
        self.limits.send_bytes = bytes.max(1);
        self
    }

    /// Whether [`LoopStats::longest_turn`](crate::LoopStats::longest_turn) is measured. Default: no.
    /// Costs two reads of the clock a turn, about 50 ns.
    pub fn measure_turns(mut self, on: bool) -> Builder {
        self.measure_turns = on;
        self
    }

    /// Calls `report`, on a thread of its own, when a turn goes on for longer than `limit` (at least
    /// 1 ms; noticed within a quarter more), once for that turn. Default: no watchdog. Costs a
    /// thread, measuring turns, and two uncontended locks for each run of a task.
    pub fn watchdog(
        mut self,
        limit: Duration,
        report: impl Fn(&Stall) + Send + Sync + 'static,
    ) -> Builder {
        self.watchdog = Some(watchdog::Settings {
            limit: limit.max(Duration::from_millis(1)),
            report: Arc::new(report),
        });
        self
    }

    /// Builds the loop of this thread.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if this thread has one; `InvalidInput` if `REVOLVE_DRIVER` is asked and names
    /// no driver; `Unsupported` for one that this system does not have; otherwise what the
    /// kernel says.
    pub fn build(self) -> io::Result<EventLoop> {
        if try_with_core(|_| ()).is_some() {
            let message = "this thread has an event loop already";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        let kind = self.driver.map_or_else(DriverKind::from_env, Ok)?;
        let driver = AnyDriver::new(kind, self.simulation, self.limits).map_err(explain)?;
        let watchdog = self.watchdog.map(Watchdog::start).transpose()?;
        let buffers = BufferPool::new(self.buffer_bytes, self.buffers_kept_max);
        Ok(EventLoop::assemble(
            driver,
            buffers,
            self.measure_turns,
            watchdog,
        ))
    }
}

impl EventLoop {
    /// A loop with the defaults of [`Builder`].
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> io::Result<EventLoop> {
        Builder::default().build()
    }

    /// A loop with settings of one's own.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ListenOptions;

    /// The row of the guide's table of limits for a setting.
    fn default_of(setting: &str) -> String {
        let guide = include_str!("../../../docs/reactor.md");
        let ending = format!("| `{setting}` |");
        let row = guide.lines().find(|line| line.ends_with(&ending));
        let row = row.unwrap_or_else(|| panic!("the guide has no row for {setting}"));
        row.split('|').nth(2).unwrap_or_default().trim().to_owned()
    }

    #[test]
    fn the_guide_has_the_defaults_that_the_code_has() {
        let builder = Builder::default();
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let rows = [
            (
                "Builder::events_per_poll",
                builder.limits.events_per_poll.to_string(),
            ),
            (
                "Builder::buffers_kept_max",
                builder.buffers_kept_max.to_string(),
            ),
            ("Builder::send_budget_bytes", mib(builder.limits.send_bytes)),
            (
                "ListenOptions::backlog",
                ListenOptions::default().backlog.to_string(),
            ),
        ];
        for (setting, value) in rows {
            assert_eq!(default_of(setting), value, "{setting}");
        }
        let kib = builder.buffer_bytes as f64 / 1024.0;
        let row = default_of("Builder::buffer_bytes");
        assert!(row.starts_with(&format!("{kib:.1} KiB")), "{row}");
    }
}
