//! Says in sentences what a profile is: title, what was measured and how, totals, processes,
//! losses. In: a [`Profile`]. Out: plain lines that every output for people shares.

use std::cmp::Reverse;
use std::time::Duration;

use super::text::{bytes, duration, grouped, nanoseconds, printable, share, utc};
use crate::profile::{
    AGES, ALLOC_OBJECTS, ALLOC_SPACE, Ages, BOX_VALUES, Cost, GC_ASSIST_MARKING, GC_ASSISTS,
    GOROUTINES_CREATED, INUSE_SPACE, MAP_TIME, Process, Profile, Rest, SLICE_CALLS, SLICE_COPIED,
    SLICE_SPACE, STACK_COPIED, STACK_GROWTHS, Source, UNSETTLED, ValueType,
};

/// Processes named before the rest is only counted.
pub(super) const NAMED: usize = 4;

/// `heaptap: server` or `heaptap: 3 processes`.
pub fn title(profile: &Profile) -> String {
    match profile.processes.as_slice() {
        [one] => format!("heaptap: {}", printable(&one.comm)),
        many => format!("heaptap: {} processes", many.len()),
    }
}

/// What a value counts: `bytes`, `objects`, `contentions`.
pub fn unit(value_type: ValueType) -> &'static str {
    match value_type.unit {
        "bytes" if value_type == SLICE_COPIED => "bytes copied",
        "bytes" if value_type == SLICE_SPACE => "bytes asked for",
        "nanoseconds" if value_type == GC_ASSIST_MARKING => "nanoseconds marking",
        "count" => value_type.kind.rsplit('_').next().unwrap_or_default(),
        unit => unit,
    }
}

/// The unit of one of the profile's values.
pub fn unit_of(profile: &Profile, value: usize) -> &'static str {
    profile.meta.value_types.get(value).map_or("values", |t| unit(*t))
}

/// What one of the probe os's values is of; nothing for others.
pub fn of_os(value_type: ValueType) -> Option<&'static str> {
    if !value_type.is_of_os() {
        return None;
    }
    Some(match value_type.family() {
        "resident" => "that became resident",
        "released" => "that ceased to be resident",
        "mapped" => "still mapped",
        "pages" => "of pages taken",
        "mmap" => "of mmap",
        "munmap" => "of munmap",
        "madvise" => "of madvise",
        "mremap" => "of mremap",
        "brk" => "of brk",
        "kernel" => "in the kernel for slow allocations",
        _ => "for slow allocations",
    })
}

/// What would have been seen if anything had happened.
pub fn event(profile: &Profile) -> &'static str {
    match profile.meta.value_types.first() {
        Some(first) if first.is_of_os() => "event of that kind",
        Some(&GOROUTINES_CREATED) => "goroutine",
        Some(&STACK_GROWTHS) => "move of a stack",
        Some(&BOX_VALUES) => "value put into an interface",
        Some(&GC_ASSISTS) => "assist of the collector",
        Some(&SLICE_CALLS) => "slice or string made",
        Some(first) if first.family() == "map" => "iteration over a map",
        Some(first) if first.family() == "pool" => "Get or Put of a sync.Pool",
        _ => "allocation",
    }
}

