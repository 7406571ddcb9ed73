//! Looks that take more than a few system calls: whose turn it is, and how much they may take together.
//!
//! In: what each look has taken. Out: whether there may be another one. However many processes there are and whatever
//! is asked for, all such looks together take no more than their share of one CPU: what one takes beyond it is
//! saved before the next one begins.

use std::time::{Duration, Instant};

/// Time that is saved up at most: a node that was quiet does not have everything done at once.
const MOST_SAVED: Duration = Duration::from_millis(50);

/// What may be taken.
#[derive(Debug)]
pub struct Allowance {
    /// Of one CPU, above 0.
    share: f64,
    at: Instant,
    /// Seconds; below 0: what has to be saved first.
    saved: f64,
}

impl Allowance {
    pub fn new(share: f64, now: Instant) -> Self {
        // Those that are there when the agent begins are looked at at once.
        Self { share, at: now, saved: MOST_SAVED.as_secs_f64() }
    }

    pub fn set(&mut self, share: f64) {
        self.share = share;
    }

    /// Whether a look may begin.
    pub fn allows(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.share;
        self.saved = (self.saved + earned).min(MOST_SAVED.as_secs_f64());
        self.at = now;
        self.saved > 0.0
    }

    /// After which time another one may begin.
    pub fn wait(&self) -> Duration {
        let missing = (-self.saved).max(0.0) / self.share;
        // A little more, so that it may when that is over.
        let wait = Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX);
        wait.saturating_add(Duration::from_millis(1))
    }

    /// A look has taken so long.
    pub fn took(&mut self, length: Duration) {
        self.saved -= length.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_take_no_more_than_their_share() {
        let began = Instant::now();
        let mut allowance = Allowance::new(0.01, began);
        let (mut now, mut took) = (began, Duration::ZERO);
        let each = Duration::from_millis(7);
        while now < began + Duration::from_secs(100) {
            while allowance.allows(now) {
                allowance.took(each);
                took += each;
            }
            now += Duration::from_secs(1);
        }
        let most = Duration::from_secs(1) + MOST_SAVED + each;
        assert!(took <= most && took >= Duration::from_millis(980), "{took:?}");
    }

    #[test]
    fn a_long_look_is_saved_for() {
        let now = Instant::now();
        let mut allowance = Allowance::new(0.01, now);
        assert!(allowance.allows(now));
        allowance.took(MOST_SAVED + Duration::from_millis(20));
        let wait = allowance.wait().as_secs_f64();
        assert!((wait - 2.0).abs() < 0.01, "{wait}");
        assert!(!allowance.allows(now + Duration::from_millis(1990)));
        assert!(allowance.allows(now + Duration::from_millis(2010)));
    }
}
