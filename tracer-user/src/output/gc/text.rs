//! Collections as lines: one for each when it has ended, and what they have in common at the end.

use std::io::{self, Write};

use super::growth;
use super::summary::{Summary, findings};
use super::{Process, Report};
use crate::output::text::{
    bytes, duration, grouped, keep_start, nanoseconds, printable, share, wrap,
};
use crate::runtime::cycles::{Cycle, GoalBy, Trigger};

/// Heads and widths of the columns behind the pid.
const COLUMNS: [(&str, usize); 11] = [
    ("GC", 7),
    ("AT", 9),
    ("WHY", 8),
    ("PAUSES", 9),
    ("MARK", 9),
    ("ASSISTS", 9),
    ("CPU", 7),
    ("BEGAN AT", 10),
    ("ENDED AT", 10),
    ("LIVE", 10),
    ("GOAL", 10),
];
/// Lines of remarks.
const WIDTH: usize = 100;
/// Lines with stacks.
const LONGEST: usize = 160;

/// The line above all rows; with pids where there are several processes.
pub fn head(pids: bool) -> String {
    line(pids.then_some("PID"), &COLUMNS.map(|(name, _)| name.to_owned()))
}

/// One collection.
pub fn row(process: &Process, cycle: &Cycle, pids: bool) -> String {
    let pid = process.pid.to_string();
    let since = cycle.end_unix_ns.saturating_sub(process.first_unix_ns);
    let mut cells = [(); COLUMNS.len()].map(|()| "?".to_owned());
    cells[0] = cycle.number.to_string();
    cells[1] = format!("{:.3} s", since as f64 / 1e9);
    cells[2] = why(cycle).to_owned();
    cells[3] = nanoseconds(cycle.pause_ns);
    if let Some(detail) = &cycle.detail {
        cells[4] = nanoseconds(detail.mark_ns);
        cells[5] = nanoseconds(detail.assist_ns);
        cells[6] = cycle.cpu_share().map_or_else(|| "?".to_owned(), percent);
        cells[7] = bytes(detail.heap_before);
        cells[8] = bytes(detail.heap_after);
        cells[9] = bytes(detail.live);
        cells[10] = detail.goal.map_or_else(|| "none".to_owned(), bytes);
    }
    line(pids.then_some(&pid), &cells)
}

/// What began it, and when that was the heap, what had made the goal.
fn why(cycle: &Cycle) -> &'static str {
    let by = cycle.detail.and_then(|detail| detail.goal_by);
    match (cycle.trigger, by) {
        (Some(Trigger::Heap), Some(GoalBy::Gogc)) => "GOGC",
        (Some(Trigger::Heap), Some(GoalBy::MemoryLimit)) => "limit",
        (Some(Trigger::Heap), None) => "heap",
        (Some(Trigger::Periodic), _) => "periodic",
        (Some(Trigger::Forced), _) => "forced",
        (None, _) => "?",
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn line(pid: Option<&str>, cells: &[String; COLUMNS.len()]) -> String {
    let mut text = pid.map(|pid| format!("{pid:>7} ")).unwrap_or_default();
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        let gap = if text.is_empty() { "" } else { " " };
        text.push_str(&format!("{gap}{cell:>width$}"));
    }
    text + "\n"
}