/// `1 object`, `1,234 objects`.
pub fn counted(count: u64, what: &str) -> String {
    let ending = match what {
        _ if count == 1 => "",
        what if what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {what}{ending}", grouped(count))
}

/// `object`, `miss`.
fn singular(units: &str) -> &str {
    let miss = units.strip_suffix("es").filter(|one| one.ends_with('s'));
    miss.unwrap_or(units.trim_end_matches('s'))
}

/// One value with its unit: `1.5 KiB`, `1,234 objects`, `2.5 ms`.
pub fn amount(value_type: ValueType, count: u64) -> String {
    match value_type.unit {
        "bytes" if value_type == SLICE_COPIED => format!("{} copied", bytes(count)),
        "bytes" if value_type == SLICE_SPACE => format!("{} asked for", bytes(count)),
        "bytes" => bytes(count),
        "nanoseconds" if value_type == GC_ASSIST_MARKING => {
            format!("{} marking", nanoseconds(count))
        }
        "nanoseconds" => nanoseconds(count),
        // What is no noun has no plural: `12 live`.
        "count" => match unit(value_type).strip_suffix('s') {
            Some(_) => counted(count, singular(unit(value_type))),
            None => format!("{} {}", grouped(count), unit(value_type)),
        },
        unit => format!("{} {unit}", grouped(count)),
    }
}

/// The values that are shown together with one of them, what weighs first: bytes, then objects.
pub fn columns(profile: &Profile, value: usize) -> Vec<usize> {
    let types = &profile.meta.value_types;
    let family = types.get(value).map_or("", |t| t.family());
    let mut columns: Vec<usize> =
        (0..types.len()).filter(|v| types[*v].family() == family).collect();
    columns.sort_by_key(|v| types[*v].unit == "count");
    columns
}

/// How it was measured, for how long, from when on.
pub fn method(profile: &Profile) -> String {
    let meta = &profile.meta;
    let how = match meta.source {
        Source::Exact if meta.in_windows => {
            "estimate: every allocation counted in short windows, for the budget"
        }
        Source::Exact => "exact: every allocation counted",
        Source::Span => "estimate: allocations sampled where a span ran out",
        Source::Sample => "estimate: objects sampled by the runtime, from allocation to free",
        Source::Records => "as the runtime's own records have it",
    };
    let how = printable(meta.method.as_deref().unwrap_or(how));
    match meta.duration {
        Duration::ZERO => format!("{how}; read at {}", utc(meta.started)),
        length => format!("{how}, for {} from {}", duration(length), utc(meta.started)),
    }
}

/// All totals, and the rate of bytes.
pub fn totals(profile: &Profile) -> String {
    let meta = &profile.meta;
    let one = |value: usize| amount(meta.value_types[value], profile.total(value));
    let joined =
        |value| columns(profile, value).into_iter().map(one).collect::<Vec<_>>().join(" in ");
    let inuse = profile.value_of_kind(INUSE_SPACE);
    let space = profile.value_of_kind(ALLOC_SPACE);
    let mut line = match (inuse, space) {
        (Some(inuse), Some(space)) if meta.source == Source::Sample => {
            format!("allocated {}, of it in use at the end {}", joined(space), joined(inuse))
        }
        (Some(inuse), Some(space)) => {
            format!("in use {}; allocated since the start {}", joined(inuse), joined(space))
        }
        (None, None) if own_words(&meta.value_types) => {
            // Times contain each other where iterations are nested.
            let all = (0..meta.value_types.len()).filter(|v| meta.value_types[*v] != MAP_TIME);
            let whole = |value: usize| match meta.value_types[value] {
                GOROUTINES_CREATED => {
                    format!("{} created", counted(profile.total(value), "goroutine"))
                }
                STACK_COPIED => format!("{} copied", one(value)),
                _ => one(value),
            };
            format!("total {}", all.map(whole).collect::<Vec<_>>().join(", "))
        }
        (inuse, space) => {
            let value = inuse.or(space).unwrap_or(meta.default_value);
            let what = meta.value_types.get(value).copied().and_then(of_os);
            format!("total {}{}", joined(value), what.map_or(String::new(), |of| format!(" {of}")))
        }
    };
    let seconds = meta.duration.as_secs_f64();
    if let Some(created) = profile.value_of_kind(GOROUTINES_CREATED).filter(|_| seconds > 0.0)
        && space.is_none()
    {
        let rate = profile.total(created) as f64 / seconds;
        line.push_str(&format!("; {rate:.1} created/s"));
    }
    if let Some(space) = space.filter(|_| seconds > 0.0) {
        let rate = profile.total(space) as f64 / seconds;
        line.push_str(&format!(", {}/s", bytes(rate as u64)));
    }
    line
}

/// Whether values say by themselves what they are of, one after the other.
fn own_words(types: &[ValueType]) -> bool {
    types.first().is_some_and(|first| {
        matches!(first.family(), "map" | "goroutines" | "stack" | "box" | "slice" | "pool" | "gc")
    })
}

/// The processes, the first few by name.
pub fn processes(profile: &Profile) -> String {
    let all = &profile.processes;
    let named: Vec<String> = all.iter().take(NAMED).map(process).collect();
    match all.len() {
        0 => "no process".to_owned(),
        n if n > NAMED => {
            let more: u64 = all[NAMED..].iter().map(|process| process.processes).sum();
            format!("{}; and {more} more", named.join("; "))
        }
        _ => named.join("; "),
    }
}

/// `server (pid 4242, go1.26.6, container 0123456789ab)`.
pub fn process(process: &Process) -> String {
    let mut facts = vec![match process.processes {
        1 => format!("pid {}", process.pid),
        _ => process.who(),
    }];
    match &process.go_version {
        Some(version) => facts.push(printable(version).into_owned()),
        None => facts.push("Go version unknown".to_owned()),
    }
    if let Some(id) = &process.container {
        let short: String = id.chars().take(12).collect();
        let called = process.workload.container.as_ref().unwrap_or(&short);
        facts.push(format!("container {}", printable(called)));
    }
    if let Some(pod) = &process.workload.pod {
        let namespace = process.workload.namespace.as_deref().unwrap_or("?");
        facts.push(format!("pod {}/{}", printable(namespace), printable(pod)));
    }
    if let Some(unit) = &process.workload.unit {
        facts.push(printable(unit).into_owned());
    }
    format!("{} ({})", printable(&process.comm), facts.join(", "))
}

/// One line for each counter that is a loss; empty when nothing was lost.
pub fn losses(profile: &Profile) -> Vec<String> {
    let exact = profile.meta.source == Source::Exact && !profile.meta.in_windows;
    let seen = profile.value_of_kind(ALLOC_OBJECTS).filter(|_| exact);
    let lost = profile.meta.counters.iter().filter(|c| c.is_loss && c.count > 0);
    lost.map(|counter| {
        let part = seen.map_or(String::new(), |objects| {
            let all = profile.total(objects).saturating_add(profile.meta.lost());
            format!(" ({} of all)", share(counter.count, all))
        });
        format!("lost: {}{part} {}", grouped(counter.count), counter.help)
    })
    .collect()
}

/// What recording cost each process that was kept to a budget, and what was seen of it for that; the
/// dearest first.
pub fn costs(profile: &Profile) -> Vec<String> {
    let Some(budget) = profile.meta.budget else { return Vec::new() };
    let with_cost = |process: &Process| process.cost.map(|cost| (process.who(), cost));
    let mut all: Vec<(String, Cost)> = profile.processes.iter().filter_map(with_cost).collect();
    all.sort_by_key(|(_, cost)| Reverse(cost.caused));
    let one = |(who, cost): &(String, Cost)| {
        let part = match cost.percent() {
            Some(percent) => format!(
                "{percent:.2} % of its {} of CPU time (budget {} %)",
                duration(cost.cpu),
                100.0 * budget
            ),
            None => "of CPU time that could not be read".to_owned(),
        };
        let seen = match cost.windows {
            0 => "traced all the time".to_owned(),
            _ if cost.is_over() => {
                format!("recorded {} of {}", duration(cost.observed), duration(cost.traced))
            }
            _ => format!(
                "traced {:.1} % of the time, taken off {} times, {}",
                cost.observed_percent(),
                grouped(cost.windows.into()),
                match cost.rest {
                    Rest::Estimated => "the rest estimated",
                    Rest::TooFew => "the rest left out: too short to be scaled by time",
                    Rest::TooDense => {
                        "the rest left out: its events come too fast to be scaled by time"
                    }
                    Rest::Unreadable => "the rest left out: its runtime's counters can't be read",
                    Rest::Over => "the rest left out",
                }
            ),
        };
        let own = match cost.own.as_secs_f64() * 1e3 {
            0.0 => String::new(),
            own => format!(" and {own:.1} ms of heaptap's own"),
        };
        format!(
            "cost of {who}: {}, {:.1} ms{own}, {part}; {seen}",
            counted(cost.traps, "trap"),
            cost.caused.as_secs_f64() * 1e3
        )
    };
    all.iter().map(one).collect()
}

/// The dearest of [`costs`], for where there is little room.
pub fn first_costs(profile: &Profile) -> Vec<String> {
    let mut costs = costs(profile);
    let more = costs.len().saturating_sub(NAMED);
    if more > 0 {
        costs.truncate(NAMED);
        costs.push(format!("cost of {more} more processes: less each (-o FILE.json tells)"));
    }
    costs
}

/// What became of a stack's objects: `1,300 objects: 90 % freed, half of them within 16 ms; ▂▅█▁`.
pub fn lives(ages: &Ages) -> String {
    lives_of(ages, "object", "was freed", "freed")
}

/// What became of a stack's goroutines, and how old those are that live.
pub fn goroutine_lives(ages: &Ages) -> String {
    let ended = lives_of(ages, "goroutine", "ended", "ended");
    living(ages).map_or(ended.clone(), |living| format!("{ended}; {living}"))
}

/// How many live and how old they are: `12 live, the oldest for 4 s or more`; nothing when none does.
pub fn living(ages: &Ages) -> Option<String> {
    let class = ages.live.iter().rposition(|n| *n > 0)?;
    let live = ages.live.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
    let age = match class {
        0 => format!("less than {}", short(Ages::bound(0))),
        class => format!("{} or more", short(Ages::bound(class - 1))),
    };
    let oldest = if live == 1 { "" } else { " the oldest" };
    Some(format!("{} live,{oldest} for {age}", grouped(live)))
}

fn lives_of(ages: &Ages, what: &str, was: &str, ended: &str) -> String {
    let sum = |counts: &[u64]| counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
    let (freed, live) = (sum(&ages.freed), sum(&ages.live));
    let all = freed.saturating_add(live);
    let Some(class) = ages.median_life() else {
        return format!("none of {} {was}", counted(live, what));
    };
    let half = match class {
        class if class + 1 == AGES => format!("after {}", short(Ages::bound(class - 1))),
        class => format!("within {}", short(Ages::bound(class))),
    };
    format!("{} {ended}, half of them {half}  {}", share(freed, all), bars(&ages.freed))
}

/// A length as a round number of its largest unit.
fn short(length: Duration) -> String {
    match length.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

/// Counts as bars, from the first that is not 0 to the last.
fn bars(counts: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let first = counts.iter().position(|n| *n > 0).unwrap_or(0);
    let last = counts.iter().rposition(|n| *n > 0).map_or(first, |last| last + 1);
    let bar = |n: &u64| match *n {
        0 => ' ',
        n => BARS[((n as u128 * 8).div_ceil(most as u128) as usize).clamp(1, 8) - 1],
    };
    counts[first..last].iter().map(bar).collect()
}

/// Whether the numbers are complete, in one line.
pub fn verdict(profile: &Profile) -> &'static str {
    let lost = profile.meta.lost() > 0;
    let unsettled = profile.meta.counters.iter().any(|counter| counter.name == UNSETTLED);
    match (profile.meta.is_estimate(), lost) {
        _ if unsettled => "nearly as in the program's own profile, which changed while it was read",
        _ if profile.meta.source == Source::Records && lost => {
            "as in the program's own profile, but for the losses"
        }
        _ if profile.meta.source == Source::Records => {
            "as in the program's own profile; nothing lost"
        }
        (false, false) => "exact, nothing lost",
        (false, true) => "exact but for the losses",
        (true, false) => "estimate: ± is the 95 % confidence interval; nothing lost",
        (true, true) => "estimate: ± is the 95 % confidence interval, losses not included",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;
    use crate::profile::CounterValue;
    use crate::profile::build::Build;

    #[test]
    fn one_exact_process() {
        let profile = sample::server();
        assert_eq!(title(&profile), "heaptap: server");
        let line = "exact: every allocation counted, for 10.0 s from 2026-01-02 03:04:05 UTC";
        assert_eq!(method(&profile), line);
        assert_eq!(totals(&profile), "total 71.8 MiB in 153,016 objects, 7.2 MiB/s");
        assert_eq!(processes(&profile), "server (pid 4242, go1.26.6)");
        assert!(losses(&profile).is_empty());
        assert_eq!(verdict(&profile), "exact, nothing lost");
    }

    #[test]
    fn several_estimated_processes_with_losses() {
        let profile = sample::fleet();
        assert_eq!(title(&profile), "heaptap: 3 processes");
        assert!(method(&profile).starts_with("estimate: "));
        assert_eq!(totals(&profile), "total 14.0 MiB in 9,900 objects, 1.4 MiB/s");
        assert!(
            processes(&profile).contains(
                "worker (pid 78, Go version unknown, container job, pod shop/worker-5d9)"
            )
        );
        assert_eq!(losses(&profile).len(), 1);
        assert_eq!(
            verdict(&profile),
            "estimate: ± is the 95 % confidence interval, losses not included"
        );
    }

    #[test]
    fn what_it_cost_is_told_for_each_process() {
        let cost = |windows, rest| Cost {
            traps: 12_345,
            caused: Duration::from_micros(8_400),
            own: Duration::ZERO,
            cpu: Duration::from_secs(2),
            windows,
            observed: Duration::from_millis(50),
            traced: Duration::from_secs(1),
            rest,
        };
        let mut build = Build::new(Source::Exact);
        let one = build.process(7, "a", "");
        let other = build.process(8, "b", "");
        assert!(costs(&build.done()).is_empty());
        let mut build = Build::new(Source::Exact);
        build.process(7, "a", "");
        build.process(8, "b", "");
        build.cost(one, cost(0, Rest::Estimated));
        let less = Cost {
            caused: Duration::from_micros(9),
            cpu: Duration::ZERO,
            ..cost(0, Rest::Estimated)
        };
        build.cost(other, less);
        let profile = build.done();
        let lines = costs(&profile);
        assert_eq!(
            lines[0],
            "cost of 7: 12,345 traps, 8.4 ms, 0.42 % of its 2.0 s of CPU time (budget 1 %); traced \
             all the time"
        );
        assert!(lines[1].contains("of CPU time that could not be read"), "{lines:?}");
        let mut build = Build::new(Source::Exact);
        build.process(7, "a", "");
        build.cost(one, Cost { own: Duration::from_micros(1_600), ..cost(3, Rest::Estimated) });
        let line = costs(&build.done()).remove(0);
        assert!(line.contains("8.4 ms and 1.6 ms of heaptap's own, 0.50 % of its"), "{line}");
        assert_eq!(verdict(&profile), "exact, nothing lost");
        let mut build = Build::new(Source::Exact);
        for pid in 0..6 {
            let process = build.process(pid, "a", "");
            let rest = if pid > 0 { Rest::Estimated } else { Rest::TooDense };
            build.cost(process, cost(3, rest));
        }
        let profile = build.done();
        assert_eq!(first_costs(&profile).len(), 5);
        assert!(costs(&profile)[0].contains("5.0 % of the time, taken off 3 times, the rest left"));
        assert!(costs(&profile)[1].ends_with("the rest estimated"));
        assert!(
            method(&profile).starts_with("estimate: every allocation counted in short windows")
        );
        assert!(verdict(&profile).starts_with("estimate"));
        assert!(profile.meta.is_estimate());
    }

    #[test]
    fn many_processes_are_counted_and_none_is_said() {
        let mut build = Build::new(Source::Exact);
        assert_eq!(processes(&build_of(0)), "no process");
        for pid in 0..9 {
            build.process(pid, "x", "");
        }
        assert!(processes(&build.done()).ends_with("; and 5 more"));
    }

    fn build_of(count: u32) -> Profile {
        let mut build = Build::new(Source::Exact);
        for pid in 0..count {
            build.process(pid, "x", "");
        }
        build.done()
    }

    #[test]
    fn records_are_of_one_moment() {
        let heap = sample::heap();
        let line = "heap as of the last completed collection (cycle 7), one sample per 512.0 KiB; \
                    read at 2026-01-02 03:04:05 UTC";
        assert_eq!(method(&heap), line);
        let line =
            "in use 12.0 MiB in 24 objects; allocated since the start 112.0 MiB in 1,224 objects";
        assert_eq!(totals(&heap), line);
        assert_eq!(verdict(&heap), "as in the program's own profile; nothing lost");
        let mut changed = sample::heap();
        changed.meta.counters = vec![CounterValue {
            name: UNSETTLED.into(),
            help: String::new().into(),
            is_loss: false,
            count: 1,
        }];
        assert!(verdict(&changed).starts_with("nearly as in the program's own profile"));
        assert!(heap.meta.is_estimate());
        let block = sample::block();
        assert_eq!(totals(&block), "total 2.5 s in 3 contentions");
        assert!(!block.meta.is_estimate());
        assert_eq!(columns(&heap, 1), [1, 0]);
        assert_eq!(columns(&heap, 2), [3, 2]);
    }

    #[test]
    fn losses_say_their_share_when_the_whole_is_known() {
        let mut profile = sample::server();
        profile.meta.counters = sample::fleet().meta.counters;
        let lines = losses(&profile);
        assert!(lines[0].starts_with("lost: 1,200 (0.8 % of all) events dropped"), "{lines:?}");
        assert_eq!(verdict(&profile), "exact but for the losses");
    }

    #[test]
    fn what_goroutines_and_stacks_measure_has_words() {
        let profile = sample::goroutines();
        let line = "total 10,300 goroutines created, 9,999 ended, 301 live; 1030.0 created/s";
        assert_eq!(totals(&profile), line);
        assert_eq!(event(&profile), "goroutine");
        let lives = |at: usize| goroutine_lives(profile.samples[at].ages.as_deref().unwrap());
        assert!(lives(0).starts_with("100.0 % ended, half of them within 1 ms"), "{}", lives(0));
        assert!(lives(0).ends_with("; 2 live, the oldest for less than 1 ms"), "{}", lives(0));
        assert!(lives(1).ends_with("; 299 live, the oldest for 4 s or more"), "{}", lives(1));
        assert_eq!(living(&Ages::default()), None);
        let profile = sample::moves();
        assert_eq!(totals(&profile), "total 30 growths, 10 shrinks, 100.0 KiB copied");
        assert_eq!(event(&profile), "move of a stack");
    }

    #[test]
    fn a_hostile_comm_is_spelled_out() {
        assert_eq!(title(&sample::hostile()), "heaptap: <b>\\x1b[31m;--x");
    }
}
