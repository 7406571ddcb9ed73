//! A line through points, and for how much they count.
//!
//! In: points. Out: the line by least squares; how alike neighbours around it are, as in staircases and in levels
//! that wander: they count for fewer points than there are. Must not know what the points are.

/// Neighbours are taken to be no more alike than this.
const MOST_ALIKE: f64 = 0.9;
/// Nor are points taken for fewer than these.
const FEWEST_OWN: f64 = 3.0;

/// A line through points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Means of the points, which it goes through.
    pub at: f64,
    pub level: f64,
    pub slope: f64,
    /// Of what is around it: squares of the points' distances, for two points less than there are.
    pub variance: f64,
    /// How alike neighbours are, from -1 to 1.
    pub alike: f64,
    /// Points, and the squares of how far they are from their mean in time.
    pub count: f64,
    pub square: f64,
}

impl Line {
    /// Nothing through fewer than three points, or where all are of one time.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        if points.len() < 3 {
            return None;
        }
        let at = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let level = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let square: f64 = points.iter().map(|(x, _)| (x - at).powi(2)).sum();
        if square <= 0.0 {
            return None;
        }
        let slope = points.iter().map(|(x, y)| (x - at) * (y - level)).sum::<f64>() / square;
        let rest: Vec<f64> = points.iter().map(|(x, y)| y - level - slope * (x - at)).collect();
        let variance = rest.iter().map(|r| r * r).sum::<f64>() / (count - 2.0);
        let products: f64 = rest.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let alike = if variance > 0.0 { products / (variance * (count - 2.0)) } else { 0.0 };
        Some(Self { at, level, slope, variance, alike, count, square })
    }

    /// So many of the points are worth as much as points of their own, if neighbours are as alike as that.
    pub fn own(&self, alike: f64) -> f64 {
        let alike = alike.clamp(0.0, MOST_ALIKE);
        (self.count * (1.0 - alike) / (1.0 + alike)).max(FEWEST_OWN)
    }

    /// Variance of the slope, if the points are worth so many.
    pub fn of_slope(&self, own: f64) -> f64 {
        self.variance * self.count / (own * self.square)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points() {
        let points: Vec<(f64, f64)> =
            (0..9).map(|x| (x.into(), 3.0 + 2.0 * f64::from(x))).collect();
        let line = Line::through(&points).unwrap();
        assert_eq!((line.at, line.level, line.slope, line.variance), (4.0, 11.0, 2.0, 0.0));
        assert_eq!(Line::through(&points[..2]), None);
        assert_eq!(Line::through(&[(1.0, 1.0); 5]), None);
    }

    #[test]
    fn who_is_like_his_neighbour_counts_for_less() {
        let of = |value: fn(u32) -> f64| {
            let points: Vec<(f64, f64)> = (0..24).map(|x| (x.into(), value(x))).collect();
            let line = Line::through(&points).unwrap();
            line.own(line.alike)
        };
        assert_eq!(of(|x| f64::from(x % 2)), 24.0);
        assert!(of(|x| f64::from(x / 12)) < 6.0);
        assert_eq!(of(|x| f64::from(x).powi(2)), 3.0);
    }
}
