//! Medians and spread of a handful of runs.

/// Figures of one quantity over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The middle value; NaN when there is none.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        }
    }

    /// Where the values lie: the median of the means of all pairs of them, each with itself too (Hodges and
    /// Lehmann). It makes as much of values that scatter evenly as their mean does, and one that is far off moves it
    /// little. With its 95 % confidence interval, of the signed-rank test; NaN when there is none.
    pub fn centre(&self) -> (f64, f64, f64) {
        let pairs = (0..self.0.len()).flat_map(|a| (a..self.0.len()).map(move |b| (a, b)));
        let means = Series(pairs.map(|(a, b)| (self.0[a] + self.0[b]) / 2.0).collect());
        let n = self.0.len() as f64;
        let reach = 1.96 * (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
        let low = (n * (n + 1.0) / 4.0 - reach - 0.5).max(0.0) as usize;
        let sorted = means.sorted();
        match (sorted.get(low), sorted.iter().rev().nth(low)) {
            (Some(low), Some(high)) => (means.median(), *low, *high),
            _ => (f64::NAN, f64::NAN, f64::NAN),
        }
    }

    /// The value that this part of all is not above: 0.99 for the 99th percentile. NaN when there is
    /// none.
    pub fn quantile(&self, part: f64) -> f64 {
        let sorted = self.sorted();
        let at = (part * sorted.len() as f64).ceil().max(1.0) as usize - 1;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    /// How many are larger.
    pub fn above(&self, limit: f64) -> usize {
        self.0.iter().filter(|value| **value > limit).count()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Smallest and largest.
    pub fn range(&self) -> (f64, f64) {
        let sorted = self.sorted();
        match (sorted.first(), sorted.last()) {
            (Some(min), Some(max)) => (*min, *max),
            _ => (f64::NAN, f64::NAN),
        }
    }

    /// `median (smallest to largest)`, with so many digits behind the point; `–` when there is none.
    pub fn text(&self, digits: usize) -> String {
        let (min, max) = self.range();
        match self.0.len() {
            0 => "–".to_string(),
            1 => format!("{min:.digits$}"),
            _ => format!("{:.digits$} ({min:.digits$} to {max:.digits$})", self.median()),
        }
    }

    /// Round by round: this minus the other.
    pub fn minus(&self, other: &Series) -> Series {
        Series(self.0.iter().zip(&other.0).map(|(a, b)| a - b).collect())
    }

    /// Round by round: how many percent this is more than the other.
    pub fn percent_over(&self, other: &Series) -> Series {
        Series(self.0.iter().zip(&other.0).map(|(a, b)| 100.0 * (a / b - 1.0)).collect())
    }

    /// Round by round: this divided by the other.
    pub fn over(&self, other: &Series) -> Series {
        Series(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series(values.to_vec())
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(series(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(series(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(series(&[]).median().is_nan());
        assert_eq!(series(&[3.0, 1.0, 2.0]).range(), (1.0, 3.0));
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let hundred = series(&(1..=100).map(f64::from).collect::<Vec<_>>());
        let of = |part| hundred.quantile(part);
        assert_eq!([of(0.0), of(0.5), of(0.99), of(1.0)], [1.0, 50.0, 99.0, 100.0]);
        assert_eq!((hundred.above(99.0), hundred.len()), (1, 100));
        assert!(series(&[]).quantile(0.5).is_nan());
    }

    #[test]
    fn the_centre_has_an_interval() {
        let of = |values: &[f64]| series(values).centre();
        assert_eq!(of(&[2.0]), (2.0, 2.0, 2.0));
        assert_eq!(of(&[1.0, 2.0, 30.0]), (8.75, 1.0, 30.0));
        // The table of the signed-rank test: of twelve values the fourteenth of 78 means, from either end.
        let twelve: Vec<f64> = (0..12).map(|n| f64::from(1 << n)).collect();
        let mut means: Vec<f64> = (0..12)
            .flat_map(|a| (a..12).map(move |b| f64::from((1 << a) + (1 << b)) / 2.0))
            .collect();
        means.sort_by(f64::total_cmp);
        assert_eq!(of(&twelve), ((means[38] + means[39]) / 2.0, means[13], means[64]));
        // One that is far off changes little.
        let mut eleven: Vec<f64> = (0..10).map(f64::from).collect();
        eleven.push(1e9);
        assert!((4.0..6.5).contains(&of(&eleven).0), "{:?}", of(&eleven));
        assert!(of(&[]).0.is_nan());
    }

    #[test]
    fn text_has_median_and_spread() {
        assert_eq!(series(&[1.0, 4.04, 2.0]).text(1), "2.0 (1.0 to 4.0)");
        assert_eq!(series(&[7.0]).text(0), "7");
        assert_eq!(series(&[]).text(0), "–");
    }

    #[test]
    fn pairs_are_taken_round_by_round() {
        let (a, b) = (series(&[10.0, 20.0]), series(&[5.0, 4.0]));
        assert_eq!(a.minus(&b).0, [5.0, 16.0]);
        assert_eq!(a.over(&b).0, [2.0, 5.0]);
        assert_eq!(a.percent_over(&b).0, [100.0, 400.0]);
    }
}
