//! Which looks to keep, of more than there is room for: the last one, and earlier ones further and further apart.

use std::time::{Duration, Instant};

/// Which one to let go, of looks at these times, the earliest first; there are at least two.
pub fn least(times: &[Instant]) -> usize {
    let Some(last) = times.last() else { return 0 };
    // How large the gap would be that it leaves, beside how long ago that is.
    let worth = |at: usize| {
        let gap = times[at + 1].duration_since(times[at - 1]);
        let ago = last.duration_since(times[at]).max(Duration::from_millis(1));
        gap.as_secs_f64() / ago.as_secs_f64()
    };
    let inner = (1..times.len().saturating_sub(1)).map(|at| (worth(at), at));
    inner.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(0, |(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_ones_are_further_apart_and_the_last_one_stays() {
        let begin = Instant::now();
        let mut times: Vec<Instant> = Vec::new();
        for step in 0..1000 {
            times.push(begin + Duration::from_secs(step));
            if times.len() > 6 {
                times.remove(least(&times));
            }
            assert_eq!(times.last(), Some(&(begin + Duration::from_secs(step))));
        }
        let ago: Vec<u64> = times.iter().map(|at| (times[5] - *at).as_secs()).collect();
        let gaps: Vec<u64> = times.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
        assert!(gaps.windows(2).all(|two| two[0] >= two[1]), "{ago:?}");
        assert!(ago[0] > 100 && gaps[4] <= 3, "{ago:?}");
    }

    #[test]
    fn of_two_the_first_goes() {
        let begin = Instant::now();
        assert_eq!(least(&[begin, begin + Duration::from_secs(1)]), 0);
        assert_eq!(least(&[begin]), 0);
    }
}
