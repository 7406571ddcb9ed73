//! `bench/programs/requests` at work: the same requests again and again, and what they took.
//!
//! In: a Go release. Out: figures of measurements of the same work, which differ by what watches.

use std::path::PathBuf;

use anyhow::Result;

use crate::{stats::Series, target, target::Target};

/// Flags of the benchmarks that measure it.
#[derive(clap::Args)]
pub struct Flags {
    /// Go releases
    #[arg(long, value_delimiter = ',', default_value = "1.21,1.26,1.27")]
    pub go: Vec<String>,
    /// Bytes that the program allocates each second
    #[arg(long, default_value_t = 1_000_000_000)]
    pub rate: u64,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    pub heaptap: PathBuf,
}

/// The program, allocating about as fast as it was told to.
pub struct Requests {
    target: Target,
    count: u32,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Seconds of the process.
    pub cpu: f64,
    pub wall: f64,
    pub bytes: f64,
}

/// Measurements of all rounds.
#[derive(Default)]
pub struct Times {
    pub cpu: Series,
    pub wall: Series,
    /// GB/s.
    pub rate: Series,
}

impl Times {
    pub fn push(&mut self, took: Took) {
        self.cpu.push(took.cpu);
        self.wall.push(took.wall);
        self.rate.push(took.bytes / took.wall / 1e9);
    }
}

impl Requests {
    /// Builds and starts it; `count` requests are one measurement.
    pub fn start(release: &str, count: u32, bytes_per_second: u64) -> Result<Self> {
        let mut target = Target::start(&target::build("requests", release)?)?;
        target.ask(&format!("calibrate {bytes_per_second}"))?;
        Ok(Self { target, count })
    }

    /// Gives it goroutines that wait and stacks in the books of its heap.
    pub fn populate(&mut self, goroutines: u32, stacks: u32) -> Result<()> {
        self.target.tell(&format!("populate {goroutines} {stacks}"))
    }

    pub fn pid(&self) -> u32 {
        self.target.pid()
    }

    /// One measurement, from a heap without garbage on.
    pub fn work(&mut self) -> Result<Took> {
        self.collect()?;
        let [cpu, wall, bytes] = self.target.ask_for(&format!("work {}", self.count))?;
        Ok(Took { cpu: cpu / 1e9, wall: wall / 1e9, bytes })
    }

    /// Frees what was dropped.
    pub fn collect(&mut self) -> Result<()> {
        self.target.tell("collect")
    }
}
