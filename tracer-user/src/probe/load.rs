//! Loads the kernel programs and holds them: the process table, sizes, the kernel log.

use std::collections::HashSet;

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray},
};
use log::Level;
use tracer_common::{ProcEntry, counter::COUNTERS};

use super::{
    Error, attach, attach::Program, collections::Collections, drain::NOTIFY, ends, groups::Groups,
    iterations::Iterations, multi::Multi, os,
};

/// Sizes and switches that must be known before loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Distinct stacks kept in the kernel; each takes about 1.1 KiB of kernel memory.
    pub max_stacks: u32,
    /// Sampled objects that can be followed at once (mode sample); each takes about 0.1 KiB of
    /// kernel memory. 0 where none is.
    pub max_objects: u32,
    /// Goroutines whose iterations over maps can be followed; each takes about 1.6 KiB of kernel
    /// memory. 0 where none is.
    pub max_goroutines: u32,
    /// Goroutines that were made and have not ended (probe goroutine); each takes about 0.1 KiB of
    /// kernel memory. 0 where none is followed.
    pub max_living: u32,
    /// Goroutines that can assist the collector at once. 0 where none is timed.
    pub max_assists: u32,
    /// Processes whose collections can be caught. 0 where none are.
    pub max_collectors: u32,
    /// Where the kernel has what the probe `os` reads; nothing where it is not wanted.
    pub os: Option<os::Offsets>,
    /// Where the kernel has how a process ends; nothing where that is not wanted.
    pub ends: Option<ends::Offsets>,
    /// Processes that can be traced at once.
    pub max_processes: u32,
    /// Split stacks by the type that is allocated.
    pub by_type: bool,
    /// Split stacks by the goroutine's profiler labels.
    pub by_labels: bool,
    /// Count traps and limit them ([`Kernel::allow`]).
    pub budget: bool,
    /// Tell each exec, also of processes that are not selected.
    pub follow: bool,
    /// Attach through perf events even where the kernel has links of many uprobes.
    pub perf_events: bool,
    /// Diagnostics of the kernel programs, through the `log` crate.
    pub log: Option<Level>,
}

impl Options {
    /// Whether something is followed from its beginning to its end.
    pub(super) fn follows_lives(&self) -> bool {
        self.max_objects > 0 || self.max_living > 0
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_stacks: 16_384,
            max_objects: 0,
            max_goroutines: 0,
            max_living: 0,
            max_assists: 0,
            max_collectors: 0,
            os: None,
            ends: None,
            max_processes: 1_024,
            by_type: false,
            by_labels: false,
            budget: false,
            follow: false,
            perf_events: false,
            log: None,
        }
    }
}

/// Room for about 60,000 iterations that are over: they come at most as fast as the kernel takes traps, and
/// are taken out several times in each tenth of a second.
const ITERATIONS_BYTES: u32 = 8 << 20;
/// Room for about 500 collections that were not looked at yet.
const COLLECTIONS_BYTES: u32 = 256 << 10;
/// Room for about 60,000 changes of what is mapped.
const MAPPINGS_BYTES: u32 = 4 << 20;
/// System calls that can be under way at once.
const CALLS: u32 = 16_384;
/// The smallest ring.
const PAGE: u32 = 4096;

/// Loaded kernel programs. Dropping it detaches everything.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    /// Nothing where perf events are to be used.
    pub(super) multi: Option<Multi>,
    pub(super) groups: Groups,
    pub(super) loaded: HashSet<Program>,
    pub(super) iterations: Option<Iterations>,
    pub(super) collections: Option<Collections>,
    pub(super) os: Option<os::Os>,
    processes: HashMap<MapData, u32, ProcEntry>,
    pub(super) options: Options,
}

