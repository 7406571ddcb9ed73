//! A program with thousands of stacks, made up: what its heap profile looks like every ten seconds.
//!
//! Deterministic. Stacks have shared outer frames, as those of a server have; some allocate much more than
//! others; the runtime's sampler sees an allocation for each 512 KiB.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use super::{Bounds, open, recorded, writer};
use crate::profile::build::Build;
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, Profile, SPACE, Source, scale,
};
use crate::recording::Shown;

/// Mean distance of samples.
const RATE: u64 = 512 << 10;

/// Numbers as good as random (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
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

/// Bytes of a recording of so many snapshots, before each of which `pass` changes something, and the
/// processor time of each.
fn recording(shots: u32, mut pass: impl FnMut(&mut Busy)) -> (u64, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hour.htap");
    let mut writer = writer(&path, Bounds::default());
    let mut busy = Busy::new(5_000);
    let mut spent = Duration::ZERO;
    for _ in 0..shots {
        pass(&mut busy);
        let began = spent_here();
        writer.write(&busy.profile, Shown::default()).unwrap();
        spent += spent_here() - began;
    }
    let bytes = std::fs::read(&path).unwrap();
    let survey = open(&bytes).survey().unwrap();
    assert_eq!((survey.shots, survey.damaged, survey.left_over), (u64::from(shots), 0, 0));
    (bytes.len() as u64, spent / shots)
}

/// Processor time of this thread.
fn spent_here() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros as u64)
}

#[test]
fn an_hour_of_a_busy_program_is_small() {
    // 100 MiB allocated each second are 2,000 samples in ten. Ten minutes are enough to know.
    let (bytes, _) = recording(60, |busy| busy.pass(2_000));
    assert!(bytes < 5_000_000 / 6, "{bytes}");
}

/// `cargo test --release -p heaptap --lib -- --ignored --nocapture what_an_hour_takes`
#[test]
#[ignore = "a measurement, of a release build"]
fn what_an_hour_takes() {
    let told = |what: &str, (bytes, each): (u64, Duration)| {
        eprintln!("{what}: {bytes} bytes an hour, {each:?} of processor time each");
        assert!(each < Duration::from_millis(10));
    };
    told("100 MiB/s", recording(360, |busy| busy.pass(2_000)));
    told("500 MiB/s", recording(360, |busy| busy.pass(10_000)));
    let all = |busy: &mut Busy| {
        busy.pass(2_000);
        busy.profile.samples.iter_mut().for_each(|sample| sample.values[0] += 1000);
    };
    told("every stack changes", recording(360, all));
    let estimates = |busy: &mut Busy| {
        busy.pass(2_000);
        for sample in &mut busy.profile.samples {
            sample.error = sample.values.iter().map(|value| (*value as f64).sqrt() * 9.7).collect();
        }
        busy.profile.round_errors();
    };
    told("with errors", recording(360, estimates));
    let other = |busy: &mut Busy| {
        busy.pass(2_000);
        // Nothing is where it was.
        let bytes = recorded([&busy.profile]);
        busy.profile = open(&bytes).at(u64::MAX).unwrap().unwrap().shot.profile;
    };
    told("another profile each time", recording(360, other));
}
