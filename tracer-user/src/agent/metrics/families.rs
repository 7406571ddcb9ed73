//! Every family: what it is called, what it means, and which number of a picture it is.

use std::time::SystemTime;

use super::{Family, Histogram, Number, Numbers, Tell, Unit};
use crate::agent::iterations::Iterations;
use crate::agent::node::Process;
use crate::forecast::When;

use Numbers::{Counter, Gauge};

mod own;
mod stacks;

pub use own::OF_NODE;

/// Of each process.
pub const OF_PROCESSES: &[Family<Process>] = &[
    Family {
        name: "go_memory_used",
        unit: Some(Unit::Bytes),
        help: "Memory that the Go runtime uses: mapped and not given back",
        numbers: Gauge(|process, tell| {
            let stack = process.stats.stacks_in_use;
            tell(&[("go_memory_type", "stack")], stack.into());
            let other = process.mapped().saturating_sub(stack);
            tell(&[("go_memory_type", "other")], other.into());
        }),
    },
    Family {
        name: "go_memory_limit",
        unit: Some(Unit::Bytes),
        help: "Memory limit of the Go runtime (GOMEMLIMIT), if there is one",
        numbers: Gauge(|process, tell| known(process.stats.collector.memory_limit, tell)),
    },
    Family {
        name: "go_memory_allocated",
        unit: Some(Unit::Bytes),
        help: "Memory allocated on the heap since the program began",
        numbers: Counter(|process, tell| tell(&[], process.stats.allocated.bytes.into())),
    },
    Family {
        name: "go_memory_allocations",
        unit: None,
        help: "Allocations on the heap since the program began, of tiny objects their blocks",
        numbers: Counter(|process, tell| {
            let allocated = &process.stats.allocated;
            tell(&[], allocated.objects.saturating_sub(allocated.tiny).into());
        }),
    },
    Family {
        name: "go_memory_gc_goal",
        unit: Some(Unit::Bytes),
        help: "Size of the heap at which the next collection should end, unless the collector is off",
        numbers: Gauge(|process, tell| known(process.stats.heap.goal, tell)),
    },
    Family {
        name: "go_goroutine_count",
        unit: None,
        help: "Goroutines of the program",
        numbers: Gauge(|process, tell| {
            known(process.goroutines.as_ref().map(|told| told.program), tell);
        }),
    },
    Family {
        name: "go_processor_limit",
        unit: None,
        help: "Threads that run Go code at once (GOMAXPROCS)",
        numbers: Gauge(|process, tell| tell(&[], process.stats.procs.into())),
    },
    Family {
        name: "go_config_gogc",
        unit: Some(Unit::Percent),
        help: "By how much the heap may grow before it is collected (GOGC), unless that is off",
        numbers: Gauge(|process, tell| known(process.stats.collector.percent, tell)),
    },
    Family {
        name: "heaptap_heap_live",
        unit: Some(Unit::Bytes),
        help: "What survived the last collection",
        numbers: Gauge(|process, tell| tell(&[], process.stats.heap.marked.into())),
    },
    Family {
        name: "heaptap_heap_objects",
        unit: Some(Unit::Bytes),
        help: "Objects that live or were not swept yet (HeapAlloc)",
        numbers: Gauge(|process, tell| tell(&[], process.stats.heap.alloc.into())),
    },
    Family {
        name: "heaptap_heap_spans",
        unit: Some(Unit::Bytes),
        help: "Spans of the heap: with objects (used), with none (idle), with none and given back (released)",
        numbers: Gauge(|process, tell| {
            let heap = &process.stats.heap;
            tell(&[("state", "used")], heap.in_use.into());
            tell(&[("state", "idle")], heap.idle.saturating_sub(heap.released).into());
            tell(&[("state", "released")], heap.released.into());
        }),
    },
    Family {
        name: "heaptap_heap_fragmentation",
        unit: Some(Unit::Ratio),
        help: "Part of the heap's used spans that holds no objects",
        numbers: Gauge(|process, tell| {
            let heap = &process.stats.heap;
            let empty = heap.in_use.saturating_sub(heap.alloc);
            share(empty as f64, heap.in_use as f64, &[], tell);
        }),
    },
    Family {
        name: "heaptap_heap_utilization",
        unit: Some(Unit::Ratio),
        help: "What survived the last collection, of the heap's goal",
        numbers: Gauge(|process, tell| {
            let heap = &process.stats.heap;
            share(heap.marked as f64, heap.goal.unwrap_or(0) as f64, &[], tell);
        }),
    },
    Family {
        name: "heaptap_allocation_size",
        unit: Some(Unit::Bytes),
        help: "Allocations on the heap by the size of their class, since the program began",
        numbers: Numbers::Histogram(sizes),
    },
    Family {
        name: "heaptap_gc_cycles",
        unit: None,
        help: "Collections that ended since the program began",
        numbers: Counter(|process, tell| {
            let collector = &process.stats.collector;
            let forced = u64::from(collector.forced);
            let automatic = u64::from(collector.cycles).saturating_sub(forced);
            tell(&[("cause", "automatic")], automatic.into());
            tell(&[("cause", "forced")], forced.into());
        }),
    },
    Family {
        name: "heaptap_gc_cpu",
        unit: Some(Unit::Seconds),
        help: "CPU time of the collector since the program began, as of the end of the last collection",
        numbers: Counter(|process, tell| {
            if let Some(seconds) = process.gc.seconds {
                tell(&[], seconds.into());
            }
        }),
    },
    Family {
        name: "heaptap_gc_pressure",
        unit: Some(Unit::Ratio),
        help: "The collector's part of the CPU time of GOMAXPROCS CPUs, in the last minute",
        numbers: Gauge(|process, tell| {
            if let Some(pressure) = process.gc.pressure {
                tell(&[], pressure.into());
            }
        }),
    },
    Family {
        name: "heaptap_gc_pause",
        unit: Some(Unit::Seconds),
        help: "Pauses of collections that ended since the agent sees the program, each once",
        numbers: Numbers::Histogram(|process| Some(process.pauses.histogram())),
    },
    Family {
        name: "heaptap_gc_pause_p99",
        unit: Some(Unit::Seconds),
        help: "Pause that 99 of 100 of the last 256 collections did not exceed",
        numbers: Gauge(|process, tell| {
            if let Some(ns) = process.pauses.p99_ns {
                tell(&[], (ns as f64 / 1e9).into());
            }
        }),
    },
    Family {
        name: "heaptap_gc_pauses_missed",
        unit: None,
        help: "Collections whose pauses were overwritten before they could be read",
        numbers: Counter(|process, tell| tell(&[], process.pauses.missed.into())),
    },
    Family {
        name: "heaptap_goroutines",
        unit: None,
        help: "Goroutines of the program by what they do or wait for",
        numbers: Gauge(|process, tell| {
            for (state, count) in process.goroutines.iter().flat_map(|told| &told.states) {
                tell(&[("state", state)], (*count).into());
            }
        }),
    },
    Family {
        name: "heaptap_goroutines_unreadable",
        unit: None,
        help: "Entries of the runtime's list of goroutines that could not be read",
        numbers: Gauge(|process, tell| {
            known(process.goroutines.as_ref().map(|told| told.unreadable), tell);
        }),
    },
    Family {
        name: "heaptap_map_iterations",
        unit: None,
        help: "Iterations over maps while they were recorded ([watch] maps)",
        numbers: Counter(|process, tell| iterations(process, tell, |seen| seen.count.into())),
    },
    Family {
        name: "heaptap_map_steps",
        unit: None,
        help: "Elements that these iterations visited",
        numbers: Counter(|process, tell| iterations(process, tell, |seen| seen.steps.into())),
    },
    Family {
        name: "heaptap_map_iteration",
        unit: Some(Unit::Seconds),
        help: "How long these iterations took, with what is nested in them",
        numbers: Numbers::Histogram(|process| {
            process.iterations.as_ref().map(|seen| seen.histogram())
        }),
    },
    Family {
        name: "heaptap_map_recorded",
        unit: Some(Unit::Seconds),
        help: "For how long iterations over maps were recorded; a rate is theirs by this one's",
        numbers: Counter(|process, tell| {
            iterations(process, tell, |seen| seen.recorded.as_secs_f64().into());
        }),
    },
    Family {
        name: "heaptap_map_lost",
        unit: None,
        help: "Events of these recordings that were lost",
        numbers: Counter(|process, tell| iterations(process, tell, |seen| seen.lost.into())),
    },
    Family {
        name: "heaptap_memory_resident",
        unit: Some(Unit::Bytes),
        help: "Resident memory of the process",
        numbers: Gauge(|process, tell| known(process.memory.resident, tell)),
    },
    Family {
        name: "heaptap_memory_off_heap",
        unit: Some(Unit::Bytes),
        help: "Resident memory that the Go runtime has not mapped, at least",
        numbers: Gauge(|process, tell| known(process.off_heap(), tell)),
    },
    Family {
        name: "heaptap_cgroup_used",
        unit: Some(Unit::Bytes),
        help: "Memory of the process's control group, pages of files included",
        numbers: Gauge(|process, tell| known(process.memory.cgroup.map(|of| of.usage), tell)),
    },
    Family {
        name: "heaptap_cgroup_limit",
        unit: Some(Unit::Bytes),
        help: "Memory limit of the process's control group or of one above it, the lowest",
        numbers: Gauge(|process, tell| {
            known(process.memory.cgroup.and_then(|of| of.limit), tell);
        }),
    },
    Family {
        name: "heaptap_limit_used",
        unit: Some(Unit::Ratio),
        help: "Part of a limit that is used: of GOMEMLIMIT what is mapped, of the control group's all it counts",
        numbers: Gauge(|process, tell| {
            if let Some(limit) = process.stats.collector.memory_limit {
                let labels = [("limit", "gomemlimit")];
                share(process.mapped() as f64, limit as f64, &labels, tell);
            }
            if let Some((of, limit)) = process.memory.cgroup.and_then(|of| Some((of, of.limit?))) {
                share(of.usage as f64, limit as f64, &[("limit", "cgroup")], tell);
            }
        }),
    },
    Family {
        name: "heaptap_forecast",
        unit: Some(Unit::Seconds),
        help: "When a limit is reached at the present trend, 0 when it is; none: no end in sight, or too early",
        numbers: Gauge(|process, tell| {
            let forecast = process.trends.as_ref().and_then(|trends| trends.forecast.as_ref());
            for limit in forecast.iter().flat_map(|forecast| &forecast.limits) {
                let seconds = match limit.when {
                    _ if limit.is_reached => 0.0,
                    When::In { seconds, .. } => seconds,
                    When::TooEarly | When::NotInSight { .. } => continue,
                };
                tell(&[("limit", limit.of.word())], seconds.into());
            }
        }),
    },
    Family {
        name: "heaptap_leaks",
        unit: None,
        help: "Lines, creators of goroutines or memory off the heap that leak, or grow and may be something that fills",
        numbers: Gauge(stacks::leaks),
    },
    Family {
        name: "heaptap_leak_growth_per_second",
        unit: None,
        help: "Bytes (heap, off-heap) or goroutines by which each of the largest of these grows",
        numbers: Gauge(stacks::growth),
    },
    Family {
        name: "heaptap_profile_live",
        unit: Some(Unit::Bytes),
        help: "Alive as of the last collection, as the runtime's heap profile estimates it",
        numbers: Gauge(|process, tell| known(process.heap.as_ref().map(|heap| heap.bytes), tell)),
    },
    Family {
        name: "heaptap_stack_live",
        unit: Some(Unit::Bytes),
        help: "The same of each of the --top-stacks largest stacks",
        numbers: Gauge(|process, tell| stacks::each(process, tell, |stack| stack.bytes)),
    },
    Family {
        name: "heaptap_stack_live_objects",
        unit: None,
        help: "Objects alive of each of these stacks",
        numbers: Gauge(|process, tell| stacks::each(process, tell, |stack| stack.objects)),
    },
    Family {
        name: "heaptap_look_age",
        unit: Some(Unit::Seconds),
        help: "How old what was told of heap, goroutines and trends is, which are looked at in turns",
        numbers: Gauge(ages),
    },
];