impl Kernel {
    /// Creates the maps. Programs are loaded when they are first attached.
    pub fn load(options: &Options) -> Result<Self, Error> {
        let by_type = u8::from(options.by_type);
        let by_labels = u8::from(options.by_labels);
        let follow = u8::from(options.follow);
        let budget = u8::from(options.budget);
        // Slot 0 is nobody's.
        let slots = if options.budget { options.max_processes + 1 } else { 1 };
        let if_used = |used: bool, entries: u32| if used { entries } else { 1 };
        let ring = if options.max_goroutines > 0 { ITERATIONS_BYTES } else { PAGE };
        let collections = if options.max_collectors > 0 { COLLECTIONS_BYTES } else { PAGE };
        let with_os = options.os.is_some();
        let offsets = options.os.unwrap_or_default();
        let ends = options.ends.unwrap_or_default();
        let with_slow = u8::from(offsets.trap.is_some());
        let os_trap = offsets.trap.unwrap_or(0);
        // aya-log's level: 0 off, 1 error … 5 trace.
        let log_level = options.log.map_or(0, |level| level as u8);
        let mut loader = EbpfLoader::new();
        loader
            // The programs use no CO-RE: without this aya would read the kernel's whole BTF.
            .btf(None)
            .map_max_entries("STACKS", options.max_stacks)
            .map_max_entries("PROCESSES", options.max_processes)
            .map_max_entries("OBJECTS", options.max_objects.max(1))
            .map_max_entries("LIVING", options.max_living.max(1))
            .map_max_entries("FREED", if_used(options.follows_lives(), options.max_stacks))
            .map_max_entries("LABELS", if_used(options.by_labels, options.max_stacks))
            .map_max_entries("GOROUTINES", options.max_goroutines.max(1))
            .map_max_entries("ITERATIONS", ring)
            .map_max_entries("ASSISTS", options.max_assists.max(1))
            .map_max_entries("COLLECTORS", options.max_collectors.max(1))
            .map_max_entries("COLLECTIONS", collections)
            .map_max_entries("RESIDENT", if_used(with_os, options.max_processes))
            .map_max_entries("CALLING", if_used(with_os, CALLS))
            .map_max_entries("SLOW", if_used(offsets.trap.is_some(), CALLS))
            .map_max_entries("MAPPINGS", if with_os { MAPPINGS_BYTES } else { PAGE })
            .map_max_entries("TAKEN", slots)
            .map_max_entries("ALLOWED", slots)
            .map_max_entries("CLOSES", slots)
            .map_max_entries("USAGE", slots)
            .override_global("BUDGET", &budget, true)
            .override_global("BY_TYPE", &by_type, true)
            .override_global("BY_LABELS", &by_labels, true)
            .override_global("FOLLOW", &follow, true)
            .override_global("TASK_EXIT_CODE", &ends.exit_code, true)
            .override_global("TASK_TGID", &ends.tgid, true)
            .override_global("OS_TASK_MM", &offsets.task_mm, true)
            .override_global("OS_TASK_FSBASE", &offsets.task_fsbase, true)
            .override_global("OS_MM_BRK", &offsets.mm_brk, true)
            .override_global("OS_MM_RSS", &offsets.mm_rss, true)
            .override_global("OS_COUNTER_SIZE", &offsets.counter_size, true)
            .override_global("OS_COUNT", &offsets.count, true)
            .override_global("OS_LOCAL", &offsets.local, true)
            .override_global("OS_SLOW", &with_slow, true)
            .override_global("OS_TRAP", &os_trap, true)
            .override_global("OS_CPUS", &offsets.cpus, true)
            .override_global("OS_ARRAY_PPTRS", &offsets.array_pptrs, true)
            .override_global(aya_log::LEVEL, &log_level, true);
        let mut ebpf = loader.load(super::object())?;
        check_sources(&ebpf)?;
        let multi = if options.perf_events { None } else { Some(Multi::new(&ebpf)?) };
        let processes = take_map(&mut ebpf, "PROCESSES")?;
        let iterations = match options.max_goroutines {
            0 => None,
            _ => Some(Iterations::new(take_map(&mut ebpf, "ITERATIONS")?)),
        };
        let collections = match options.max_collectors {
            0 => None,
            _ => Some(Collections::new(
                take_map(&mut ebpf, "COLLECTORS")?,
                take_map(&mut ebpf, "COLLECTIONS")?,
            )),
        };
        let os = match options.os {
            None => None,
            Some(_) => Some(os::Os::new(take_map(&mut ebpf, "MAPPINGS")?)),
        };
        Ok(Self {
            ebpf,
            multi,
            groups: Groups::default(),
            loaded: HashSet::new(),
            iterations,
            collections,
            os,
            processes,
            options: *options,
        })
    }

    /// What it was loaded with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Follows execs and exits of traced processes; see [`Kernel::notices`].
    pub fn watch_processes(&mut self) -> Result<(), Error> {
        for (program, tracepoint) in NOTIFY {
            attach::raw_tracepoint(&mut self.ebpf, program, tracepoint)?;
        }
        Ok(())
    }

    /// Counts this process from now on (or with other facts from now on).
    pub fn select(&mut self, pid: u32, entry: &ProcEntry) -> Result<(), Error> {
        let map = "PROCESSES";
        self.processes.insert(pid, entry, 0).map_err(|source| Error::Map { map, source })
    }

    /// How many processes the kernel programs know.
    pub(super) fn selected(&self) -> usize {
        self.processes.keys().count()
    }

    /// What the kernel programs know of a process.
    pub fn entry(&self, pid: u32) -> Option<ProcEntry> {
        self.processes.get(&pid, 0).ok()
    }

    /// Stops counting this process. Not being selected is no error.
    pub fn deselect(&mut self, pid: u32) -> Result<(), Error> {
        match self.processes.remove(&pid) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(err))
                if err.io_error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            Err(source) => Err(Error::Map { map: "PROCESSES", source }),
        }
    }
}

/// A map of the kernel object, as what it should be.
pub(super) fn map<'a, T>(ebpf: &'a Ebpf, name: &'static str) -> Result<T, Error>
where
    T: TryFrom<&'a Map, Error = MapError>,
{
    let map = ebpf.map(name).ok_or(Error::Missing(name))?;
    T::try_from(map).map_err(|source| Error::Map { map: name, source })
}

/// The same, taken out of the object to be kept.
pub(super) fn take_map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, Error>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(Error::Missing(name))?;
    T::try_from(map).map_err(|source| Error::Map { map: name, source })
}

/// Refuses an object that was built from other sources than the loader: counters are the part of
/// their agreement that changes most.
fn check_sources(ebpf: &Ebpf) -> Result<(), Error> {
    let counters: PerCpuArray<&MapData, u64> = map(ebpf, "COUNTERS")?;
    let (has, needs) = (counters.len(), COUNTERS);
    if has == needs { Ok(()) } else { Err(Error::OtherSources { has, needs }) }
}
