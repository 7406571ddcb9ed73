//! All maps and globals. Sizes are defaults: the loader sets them from flags.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use tracer_common::{
    ProcEntry, StackKey, StackValue,
    assist::Assist,
    collection::Collector,
    counter::COUNTERS as COUNTER_SLOTS,
    iteration::{Goroutine, GoroutineKey},
    os::{Calling, Resident, Slow},
    record::{
        Closes, FreedValue, Labels, LabelsKey, ObjectKey, ObjectValue, SCRATCH_SLOTS, Scratch,
        Usage,
    },
};

/// Who is traced, by tgid.
#[map]
pub static PROCESSES: HashMap<u32, ProcEntry> = HashMap::with_max_entries(1024, 0);

/// Counts and the stack itself, by image, site, class and hash.
#[map]
pub static STACKS: HashMap<StackKey, StackValue> = HashMap::with_max_entries(16384, 0);

/// Sampled objects that are alive, for the sample probe; sized when it is used.
#[map]
pub static OBJECTS: HashMap<ObjectKey, ObjectValue> = HashMap::with_max_entries(1, 0);

/// Goroutines that were created and have not ended, for the goroutine probe; sized when it is used.
#[map]
pub static LIVING: HashMap<ObjectKey, ObjectValue> = HashMap::with_max_entries(1, 0);

/// Sampled objects that were freed and goroutines that ended, by the stack that made them; sized when it
/// is used.
#[map]
pub static FREED: HashMap<StackKey, FreedValue> = HashMap::with_max_entries(1, 0);

/// Iterations over maps that are under way, for the map probe; sized when it is used.
#[map]
pub static GOROUTINES: HashMap<GoroutineKey, Goroutine> = HashMap::with_max_entries(1, 0);

/// A goroutine without any: too large for the program stack.
#[map]
pub static NO_GOROUTINE: Array<Goroutine> = Array::with_max_entries(1, 0);

/// Iterations that are over, for the loader; sized when it is used.
#[map]
pub static ITERATIONS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Assists of the collector that are under way, for the assist probe; sized when it is used.
#[map]
pub static ASSISTS: LruHashMap<GoroutineKey, Assist> = LruHashMap::with_max_entries(1, 0);

/// Profiler labels, by the hash of their texts; sized when it is used.
#[map]
pub static LABELS: HashMap<LabelsKey, Labels> = HashMap::with_max_entries(1, 0);

/// Where processes have the records of their collections, by image; sized when it is used.
#[map]
pub static COLLECTORS: HashMap<u32, Collector> = HashMap::with_max_entries(1, 0);

/// Collections that have ended, for the loader; sized when it is used.
#[map]
pub static COLLECTIONS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// How many pages processes have, by their `mm_struct`, for the os probe; sized when it is used.
#[map]
pub static RESIDENT: HashMap<u64, Resident> = HashMap::with_max_entries(1, 0);

/// System calls under way, by thread, for the os probe; sized when it is used.
#[map]
pub static CALLING: LruHashMap<u64, Calling> = LruHashMap::with_max_entries(1, 0);

/// Threads that allocate slowly, for the os-alloc probe; sized when it is used.
#[map]
pub static SLOW: LruHashMap<u64, Slow> = LruHashMap::with_max_entries(1, 0);

/// Changes of what is mapped, for the loader; sized when the os probe is used.
#[map]
pub static MAPPINGS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Tells how far apart the memories of CPUs are.
#[map]
pub static PER_CPU: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// One counter for each way to leave.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_SLOTS, 0);

/// Buffers that are too large for the program stack.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);

/// Traps that a process has taken, by its slot. Written here only.
#[map]
pub static TAKEN: Array<u64> = Array::with_max_entries(1, 0);

/// How many it may have taken before it is left alone. Written by the loader; here it is only ever set to 0,
/// when its time is over: a race ends a window, it begins none.
#[map]
pub static ALLOWED: Array<u64> = Array::with_max_entries(1, 0);

/// Until when it is counted. Written by the loader only.
#[map]
pub static CLOSES: Array<Closes> = Array::with_max_entries(1, 0);

/// What its events cost beyond the trap.
#[map]
pub static USAGE: PerCpuArray<Usage> = PerCpuArray::with_max_entries(1, 0);

/// Execs and exits of processes in the table, for the loader.
#[map]
pub static NOTICES: RingBuf = RingBuf::with_byte_size(64 * 1024, 0);

/// Leads nowhere; see [`crate::stackless`].
#[map]
pub static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Never anything but 0.
#[unsafe(no_mangle)]
pub static GOES: Global<u8> = Global::new(0);

/// Whether execs of processes that are not traced are told too; 0 or 1, set at load time.
#[unsafe(no_mangle)]
pub static FOLLOW: Global<u8> = Global::new(0);

/// Whether traps are counted and limited; 0 or 1, set at load time.
#[unsafe(no_mangle)]
pub static BUDGET: Global<u8> = Global::new(0);

/// Whether stacks are split by the goroutine's profiler labels; 0 or 1, set at load time.
#[unsafe(no_mangle)]
pub static BY_LABELS: Global<u8> = Global::new(0);

/// Whether a stack is split by the type word (`--by type`); 0 or 1, set at load time.
#[unsafe(no_mangle)]
pub static BY_TYPE: Global<u8> = Global::new(0);

/// Of the running kernel, in bytes: `exit_code` and `tgid` in `task_struct`; 0 where that is not known. Set at load
/// time.
#[unsafe(no_mangle)]
pub static TASK_EXIT_CODE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static TASK_TGID: Global<u32> = Global::new(0);

/// Of the running kernel, in bytes: `mm` in `task_struct`. Set at load time, as the next ones.
#[unsafe(no_mangle)]
pub static OS_TASK_MM: Global<u32> = Global::new(0);

/// `thread.fsbase` in `task_struct`.
#[unsafe(no_mangle)]
pub static OS_TASK_FSBASE: Global<u32> = Global::new(0);

/// `brk` in `mm_struct`.
#[unsafe(no_mangle)]
pub static OS_MM_BRK: Global<u32> = Global::new(0);

/// `rss_stat` in `mm_struct`.
#[unsafe(no_mangle)]
pub static OS_MM_RSS: Global<u32> = Global::new(0);

/// The whole of `percpu_counter`.
#[unsafe(no_mangle)]
pub static OS_COUNTER_SIZE: Global<u32> = Global::new(0);

/// `count` in `percpu_counter`.
#[unsafe(no_mangle)]
pub static OS_COUNT: Global<u32> = Global::new(0);

/// `counters` in `percpu_counter`.
#[unsafe(no_mangle)]
pub static OS_LOCAL: Global<u32> = Global::new(0);

/// `pptrs` in `bpf_array`.
#[unsafe(no_mangle)]
pub static OS_ARRAY_PPTRS: Global<u32> = Global::new(0);

/// How many CPUs there can be.
#[unsafe(no_mangle)]
pub static OS_CPUS: Global<u32> = Global::new(0);

/// Whether slow allocations are timed; 0 or 1, set at load time.
#[unsafe(no_mangle)]
pub static OS_SLOW: Global<u8> = Global::new(0);

/// Nanoseconds of a trap, which are taken out of their times.
#[unsafe(no_mangle)]
pub static OS_TRAP: Global<u32> = Global::new(0);