/// Tells what is known.
fn known(value: Option<impl Into<u64>>, tell: &mut Tell<'_>) {
    if let Some(value) = value {
        tell(&[], Number::Int(value.into()));
    }
}

/// Tells something of iterations over maps, once they were recorded.
fn iterations(process: &Process, tell: &mut Tell<'_>, of: fn(&Iterations) -> Number) {
    if let Some(seen) = &process.iterations {
        tell(&[], of(seen));
    }
}

/// Tells a part of something that is there.
fn share(part: f64, whole: f64, labels: super::Labels<'_>, tell: &mut Tell<'_>) {
    if whole > 0.0 {
        tell(labels, (part / whole).into());
    }
}

/// How old looks are as of the round.
fn ages(process: &Process, tell: &mut Tell<'_>) {
    let now = SystemTime::now();
    let looks = [
        ("goroutines", process.goroutines.as_ref().map(|look| look.at)),
        ("heap", process.heap.as_ref().map(|look| look.at)),
        ("trends", process.trends.as_ref().map(|look| look.at)),
    ];
    for (look, at) in looks {
        if let Some(at) = at {
            let age = now.duration_since(at).unwrap_or_default();
            tell(&[("look", look)], age.as_secs_f64().into());
        }
    }
}

/// Size classes by powers of two; what is larger than the largest class has a span of its own.
fn sizes(process: &Process) -> Option<Histogram> {
    const ENDS: [u64; 13] = [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768];

    let allocated = &process.stats.allocated;
    let mut counts = [0; ENDS.len()];
    for class in &allocated.classes {
        let at = ENDS.partition_point(|end| *end < u64::from(class.size));
        *counts.get_mut(at)? += class.objects;
    }
    let count = counts.iter().sum::<u64>() + allocated.large.objects;
    let mut buckets: Vec<(f64, u64)> =
        ENDS.iter().zip(counts).map(|(end, count)| (*end as f64, count)).collect();
    buckets.push((f64::INFINITY, allocated.large.objects));
    Some(Histogram { sum: allocated.bytes as f64, count, buckets })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every family as a line of the documentation's table.
    fn lines() -> Vec<String> {
        fn line<Of>(family: &Family<Of>) -> String {
            let kind = match family.numbers {
                Numbers::Gauge(_) => "gauge",
                Numbers::Counter(_) => "counter",
                Numbers::Histogram(_) => "histogram",
            };
            format!("| `{}` | {kind} | {} |", family.full_name(), family.help)
        }
        OF_NODE.iter().map(line).chain(OF_PROCESSES.iter().map(line)).collect()
    }

    #[test]
    fn the_documentation_lists_every_family_and_no_other() {
        let text = include_str!("../../../../docs/agent.md");
        let (_, part) = text.split_once("\n## Metrics\n").unwrap();
        let part = part.split("\n## ").next().unwrap();
        let documented: Vec<&str> = part.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(documented, lines(), "it should have:\n{}", lines().join("\n"));
    }

    #[test]
    fn each_name_is_there_once() {
        let mut names: Vec<String> = OF_NODE.iter().map(Family::full_name).collect();
        names.extend(OF_PROCESSES.iter().map(Family::full_name));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
