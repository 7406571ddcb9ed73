//! Forecasts for people.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Report, Told};
use crate::forecast::{
    Basis, Course, Evidence, Goes, Judged, Limit, Of, Ratios, Sign, Unit, Way, What, When,
};
use crate::output::text::{bytes, duration, grouped, printable, wrap};
use crate::pipeline::counted;

/// Columns of sentences.
const WIDTH: usize = 96;
/// Spaces before them.
const INDENT: usize = 11;

/// The report; `all` shows also those of whom there is nothing to say.
pub fn report(report: &Report, all: bool) -> String {
    let mut out = String::new();
    let (calm, others): (Vec<&Told>, Vec<&Told>) = match all {
        true => (Vec::new(), report.processes.iter().collect()),
        false => report.processes.iter().partition(|told| told.is_calm()),
    };
    for told in others {
        process(&mut out, told);
    }
    match calm[..] {
        [] => {}
        [told] => process(&mut out, told),
        [..] => {
            let count = counted(calm.len(), "process");
            let _ = writeln!(
                out,
                "{count}: no end in sight, and no sign of one (-p or --json tell more)"
            );
        }
    }
    for unseen in &report.unseen {
        let _ = writeln!(out, "not looked at: {}", printable(&unseen.failure.message));
    }
    let end = out.trim_end().len();
    out.truncate(end);
    out + "\n"
}

fn process(out: &mut String, told: &Told) {
    let (who, forecast) = (&told.who, &told.forecast);
    let version = who.go_version.as_deref().map_or(String::new(), |v| format!(", Go {v}"));
    let title = format!(
        "process {} ({}{version}), {:.0} s, {}: {}",
        who.id.pid,
        who.comm,
        forecast.seconds,
        counted(forecast.collections as usize, "collection"),
        headline(told)
    );
    let _ = writeln!(out, "{}", printable(&title));
    if told.has_ended {
        sentence(out, "ended", "it ended while it was looked at");
    }
    for note in &told.notes {
        sentence(out, "note", note);
    }
    for one in &forecast.limits {
        sentence(out, "limit", &limit(one));
    }
    if forecast.limits.is_empty() {
        let resident = match forecast.courses.resident.way {
            Goes::TooEarly => String::new(),
            _ => format!(
                "; resident memory {}",
                moves(&forecast.courses.resident, Unit::BytesASecond)
            ),
        };
        sentence(
            out,
            "limit",
            &format!("none: neither its control groups nor GOMEMLIMIT have one{resident}"),
        );
    }
    let signs = |sign: Sign| forecast.ways.iter().filter(move |way| way.sign == sign);
    for one in signs(Sign::Likely).chain(signs(Sign::Possible)) {
        sentence(out, one.sign.word(), &way(one, who.id.pid));
    }
    if signs(Sign::None).count() == forecast.ways.len() {
        let none =
            "of growth of its live heap, of goroutines, off the heap, of fragments or of churn";
        sentence(out, "no sign", none);
    }
    heap(out, told);
    out.push('\n');
}

/// The most urgent in a few words.
fn headline(told: &Told) -> String {
    let forecast = &told.forecast;
    let Some(first) = forecast.limits.iter().find(|limit| limit.of.is_end()) else {
        return "no limit".to_owned();
    };
    match first.when {
        _ if first.is_reached => format!("at {}", called(first)),
        When::In { seconds, .. } => format!("{} in {}", called(first), length(seconds)),
        When::TooEarly => "too early to tell".to_owned(),
        When::NotInSight { .. } => "no end in sight".to_owned(),
    }
}

fn called(limit: &Limit) -> &'static str {
    match limit.of {
        Of::Group => "its control group's limit",
        Of::Live | Of::Mapped => "GOMEMLIMIT",
    }
}

fn sentence(out: &mut String, lead: &str, text: &str) {
    for (number, line) in wrap(&printable(text), WIDTH - INDENT).iter().enumerate() {
        let lead = if number == 0 { lead } else { "" };
        let _ = writeln!(out, "  {lead:<9}{line}");
    }
}