/// What the collections of each process have in common.
pub fn write_summary(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for process in &report.processes {
        writeln!(out, "{}", process.title())?;
        for (name, text) in facts(process) {
            let mut lines = wrap(&text, WIDTH - 13).into_iter();
            writeln!(out, "{name:<12} {}", lines.next().unwrap_or_default())?;
            for line in lines {
                writeln!(out, "{:<12} {line}", "")?;
            }
        }
        let growth = process.growth.as_ref();
        for line in
            growth.map(|growth| growth::lines(process, growth, report.top)).unwrap_or_default()
        {
            writeln!(out, "{}", keep_start(&line, LONGEST))?;
        }
    }
    for line in remarks(report) {
        for line in wrap(&line, WIDTH) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Lines of a process, each with its head.
pub(super) fn facts(process: &Process) -> Vec<(&'static str, String)> {
    let sum = Summary::of(process);
    let watched = process.watched();
    let count = process.count();
    let mut facts = Vec::new();
    let mut rate = String::new();
    if count > 0 && !watched.is_zero() {
        let each = watched.as_nanos() as u64 / count;
        rate = format!(", one every {}", nanoseconds(each));
    }
    let ended = if process.ended { "; then it ended" } else { "" };
    let text = format!("{} in {}{rate}{ended}", grouped(count), duration(watched));
    facts.push(("collections", text));
    facts.push(("settings", settings(process)));
    if count == 0 {
        return facts;
    }
    let growth = process.growth.as_ref().map(|growth| growth.source(process));
    let kinds = [
        (sum.heap, "by growth of the heap"),
        (sum.periodic, "after two minutes without one"),
        (sum.forced, "forced by the program (runtime.GC, debug.FreeOSMemory)"),
        (sum.unknown, "of which it is not known"),
    ];
    let some = kinds.iter().filter(|(count, _)| *count > 0);
    let why: Vec<String> =
        some.map(|(count, text)| format!("{} {text}", grouped(*count))).collect();
    facts.push(("why", why.join(", ")));
    if sum.by_limit > 0 {
        let of = grouped(sum.by_gogc + sum.by_limit);
        let text =
            format!("made by GOMEMLIMIT, not by GOGC, for {} of {of}", grouped(sum.by_limit));
        facts.push(("goals", text));
    }
    let at = |part| nanoseconds(sum.pause_at(part).unwrap_or(0));
    let mut text = format!(
        "{} in all ({} of the time); half of them up to {}, 99 % up to {}",
        nanoseconds(sum.pause_total()),
        share(sum.pause_total(), watched.as_nanos() as u64),
        at(0.5),
        at(0.99)
    );
    if let Some((number, longest)) = sum.longest {
        text.push_str(&format!(", the longest {} (GC {number})", nanoseconds(longest)));
    }
    facts.push(("pauses", text));
    if sum.full > 0 {
        facts.extend(full(&sum));
    }
    facts.extend(findings(process, &sum).into_iter().map(|finding| ("finding", finding)));
    if let Some(text) = missing(process, &sum) {
        facts.push(("not in full", text));
    }
    facts.extend(growth.map(|text| ("growth", text)));
    facts
}

/// What is known of collections seen in full only.
fn full(sum: &Summary) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let average = nanoseconds(sum.length_ns / sum.full);
    let mut text = format!("{average} long on average");
    if let Some(share) = sum.cpu_share() {
        text.push_str(&format!(
            "; {} of the CPU time of {} CPUs (GOMAXPROCS)",
            percent(share),
            sum.procs
        ));
    }
    facts.push(("cost", text));
    let text = format!(
        "assists {}, background {}, stops {}; {} more on idle CPUs",
        nanoseconds(sum.assist_ns),
        nanoseconds(sum.background_ns),
        nanoseconds(sum.stops_ns),
        nanoseconds(sum.idle_ns)
    );
    facts.push(("CPU time", text));
    let range = |range: Option<(u64, u64)>| match range.map(|(a, b)| (bytes(a), bytes(b))) {
        Some((least, most)) if least != most => format!("{least} to {most}"),
        Some((one, _)) => one,
        None => "none".to_owned(),
    };
    let mut text = format!(
        "began at {}, ended at {}, alive {}, goal {}; {} of garbage found",
        range(sum.before),
        range(sum.after),
        range(sum.live),
        range(sum.goal),
        bytes(sum.freed)
    );
    if sum.late > 0 {
        let late = grouped(sum.late);
        text.push_str(&format!("; {late} ended beyond the goal"));
    }
    facts.push(("heap", text));
    facts
}

fn settings(process: &Process) -> String {
    let Some((_, last)) = process.samples.last() else { return "not read".to_owned() };
    let gogc = last.percent.map_or_else(|| "off".to_owned(), |percent| percent.to_string());
    let limit = last.memory_limit.map_or_else(|| "off".to_owned(), bytes);
    let mut text = format!("GOGC {gogc}, GOMEMLIMIT {limit}");
    if let Some(limit) = last.memory_limit {
        let mapped = bytes(last.mapped);
        text.push_str(&format!(", {mapped} ({}) of it used", share(last.mapped, limit)));
    }
    match (last.goal, last.trigger) {
        (Some(goal), Some(trigger)) if !last.collecting => {
            text.push_str(&format!("; next at {}, goal {}", bytes(trigger), bytes(goal)));
        }
        (None, _) => text.push_str("; the collector is off"),
        _ => {}
    }
    text
}

/// What is not known, and why.
fn missing(process: &Process, sum: &Summary) -> Option<String> {
    let mut parts = Vec::new();
    let partly = process.cycles.len() as u64 - sum.full;
    if partly > 0 {
        parts.push(format!(
            "{}: the next one had begun before heaptap looked; number and pauses are from the \
             runtime's ring, sums of the rest leave them out",
            grouped(partly)
        ));
    }
    if process.overwritten > 0 {
        parts.push(format!("{}: nothing left of them", grouped(process.overwritten)));
    }
    if process.dropped > 0 {
        let kept = grouped(process.cycles.len() as u64);
        parts.push(format!("{}: only the last {kept} are kept", grouped(process.dropped)));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What is to be said of all.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    let mut remarks = Vec::new();
    let lost = report.processes.iter().any(|p| missing(p, &Summary::of(p)).is_some());
    let mut text = match lost {
        false => "every collection seen in full".to_owned(),
        true => "every collection counted, not every one seen in full".to_owned(),
    };
    if report.processes.iter().all(|process| process.count() == 0) {
        "no collection has ended".clone_into(&mut text);
    }
    if report.processes.iter().any(|process| process.overwritten > 0) {
        "some collections not seen at all".clone_into(&mut text);
    }
    let looks: u64 = report.processes.iter().map(|process| process.looks).sum();
    let trapped: Vec<u64> = report.processes.iter().filter_map(|process| process.traps).collect();
    match trapped.len() as u64 {
        0 => text.push_str(&format!("; no probe: {} looks", grouped(looks))),
        _ => text.push_str(&format!(
            "; {} looks, and {} traps at ends of collections",
            grouped(looks),
            grouped(trapped.iter().sum())
        )),
    }
    if let Some(own) = report.own_cpu {
        let own = u64::try_from(own.as_nanos()).unwrap_or(u64::MAX);
        let length = u64::try_from(report.duration.as_nanos()).unwrap_or(u64::MAX);
        text.push_str(&format!(", {} of one CPU", share(own, length)));
    }
    remarks.push(text);
    remarks.extend(report.notes.iter().map(|note| printable(note).into_owned()));
    for unseen in &report.unseen {
        remarks.push(printable(&unseen.reason).into_owned());
    }
    remarks
}
