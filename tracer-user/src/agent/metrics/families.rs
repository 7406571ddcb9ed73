//! Every family: what it is called, what it means, and which number of a picture it is.

use super::{Family, Number, Numbers, Tell, Unit};
use crate::agent::node::{Node, Process};
use crate::agent::push::Figures;

use Numbers::{Counter, Gauge};

/// Of the node and the agent itself.
pub const OF_NODE: &[Family<Node>] = &[
    Family {
        name: "heaptap_processes",
        unit: None,
        help: "Go processes that are watched",
        numbers: Gauge(|node, tell| tell(&[], (node.processes.len() as u64).into())),
    },
    Family {
        name: "heaptap_processes_unreadable",
        unit: None,
        help: "Go processes that can't be read",
        numbers: Gauge(|node, tell| tell(&[], (node.unread.len() as u64).into())),
    },
    Family {
        name: "heaptap_processes_left_out",
        unit: None,
        help: "Go processes that --max-processes left no room for",
        numbers: Gauge(|node, tell| tell(&[], node.own.left_out.into())),
    },
    Family {
        name: "heaptap_rounds",
        unit: None,
        help: "Looks at all processes since the agent began",
        numbers: Counter(|node, tell| tell(&[], node.own.rounds.into())),
    },
    Family {
        name: "heaptap_rounds_late",
        unit: None,
        help: "Rounds that took longer than the time between two",
        numbers: Counter(|node, tell| tell(&[], node.own.late.into())),
    },
    Family {
        name: "heaptap_round",
        unit: Some(Unit::Seconds),
        help: "How long the last round took",
        numbers: Gauge(|node, tell| tell(&[], node.own.took.as_secs_f64().into())),
    },
    Family {
        name: "heaptap_cpu",
        unit: Some(Unit::Seconds),
        help: "CPU time that the agent has taken",
        numbers: Counter(|node, tell| tell(&[], node.own.cpu.as_secs_f64().into())),
    },
    Family {
        name: "heaptap_resident",
        unit: Some(Unit::Bytes),
        help: "Memory of the agent itself",
        numbers: Gauge(|node, tell| known(node.own.resident, tell)),
    },
    Family {
        name: "heaptap_push_sent",
        unit: None,
        help: "Uploads that a receiver has taken",
        numbers: Counter(|node, tell| each(node, tell, |of| of.sent)),
    },
    Family {
        name: "heaptap_push_sent",
        unit: Some(Unit::Bytes),
        help: "Size of uploads that a receiver has taken",
        numbers: Counter(|node, tell| each(node, tell, |of| of.sent_bytes)),
    },
    Family {
        name: "heaptap_push_retried",
        unit: None,
        help: "Failures after which an upload waits for another try",
        numbers: Counter(|node, tell| each(node, tell, |of| of.retried)),
    },
    Family {
        name: "heaptap_push_dropped",
        unit: None,
        help: "Uploads that were given up, by `reason` (Push)",
        numbers: Counter(|node, tell| {
            for of in &node.push {
                for (reason, count) in of.reasons() {
                    tell(&[("receiver", &of.receiver), ("reason", reason)], count.into());
                }
            }
        }),
    },
    Family {
        name: "heaptap_push_spool_uploads",
        unit: None,
        help: "Uploads that wait for a receiver",
        numbers: Gauge(|node, tell| each(node, tell, |of| of.spooled)),
    },
    Family {
        name: "heaptap_push_spool",
        unit: Some(Unit::Bytes),
        help: "Size of uploads that wait for a receiver, on disk",
        numbers: Gauge(|node, tell| each(node, tell, |of| of.spool_bytes)),
    },
    Family {
        name: "heaptap_push_spool_age",
        unit: Some(Unit::Seconds),
        help: "For how long the oldest upload has waited, if one waits",
        numbers: Gauge(|node, tell| {
            for of in &node.push {
                let Some(oldest) = of.oldest else { continue };
                let age = node.time.duration_since(oldest).unwrap_or_default();
                tell(&[("receiver", &of.receiver)], age.as_secs_f64().into());
            }
        }),
    },
];

/// A number of each receiver.
fn each(node: &Node, tell: &mut Tell<'_>, read: fn(&Figures) -> u64) {
    for of in &node.push {
        tell(&[("receiver", &of.receiver)], read(of).into());
    }
}

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
        numbers: Gauge(|process, tell| tell(&[], process.goroutines.program.into())),
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
];

/// Tells what is known.
fn known(value: Option<impl Into<u64>>, tell: &mut Tell<'_>) {
    if let Some(value) = value {
        tell(&[], Number::Int(value.into()));
    }
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
