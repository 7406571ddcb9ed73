//! From sampled allocations to all of them, as Go's heap profile does it.
//!
//! In: objects of one size that were sampled, and the mean distance of samples. Out: the estimate
//! that `runtime/pprof.scaleHeapSample` (protomem.go) makes, to the last bit: an object of size s is
//! sampled with probability 1 − exp(−s/rate). Knows no stack.

/// Objects and bytes that stand behind `count` samples of `size` bytes.
pub fn heap_sample(count: u64, size: u64, rate: u64) -> (u64, u64) {
    if count == 0 { (0, 0) } else { Scale::new(size, rate, is_fused()).values(count) }
}

/// What samples of one size stand for.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    size: u64,
    /// Nothing: every allocation was sampled.
    factor: Option<f64>,
}

impl Scale {
    /// `is_fused`: as on a processor where [`is_fused`] says that.
    pub fn new(size: u64, rate: u64, is_fused: bool) -> Self {
        let factor = || 1.0 / (1.0 - exp(-(size as f64) / rate as f64, is_fused));
        Self { size, factor: (rate > 1).then(factor) }
    }

    /// Objects and bytes that stand behind `count` samples.
    pub fn values(&self, count: u64) -> (u64, u64) {
        if count == 0 || self.size == 0 {
            return (0, 0);
        }
        let bytes = count.saturating_mul(self.size);
        match self.factor {
            // Both truncate, as Go's conversion does; Rust's saturates besides.
            Some(factor) => ((count as f64 * factor) as u64, (bytes as f64 * factor) as u64),
            None => (count, bytes),
        }
    }

    /// The samples that exactly these objects and bytes stand for.
    pub fn count(&self, objects: u64, bytes: u64) -> Option<u64> {
        let near = bytes as f64 / (self.size.max(1) as f64 * self.factor.unwrap_or(1.0));
        let near = near.round() as u64;
        let mut all = [near, near.saturating_sub(1), near.saturating_add(1)].into_iter();
        all.find(|count| self.values(*count) == (objects, bytes))
    }
}

/// `math.Exp` of Go on amd64 for arguments up to 0, the same in Go 1.19 to 1.27 (math/exp_amd64.s),
/// whose last bits are other ones than libm's: with small objects and a large rate they would show.
///
/// After Shibata, "Efficient evaluation methods of elementary functions suitable for SIMD
/// computation" (ISC 2010): x is brought down to a sixteenth of what is left of it modulo ln 2, a
/// series gives exp − 1 of that, which is doubled four times.
fn exp(x: f64, fused: bool) -> f64 {
    const LN2_UPPER: f64 = 0.693_147_180_559_663;
    const LN2_LOWER: f64 = 2.823_529_056_303_157_7e-13;
    const SERIES: [f64; 9] = [
        2.480_158_730_158_73e-5,
        0.000_198_412_698_412_698_4,
        0.001_388_888_888_888_889,
        0.008_333_333_333_333_333,
        0.041_666_666_666_666_664,
        0.166_666_666_666_666_66,
        0.5,
        1.0,
        2.0,
    ];
    if x < -700.0 {
        // Nothing that 1 − exp(x) would show.
        return 0.0;
    }
    let multiply_add = |a: f64, b: f64, c: f64| if fused { a.mul_add(b, c) } else { a * b + c };
    let power = (x * std::f64::consts::LOG2_E).round_ties_even();
    let rest = multiply_add(-power, LN2_UPPER, x);
    let rest = multiply_add(-power, LN2_LOWER, rest) * 0.0625;
    let [first, series @ .., two] = SERIES;
    let sum = series.into_iter().fold(first, |sum, c| multiply_add(sum, rest, c));
    let mut less_one = rest * sum;
    for _ in 0..3 {
        less_one *= less_one + two;
    }
    let doubled = less_one + two;
    let whole = multiply_add(less_one, doubled, 1.0);
    // The power is −1010 at the least.
    whole * f64::from_bits(((power as i64 + 1023) as u64) << 52)
}

/// Whether Go's code would fuse multiplications and additions on this processor, and heaptap runs on
/// the one that the program runs on.
#[cfg(target_arch = "x86_64")]
pub fn is_fused() -> bool {
    std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx")
}

#[cfg(not(target_arch = "x86_64"))]
pub fn is_fused() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_every_allocation_stay_what_they_are() {
        assert_eq!(heap_sample(0, 16, 4096), (0, 0));
        assert_eq!(heap_sample(7, 0, 4096), (0, 0));
        assert_eq!(heap_sample(7, 16, 1), (7, 112));
        assert_eq!(heap_sample(7, 16, 0), (7, 112));
    }

    /// Count, size, rate, and the objects and bytes that Go 1.26's scaleHeapSample made of them.
    const GO: [(u64, u64, u64, u64, u64); 16] = [
        (1, 8, 524288, 65536, 524292),
        (3, 16, 524288, 98305, 1572888),
        (100003, 16, 524288, 3276948305, 52431172892),
        (7, 48, 524288, 76462, 3670184),
        (1234567, 64, 524288, 10114190160, 647308170243),
        (5, 1024, 4096, 22, 23146),
        (99, 4096, 4096, 156, 641497),
        (17, 32768, 4096, 17, 557242),
        (12345, 81920, 524288, 85341, 6991149205),
        (1, 524288, 524288, 1, 829411),
        (999983, 24, 1048576, 43690423918, 1048570174049),
        (77, 9472, 524288, 4300, 40735946),
        (31, 2048, 2, 31, 63488),
        (6, 144, 4096, 173, 25010),
        (1000003, 8, 1073741824, 134218130653184, 1073745045225472),
        (2, 1048576, 524288, 2, 2425393),
    ];

    #[test]
    fn as_go_scales() {
        for (count, size, rate, objects, bytes) in GO {
            assert_eq!(heap_sample(count, size, rate), (objects, bytes), "{count} {size} {rate}");
        }
    }

    #[test]
    fn large_objects_are_all_seen() {
        assert_eq!(heap_sample(3, 1 << 30, 524_288), (3, 3 << 30));
    }

    #[test]
    fn samples_are_found_again() {
        for (count, size, rate, objects, bytes) in GO {
            let scale = Scale::new(size, rate, is_fused());
            assert_eq!(scale.count(objects, bytes), Some(count), "{count} {size} {rate}");
            assert_eq!(scale.count(objects + 1, bytes), None);
        }
        assert_eq!(Scale::new(0, 4096, true).count(0, 0), Some(0));
        assert_eq!(Scale::new(0, 4096, true).count(1, 0), None);
        assert_eq!(Scale::new(16, 1, true).count(7, 112), Some(7));
        assert_eq!(Scale::new(16, 4096, true).count(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn exp_is_exp() {
        for i in 0..7000 {
            let x = f64::from(i) * -0.1;
            let exp = |x| exp(x, is_fused());
            let error = (exp(x) - x.exp()).abs() / x.exp().max(f64::MIN_POSITIVE);
            assert!(error < 1e-15 || x < -690.0, "exp of {x}: {error}");
        }
        assert_eq!(exp(0.0, true), 1.0);
    }
}
