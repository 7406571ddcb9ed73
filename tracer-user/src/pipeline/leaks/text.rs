//! Findings for people.

use std::fmt::Write as _;

use super::{Finding, Judged, Report, What};
use crate::output::text::{bytes, printable, short_path, wrap};
use crate::pipeline::counted;
use crate::profile::trend::{Keeper, Place, Verdict};

/// Columns of sentences.
const WIDTH: usize = 96;
/// Things that grow and are no leaks, that are shown of a process.
const DOUBTED: usize = 5;

/// The report; `whole` shows whole stacks.
pub fn report(report: &Report, whole: bool) -> String {
    let mut out = String::new();
    let quiet = |judged: &&Judged| judged.findings.is_empty() && judged.notes.is_empty();
    let nothing: Vec<&Judged> = report.processes.iter().filter(quiet).collect();
    for judged in report.processes.iter().filter(|judged| !quiet(judged)) {
        process(&mut out, judged, whole);
    }
    match nothing[..] {
        [] => {}
        [judged] => {
            let _ = writeln!(out, "{}: nothing leaks that can be seen\n", title(judged));
        }
        [..] => {
            let _ = writeln!(
                out,
                "{}: nothing leaks that can be seen\n",
                counted(nothing.len(), "process")
            );
        }
    }
    for unseen in &report.unseen {
        let _ = writeln!(out, "not judged: {}", printable(&unseen.failure.message));
    }
    let end = out.trim_end().len();
    out.truncate(end);
    out + "\n"
}

fn title(judged: &Judged) -> String {
    let version = judged.go_version.as_deref().map_or(String::new(), |v| format!(", Go {v}"));
    let title = format!(
        "process {} ({}{version}), {:.0} s, {}",
        judged.id.pid,
        judged.comm,
        judged.span,
        counted(judged.profiles, "heap profile")
    );
    printable(&title).into_owned()
}

fn process(out: &mut String, judged: &Judged, whole: bool) {
    let leaks = judged.leaks();
    let word = if leaks == 0 { "no leak".to_owned() } else { counted(leaks, "leak") };
    let _ = writeln!(out, "{}: {word}", title(judged));
    for note in &judged.notes {
        sentence(out, "  note: ", note);
    }
    let (found, doubted): (Vec<&Finding>, Vec<&Finding>) =
        judged.findings.iter().partition(|finding| finding.trend.verdict == Verdict::Leak);
    for finding in found {
        let _ = writeln!(out, "\n  LEAK  {}", where_to_look(finding));
        sentence(out, "        ", &evidence(finding));
        sentence(out, "        doubt: ", &doubt(finding));
        if whole {
            for place in &finding.stack {
                let _ = writeln!(out, "          {}", at(place));
            }
        }
    }
    if !doubted.is_empty() {
        let _ = writeln!(out, "\n  growing, and no leak as far as can be told:");
    }
    for finding in doubted.iter().take(DOUBTED) {
        let _ = writeln!(out, "    {}", where_to_look(finding));
        let doubts: Vec<&str> = finding.trend.doubts.iter().map(|doubt| doubt.text()).collect();
        sentence(out, "        ", &format!("{}; {}", growth(finding), doubts.join("; ")));
    }
    if doubted.len() > DOUBTED {
        let _ = writeln!(out, "    and {} more (--json tells all)", doubted.len() - DOUBTED);
    }
    out.push('\n');
}

fn sentence(out: &mut String, lead: &str, text: &str) {
    let indent = " ".repeat(lead.len());
    for (number, line) in wrap(&printable(text), WIDTH - lead.len()).iter().enumerate() {
        let lead = if number == 0 { lead } else { &indent };
        let _ = writeln!(out, "{lead}{line}");
    }
}

fn at(place: &Place) -> String {
    let text = format!("{}  {}:{}", place.function, short_path(&place.file), place.line);
    printable(&text).into_owned()
}

fn where_to_look(finding: &Finding) -> String {
    let place = finding.place.as_ref().map(at);
    match finding.of {
        What::Heap => place.unwrap_or_default(),
        What::Goroutines if finding.blocked.is_none() => "goroutines".to_owned(),
        What::Goroutines => {
            format!("goroutines made at {}", place.unwrap_or_else(|| "an unknown place".to_owned()))
        }
        What::OffHeap => "memory that is not the Go runtime's".to_owned(),
    }
}

fn growth(finding: &Finding) -> String {
    let trend = &finding.trend;
    if finding.of == What::Goroutines {
        return format!(
            "grew by {:.0} in {:.0} s: {:.2} ± {:.2} a second",
            trend.grew, trend.span, trend.slope, trend.error
        );
    }
    let amount = |amount: f64| bytes(amount.max(0.0).round() as u64);
    format!(
        "grew by {} in {:.0} s: {} ± {} a second",
        amount(trend.grew),
        trend.span,
        amount(trend.slope),
        amount(trend.error)
    )
}

fn evidence(finding: &Finding) -> String {
    let trend = &finding.trend;
    let stays = (100.0 * trend.stays).round();
    let growth = growth(finding);
    match finding.of {
        What::Heap => {
            let stacks = match finding.stacks {
                0 | 1 => String::new(),
                several => format!("; {several} stacks lead there"),
            };
            let kept = match finding.keeper {
                Some(Keeper::Map) => "; a map grows there: more is put in than taken out",
                Some(Keeper::Slice) => "; a slice grows there: it is appended to",
                Some(Keeper::Pool) => "; a sync.Pool makes it: more is taken than given back",
                None => "",
            };
            format!(
                "{growth}, by {:.0} samples in {} heap profiles; {stays} % of what was allocated there \
                 stayed; {} are alive{stacks}{kept}",
                trend.hits,
                trend.looks,
                bytes(finding.live.max(0.0) as u64),
            )
        }
        What::Goroutines if finding.blocked.is_none() => format!(
            "{growth}; there are {:.0}; heaptap leaks -p PID tells who makes them, while it runs",
            finding.live
        ),
        What::Goroutines => format!(
            "{growth}; {stays} % of those made stayed; there are {:.0}, and {} of them had not run between \
             the last two looks",
            finding.live,
            finding.blocked.unwrap_or(0)
        ),
        What::OffHeap => format!(
            "{growth}; resident memory beyond all that the runtime has mapped is {}; heaptap record -p PID \
             --probe os -d 10 tells who maps it",
            bytes(finding.live.max(0.0) as u64)
        ),
    }
}

/// What nobody can exclude.
fn doubt(finding: &Finding) -> String {
    match finding.of {
        What::Heap => format!(
            "what takes much longer than {:.0} s to fill, or is let go of all at once after that, looks the same",
            finding.trend.span
        ),
        What::Goroutines => {
            format!(
                "a crowd of workers that is not complete after {:.0} s looks the same",
                finding.trend.span
            )
        }
        What::OffHeap => {
            "memory of C or of mappings that is still filling looks the same".to_owned()
        }
    }
}
