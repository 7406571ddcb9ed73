//! How much memory another process holds, from its start to its end.

use std::{
    fs,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(4);

/// One look: MB.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub when: Instant,
    /// Most that was ever resident (VmHWM).
    pub peak: f64,
    /// Resident now (VmRSS), mapped files included.
    pub now: f64,
}

/// Looks on until the process ends.
pub struct Watch(JoinHandle<Vec<Look>>);

impl Watch {
    pub fn start(pid: u32) -> Self {
        Self(thread::spawn(move || {
            let mut looks = Vec::new();
            // A zombie has no memory any more.
            while let Some(look) = look(pid) {
                looks.push(look);
                thread::sleep(EVERY);
            }
            looks
        }))
    }

    /// All looks; waits for the end of the process.
    pub fn finish(self) -> Result<Vec<Look>> {
        self.0.join().ok().context("the thread that looks at memory has failed")
    }
}

fn look(pid: u32) -> Option<Look> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let megabytes = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = line.strip_prefix(':')?.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024.0 / 1e6)
    };
    Some(Look { when: Instant::now(), peak: megabytes("VmHWM")?, now: megabytes("VmRSS")? })
}

/// Memory in the kernel that a process's BPF maps take, in MB (proc(5), `fdinfo`, `memlock`).
pub fn maps_megabytes(pid: u32) -> Result<f64> {
    let mut bytes = 0.0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        if !text.contains("map_type:") {
            continue;
        }
        let size = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        bytes += size.and_then(|size| size.trim().parse().ok()).unwrap_or(0.0);
    }
    Ok(bytes / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_no_maps() {
        let look = look(std::process::id()).expect("a look at this process");
        assert!(look.peak > 0.1 && look.now > 0.1);
        assert_eq!(maps_megabytes(std::process::id()).expect("fdinfo"), 0.0);
    }
}
