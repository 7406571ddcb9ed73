//! A storm of short-lived programs, at a steady rate.
//!
//! In: a command and how many of it a second. Out: who was started. Starts what is due, however late,
//! so that the rate is told as it was and not as it was meant.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// What a storm was.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    pub started: usize,
    pub took: Duration,
    /// The latest start, behind its time.
    pub latest: Duration,
    /// Most that ran at once.
    pub most: usize,
}

impl Storm {
    /// Starts `rate` programs a second for so long, and waits for the end of all of them.
    pub fn run(program: &Path, args: &[&str], rate: u32, length: Duration) -> Result<Storm> {
        let (mut storm, mut running) = (Storm::default(), Vec::<Child>::new());
        let began = Instant::now();
        let count = (length.as_secs_f64() * f64::from(rate)).round() as u32;
        for number in 0..count {
            let due = began + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            while let Some(early) = due.checked_duration_since(Instant::now()) {
                reap(&mut running)?;
                thread::sleep(early.min(Duration::from_millis(5)));
            }
            storm.latest = storm.latest.max(due.elapsed());
            let mut command = Command::new(program);
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
            running.push(command.spawn().context("can't start a short-lived program")?);
            storm.started += 1;
            storm.most = storm.most.max(running.len());
        }
        storm.took = began.elapsed();
        for mut child in running {
            ensure!(child.wait()?.success(), "a short-lived program failed");
        }
        Ok(storm)
    }

    /// Programs a second.
    pub fn rate(&self) -> f64 {
        self.started as f64 / self.took.as_secs_f64()
    }
}

/// Lets go of those that have ended.
fn reap(running: &mut Vec<Child>) -> Result<()> {
    let mut failed = false;
    running.retain_mut(|child| match child.try_wait() {
        Ok(None) => true,
        Ok(Some(status)) => {
            failed |= !status.success();
            false
        }
        Err(_) => false,
    });
    ensure!(!failed, "a short-lived program failed");
    Ok(())
}
