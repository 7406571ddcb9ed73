//! What heaptap itself takes while it records (`--stats`).
//!
//! In: its own figures in /proc, and how full the kernel's tables are. Out: one sentence. What the kernel
//! does not tell is left out.

use std::{fs, time::Duration};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

use crate::{
    host,
    output::text::{bytes, grouped},
    probe::Kernel,
};

/// A sentence about a recording of this length, at its end.
pub fn sentence(kernel: &Kernel, length: Duration) -> String {
    let mut facts = Vec::new();
    if let Some(resident) = host::memory_use(std::process::id()).ok().and_then(|m| m.resident) {
        facts.push(format!("{} resident", bytes(resident)));
    }
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let most = u64::try_from(usage.max_rss()).unwrap_or(0) << 10;
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        let seconds = micros as f64 / 1e6;
        facts.push(format!(
            "{} at most; {seconds:.2} s of CPU time since its start ({:.2} % of one CPU)",
            bytes(most),
            100.0 * seconds / length.as_secs_f64().max(1e-3)
        ));
    }
    if let Some(tables) = table_memory() {
        facts.push(format!("{} in the kernel's tables", bytes(tables)));
    }
    for (what, used, of) in kernel.tables().unwrap_or_default() {
        facts.push(format!("{} of {} {what}", grouped(used as u64), grouped(of.into())));
    }
    format!("heaptap itself: {}", facts.join(", "))
}

/// Bytes of the kernel's tables that this process holds.
fn table_memory() -> Option<u64> {
    let files = fs::read_dir("/proc/self/fdinfo").ok()?;
    let texts = files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok());
    Some(texts.filter_map(|text| of_table(&text)).sum())
}

/// Bytes of the table that a descriptor stands for, if it is one.
fn of_table(fdinfo: &str) -> Option<u64> {
    let field = |name: &str| fdinfo.lines().find_map(|line| line.strip_prefix(name));
    field("map_id:")?;
    field("memlock:")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_from_other_files() {
        let table = "pos:\t0\nflags:\t02000002\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t7\n";
        assert_eq!(of_table(table), Some(4096));
        assert_eq!(of_table("pos:\t0\nprog_type:\t2\nmemlock:\t4096\nprog_id:\t7\n"), None);
        assert_eq!(of_table(""), None);
        assert!(table_memory().is_some());
    }
}
