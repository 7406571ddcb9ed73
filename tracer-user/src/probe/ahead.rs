//! What a process may be caused in advance, where it is recorded once and not in windows: what it is
//! expected to earn until the recording ends.
//!
//! In: how long it has lived and what CPU time it used, before it was recorded and since, and what it was
//! caused. Out: CPU time that it will use. Reads no clock.
//!
//! Nobody knows what a process will use. It is taken to go on as it does, with three cautions: what it was
//! caused is no work of its own, and may be what it will not use when it is left alone, unless it used as much
//! before it was recorded; it does not use more than now; and it does not live for longer than it has lived.

use std::time::Duration;

/// For how long a recording is taken to go on of which nobody has said when it ends.
pub const OPEN: Duration = Duration::from_secs(10);
/// For how long what it did before it was recorded says as much of it as what it does since.
const BEFORE: f64 = 50e6;

/// How long a process has lived, and what CPU time it has used in its life, when its recording begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    pub age: Duration,
    pub cpu: Duration,
}

/// What it did since: how much time has passed, what CPU time it used, what of that it was caused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Since {
    pub passed: Duration,
    pub used: Duration,
    /// Nanoseconds.
    pub caused: f64,
}

impl Life {
    /// CPU time that it will use in a time that is left, in nanoseconds.
    pub(super) fn expected(&self, since: &Since, left: Duration) -> f64 {
        let nanos = |time: Duration| time.as_nanos() as f64;
        let before = nanos(self.cpu) / nanos(self.age).max(1.0);
        // The first moments say little by themselves.
        let rate = |used: f64| (used + before * BEFORE) / (nanos(since.passed) + BEFORE);
        let now = rate(nanos(since.used));
        let own = rate((nanos(since.used) - since.caused).max(0.0));
        let left = left.min(self.age + since.passed);
        now.min(own.max(before)) * nanos(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn since(passed: Duration, used: Duration, caused: Duration) -> Since {
        Since { passed, used, caused: caused.as_nanos() as f64 }
    }

    /// In CPUs.
    fn rate(life: &Life, since: &Since) -> f64 {
        life.expected(since, SECOND) / 1e9
    }

    #[test]
    fn it_goes_on_as_it_does() {
        let steady = Life { age: 600 * SECOND, cpu: 600 * SECOND };
        assert_eq!(rate(&steady, &Since::default()), 1.0);
        // What it is caused it used before it was caused anything.
        let busy = since(SECOND, SECOND, 900 * MS);
        assert!((rate(&steady, &busy) - 1.0).abs() < 1e-6);
        // It rests.
        assert!(rate(&steady, &since(SECOND, Duration::ZERO, Duration::ZERO)) < 0.05);
    }

    #[test]
    fn what_it_is_caused_is_not_what_it_will_use() {
        // A server that used half a CPU, and seven tenths with what it is caused.
        let server = Life { age: 600 * SECOND, cpu: 300 * SECOND };
        let traced = since(SECOND, 700 * MS, 200 * MS);
        assert!((rate(&server, &traced) - 0.5).abs() < 0.001);
        // One that rested until now.
        let woken = Life { age: 600 * SECOND, cpu: SECOND };
        assert!((rate(&woken, &traced) - 0.48).abs() < 0.01, "{}", rate(&woken, &traced));
    }

    #[test]
    fn nobody_is_expected_to_live_for_longer_than_until_now() {
        let young = Life { age: 100 * MS, cpu: 100 * MS };
        assert_eq!(young.expected(&Since::default(), 30 * SECOND), 100e6);
        let later = since(400 * MS, 400 * MS, Duration::ZERO);
        assert!((young.expected(&later, 30 * SECOND) - 500e6).abs() < 1.0);
        assert_eq!(young.expected(&later, Duration::ZERO), 0.0);
        // Of whom nothing is known nothing is expected.
        assert_eq!(Life::default().expected(&Since::default(), 30 * SECOND), 0.0);
    }
}
