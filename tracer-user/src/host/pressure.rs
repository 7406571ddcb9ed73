//! Pressure stall information: for how long tasks have waited for memory.
//!
//! In: a file of the kernel (Documentation/accounting/psi.rst): of a control group, or of the host. Out: how long some
//! task in it has waited, all in all. A kernel without it tells nothing.

use std::path::Path;
use std::time::Duration;

use super::read;

/// That of the whole host.
pub const OF_HOST: &str = "/proc/pressure/memory";

/// How long some task has waited until now.
pub fn stalled(file: &Path) -> Option<Duration> {
    total(&String::from_utf8_lossy(&read::bounded(file).ok()?))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=28562`: the total is in microseconds.
pub(super) fn total(text: &str) -> Option<Duration> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?;
    Some(Duration::from_micros(total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_some_tasks_is_read() {
        let text =
            "some avg10=0.31 avg60=0.00 avg300=0.00 total=28562\nfull avg10=0.00 total=3508\n";
        assert_eq!(total(text), Some(Duration::from_micros(28_562)));
        for odd in ["", "some", "full total=7", "some total=", "some total=x", "some total=-1"] {
            assert_eq!(total(odd), None, "{odd}");
        }
    }
}