fn limit(limit: &Limit) -> String {
    let (used, all) = (bytes(limit.used), bytes(limit.bytes));
    let part = share(limit.used as f64 / (limit.bytes as f64).max(1.0));
    let what = match limit.of {
        Of::Group => {
            let group = limit.group.as_deref().unwrap_or_default();
            let kept = match limit.is_kept {
                Some(true) => ", without what the kernel can drop",
                _ => ", pages of files included",
            };
            format!("control group {group}: {used} of {all} ({part}){kept}")
        }
        Of::Live => format!("GOMEMLIMIT, by what no collection frees: {used} of {all} ({part})"),
        Of::Mapped => format!("GOMEMLIMIT, by all that is mapped: {used} of {all} ({part})"),
    };
    let course = &limit.course;
    if limit.is_reached {
        return format!("{what}; it is reached: {}", consequence(limit.of));
    }
    if course.way == Goes::TooEarly {
        return format!("{what}; too early to tell how it goes");
    }
    let turned = match course.has_turned {
        true => format!(" in the last {:.0} s, not as before", course.seconds),
        false => String::new(),
    };
    let goes = format!("{what}; {}{turned}", moves(course, Unit::BytesASecond));
    match limit.when {
        When::In { seconds, earliest, latest } => {
            let end = latest.map_or("never".to_owned(), length);
            let from = match limit.from {
                Basis::Use => "",
                Basis::Goal => ", since the heap's goal grows into it",
            };
            format!(
                "{goes}: full in {} (95 %: {} to {end}){from}; {}",
                length(seconds),
                length(earliest),
                consequence(limit.of)
            )
        }
        When::NotInSight { earliest: Some(earliest) } => {
            format!("{goes}: no end in sight, and none before {}", length(earliest))
        }
        When::NotInSight { earliest: None } | When::TooEarly => {
            format!("{goes}: no end in sight")
        }
    }
}

fn consequence(of: Of) -> &'static str {
    match of {
        Of::Group => "the kernel kills for it",
        Of::Live => "the collector runs all the time from then on, and memory grows beyond it",
        Of::Mapped => "the collector works harder from then on",
    }
}

/// `grows by 1.1 MiB ± 0.1 MiB a second`.
fn moves(course: &Course, unit: Unit) -> String {
    let (slope, error) = (amount(course.slope.abs(), unit), amount(course.error, unit));
    match course.way {
        Goes::TooEarly => "too early to tell".to_owned(),
        Goes::Grows => format!("grows by {slope} ± {error} a second"),
        Goes::Falls => format!("falls by {slope} ± {error} a second"),
        Goes::Level => format!("level ({} ± {error} a second)", signed(course.slope, unit)),
    }
}

fn way(judged: &Judged, pid: u32) -> String {
    let (goroutines, others): (Vec<&Evidence>, Vec<&Evidence>) =
        judged.evidence.iter().partition(|one| one.what == What::Goroutines && one.is_for);
    let (name, next) = match judged.way {
        Way::Outside if !goroutines.is_empty() => (
            "goroutines become more",
            format!(
                "heaptap goroutines -p {pid} tells what they wait for, heaptap leaks who makes them"
            ),
        ),
        Way::Outside => (
            "memory that is not the Go heap becomes more",
            format!("heaptap record -p {pid} --probe os -d 10 tells who maps it"),
        ),
        Way::Live => (
            "what lives on the heap becomes more",
            format!("heaptap leaks -p {pid} tells at which line"),
        ),
        Way::Fragments => (
            "large objects or fragments: memory is mapped that holds no objects",
            format!("heaptap stats -p {pid} has the sizes of objects"),
        ),
        Way::Churn => (
            "small objects come and go, and keep the collector busy",
            format!("heaptap record -p {pid} -d 10 --short-lived tells who makes them"),
        ),
    };
    let say = |is_for: bool| -> String {
        let of = goroutines.iter().chain(&others).filter(|one| one.is_for == is_for);
        of.map(|one| evidence(one)).collect::<Vec<_>>().join(", ")
    };
    let against = match say(false) {
        none if none.is_empty() => none,
        some => format!("; against it: {some}"),
    };
    format!("{name}: {}{against}; {next}", say(true))
}

