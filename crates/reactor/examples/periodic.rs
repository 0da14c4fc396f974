//! Jobs that are run again and again, each with a period of its own.
//!
//! ```text
//! cargo run -p revolve-reactor --example periodic -- [SECONDS]
//! ```
//!
//! A job is a task that waits for the ticks of an `interval`. These are counted from the first, not
//! from when the job was done, so that they do not drift; those that were missed, because a job took
//! long or the machine slept, are left out. All jobs of a loop share its one heap of timers, so that
//! thousands of them cost no more than their ticks. After SECONDS (default 10) all are cancelled.

use std::error::Error;
use std::time::{Duration, Instant};

use revolve_reactor::{EventLoop, JoinHandle, interval, now, sleep, spawn};

/// Runs `job` every `period` until cancelled. It is told how many times it was to have run.
fn every(period: Duration, mut job: impl FnMut(u128) + 'static) -> JoinHandle<()> {
    spawn(async move {
        let first = now();
        let mut ticks = interval(period);
        loop {
            let due = ticks.tick().await;
            job((due - first).as_nanos() / period.as_nanos());
        }
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1);
    let length = Duration::try_from_secs_f64(seconds.map_or(Ok(10.0), |text| text.parse())?)?;
    let start = Instant::now();
    let mut event_loop = EventLoop::new()?;
    event_loop.block_on(async {
        let say = move |name: &'static str| {
            move |count| println!("{:7.3} s  {name} {count}", start.elapsed().as_secs_f64())
        };
        let jobs = [
            every(Duration::from_millis(100), say("tick")),
            every(Duration::from_millis(250), say("sample")),
            every(Duration::from_secs(1), say("report")),
        ];
        sleep(length).await;
        for job in jobs {
            job.cancel();
            // A cancelled task says so, and its future is gone by then.
            assert!(job.await.is_err());
        }
    });
    println!("all jobs are cancelled");
    Ok(())
}
