//! Of the node, and of the agent itself: what it takes and what it loses.

use super::{Counter, Family, Gauge, Tell, Unit, known};
use crate::agent::node::Node;
use crate::agent::push::Figures;
use crate::agent::web::Refused;

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
        name: "heaptap_map_recordings",
        unit: None,
        help: "Recordings of iterations over maps ([watch] maps), by what became of them",
        numbers: Counter(|node, tell| {
            tell(&[("result", "read")], node.own.recorded.into());
            tell(&[("result", "failed")], node.own.recorded_failed.into());
        }),
    },
    Family {
        name: "heaptap_turns",
        unit: None,
        help: "Looks at goroutines, heaps and trends, which processes have in turns (--cpu)",
        numbers: Counter(|node, tell| tell(&[], node.own.turns.into())),
    },
    Family {
        name: "heaptap_turns_failed",
        unit: None,
        help: "Those of them that failed while the process was there",
        numbers: Counter(|node, tell| tell(&[], node.own.turns_failed.into())),
    },
    Family {
        name: "heaptap_turns_duration",
        unit: Some(Unit::Seconds),
        help: "How long they took together",
        numbers: Counter(|node, tell| tell(&[], node.own.turns_took.as_secs_f64().into())),
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
        name: "heaptap_http_requests",
        unit: None,
        help: "Requests that were answered",
        numbers: Counter(|node, tell| tell(&[], node.own.requests.answered.into())),
    },
    Family {
        name: "heaptap_http_refused",
        unit: None,
        help: "Requests that were refused, and connections that were closed, by reason",
        numbers: Counter(|node, tell| {
            for why in Refused::ALL {
                tell(&[("reason", why.word())], node.own.requests.refused(why).into());
            }
        }),
    },
    Family {
        name: "heaptap_alerts",
        unit: None,
        help: "Alerts that hold",
        numbers: Gauge(|node, tell| tell(&[], node.judged.rules.holding.into())),
    },
    Family {
        name: "heaptap_alerts_begun",
        unit: None,
        help: "Alerts that have begun",
        numbers: Counter(|node, tell| tell(&[], node.judged.rules.begun.into())),
    },
    Family {
        name: "heaptap_alerts_hushed",
        unit: None,
        help: "Alerts that did not begin again within the cooldown, or that a receiver had no room for, by reason",
        numbers: Counter(|node, tell| {
            tell(&[("reason", "cooldown")], node.judged.rules.cooled.into());
            tell(&[("reason", "per_hour")], node.judged.hushed.into());
        }),
    },
    Family {
        name: "heaptap_rules_left_out",
        unit: None,
        help: "Numbers that rules have no room to follow",
        numbers: Gauge(|node, tell| tell(&[], node.judged.rules.left_out.into())),
    },
    Family {
        name: "heaptap_captures",
        unit: None,
        help: "Captures, by what became of them",
        numbers: Counter(|node, tell| {
            let captures = &node.judged.captures;
            for (result, count) in [
                ("made", captures.made),
                ("failed", captures.failed),
                ("left_out", captures.left_out),
                ("removed", captures.removed),
            ] {
                tell(&[("result", result)], count.into());
            }
        }),
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
        name: "heaptap_push_rejected",
        unit: None,
        help: "Points of these uploads that the receiver did not take (OTLP's partial success)",
        numbers: Counter(|node, tell| each(node, tell, |of| of.rejected)),
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
