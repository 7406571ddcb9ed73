//! Statistics as text: all of one process, or one row of each.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::{Round, Snapshot};
use crate::host::Identity;
use crate::output::text::{bytes, duration, grouped, keep_start, printable, share, utc};
use crate::runtime::stats::{Phase, Stats};

/// Pauses that are printed.
const PAUSES: usize = 5;

/// Columns of the table: head and width.
const COLUMNS: [(&str, usize); 13] = [
    ("PID", 7),
    ("COMM", 15),
    ("HEAP", 10),
    ("GOAL", 10),
    ("IN USE", 10),
    ("IDLE", 10),
    ("STACKS", 10),
    ("RSS", 10),
    ("OFF-HEAP", 10),
    ("GCS", 7),
    ("GC CPU", 7),
    ("PAUSE", 8),
    ("GOROUT.", 8),
];

/// One look: a table of many processes, or each in full.
pub fn once(round: &Round, all: bool) -> String {
    if all {
        return Table::default().rows(round);
    }
    let texts: Vec<String> = round.snapshots.iter().map(|s| full(s, round.time)).collect();
    texts.join("\n")
}

/// A table that goes on from round to round.
#[derive(Default)]
pub struct Table {
    /// What each process had allocated when.
    last: HashMap<Identity, (SystemTime, u64, u64)>,
    rows: usize,
    rounds: usize,
}

/// The head is printed again after this many rows.
const PAGE: usize = 40;

impl Table {
    /// The rows of a round, with a head when it is time for one.
    pub fn rows(&mut self, round: &Round) -> String {
        let mut text = String::new();
        let first = self.rounds == 0;
        self.rounds += 1;
        for snapshot in &round.snapshots {
            if self.rows.is_multiple_of(PAGE) || (first && self.rows == 0) {
                let mut head: Vec<(String, usize)> =
                    COLUMNS.iter().map(|(name, width)| ((*name).to_owned(), *width)).collect();
                head.push(("ALLOC/S".into(), 10));
                line(&mut text, &head);
            }
            self.rows += 1;
            let mut cells: Vec<(String, usize)> =
                cells(snapshot).into_iter().zip(COLUMNS.map(|(_, width)| width)).collect();
            cells.push((self.rate(snapshot, round.time), 10));
            line(&mut text, &cells);
        }
        text
    }

    /// Bytes allocated in a second since the last round; nothing in the first.
    fn rate(&mut self, snapshot: &Snapshot, now: SystemTime) -> String {
        let allocated = &snapshot.stats.allocated;
        let this = (now, allocated.bytes, allocated.objects);
        let Some((then, before, _)) = self.last.insert(snapshot.id, this) else {
            return "-".to_owned();
        };
        let elapsed = now.duration_since(then).unwrap_or_default().as_secs_f64();
        if elapsed <= 0.0 {
            return "-".to_owned();
        }
        bytes((allocated.bytes.saturating_sub(before) as f64 / elapsed) as u64)
    }
}

/// Right-aligned cells but for the second one, which is a name.
fn line(text: &mut String, cells: &[(String, usize)]) {
    let mut row = String::new();
    for (index, (cell, width)) in cells.iter().enumerate() {
        let gap = if index == 0 { "" } else { "  " };
        let _ = match index {
            1 => write!(row, "{gap}{cell:<width$}"),
            _ => write!(row, "{gap}{cell:>width$}"),
        };
    }
    text.push_str(row.trim_end());
    text.push('\n');
}

fn cells(snapshot: &Snapshot) -> [String; 13] {
    let Stats { heap, collector, .. } = &snapshot.stats;
    let optional = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), bytes);
    [
        snapshot.id.pid.to_string(),
        keep_start(&printable(&snapshot.comm), 15).into_owned(),
        bytes(heap.alloc),
        heap.goal.map_or_else(|| "off".to_owned(), bytes),
        bytes(heap.in_use),
        bytes(heap.idle),
        bytes(snapshot.stats.stacks_in_use),
        optional(snapshot.memory.resident),
        optional(snapshot.off_heap()),
        collector.cycles.to_string(),
        percent(collector.cpu_fraction),
        collector.pauses.first().map_or_else(|| "-".to_owned(), |pause| short(pause.ns)),
        snapshot.goroutines.program.to_string(),
    ]
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", 100.0 * fraction)
}

