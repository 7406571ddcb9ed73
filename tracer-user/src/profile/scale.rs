//! From sampled allocations to all of them, as Go's heap profile does it.
//!
//! In: objects of one size that were sampled, and the mean distance of samples. Out: the estimate
//! that `runtime/pprof.scaleHeapSample` (protomem.go) makes, to the last bit: an object of size s is
//! sampled with probability 1 − exp(−s/rate). Knows no stack.

use super::exp::Exp;

/// Objects and bytes that stand behind `count` samples of `size` bytes.
pub fn heap_sample(count: u64, size: u64, rate: u64) -> (u64, u64) {
    if count == 0 { (0, 0) } else { Scale::new(size, rate, Exp::here()).values(count) }
}

/// What samples of one size stand for.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    size: u64,
    /// Nothing: every allocation was sampled.
    factor: Option<f64>,
}

impl Scale {
    /// As a program computes it whose exponential function is this one.
    pub fn new(size: u64, rate: u64, exp: Exp) -> Self {
        let factor = || 1.0 / (1.0 - exp.of(-(size as f64) / rate as f64));
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
            for exp in [Exp::Amd64Fused, Exp::Arm64] {
                let values = Scale::new(size, rate, exp).values(count);
                assert_eq!(values, (objects, bytes), "{count} {size} {rate} {exp:?}");
            }
        }
    }

    #[test]
    fn large_objects_are_all_seen() {
        assert_eq!(heap_sample(3, 1 << 30, 524_288), (3, 3 << 30));
    }

    #[test]
    fn samples_are_found_again() {
        for (count, size, rate, objects, bytes) in GO {
            let scale = Scale::new(size, rate, Exp::here());
            assert_eq!(scale.count(objects, bytes), Some(count), "{count} {size} {rate}");
            assert_eq!(scale.count(objects + 1, bytes), None);
        }
        assert_eq!(Scale::new(0, 4096, Exp::Amd64Fused).count(0, 0), Some(0));
        assert_eq!(Scale::new(0, 4096, Exp::Amd64Fused).count(1, 0), None);
        assert_eq!(Scale::new(16, 1, Exp::Amd64Fused).count(7, 112), Some(7));
        assert_eq!(Scale::new(16, 4096, Exp::Amd64Fused).count(u64::MAX, u64::MAX), None);
    }
}
