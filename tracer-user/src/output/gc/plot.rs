//! Scales of a picture: where a value lies, and which round values are written beside an axis.

/// Values on a stretch of pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub from: f64,
    pub to: f64,
    pub start: f64,
    pub end: f64,
}

impl Scale {
    /// Where a value lies; values beyond the ends lie at them.
    pub fn at(&self, value: f64) -> f64 {
        let length = self.to - self.from;
        if length <= 0.0 {
            return self.start;
        }
        let part = ((value - self.from) / length).clamp(0.0, 1.0);
        self.start + part * (self.end - self.start)
    }
}

/// Round values from 0 to `most`, about `count` of them; `base` is 10, or 2 for bytes.
pub fn round_steps(most: f64, count: u32, binary: bool) -> Vec<f64> {
    if !most.is_finite() || most <= 0.0 {
        return vec![0.0];
    }
    let rough = most / f64::from(count.max(1));
    let step = if binary {
        2f64.powi(rough.log2().ceil() as i32)
    } else {
        let power = 10f64.powi(rough.log10().floor() as i32);
        let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= rough).unwrap_or(10.0);
        factor * power
    };
    let steps = (most / step) as u32;
    (0..=steps).map(|at| f64::from(at) * step).collect()
}

/// Powers of ten from `least` to `most`.
pub fn powers(least: f64, most: f64) -> Vec<f64> {
    let mut powers = Vec::new();
    let mut power = 10f64.powi(least.max(1.0).log10().ceil() as i32);
    while power <= most && powers.len() < 20 {
        powers.push(power);
        power *= 10.0;
    }
    powers
}

/// Points of a line in order, thinned: of those in one pixel the first, least, most and last.
pub fn thinned(points: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut pixel: Vec<(f64, f64)> = Vec::new();
    for point in points {
        if pixel.first().is_some_and(|first| first.0.floor() != point.0.floor()) {
            flush(&mut pixel, &mut kept);
        }
        pixel.push(point);
        // Few at a time, whatever there is.
        if pixel.len() >= 64 {
            let last = pixel.len() - 1;
            let (low, high) = extremes(&pixel);
            let mut few = vec![0, low, high, last];
            few.sort_unstable();
            few.dedup();
            pixel = few.into_iter().map(|at| pixel[at]).collect();
        }
    }
    flush(&mut pixel, &mut kept);
    kept
}

fn flush(pixel: &mut Vec<(f64, f64)>, kept: &mut Vec<(f64, f64)>) {
    if pixel.len() <= 4 {
        kept.append(pixel);
        return;
    }
    let (low, high) = extremes(pixel);
    let mut few = vec![0, low, high, pixel.len() - 1];
    few.sort_unstable();
    few.dedup();
    kept.extend(few.into_iter().map(|at| pixel[at]));
    pixel.clear();
}

/// Places of the lowest and of the highest.
fn extremes(points: &[(f64, f64)]) -> (usize, usize) {
    let order = |a: &usize, b: &usize| points[*a].1.total_cmp(&points[*b].1);
    let low = (0..points.len()).min_by(order).unwrap_or(0);
    let high = (0..points.len()).max_by(order).unwrap_or(0);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_within_the_stretch() {
        let scale = Scale { from: 0.0, to: 10.0, start: 100.0, end: 0.0 };
        assert_eq!(
            [0.0, 5.0, 10.0, 99.0, -1.0].map(|v| scale.at(v)),
            [100.0, 50.0, 0.0, 0.0, 100.0]
        );
        assert_eq!(Scale { to: 0.0, ..scale }.at(3.0), 100.0);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(round_steps(10.0, 5, false), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(round_steps(10_000_000.0, 4, true), [0.0, 4_194_304.0, 8_388_608.0]);
        assert_eq!(round_steps(0.0, 4, true), [0.0]);
        assert_eq!(round_steps(f64::NAN, 4, true), [0.0]);
        assert_eq!(powers(1_500.0, 2e5), [1e4, 1e5]);
        assert_eq!(powers(0.0, 5.0), [1.0]);
    }

    #[test]
    fn a_line_of_many_points_keeps_its_peaks() {
        let points = (0..100_000).map(|i| (f64::from(i) / 1000.0, f64::from(i % 777)));
        let kept = thinned(points);
        assert!(kept.len() <= 400, "{}", kept.len());
        assert!(kept.iter().filter(|p| p.1 == 776.0).count() >= 99);
        assert!(kept.is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!(thinned([(1.0, 2.0)]), [(1.0, 2.0)]);
        assert_eq!(thinned([]), []);
    }
}