/// `85 µs`, `1.25 ms`, `2.00 s`.
fn short(ns: u64) -> String {
    match ns {
        ..1_000_000 => format!("{} µs", ns / 1000),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// Everything about one process.
fn full(snapshot: &Snapshot, now: SystemTime) -> String {
    let stats = &snapshot.stats;
    let heap = &stats.heap;
    let mut text = String::new();
    let version = snapshot.go_version.as_deref().unwrap_or("?");
    let name = printable(&snapshot.comm);
    let mut facts = format!("pid {}, go{version}", snapshot.id.pid);
    let short = snapshot.container.as_ref().map(|id| id.chars().take(12).collect::<String>());
    if let Some(called) = snapshot.workload.container.as_ref().or(short.as_ref()) {
        let _ = write!(facts, ", container {}", printable(called));
    }
    let _ = writeln!(text, "{name} ({facts})");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12}  {value}");
    };
    row("heap", format!("{} in {} objects", bytes(heap.alloc), grouped(heap.objects)));
    row("", format!("{} survived the last collection", bytes(heap.marked)));
    row("goal", goal_text(stats));
    row("spans", format!("{} in use, {} idle", bytes(heap.in_use), bytes(heap.idle)));
    row("", format!("{} of the idle given back to the system", bytes(heap.released)));
    row("stacks", format!("{} in use", bytes(stats.stacks_in_use)));
    row("goroutines", goroutines(snapshot));
    for (index, value) in collections(stats, now).into_iter().enumerate() {
        row(if index == 0 { "collections" } else { "" }, value);
    }
    row("mapped", format!("{} by the runtime, all in all", bytes(stats.sys)));
    row("resident", resident(snapshot));
    if let Some(cgroup) = snapshot.memory.cgroup {
        let limit = cgroup.limit.map_or_else(
            || "no limit".to_owned(),
            |limit| format!("limit {} ({})", bytes(limit), share(cgroup.usage, limit)),
        );
        row("cgroup", format!("{} used, {limit}", bytes(cgroup.usage)));
    }
    row(
        "sampler",
        match stats.sampler_rate {
            0 => "off: the program has no heap profile".to_owned(),
            1 => "every allocation".to_owned(),
            rate => format!("one in {} on average", bytes(rate)),
        },
    );
    let allocated = &stats.allocated;
    let total = format!("{} in {} objects", bytes(allocated.bytes), grouped(allocated.objects));
    row("allocated", format!("{total} since the start, {} freed", grouped(allocated.frees)));
    if !stats.exact {
        row("", "the program was busy: without what each P took since its last refill".to_owned());
    }
    text.push_str(&classes(stats));
    text
}

fn goal_text(stats: &Stats) -> String {
    let collector = &stats.collector;
    let gogc = match collector.percent {
        Some(percent) => format!("GOGC {percent}"),
        None => "GOGC off".to_owned(),
    };
    let limit = match collector.memory_limit {
        Some(limit) if collector.limit_binds => format!("GOMEMLIMIT {} binds", bytes(limit)),
        Some(limit) => format!("GOMEMLIMIT {}", bytes(limit)),
        None => "no GOMEMLIMIT".to_owned(),
    };
    match (stats.heap.goal, stats.heap.trigger) {
        (Some(goal), Some(trigger)) => {
            let (goal, trigger) = (bytes(goal), bytes(trigger));
            format!("{goal}, next collection at {trigger} ({gogc}, {limit})")
        }
        _ => format!("none: the collector is off ({gogc}, {limit})"),
    }
}

fn goroutines(snapshot: &Snapshot) -> String {
    let counts = snapshot.goroutines;
    let mut text = format!("{}, and {} of the runtime", grouped(counts.program), counts.runtime);
    if counts.unreadable > 0 {
        let _ = write!(text, "; {} could not be read", counts.unreadable);
    }
    text
}

fn collections(stats: &Stats, now: SystemTime) -> Vec<String> {
    let collector = &stats.collector;
    let running = match collector.phase {
        Phase::Off => "",
        Phase::Mark => "; one is marking now",
        Phase::MarkTermination => "; one ends now",
    };
    if collector.cycles == 0 {
        return vec![format!("none yet{running}")];
    }
    let last = SystemTime::UNIX_EPOCH + Duration::from_nanos(collector.last_unix_ns);
    let ago = now
        .duration_since(last)
        .map_or_else(|_| "now".to_owned(), |since| format!("{} ago", duration(since)));
    let cpu = percent(collector.cpu_fraction);
    let mut lines = vec![
        format!(
            "{} ({} forced), the last {ago}; {cpu} of available CPU{running}",
            grouped(collector.cycles.into()),
            collector.forced
        ),
        format!("{} stopped in all", short(collector.pause_total_ns)),
    ];
    for pause in collector.pauses.iter().take(PAUSES) {
        let end = SystemTime::UNIX_EPOCH + Duration::from_nanos(pause.end_unix_ns);
        lines.push(format!("{} until {}", short(pause.ns), utc(end)));
    }
    lines
}

