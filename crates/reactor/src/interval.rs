//! Something to be done every so often.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use crate::event_loop;
use crate::time::{Sleep, sleep_until};

/// Ticks at equal distances. Made by [`interval`]. Loop-local.
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    next: Instant,
    sleep: Sleep,
}

impl Interval {
    /// Ready at the next tick, with the time at which it was due. A tick that nobody waited for
    /// in time comes at once; those that would have come meanwhile, too, are left out, so that
    /// who was late does not have to catch up. Dropping the future leaves the tick to the
    /// next call.
    pub async fn tick(&mut self) -> Instant {
        let sleep = &mut self.sleep;
        poll_fn(|cx| std::pin::Pin::new(&mut *sleep).poll(cx)).await;
        self.advance()
    }

    /// The next tick, if it is due already.
    pub fn try_tick(&mut self) -> Option<Instant> {
        (event_loop::now() >= self.next).then(|| self.advance())
    }

    fn advance(&mut self) -> Instant {
        let due = self.next;
        let late = event_loop::now().saturating_duration_since(due);
        let missed = late.as_nanos() / self.period.as_nanos();
        // Whole periods later, so that the ticks stay in step with the first.
        let skipped = self.period.as_nanos().saturating_mul(missed + 1);
        let skipped = u64::try_from(skipped).unwrap_or(u64::MAX);
        self.next = due + Duration::from_nanos(skipped);
        self.sleep.reset(self.next);
        due
    }

    /// Lets the next tick come a whole period from now.
    pub fn reset(&mut self) {
        self.next = event_loop::now() + self.period;
        self.sleep.reset(self.next);
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }
}

/// Ticks every `period`, for the first time a period from the turn's time on. Ticks come to the
/// millisecond and never early; a period of less than a millisecond counts as one.
///
/// # Panics
///
/// If there is no loop on this thread.
///
/// ```
/// use std::time::Duration;
/// use revolve_reactor::{EventLoop, interval};
///
/// # fn main() -> std::io::Result<()> {
/// EventLoop::new()?.block_on(async {
///     let mut ticks = interval(Duration::from_millis(2));
///     let first = ticks.tick().await;
///     assert!(ticks.tick().await >= first + Duration::from_millis(2));
/// });
/// # Ok(())
/// # }
/// ```
pub fn interval(period: Duration) -> Interval {
    let far = Duration::from_secs(u32::MAX.into());
    let period = period.clamp(Duration::from_millis(1), far);
    let next = event_loop::now() + period;
    Interval {
        period,
        next,
        sleep: sleep_until(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventLoop;

    #[test]
    fn ticks_keep_their_distance_and_missed_ones_are_left_out() {
        let ms = Duration::from_millis;
        EventLoop::new().unwrap().block_on(async {
            let begun = event_loop::now();
            let mut ticks = interval(ms(10));
            assert_eq!(ticks.try_tick(), None);
            assert_eq!(ticks.tick().await, begun + ms(10));
            assert!(event_loop::now() >= begun + ms(10));
            let due = ticks.next;
            std::thread::sleep(ms(45));
            crate::yield_now().await;
            let late = event_loop::now();
            assert_eq!(ticks.try_tick(), Some(due));
            assert_eq!(ticks.try_tick(), None, "it would have to catch up");
            let next = ticks.tick().await;
            assert!(next > late && next <= late + ms(10), "out of step");
            assert_eq!((next - begun).as_millis() % 10, 0, "out of step");
        });
    }

    #[test]
    fn a_reset_puts_the_tick_off() {
        let ms = Duration::from_millis;
        EventLoop::new().unwrap().block_on(async {
            let mut ticks = interval(ms(15));
            crate::sleep(ms(10)).await;
            let reset = event_loop::now();
            ticks.reset();
            assert_eq!(ticks.tick().await, reset + ms(15));
            assert_eq!(interval(Duration::ZERO).period(), ms(1));
        });
    }
}
