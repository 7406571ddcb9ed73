//! A program with thousands of stacks, made up: what its heap profile looks like every ten seconds. For tests and
//! benchmarks.
//!
//! Deterministic. Stacks have shared outer frames, as those of a server have; some allocate much more than
//! others; the runtime's sampler sees an allocation for each 512 KiB.

use std::time::Duration;

use crate::profile::build::Build;
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, Profile, SPACE, Source, scale,
};

/// Mean distance of samples.
const RATE: u64 = 512 << 10;

/// Numbers as good as random (xorshift64*).
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 to before `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() >> 33) as usize % end.max(1)
    }
}

/// The program.
pub struct Busy {
    random: Random,
    pub profile: Profile,
    /// Of each stack: size of its objects, sampled allocations and frees.
    stacks: Vec<(u64, u64, u64)>,
}

const SIZES: [u64; 12] = [16, 32, 48, 64, 96, 128, 256, 512, 1024, 4096, 8192, 32768];

impl Busy {
    /// One with so many stacks.
    pub fn new(stacks: usize) -> Self {
        let mut random = Random(42);
        let mut build = Build::new(Source::Records);
        let process = build.process(4242, "server", "go1.26.6");
        build.values(&[ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE], 3);
        build.records("heap as of the last completed collection; one per 512.0 KiB", SPACE, RATE);
        let mut sizes = Vec::new();
        // Stacks that were made, outermost first; new ones go on from somewhere in an older one.
        let mut made: Vec<Vec<String>> = vec![vec!["runtime.main proc.go:283:147".to_owned()]];
        for at in 0..stacks {
            let older = &made[random.below(made.len())];
            let shared = 1 + random.below(older.len());
            let mut stack = older[..shared].to_vec();
            let depth = (shared + 1 + random.below(8)).min(48);
            while stack.len() < depth {
                let function = random.below(stacks);
                let line = 20 + random.below(6);
                stack.push(format!(
                    "github.com/acme/shop/internal/service{}.(*Handler{}).handle{function} \
                     /home/ann/src/shop/internal/service{}/handler{}.go:{line}:{}",
                    function % 40,
                    function % 300,
                    function % 40,
                    function % 300,
                    10 + function % 10
                ));
            }
            let frames: Vec<&str> = stack.iter().rev().map(String::as_str).collect();
            let size = SIZES[random.below(SIZES.len())];
            build.stack(process, &frames, 0, 0).label("bytes", size);
            sizes.push((size, 1, 0));
            made.push(stack);
            if at % 7 == 0 {
                made.swap_remove(0);
            }
        }
        let mut busy = Self { random, profile: build.done(), stacks: sizes };
        busy.profile.samples.iter_mut().for_each(|sample| sample.values = vec![0; 4]);
        busy.value();
        busy
    }

    /// Ten seconds in which so many allocations are sampled, and as many objects freed.
    pub fn pass(&mut self, samples: usize) {
        for _ in 0..samples {
            // A few stacks make most of it.
            let part = self.random.below(1 << 20) as f64 / f64::from(1 << 20);
            let at = (self.stacks.len() as f64 * part.powi(4)) as usize;
            self.stacks[at].1 += 1;
            let at = (self.stacks.len() as f64 * part.powi(4)) as usize;
            let (_, allocs, frees) = &mut self.stacks[at];
            if *frees < *allocs && self.random.below(8) > 0 {
                *frees += 1;
            }
        }
        self.profile.meta.started += Duration::from_secs(10);
        self.value();
    }

    fn value(&mut self) {
        for (sample, (size, allocs, frees)) in self.profile.samples.iter_mut().zip(&self.stacks) {
            let (objects, bytes) = scale::heap_sample(*allocs, *size, RATE);
            let (alive, space) = scale::heap_sample(allocs - frees, *size, RATE);
            sample.values.copy_from_slice(&[objects, bytes, alive, space]);
        }
    }
}