fn resident(snapshot: &Snapshot) -> String {
    let (Some(resident), Some(off_heap)) = (snapshot.memory.resident, snapshot.off_heap()) else {
        return "not told by the kernel".to_owned();
    };
    let swapped = match snapshot.memory.swapped {
        Some(swapped) if swapped > 0 => format!(", {} swapped out", bytes(swapped)),
        _ => String::new(),
    };
    format!("{}, at least {} of it not the runtime's{swapped}", bytes(resident), bytes(off_heap))
}

/// The size classes that were used.
fn classes(stats: &Stats) -> String {
    let allocated = &stats.allocated;
    let mut text = String::new();
    let head = ["SIZE", "ALLOCATED", "FREED", "LIVE", "LIVE BYTES"];
    let mut rows = vec![head.map(str::to_owned)];
    for class in allocated.classes.iter().filter(|class| class.objects > 0) {
        let live = class.objects - class.frees;
        rows.push([
            class.size.to_string(),
            grouped(class.objects),
            grouped(class.frees),
            grouped(live),
            bytes(live * u64::from(class.size)),
        ]);
    }
    let large = &allocated.large;
    if large.objects > 0 {
        rows.push([
            "large".to_owned(),
            grouped(large.objects),
            grouped(large.frees),
            grouped(large.objects - large.frees),
            bytes(large.bytes - large.freed_bytes),
        ]);
    }
    if rows.len() == 1 {
        return text;
    }
    text.push('\n');
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| format!("{cell:>14}")).collect();
        text.push_str(cells.concat().trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::round;
    use super::*;

    #[test]
    fn one_process_in_full() {
        let expected = "\
orders (pid 4242, go1.27.3, container orders-1)
heap          12.0 MiB in 123,456 objects
              9.0 MiB survived the last collection
goal          18.0 MiB, next collection at 17.0 MiB (GOGC 100, GOMEMLIMIT 512.0 MiB)
spans         14.0 MiB in use, 10.0 MiB idle
              3.0 MiB of the idle given back to the system
stacks        1.0 MiB in use
goroutines    120, and 6 of the runtime
collections   2 (1 forced), the last 3.0 s ago; 1.2 % of available CPU
              150 µs stopped in all
              90 µs until 2023-11-14 22:13:20 UTC
              60 µs until 2023-11-14 22:13:10 UTC
mapped        30.0 MiB by the runtime, all in all
resident      40.0 MiB, at least 13.0 MiB of it not the runtime's
cgroup        100.0 MiB used, limit 1.0 GiB (9.8 %)
sampler       one in 512.0 KiB on average
allocated     400.0 MiB in 5,000,000 objects since the start, 4,876,544 freed

          SIZE     ALLOCATED         FREED          LIVE    LIVE BYTES
             8            10            10             0           0 B
            16     4,000,000     3,900,000       100,000       1.5 MiB
         large             9             8             1       9.0 MiB
";
        assert_eq!(once(&round(), false), expected);
    }

    #[test]
    fn a_collector_that_is_off_has_no_goal() {
        let mut round = round();
        let stats = &mut round.snapshots[0].stats;
        stats.collector.percent = None;
        stats.collector.memory_limit = None;
        stats.heap.goal = None;
        stats.collector.cycles = 0;
        stats.collector.pauses.clear();
        stats.sampler_rate = 0;
        stats.exact = false;
        round.snapshots[0].memory = Default::default();
        let text = once(&round, false);
        for part in [
            "none: the collector is off (GOGC off, no GOMEMLIMIT)",
            "collections   none yet\n",
            "off: the program has no heap profile",
            "not told by the kernel",
            "the program was busy",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let row = Table::default().rows(&round);
        assert!(row.lines().nth(1).unwrap().contains("  off  "), "{row}");
    }

    #[test]
    fn rates_need_two_rounds() {
        let mut table = Table::default();
        let mut round = round();
        let first = table.rows(&round);
        assert_eq!(first.lines().count(), 2, "{first}");
        assert!(first.trim_end().ends_with('-'), "{first}");
        round.time += Duration::from_secs(2);
        round.snapshots[0].stats.allocated.bytes += 4 << 20;
        let second = table.rows(&round);
        assert_eq!(second.lines().count(), 1, "{second}");
        assert!(second.trim_end().ends_with("2.0 MiB"), "{second}");
    }
}
