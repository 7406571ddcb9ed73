//! What a running heaptap holds in the kernel and of it: descriptors, links, entries of its tables.
//!
//! In: its process id. Out: counts, from /proc and through the kernel's numbers of its maps. The names
//! of the maps are those of `tracer-ebpf/src/maps.rs`.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, MapInfo};
use aya::programs::loaded_programs;
use tracer_common::{ProcEntry, StackKey, StackValue, record::PROC_LIVE};

/// At one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    pub descriptors: usize,
    pub links: usize,
    /// Entries of the table of processes.
    pub processes: usize,
    /// Entries of the table of stacks.
    pub stacks: usize,
}

impl Holding {
    pub fn of(pid: u32) -> Result<Holding> {
        let facts = descriptors(pid)?;
        let links = facts.iter().filter(|text| text.contains("link_type:")).count();
        let processes = table::<u32, ProcEntry>(&facts, "PROCESSES")?.keys().count();
        let stacks = table::<StackKey, StackValue>(&facts, "STACKS")?.keys().count();
        Ok(Holding { descriptors: facts.len(), links, processes, stacks })
    }
}

/// A heaptap's table of processes, to be asked often.
pub struct Processes(HashMap<MapData, u32, ProcEntry>);

impl Processes {
    pub fn of(heaptap: u32) -> Result<Processes> {
        Ok(Processes(table(&descriptors(heaptap)?, "PROCESSES")?))
    }

    /// Whether it counts a process now.
    pub fn is_counted(&self, pid: u32) -> bool {
        self.0.get(&pid, 0).is_ok_and(|entry| entry.state == PROC_LIVE)
    }
}

/// Whether heaptap counts a process now.
pub fn is_counted(heaptap: u32, pid: u32) -> Result<bool> {
    Ok(Processes::of(heaptap)?.is_counted(pid))
}

/// Megabytes that it has resident.
pub fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// The names of the kernel programs that it holds.
pub fn programs(heaptap: u32) -> Result<BTreeSet<String>> {
    let id = |text: &String| -> Option<u32> {
        // A link tells its program's number, too.
        text.lines().find(|line| line.starts_with("prog_type:"))?;
        text.lines().find_map(|line| line.strip_prefix("prog_id:"))?.trim().parse().ok()
    };
    let held: BTreeSet<u32> = descriptors(heaptap)?.iter().filter_map(id).collect();
    let of_it = loaded_programs().filter_map(Result::ok).filter(|info| held.contains(&info.id()));
    Ok(of_it.filter_map(|info| info.name_as_str().map(str::to_owned)).collect())
}

/// What the kernel tells of each descriptor.
fn descriptors(pid: u32) -> Result<Vec<String>> {
    let dir = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&dir).with_context(|| format!("can't list {dir}"))?;
    // One that is closed meanwhile is none.
    Ok(entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok()).collect())
}

fn table<K: aya::Pod, V: aya::Pod>(
    descriptors: &[String],
    name: &str,
) -> Result<HashMap<MapData, K, V>> {
    let id = |text: &String| {
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()?;
        MapInfo::from_id(id).ok().filter(|info| info.name_as_str() == Some(name)).map(|_| id)
    };
    let id = descriptors.iter().find_map(id).with_context(|| format!("it has no map {name}"))?;
    Ok(HashMap::try_from(Map::HashMap(MapData::from_id(id)?))?)
}
