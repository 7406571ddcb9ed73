//! What collections have in common: counts and sums. In: a process's collections. Out: numbers.

use super::Process;
use crate::output::text::{bytes, grouped, nanoseconds};
use crate::runtime::cycles::{Detail, GoalBy, Trigger};

/// Sums over the collections that were kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Seen in full.
    pub full: u64,
    pub heap: u64,
    pub periodic: u64,
    pub forced: u64,
    pub unknown: u64,
    /// Goals made by GOGC, by the memory limit; of collections seen in full.
    pub by_gogc: u64,
    pub by_limit: u64,
    /// In order of length.
    pub pauses: Vec<u64>,
    /// Number and length of the longest.
    pub longest: Option<(u32, u64)>,
    /// Sums over collections seen in full.
    pub length_ns: u64,
    pub assist_ns: u64,
    pub background_ns: u64,
    pub idle_ns: u64,
    pub stops_ns: u64,
    /// CPU time, and what all CPUs had, over those whose predecessor is known too.
    pub cpu_ns: u64,
    pub available_ns: f64,
    /// Least and most.
    pub before: Option<(u64, u64)>,
    pub after: Option<(u64, u64)>,
    pub live: Option<(u64, u64)>,
    pub goal: Option<(u64, u64)>,
    /// Garbage found.
    pub freed: u64,
    /// Collections whose heap was beyond the goal when they ended.
    pub late: u64,
    pub procs: u32,
}

impl Summary {
    pub fn of(process: &Process) -> Self {
        let mut sum = Self::default();
        for cycle in &process.cycles {
            match cycle.trigger {
                Some(Trigger::Heap) => sum.heap += 1,
                Some(Trigger::Periodic) => sum.periodic += 1,
                Some(Trigger::Forced) => sum.forced += 1,
                None => sum.unknown += 1,
            }
            sum.pauses.push(cycle.pause_ns);
            if sum.longest.is_none_or(|(_, ns)| cycle.pause_ns > ns) {
                sum.longest = Some((cycle.number, cycle.pause_ns));
            }
            let Some(detail) = &cycle.detail else { continue };
            sum.add(detail);
            if let Some(since) = cycle.since_last_ns {
                sum.cpu_ns = sum.cpu_ns.saturating_add(detail.cpu_ns());
                sum.available_ns += since as f64 * f64::from(detail.procs);
            }
        }
        sum.pauses.sort_unstable();
        sum
    }

    fn add(&mut self, detail: &Detail) {
        self.full += 1;
        match detail.goal_by {
            Some(GoalBy::Gogc) => self.by_gogc += 1,
            Some(GoalBy::MemoryLimit) => self.by_limit += 1,
            None => {}
        }
        let stops = detail.sweep_termination_ns.saturating_add(detail.mark_termination_ns);
        // What another process's memory says may be anything.
        for (sum, value) in [
            (&mut self.length_ns, detail.length_ns()),
            (&mut self.assist_ns, detail.assist_ns),
            (&mut self.background_ns, detail.background_ns),
            (&mut self.idle_ns, detail.idle_ns),
            (&mut self.stops_ns, stops.saturating_mul(detail.stopped_procs.into())),
            (&mut self.freed, detail.heap_after.saturating_sub(detail.live)),
        ] {
            *sum = sum.saturating_add(value);
        }
        widen(&mut self.before, detail.heap_before);
        widen(&mut self.after, detail.heap_after);
        widen(&mut self.live, detail.live);
        if let Some(goal) = detail.goal {
            widen(&mut self.goal, goal);
            self.late += u64::from(detail.heap_after > goal);
        }
        self.procs = detail.procs;
    }

    /// Share of the CPU time of GOMAXPROCS CPUs, from 0 to 1; nothing: not known.
    pub fn cpu_share(&self) -> Option<f64> {
        (self.available_ns > 0.0).then(|| self.cpu_ns as f64 / self.available_ns)
    }

    /// The pause that this part of all is not longer than, from 0 to 1.
    pub fn pause_at(&self, part: f64) -> Option<u64> {
        let last = self.pauses.len().checked_sub(1)?;
        self.pauses.get((last as f64 * part).round() as usize).copied()
    }

    pub fn pause_total(&self) -> u64 {
        self.pauses.iter().fold(0, |sum: u64, pause| sum.saturating_add(*pause))
    }
}

