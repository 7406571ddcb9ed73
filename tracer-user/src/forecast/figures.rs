//! What a forecast is made of: numbers of one process, read again and again.
//!
//! In: numbers, from wherever somebody has them. Out: series of them. Must not know where they come from.

/// One reading. Bytes unless said otherwise; counts are since the process began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Seconds since the first reading.
    pub at: f64,
    pub resident: Option<u64>,
    /// The control group whose limit is nearest.
    pub group: Option<Group>,
    /// CPU time of the process, in seconds.
    pub cpu: Option<f64>,
    /// How many; nothing where they were not counted this time.
    pub goroutines: Option<u64>,
    /// Everything that the runtime mapped, and what of the heap it has given back.
    pub sys: u64,
    pub released: u64,
    /// The heap's spans: those with objects, and those with none, given back or not.
    pub in_use: u64,
    pub idle: u64,
    /// Objects that live or were not swept yet; those that survived the last collection.
    pub alloc: u64,
    pub marked: u64,
    /// How large the heap may become; nothing: the collector is off.
    pub goal: Option<u64>,
    pub stacks: u64,
    /// Allocated, with their number; of that, objects above 32 KiB.
    pub allocated: u64,
    pub objects: u64,
    pub large: u64,
    /// Whether that has what the caches of all Ps hold: such readings are not compared with others.
    pub exact: bool,
    /// Objects above 32 KiB that are there.
    pub large_there: u64,
    /// Collections that ended.
    pub cycles: u32,
    /// Seconds between the process's begin and the end of its last collection; nothing: there was none.
    pub collected: Option<f64>,
    /// Share of the CPU time of `procs` CPUs until then that collections took.
    pub gc_share: f64,
    pub procs: u64,
    /// GOGC in percent; nothing: off.
    pub gogc: Option<u32>,
    /// GOMEMLIMIT.
    pub memory_limit: Option<u64>,
    /// Whether that makes the goal.
    pub limit_binds: bool,
}

/// Memory of a control group with all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its path; where the limit is that of one above the process's own, that one's.
    pub path: String,
    pub usage: u64,
    /// What of it the kernel can drop: pages of files.
    pub droppable: Option<u64>,
    pub limit: u64,
}

impl Group {
    /// What stays when the kernel has dropped what it can; where that is not told, all that is used.
    pub fn kept(&self) -> u64 {
        self.usage.saturating_sub(self.droppable.unwrap_or(0))
    }
}

impl Figures {
    /// What GOMEMLIMIT is held against: mapped and not given back.
    pub fn mapped(&self) -> u64 {
        self.sys.saturating_sub(self.released)
    }

    /// Spans without objects that were not given back.
    pub fn kept_idle(&self) -> u64 {
        self.idle.saturating_sub(self.released)
    }

    /// What no collection frees: all that is mapped, less idle spans and what was allocated since the last one.
    pub fn lasting(&self) -> u64 {
        let young = self.alloc.saturating_sub(self.marked);
        self.mapped().saturating_sub(self.kept_idle()).saturating_sub(young)
    }

    /// Resident memory less what the runtime has mapped, all of which may be resident; below zero where it is not.
    pub fn off_heap(&self) -> Option<f64> {
        Some(self.resident? as f64 - self.mapped() as f64)
    }

    /// What the heap still needs of the system to become as large as its goal.
    pub fn room_to_goal(&self) -> Option<u64> {
        Some(self.goal?.saturating_sub(self.in_use + self.kept_idle()))
    }
}

/// A figure of all readings that have it.
pub fn series(readings: &[Figures], of: impl Fn(&Figures) -> Option<f64>) -> Vec<(f64, f64)> {
    readings.iter().filter_map(|one| Some((one.at, of(one)?))).collect()
}

/// The same of the first reading after each collection: what stands then is no garbage.
pub fn after_collections(
    readings: &[Figures],
    of: impl Fn(&Figures) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let mut cycles = None;
    let fresh = readings
        .iter()
        .filter(|one| one.cycles > 0 && cycles.replace(one.cycles) != Some(one.cycles));
    fresh.filter_map(|one| Some((one.at, of(one)?))).collect()
}

/// By how much a count grew between the first and the last reading that can be compared, and in how many seconds.
pub fn grew(readings: &[Figures], of: impl Fn(&Figures) -> Option<u64>) -> Option<(f64, f64)> {
    let last = readings.last()?;
    let first = readings.iter().find(|one| one.exact == last.exact)?;
    let elapsed = last.at - first.at;
    (elapsed > 0.0).then_some((of(last)?.saturating_sub(of(first)?) as f64, elapsed))
}
