//! Which fields of which structures of Go's runtime heaptap reads, and what is expected of each.
//!
//! Knows no offsets: those come from DWARF.

/// A structure.
#[derive(Debug)]
pub struct Group {
    /// Name of the Rust structure.
    pub rust: &'static str,
    /// Name of the member of `Layout`.
    pub member: &'static str,
    /// Names it has or had in Go, or variables of that type; the first that exists is taken.
    pub go: &'static [&'static str],
    pub fields: &'static [Field],
}

/// Something about a structure.
#[derive(Debug)]
pub struct Field {
    pub rust: &'static str,
    /// Path in the Go structure: `sched.sp`, `stats[1]`. Empty: the structure itself.
    pub path: &'static str,
    pub what: What,
}

/// What is wanted of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Offset of a field of that many bytes: another size means that the field changed its meaning.
    Offset(u32),
    /// The same of one that some releases lack.
    Optional(u32),
    /// Offset of an array or a structure.
    Place,
    /// Bytes of it.
    Size,
    /// Elements of it.
    Count,
    /// The value of a constant, whose name the path is.
    Constant,
}

const fn size() -> Field {
    Field { rust: "size", path: "", what: What::Size }
}

const fn f(rust: &'static str, path: &'static str, bytes: u32) -> Field {
    Field { rust, path, what: What::Offset(bytes) }
}

const fn optional(rust: &'static str, path: &'static str, bytes: u32) -> Field {
    Field { rust, path, what: What::Optional(bytes) }
}

const fn place(rust: &'static str, path: &'static str) -> Field {
    Field { rust, path, what: What::Place }
}

const fn bytes(rust: &'static str, path: &'static str) -> Field {
    Field { rust, path, what: What::Size }
}

const fn count(rust: &'static str, path: &'static str) -> Field {
    Field { rust, path, what: What::Count }
}

const fn group(
    rust: &'static str,
    member: &'static str,
    go: &'static [&'static str],
    fields: &'static [Field],
) -> Group {
    Group { rust, member, go, fields }
}

