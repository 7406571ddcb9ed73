//! What a runtime counts of objects of each size, which is no sample: whether what fills slows down.
//!
//! In: how many objects of each size class are not freed, look after look, and how many collections had begun. Out: of
//! objects of one size, whether they become more as fast at the end as at the beginning.
//!
//! What is not freed holds garbage that was not swept yet. Between two collections there is least of it at some
//! look; those lowest points, one for each collection, follow what is alive.

/// Fewer collections tell nothing.
const FEWEST: usize = 8;
/// The class must have grown by as much as the stack it is asked for did, within this factor.
const SAME: f64 = 1.5;
/// The second half at least this many times as fast as the first.
const EVEN: f64 = 0.75;
/// Standard errors by which that must be clear, for points that are not independent.
const CLEAR: f64 = 2.5;

/// Objects by size class over time.
#[derive(Debug, Default)]
pub struct Classes {
    /// Upper sizes of the classes, ascending.
    sizes: Vec<u64>,
    /// Of each collection: when there was least, and how much, by class.
    lows: Vec<Vec<Low>>,
    /// The collection of the last look.
    cycle: u32,
}

#[derive(Clone, Copy, Debug)]
struct Low {
    at: f64,
    live: f64,
}

impl Classes {
    /// Adds a look: objects that are not freed, by the size of their class, ascending.
    pub fn add(&mut self, at: f64, cycle: u32, classes: impl Iterator<Item = (u64, u64)>) {
        let classes: Vec<(u64, u64)> = classes.collect();
        if self.sizes.len() != classes.len() {
            self.sizes = classes.iter().map(|(size, _)| *size).collect();
            self.lows = vec![Vec::new(); classes.len()];
        }
        let begins = cycle != self.cycle;
        self.cycle = cycle;
        for (lows, (_, live)) in self.lows.iter_mut().zip(&classes) {
            let now = Low { at, live: *live as f64 };
            match lows.last_mut().filter(|_| !begins) {
                Some(low) if now.live < low.live => *low = now,
                Some(_) => {}
                None => lows.push(now),
            }
        }
    }

    /// Whether objects of a size slow down, from `from` on; nothing when that can't be told, or when others of the class
    /// than the `grew` objects that are asked for became more or less.
    pub fn slow_down(&self, size: u64, grew: f64, from: f64) -> Option<bool> {
        let class = self.sizes.partition_point(|upper| *upper < size);
        let lows = self.lows.get(class)?;
        // The last collection has not ended, and what it has swept is not known.
        let lows = &lows[..lows.len().saturating_sub(1)];
        let lows = &lows[lows.partition_point(|low| low.at < from)..];
        let bend = Bend::of(lows)?;
        let all = bend.first + bend.second;
        if lows.len() < FEWEST || all < grew / SAME || all > grew * SAME {
            return None;
        }
        let short = EVEN * bend.first - bend.second;
        if short > CLEAR * bend.error {
            return Some(true);
        }
        (-short > CLEAR * bend.error).then_some(false)
    }
}

/// A parabola through points, by what it grows in both halves.
struct Bend {
    first: f64,
    second: f64,
    /// Standard error of `EVEN` times the first less the second.
    error: f64,
}