/// A share of CPU time that is worth a word: what the pacer plans to take for marking, and more.
const MUCH_CPU: f64 = 0.25;
/// Fewer collections than this show no pattern.
const A_PATTERN: u64 = 3;

/// What stands out, in words that say what can be done.
pub fn findings(process: &Process, sum: &Summary) -> Vec<String> {
    let mut findings = Vec::new();
    let limited = process.samples.last().and_then(|(_, s)| Some((s.memory_limit?, s.mapped)));
    let share = sum.cpu_share().unwrap_or(0.0);
    let of_goals = sum.by_gogc + sum.by_limit;
    if let (Some((limit, used)), Some((_, alive))) = (limited, sum.live)
        && sum.by_limit >= A_PATTERN
        && 2 * sum.by_limit > of_goals
        && (share >= MUCH_CPU || used > limit)
    {
        let what = match used > limit {
            true => format!("can't be held ({} used)", bytes(used)),
            false => "leaves little room".to_owned(),
        };
        findings.push(format!(
            "GOMEMLIMIT {} {what} with up to {} alive: collections take {:.0} % of CPU time; a higher \
             limit makes them fewer",
            bytes(limit),
            bytes(alive),
            100.0 * share
        ));
    }
    let known = sum.heap + sum.periodic + sum.forced;
    if sum.forced >= A_PATTERN && 2 * sum.forced > known {
        findings.push(format!(
            "{} of {} collections are the program's own doing: it calls runtime.GC or \
             debug.FreeOSMemory",
            grouped(sum.forced),
            grouped(known)
        ));
    }
    if sum.full >= A_PATTERN && sum.assist_ns > sum.background_ns && share >= MUCH_CPU {
        findings.push(format!(
            "assists took more CPU time ({}) than background marking ({}): goroutines that allocate \
             wait for the collector; more room (GOGC, GOMEMLIMIT) or less garbage makes them faster",
            nanoseconds(sum.assist_ns),
            nanoseconds(sum.background_ns)
        ));
    }
    findings
}

fn widen(range: &mut Option<(u64, u64)>, value: u64) {
    let (least, most) = range.unwrap_or((value, value));
    *range = Some((least.min(value), most.max(value)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::gc::made;

    /// Collections that each take this much of two CPUs, of which so many nanoseconds are assists.
    fn process(goal_by: GoalBy, trigger: Trigger, assist_ns: u64) -> Process {
        let mut process = made::report().processes.remove(0);
        process.cycles = (7..12).map(made::cycle).collect();
        for cycle in &mut process.cycles {
            cycle.trigger = Some(trigger);
            let detail = cycle.detail.as_mut().unwrap();
            detail.goal_by = Some(goal_by);
            detail.background_ns = 500_000_000;
            detail.assist_ns = assist_ns;
        }
        process
    }

    fn found(process: &Process) -> String {
        findings(process, &Summary::of(process)).join("\n")
    }

    #[test]
    fn what_stands_out_is_said_and_nothing_else() {
        assert_eq!(found(&made::report().processes[0]), "");
        let calm = process(GoalBy::Gogc, Trigger::Heap, 10_000_000);
        assert_eq!(found(&calm), "");
        let limited = process(GoalBy::MemoryLimit, Trigger::Heap, 10_000_000);
        let text = found(&limited);
        assert!(
            text.starts_with("GOMEMLIMIT 20.0 MiB leaves little room with up to 6.0 MiB alive")
        );
        assert!(text.contains("collections take 26 % of CPU time"), "{text}");
        let mut beyond = process(GoalBy::MemoryLimit, Trigger::Heap, 0);
        beyond.samples.last_mut().unwrap().1.mapped = 25 << 20;
        for cycle in &mut beyond.cycles {
            cycle.detail.as_mut().unwrap().background_ns = 1000;
        }
        assert!(found(&beyond).starts_with("GOMEMLIMIT 20.0 MiB can't be held (25.0 MiB used)"));
        let forced = process(GoalBy::Gogc, Trigger::Forced, 10_000_000);
        assert!(found(&forced).starts_with("5 of 5 collections are the program's own doing"));
        let assisted = process(GoalBy::Gogc, Trigger::Heap, 600_000_000);
        assert!(found(&assisted).starts_with("assists took more CPU time (3.0 s) than"));
        assert_eq!(found(&assisted).lines().count(), 1);
    }
}
