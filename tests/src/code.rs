//! What a running program's code differs in from its file: where a probe is, and where one was left.
//!
//! In: a process id. Out: addresses. The kernel writes a breakpoint into the code of a process for each
//! uprobe, and takes it out with the probe.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Most that taking probes off may take after the last heaptap has ended: the kernel does it later.
const SETTLES: Duration = Duration::from_secs(10);

/// Addresses of all bytes of the process's own code that are not as in its file.
pub fn changed(pid: u32) -> Result<Vec<u64>> {
    let file = File::open(format!("/proc/{pid}/exe"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let inode = file.metadata()?.ino().to_string();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let (mut changed, mut mapped) = (Vec::new(), 0);
    for line in maps.lines() {
        // 00400000-004b2000 r-xp 00001000 fe:00 1234   /path
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [range, "r-xp", offset, _, of, ..] = fields[..] else { continue };
        if of != inode {
            continue;
        }
        let (start, end) = range.split_once('-').context("no range")?;
        let number = |text| u64::from_str_radix(text, 16).with_context(|| line.to_string());
        let (start, end, offset) = (number(start)?, number(end)?, number(offset)?);
        let length = usize::try_from(end - start)?;
        let mut here = vec![0; length];
        memory.read_exact_at(&mut here, start)?;
        // The last page of a mapping may reach beyond the file.
        let mut there = vec![0; length];
        let have = file.read_at(&mut there, offset)?;
        let pairs = here.iter().zip(&there[..have]).zip(start..);
        changed.extend(pairs.filter(|((a, b), _)| a != b).map(|(_, at)| at));
        mapped += have;
    }
    ensure!(mapped > 0, "process {pid} has no code of its own");
    Ok(changed)
}

/// Fails when there is a probe in a process, or one is left after a while.
pub fn is_untouched(pid: u32) -> Result<()> {
    let began = Instant::now();
    loop {
        let left = changed(pid)?;
        if left.is_empty() {
            return Ok(());
        }
        let some: Vec<String> = left.iter().take(5).map(|at| format!("{at:#x}")).collect();
        let (count, some) = (left.len(), some.join(", "));
        ensure!(began.elapsed() < SETTLES, "{count} breakpoints are left in {pid}: {some}");
        thread::yield_now();
    }
}
