//! Phases of something that was measured over time, found from the figures alone.
//!
//! In: moments with values, and how many phases there are. Out: where each begins. The cut is the one that leaves the
//! least squared error when each phase has a straight line of its own (of a level, which may grow while a phase
//! lasts) or a mean of its own (of a rate). Deterministic; of equal cuts the one with the earliest beginnings.

/// What a phase looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A straight line.
    Line,
    /// One value.
    Mean,
}

/// Phases that were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// Index of the first point of each phase; the first is 0.
    pub begins: Vec<usize>,
    /// What the cut leaves of the squared error that no cut leaves: 0 to 1.
    pub left: f64,
}

/// Points that a phase has at least.
pub const SHORTEST: usize = 3;

/// Cuts points, given by time, into so many phases. Nothing: there are too few points, or there is nothing to
/// explain by phases.
pub fn cut(points: &[(f64, f64)], phases: usize, shape: Shape) -> Option<Cut> {
    let count = points.len();
    if phases == 0 || count < phases.checked_mul(SHORTEST)? {
        return None;
    }
    let sums = Sums::new(points, shape);
    let whole = sums.error(0, count);
    // What rounding leaves of figures that are one line.
    let (low, high) = points
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), (_, value)| (low.min(*value), high.max(*value)));
    let scale = low.abs().max(high.abs());
    if whole <= 1e-18 * count as f64 * scale * scale {
        return None;
    }
    // The least error of the first points in so many phases, and where the last of these begins.
    let mut best: Vec<(f64, usize)> = (0..=count).map(|end| (sums.error(0, end), 0)).collect();
    let mut firsts = vec![];
    for phase in 1..phases {
        let first = phase * SHORTEST;
        let least = |end: usize| {
            let ways = best.iter().zip(0..).take((end + 1).saturating_sub(SHORTEST)).skip(first);
            ways.fold((f64::INFINITY, 0), |least, ((before, _), begin)| {
                let error = before + sums.error(begin, end);
                if error < least.0 { (error, begin) } else { least }
            })
        };
        let next: Vec<(f64, usize)> = (0..=count).map(least).collect();
        firsts.push(next.iter().map(|(_, begin)| *begin).collect::<Vec<_>>());
        best = next;
    }
    let mut begins = Vec::new();
    let mut end = count;
    for firsts in firsts.iter().rev() {
        end = firsts[end];
        begins.push(end);
    }
    begins.push(0);
    begins.reverse();
    Some(Cut { begins, left: (best[count].0 / whole).clamp(0.0, 1.0) })
}

/// Sums up to each point, of which the error of any part follows.
struct Sums {
    shape: Shape,
    /// Of times, values, their squares and products; points are told from their middle, so that little is
    /// lost to rounding.
    to: Vec<[f64; 5]>,
}

impl Sums {
    fn new(points: &[(f64, f64)], shape: Shape) -> Self {
        let count = points.len().max(1) as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (time, value) = (mean(|(t, _)| *t), mean(|(_, x)| *x));
        let mut sums = [0.0; 5];
        let mut to = vec![sums];
        for (t, x) in points {
            let (t, x) = (t - time, x - value);
            for (sum, add) in sums.iter_mut().zip([t, x, t * t, x * x, t * x]) {
                *sum += add;
            }
            to.push(sums);
        }
        Self { shape, to }
    }

    /// The squared error of the points from `begin` to before `end`.
    fn error(&self, begin: usize, end: usize) -> f64 {
        let count = end.saturating_sub(begin) as f64;
        if count < 1.0 {
            return 0.0;
        }
        let [t, x, tt, xx, tx] = std::array::from_fn(|at| self.to[end][at] - self.to[begin][at]);
        let of_values = (xx - x * x / count).max(0.0);
        let (of_times, together) = (tt - t * t / count, tx - t * x / count);
        match self.shape {
            Shape::Line if of_times > 0.0 => (of_values - together * together / of_times).max(0.0),
            _ => of_values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
        values.into_iter().enumerate().map(|(at, value)| (at as f64, value)).collect()
    }

    /// As good as random, around 0.
    fn noise(at: usize) -> f64 {
        ((at * 7919 + 13) % 101) as f64 - 50.0
    }

    #[test]
    fn start_load_and_steady_are_found() {
        let value = |at: usize| match at {
            0..20 => 1000.0,
            20..50 => 1000.0 + 300.0 * (at - 20) as f64,
            _ => 10_000.0,
        };
        let found = cut(&points((0..90).map(value)), 3, Shape::Line).unwrap();
        assert!(matches!(found.begins[..], [0, 19..=21, 49..=51]), "{found:?}");
        assert!(found.left < 1e-6, "{found:?}");
        let noisy = (0..90).map(|at| value(at) + noise(at));
        let found = cut(&points(noisy), 3, Shape::Line).unwrap();
        assert!(matches!(found.begins[..], [0, 17..=23, 47..=53]), "{found:?}");
        assert!(found.left < 0.01, "{found:?}");
    }

    #[test]
    fn rates_are_cut_by_their_means() {
        let rate = |at: usize| if (30..70).contains(&at) { 5000.0 } else { 200.0 } + noise(at);
        let found = cut(&points((0..100).map(rate)), 3, Shape::Mean).unwrap();
        assert_eq!(found.begins, [0, 30, 70]);
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert_eq!(cut(&points((0..8).map(|at| at as f64)), 3, Shape::Line), None, "too few");
        assert_eq!(cut(&points([5e9; 50]), 2, Shape::Mean), None, "all alike");
        let line = (0..50).map(|at| 3e9 + 1e6 * f64::from(at));
        assert_eq!(cut(&points(line), 2, Shape::Line), None, "one line");
        let found = cut(&points((0..100).map(noise)), 2, Shape::Mean).unwrap();
        assert!(found.left > 0.8, "{found:?}");
    }

    #[test]
    fn the_cut_is_the_best_there_is() {
        let all = points((0..14).map(|at| noise(at) + if at > 8 { 40.0 } else { 0.0 }));
        for shape in [Shape::Line, Shape::Mean] {
            let found = cut(&all, 3, shape).unwrap();
            let sums = Sums::new(&all, shape);
            let mut least = f64::INFINITY;
            for a in SHORTEST..=14 - 2 * SHORTEST {
                for b in a + SHORTEST..=14 - SHORTEST {
                    let error = sums.error(0, a) + sums.error(a, b) + sums.error(b, 14);
                    least = least.min(error);
                }
            }
            let left = least / sums.error(0, 14);
            assert!((found.left - left).abs() < 1e-12, "{shape:?} {found:?} {left}");
        }
    }
}