impl Bend {
    /// By least squares.
    fn of(points: &[Low]) -> Option<Self> {
        let [begin, .., end] = points else { return None };
        let span = end.at - begin.at;
        if points.len() < 4 || span <= 0.0 {
            return None;
        }
        // Time from -1 to 1; of 1, t and t² - mean(t²) sums of products are solved one after the other.
        let t = |at: f64| 2.0 * (at - begin.at) / span - 1.0;
        let n = points.len() as f64;
        let mean = |of: &dyn Fn(f64) -> f64| points.iter().map(|p| of(t(p.at))).sum::<f64>() / n;
        let (m1, m2, m3, m4) =
            (mean(&|t| t), mean(&|t| t * t), mean(&|t| t * t * t), mean(&|t| t.powi(4)));
        let live = points.iter().map(|p| p.live).sum::<f64>() / n;
        let with = |of: &dyn Fn(f64) -> f64| {
            points.iter().map(|p| of(t(p.at)) * (p.live - live)).sum::<f64>() / n
        };
        // Normal equations of the linear and the quadratic part about their means.
        let (a, b, c) = (m2 - m1 * m1, m3 - m1 * m2, m4 - m2 * m2);
        let (y1, y2) = (with(&|t| t), with(&|t| t * t));
        let det = a * c - b * b;
        if det <= 1e-9 {
            return None;
        }
        let (linear, square) = ((y1 * c - y2 * b) / det, (y2 * a - y1 * b) / det);
        let at = |t: f64| live + linear * (t - m1) + square * (t * t - m2);
        let left: f64 = points.iter().map(|p| (p.live - at(t(p.at))).powi(2)).sum();
        let variance = left / (n - 3.0);
        // Growth of the halves is linear - square and linear + square.
        let (k1, k2) = (EVEN - 1.0, -EVEN - 1.0);
        let of_both = (k1 * k1 * c - 2.0 * k1 * k2 * b + k2 * k2 * a) / (det * n);
        let error = (variance * of_both).max(0.0).sqrt();
        Some(Self { first: linear - square, second: linear + square, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::estimate::random;

    /// Looks each second at something that is alive as `alive` says, beside traffic of the same class that is
    /// collected every three seconds.
    fn looked(seconds: u32, traffic: f64, alive: impl Fn(f64) -> f64) -> Classes {
        let mut classes = Classes::default();
        let mut state = 7;
        let mut since = 0.0;
        for second in 0..seconds {
            let at = f64::from(second) + 0.3 * random(&mut state);
            if second % 3 == 0 {
                since = at - random(&mut state);
            }
            let live = alive(at) + (at - since) * traffic;
            classes.add(at, second / 3, [(1024, live as u64), (2048, 5)].into_iter());
        }
        classes
    }

    #[test]
    fn what_fills_is_told_from_what_does_not_end() {
        let cache = |t: f64| 30_000.0 * (1.0 - (-t / 50.0).exp());
        let leak = |t: f64| 350.0 * t;
        for traffic in [0.0, 100.0, 500.0] {
            let fills = looked(60, traffic, cache);
            assert_eq!(fills.slow_down(1000, 21_000.0, 0.0), Some(true), "{traffic}");
            let leaks = looked(60, traffic, leak);
            assert_eq!(leaks.slow_down(1024, 21_000.0, 0.0), Some(false), "{traffic}");
        }
        // Half of it is somebody else's, or most.
        let fills = looked(60, 100.0, cache);
        assert_eq!(fills.slow_down(1000, 8_000.0, 0.0), None);
        assert_eq!(fills.slow_down(1000, 60_000.0, 0.0), None);
    }

    #[test]
    fn nothing_is_told_of_what_is_not_known() {
        let leaks = looked(60, 0.0, |t| 100.0 * t);
        assert_eq!(leaks.slow_down(4096, 6000.0, 0.0), None, "no such class");
        assert_eq!(leaks.slow_down(2048, 6000.0, 0.0), None, "it does not grow");
        assert_eq!(leaks.slow_down(1024, 6000.0, 45.0), None, "too few collections");
        assert_eq!(Classes::default().slow_down(8, 1.0, 0.0), None);
        let noise = looked(60, 20_000.0, |t| 10.0 * t);
        assert_eq!(noise.slow_down(1024, 600.0, 0.0), None);
    }

    #[test]
    fn a_line_and_a_bend() {
        let points = |of: &dyn Fn(f64) -> f64| -> Vec<Low> {
            (0..20).map(|at| f64::from(at) * 1.7).map(|at| Low { at, live: of(at) }).collect()
        };
        let span = 19.0 * 1.7;
        let line = Bend::of(&points(&|at| 3.0 + 2.0 * at)).unwrap();
        assert!((line.first - span).abs() < 1e-6 && (line.second - span).abs() < 1e-6);
        assert!(line.error < 1e-6);
        let bend = Bend::of(&points(&|at| at * at)).unwrap();
        assert!((bend.first - span * span / 4.0).abs() < 1e-6);
        assert!((bend.second - span * span * 0.75).abs() < 1e-6);
        assert!(Bend::of(&points(&|_| 0.0)[..3]).is_none());
    }
}
