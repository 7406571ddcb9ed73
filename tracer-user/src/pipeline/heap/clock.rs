//! How fast the counter runs, which Go's profiles of contention count in. Out: ticks in a
//! second. Asked only for programs whose runtime has not worked it out itself.

/// Measured here for as long as it takes to be right to a few millionths; nothing where the counter
/// can't be read.
#[cfg(target_arch = "x86_64")]
pub fn ticks_per_second() -> Option<f64> {
    use std::time::{Duration, Instant};

    const LONG_ENOUGH: Duration = Duration::from_millis(20);
    const READINGS: usize = 16;

    fn counter() -> u64 {
        // SAFETY: every x86-64 processor has the counter, and Linux lets programs read it unless
        // prctl(PR_SET_TSC) forbids it, which heaptap does not do.
        unsafe { std::arch::x86_64::_rdtsc() }
    }

    /// Both clocks at one moment: of some readings the one that took least time, which nothing has
    /// come in between of.
    fn both() -> (u64, Instant) {
        let read = |_| {
            let (before, now, after) = (counter(), Instant::now(), counter());
            (after.wrapping_sub(before), before, now)
        };
        let (took, before, now) =
            (0..READINGS).map(read).min_by_key(|(took, ..)| *took).unwrap_or_else(|| read(0));
        (before.wrapping_add(took / 2), now)
    }

    let (first, began) = both();
    std::thread::sleep(LONG_ENOUGH);
    let (last, ended) = both();
    Some(last.wrapping_sub(first) as f64 / (ended - began).as_secs_f64())
}

/// On arm64 Go counts nanoseconds instead (runtime/os_linux_arm64.go, `cputicks`, Go 1.19 to 1.27).
#[cfg(target_arch = "aarch64")]
pub fn ticks_per_second() -> Option<f64> {
    Some(1e9)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn ticks_per_second() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let (a, b) = (ticks_per_second().unwrap(), ticks_per_second().unwrap());
        assert!((a / b - 1.0).abs() < 0.0001, "{a} and {b}");
        assert!((1e8..1e11).contains(&a), "{a}");
    }
}
