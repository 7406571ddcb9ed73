//! Doing something again and again until somebody ends it.
//!
//! In: how often, how long, and what. Out: nothing; what is done tells itself when there is no more.
//! Signals that end heaptap are taken from the first round on, so that whatever a round has changed
//! can be put back.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use crate::exit::{Exit, Failure};
use crate::output::text::printable;

/// Calls `round` at once and then after each `period`, until it breaks or fails, a signal comes or the
/// time is up.
///
/// # Errors
/// That of a round; signals can't be waited for.
pub fn every(
    period: Duration,
    duration: Option<Duration>,
    mut round: impl FnMut() -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    block_on(async {
        let mut signals = Signals::new()?;
        let end = deadline(duration);
        let mut ticks = interval(period);
        // A round that takes longer than the period does not make the next ones come faster.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = signals.next() => return Ok(()),
                () = sleep_until(end.into()) => return Ok(()),
                _ = ticks.tick() => {}
            }
            if round()?.is_break() {
                return Ok(());
            }
        }
    })
}

/// Says that rounds go on without anybody to look at, and why; not again before that changes.
#[derive(Default)]
pub struct Waiting(Option<String>);

impl Waiting {
    /// A round has seen nobody.
    pub fn say(&mut self, why: &Failure) {
        if self.0.as_ref() != Some(&why.message) {
            eprintln!("heaptap: waiting: {}", printable(&why.message));
            self.0 = Some(why.message.clone());
        }
    }

    /// A round has seen somebody.
    pub fn over(&mut self) {
        self.0 = None;
    }
}

/// Runs what waits for signals and clocks.
///
/// # Errors
/// Those of `future`; nothing can be waited for.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|err| Failure::new(Exit::Failure, err.to_string()))?;
    runtime.block_on(future)
}

/// When a time is up; a century stands for no end: sleeping must not overflow the clock.
pub fn deadline(duration: Option<Duration>) -> Instant {
    let longest = Duration::from_secs(100 * 365 * 86_400);
    Instant::now() + duration.unwrap_or(longest).min(longest)
}

/// The signals that end heaptap.
pub struct Signals([Signal; 4]);

impl Signals {
    /// From here on they do not end heaptap by themselves.
    ///
    /// # Errors
    /// They can't be waited for.
    pub fn new() -> Result<Self, Failure> {
        let failed =
            |err| Failure::new(Exit::Failure, format!("signals can't be waited for: {err}"));
        let listen = |kind| signal(kind).map_err(failed);
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
            listen(SignalKind::quit())?,
        ]))
    }

    /// Waits for one.
    pub async fn next(&mut self) {
        let [a, b, c, d] = &mut self.0;
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
            _ = d.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_on_until_one_breaks_or_fails_or_the_time_is_up() {
        let mut rounds = 0;
        let three = every(Duration::from_millis(1), None, || {
            rounds += 1;
            Ok(if rounds == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        three.unwrap();
        assert_eq!(rounds, 3);
        let failed =
            every(Duration::from_secs(3600), None, || Err(Failure::new(Exit::Output, "full")));
        assert_eq!(failed.unwrap_err().exit, Exit::Output);
        let mut rounds = 0;
        let timed = every(Duration::from_millis(1), Some(Duration::from_millis(20)), || {
            rounds += 1;
            Ok(ControlFlow::Continue(()))
        });
        timed.unwrap();
        assert!(rounds > 0);
    }
}