/// Everything that is in the table.
pub const GROUPS: &[Group] = &[
    group(
        "G",
        "g",
        &["runtime.g"],
        &[
            size(),
            f("stack_lo", "stack.lo", 8),
            f("stack_hi", "stack.hi", 8),
            f("m", "m", 8),
            f("sched_sp", "sched.sp", 8),
            f("sched_pc", "sched.pc", 8),
            f("sched_bp", "sched.bp", 8),
            f("sched_lr", "sched.lr", 8),
            f("syscallsp", "syscallsp", 8),
            f("syscallpc", "syscallpc", 8),
            optional("syscallbp", "syscallbp", 8),
            f("atomicstatus", "atomicstatus", 4),
            f("goid", "goid", 8),
            f("waitsince", "waitsince", 8),
            f("waitreason", "waitreason", 1),
            f("lockedm", "lockedm", 8),
            f("tracking_seq", "trackingSeq", 1),
            optional("running_cleanups", "runningCleanups", 1),
            optional("parent_goid", "parentGoid", 8),
            f("gopc", "gopc", 8),
            f("startpc", "startpc", 8),
            f("labels", "labels", 8),
        ],
    ),
    group(
        "M",
        "m",
        &["runtime.m"],
        &[
            f("g0", "g0", 8),
            f("procid", "procid", 8),
            f("gsignal", "gsignal", 8),
            f("curg", "curg", 8),
            f("p", "p", 8),
        ],
    ),
    group(
        "P",
        "p",
        &["runtime.p"],
        &[f("id", "id", 4), f("status", "status", 4), f("m", "m", 8), f("mcache", "mcache", 8)],
    ),
    group(
        "Mcache",
        "mcache",
        &["runtime.mcache"],
        &[
            f("next_sample", "nextSample", 8),
            optional("mem_prof_rate", "memProfRate", 8),
            f("tiny_allocs", "tinyAllocs", 8),
            place("alloc", "alloc"),
            count("alloc_count", "alloc"),
        ],
    ),
    group(
        "Bucket",
        "bucket",
        &["runtime.bucket"],
        &[
            size(),
            f("next", "next", 8),
            f("allnext", "allnext", 8),
            f("typ", "typ", 8),
            f("hash", "hash", 8),
            f("slot_size", "size", 8),
            f("nstk", "nstk", 8),
        ],
    ),
    group(
        "MemRecord",
        "mem_record",
        &["runtime.memRecord"],
        &[
            size(),
            place("active", "active"),
            place("future", "future"),
            count("future_count", "future"),
        ],
    ),
    group(
        "MemCycle",
        "mem_cycle",
        &["runtime.memRecordCycle"],
        &[
            size(),
            f("allocs", "allocs", 8),
            f("frees", "frees", 8),
            optional("alloc_bytes", "alloc_bytes", 8),
            optional("free_bytes", "free_bytes", 8),
        ],
    ),
    group(
        "BlockRecord",
        "block_record",
        &["runtime.blockRecord"],
        &[size(), f("count", "count", 8), f("cycles", "cycles", 8)],
    ),
    group(
        "Ticks",
        "ticks",
        &["var runtime.ticks"],
        &[
            optional("start_ticks", "startTicks", 8),
            optional("start_time", "startTime", 8),
            f("val", "val", 8),
        ],
    ),
    group(
        "GcController",
        "gc_controller",
        &["runtime.gcControllerState"],
        &[
            size(),
            f("gc_percent", "gcPercent", 4),
            f("memory_limit", "memoryLimit", 8),
            f("heap_minimum", "heapMinimum", 8),
            f("gc_percent_heap_goal", "gcPercentHeapGoal", 8),
            f("runway", "runway", 8),
            f("sweep_dist_min_trigger", "sweepDistMinTrigger", 8),
            f("triggered", "triggered", 8),
            f("last_heap_goal", "lastHeapGoal", 8),
            f("heap_live", "heapLive", 8),
            f("heap_scan", "heapScan", 8),
            f("heap_marked", "heapMarked", 8),
            f("assist_time", "assistTime", 8),
            f("dedicated_mark_time", "dedicatedMarkTime", 8),
            f("fractional_mark_time", "fractionalMarkTime", 8),
            f("idle_mark_time", "idleMarkTime", 8),
            f("heap_in_use", "heapInUse", 8),
            f("heap_released", "heapReleased", 8),
            f("heap_free", "heapFree", 8),
            f("total_alloc", "totalAlloc", 8),
            f("total_free", "totalFree", 8),
            f("mapped_ready", "mappedReady", 8),
        ],
    ),
    // Patch releases move all of it together (facts 3.9): what counts is the distance from `cycles`.
    group(
        "Work",
        "work",
        &["var runtime.work"],
        &[
            f("cycles", "cycles", 4),
            f("stwprocs", "stwprocs", 4),
            f("maxprocs", "maxprocs", 4),
            f("t_sweep_term", "tSweepTerm", 8),
            f("t_mark", "tMark", 8),
            f("t_mark_term", "tMarkTerm", 8),
            f("t_end", "tEnd", 8),
            f("pause_ns", "pauseNS", 8),
            f("heap0", "heap0", 8),
            f("heap1", "heap1", 8),
            f("heap2", "heap2", 8),
        ],
    ),
    group(
        "Mstats",
        "mstats",
        &["runtime.mstats"],
        &[
            size(),
            place("stats", "heapStats.stats"),
            count("stats_count", "heapStats.stats"),
            f("stats_gen", "heapStats.gen", 4),
            f("stacks_sys", "stacks_sys", 8),
            f("mspan_sys", "mspan_sys", 8),
            f("mcache_sys", "mcache_sys", 8),
            f("buckhash_sys", "buckhash_sys", 8),
            f("gc_misc_sys", "gcMiscSys", 8),
            f("other_sys", "other_sys", 8),
            f("last_gc_unix", "last_gc_unix", 8),
            f("pause_total_ns", "pause_total_ns", 8),
            place("pause_ns", "pause_ns"),
            place("pause_end", "pause_end"),
            count("pause_count", "pause_ns"),
            f("numgc", "numgc", 4),
            f("numforcedgc", "numforcedgc", 4),
            f("gc_cpu_fraction", "gc_cpu_fraction", 8),
            f("last_gc_nanotime", "last_gc_nanotime", 8),
            f("enablegc", "enablegc", 1),
        ],
    ),
    group(
        "HeapStats",
        "heap_stats",
        &["runtime.heapStatsDelta"],
        &[
            size(),
            f("committed", "committed", 8),
            f("released", "released", 8),
            f("in_heap", "inHeap", 8),
            f("in_stacks", "inStacks", 8),
            f("in_work_bufs", "inWorkBufs", 8),
            optional("in_ptr_scalar_bits", "inPtrScalarBits", 8),
            f("tiny_alloc_count", "tinyAllocCount", 8),
            f("large_alloc", "largeAlloc", 8),
            f("large_alloc_count", "largeAllocCount", 8),
            place("small_alloc_count", "smallAllocCount"),
            f("large_free", "largeFree", 8),
            f("large_free_count", "largeFreeCount", 8),
            place("small_free_count", "smallFreeCount"),
            count("class_count", "smallAllocCount"),
        ],
    ),
    group(
        "Mheap",
        "mheap",
        &["runtime.mheap"],
        &[
            f("sweepgen", "sweepgen", 4),
            place("allspans", "allspans"),
            f("pages_in_use", "pagesInUse", 8),
            place("arenas", "arenas"),
            f("spans_in_use", "spanalloc.inuse", 8),
            f("mcaches_in_use", "cachealloc.inuse", 8),
        ],
    ),
    group(
        "Mspan",
        "mspan",
        &["runtime.mspan"],
        &[
            f("start_addr", "startAddr", 8),
            f("npages", "npages", 8),
            place("freeindex", "freeindex"),
            bytes("freeindex_size", "freeindex"),
            place("nelems", "nelems"),
            bytes("nelems_size", "nelems"),
            place("alloc_count", "allocCount"),
            bytes("alloc_count_size", "allocCount"),
            f("alloc_count_before_cache", "allocCountBeforeCache", 2),
            f("sweepgen", "sweepgen", 4),
            f("spanclass", "spanclass", 1),
            f("state", "state", 1),
            f("elemsize", "elemsize", 8),
            f("limit", "limit", 8),
            f("specials", "specials", 8),
        ],
    ),
    group(
        "Special",
        "special",
        &["runtime.special"],
        &[
            f("next", "next", 8),
            place("offset", "offset"),
            bytes("offset_size", "offset"),
            f("kind", "kind", 1),
            Field {
                rust: "kind_profile",
                path: "runtime._KindSpecialProfile",
                what: What::Constant,
            },
        ],
    ),
    group("SpecialProfile", "special_profile", &["runtime.specialprofile"], &[f("b", "b", 8)]),
    group("Type", "abi_type", &["internal/abi.Type", "runtime._type"], &[size()]),
    group(
        "Moduledata",
        "moduledata",
        &["runtime.moduledata"],
        &[
            size(),
            f("text", "text", 8),
            f("etext", "etext", 8),
            f("noptrdata", "noptrdata", 8),
            f("enoptrbss", "enoptrbss", 8),
            f("types", "types", 8),
            f("etypes", "etypes", 8),
            f("rodata", "rodata", 8),
            f("gofunc", "gofunc", 8),
            f("next", "next", 8),
        ],
    ),
];
