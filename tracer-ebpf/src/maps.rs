//! All maps and globals. Sizes are defaults: the loader sets them from flags.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{HashMap, PerCpuArray, RingBuf},
};
use tracer_common::{
    ProcEntry, StackKey, StackValue,
    counter::COUNTERS as COUNTER_SLOTS,
    record::{FreedValue, Labels, LabelsKey, ObjectKey, ObjectValue, SCRATCH_SLOTS, Scratch},
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

/// Sampled objects that were freed, by the stack that allocated them; sized when it is used.
#[map]
pub static FREED: HashMap<StackKey, FreedValue> = HashMap::with_max_entries(1, 0);

/// Profiler labels, by the hash of their texts; sized when it is used.
#[map]
pub static LABELS: HashMap<LabelsKey, Labels> = HashMap::with_max_entries(1, 0);

/// One counter for each way to leave.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_SLOTS, 0);

/// Buffers that are too large for the program stack.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);

/// Execs and exits of processes in the table, for the loader.
#[map]
pub static NOTICES: RingBuf = RingBuf::with_byte_size(64 * 1024, 0);

/// Whether execs of processes that are not traced are told too; 0 or 1, set at load time.
#[unsafe(no_mangle)]
pub static FOLLOW: Global<u8> = Global::new(0);

/// Whether stacks are split by the goroutine's profiler labels; 0 or 1, set at load time.
#[unsafe(no_mangle)]
pub static BY_LABELS: Global<u8> = Global::new(0);

/// Whether a stack is split by the type word (`--by type`); 0 or 1, set at load time.
#[unsafe(no_mangle)]
pub static BY_TYPE: Global<u8> = Global::new(0);