fn evidence(one: &Evidence) -> String {
    let unit = one.what.unit();
    let number = match one.error {
        Some(error) => format!("{} ± {} a second", signed(one.value, unit), amount(error, unit)),
        None => match unit {
            Unit::Part => share(one.value),
            Unit::BytesASecond | Unit::ASecond => format!("{} a second", amount(one.value, unit)),
            Unit::Bytes => amount(one.value, unit),
        },
    };
    let what = match one.what {
        What::Goroutines => "goroutines",
        What::Stacks => "stacks",
        What::OffHeap => "memory beyond what the runtime mapped",
        What::OffHeapOfGrowth => {
            return format!("{number} of the growth of resident memory is that");
        }
        What::Live => "live heap",
        What::Heap => "memory mapped for the heap",
        What::Allocated => return format!("{number} allocated"),
        What::Turnover => {
            return format!("the live heap is replaced {:.1} times a second", one.value);
        }
        What::MeanObject => return format!("objects of {number} in the mean"),
        What::GcOfUsed => return format!("the collector takes {number} of the program's CPU time"),
        What::GcOfAvailable => return format!("{number} of what it could have"),
        What::Collections => return format!("{:.1} collections a second", one.value),
        What::PeakBeyondLimit => {
            return format!("the heap at its goal is {number} beyond the control group's limit");
        }
        What::SpansFilled => return format!("spans are filled to {number}"),
        What::SpansEmpty => return format!("{number} in spans hold no objects"),
        What::Idle => return format!("{number} of the mapped heap is idle"),
        What::LargeThere => return format!("{number} of the heap is objects above 32 KiB"),
        What::LargeAllocated => {
            return format!("{number} of what is allocated is objects above 32 KiB");
        }
    };
    format!("{what} {number}")
}

fn heap(out: &mut String, told: &Told) {
    let (forecast, last) = (&told.forecast, &told.forecast.last);
    let ratios = &forecast.ratios;
    let of = |part: Option<f64>, text: &str| part.map(|part| format!("{} {text}", share(part)));
    let Ratios { live_of_goal, spans_filled, idle, released, off_heap, .. } = *ratios;
    let facts = [
        Some(format!("{} survived the last collection", bytes(last.marked))),
        of(live_of_goal, "of the goal"),
        of(spans_filled, "of the spans that are in use filled"),
        of(idle, "of the mapped heap idle"),
        of(released, "given back"),
    ];
    sentence(out, "heap", &joined(facts));
    let resident = last.resident.map(|resident| format!("resident {}", bytes(resident)));
    let facts = [
        resident,
        of(off_heap, "of it not the runtime's"),
        Some(format!("stacks {}", bytes(last.stacks))),
        last.goroutines.map(|count| format!("{} goroutines", grouped(count))),
    ];
    sentence(out, "memory", &joined(facts));
    let goal = match (last.gogc, last.goal) {
        (_, None) => Some("off (GOGC off, no GOMEMLIMIT)".to_owned()),
        _ if ratios.limit_binds.is_some_and(|part| part > 0.5) => ratios
            .goal_of_live
            .map(|times| format!("GOMEMLIMIT makes the goal, {times:.1} times the live heap")),
        _ => None,
    };
    let facts = [
        goal,
        of(ratios.gc_of_used, "of the program's CPU time"),
        of(ratios.gc_of_available, "of what it could have"),
        ratios.collections.map(|rate| format!("{rate:.1} collections a second")),
        ratios.allocated.map(|rate| format!("{}/s allocated", bytes(rate as u64))),
        ratios.mean_object.map(|size| format!("in objects of {}", bytes(size as u64))),
    ];
    sentence(out, "GC", &joined(facts));
}

fn joined<const N: usize>(facts: [Option<String>; N]) -> String {
    facts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn share(part: f64) -> String {
    match part {
        ..0.0005 => "<0.1 %".to_owned(),
        _ => format!("{:.1} %", 100.0 * part),
    }
}

fn amount(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes | Unit::BytesASecond => bytes(value.max(0.0).round() as u64),
        Unit::ASecond => format!("{value:.2}"),
        Unit::Part => share(value),
    }
}

fn signed(value: f64, unit: Unit) -> String {
    let sign = if value < 0.0 { "-" } else { "+" };
    format!("{sign}{}", amount(value.abs(), unit))
}

/// As precise as anybody can use.
pub fn length(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        ..600.0 => duration(Duration::from_secs_f64(seconds.max(0.0))),
        ..7200.0 => format!("{minutes} min"),
        ..172_800.0 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}
