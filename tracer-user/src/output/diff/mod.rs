//! Comparisons of two profiles, in every format that profiles have.
//!
//! In: a [`Diff`]. Out: a differential flame graph, pprof, folded stacks with two columns, JSON, or a table for a
//! terminal. The formats are described in `docs/diff.md`.

mod folded;
mod json;
#[cfg(test)]
pub mod sample;
mod table;

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::text::{bytes, duration, grouped, nanoseconds, printable};
use super::{Format, Options, describe, pprof, svg};
use crate::profile::diff::{Diff, Kind, Part, Side};

/// Renders a comparison to `out`. Errors are those of `out` alone.
pub fn render(
    diff: &Diff,
    format: Format,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Svg => svg::diff::write(diff, out),
        Format::Html => Err(io::Error::other("a comparison has no page")),
        Format::Pprof => pprof::diff::write(diff, out),
        Format::Folded => folded::write(diff, out),
        Format::Json => json::write(diff, out),
        Format::Table => table::write(diff, &options.table, out),
    }
}

/// A sentence about a comparison.
pub(super) struct Line {
    pub text: String,
    pub is_loss: bool,
}

/// What was compared, in one line.
pub fn summary(diff: &Diff) -> String {
    let [before, after] = diff.totals();
    let kind = diff.kind();
    format!(
        "{}: {} before, {} after, {}",
        printable(&kind.kind),
        amount(kind, before),
        amount(kind, after),
        changed(kind, before, after)
    )
}

/// What people have to know about a comparison.
pub(super) fn about(diff: &Diff) -> Vec<Line> {
    let mut lines = vec![
        format!("before: {}", side(&diff.before)),
        format!("after: {}", side(&diff.after)),
        summary(diff),
    ];
    lines.extend(rates(diff));
    lines.push(tally(diff));
    if diff.moved > 0 {
        lines.push(format!(
            "gone in one line and new in another: {} (--by function matches them)",
            counted(diff.moved, "stack")
        ));
    }
    let mut lines: Vec<Line> =
        lines.into_iter().map(|text| Line { text, is_loss: false }).collect();
    for (word, side) in [("before", &diff.before), ("after", &diff.after)] {
        for loss in describe::losses(&side.profile) {
            lines.push(Line { text: format!("{word}: {loss}"), is_loss: true });
        }
    }
    if [&diff.before, &diff.after].iter().any(|side| side.profile.meta.is_estimate()) {
        let text = match diff.all.samples.iter().any(|sample| !sample.error.is_empty()) {
            true => "estimates: ± is the 95 % confidence interval of a change",
            false => {
                "estimates: values were scaled up from samples, and small changes may be chance"
            }
        };
        lines.push(Line { text: text.to_owned(), is_loss: false });
    }
    lines
}

/// What notes say of each of the two.
pub(super) fn notes(diff: &Diff) -> Vec<String> {
    let of = |word: &'static str, side: &Side| {
        let notes = side.profile.meta.notes.clone();
        notes.into_iter().map(move |note| format!("{word}: {}", printable(&note)))
    };
    of("before", &diff.before).chain(of("after", &diff.after)).collect()
}

/// `a.htap, server (pid 4242, go1.26.6), exact: every allocation counted, for 10.0 s from …`
fn side(Side { name, profile, .. }: &Side) -> String {
    let mut facts = vec![printable(name).into_owned()];
    let named = profile.processes.iter().any(|one| one.pid > 0 || !one.comm.is_empty());
    let path = profile.binaries.first().map_or("", |binary| &binary.path);
    let path = path.rsplit('/').next().unwrap_or_default();
    match named {
        true => facts.push(describe::processes(profile)),
        false if path.is_empty() => {}
        false => facts.push(printable(path).into_owned()),
    }
    facts.push(match profile.meta.started {
        SystemTime::UNIX_EPOCH => profile.meta.method.clone().unwrap_or_default(),
        _ => describe::method(profile),
    });
    facts.join("; ")
}

/// How fast what happened did so, and what was done about different lengths.
fn rates(diff: &Diff) -> Option<String> {
    let kind = diff.kind();
    let lengths = [&diff.before, &diff.after].map(|side| side.profile.meta.duration);
    if kind.is_level() || lengths.contains(&Duration::ZERO) {
        return None;
    }
    let totals = [diff.before.totals[diff.value], diff.after.totals[diff.value]];
    let [before, after] = [0, 1].map(|at| {
        let rate = totals[at] as f64 / lengths[at].as_secs_f64();
        format!("{}/s", amount(kind, rate as u64))
    });
    let lengths = lengths.map(duration);
    let how = match diff.scaled {
        Some(scale) => format!("before is scaled to the {} of after, × {scale:.3}", lengths[1]),
        None if lengths[0] == lengths[1] => format!("both took {}", lengths[0]),
        None => format!("not scaled: before took {}, after {}", lengths[0], lengths[1]),
    };
    Some(format!("{before} before, {after} after; {how}"))
}

fn tally(diff: &Diff) -> String {
    let tally = diff.tally();
    let kind = diff.kind();
    let part = |word: &str, sign: &str, all: Part, other: &str, of_them: Part| {
        if all.stacks == 0 {
            return format!("nothing has {word}");
        }
        let mut text =
            format!("{word}: {}, {sign}{}", counted(all.stacks, "stack"), amount(kind, all.change));
        if of_them.stacks > 0 {
            let (stacks, change) = (grouped(of_them.stacks as u64), amount(kind, of_them.change));
            text += &format!(" ({stacks} {other}, {sign}{change})");
        }
        text
    };
    format!(
        "{}; {}; unchanged: {}",
        part("grown", "+", tally.grown, "only after", tally.new),
        part("shrunk", "-", tally.shrunk, "only before", tally.gone),
        counted(tally.same, "stack")
    )
}

fn counted(count: usize, what: &str) -> String {
    describe::counted(count as u64, what)
}

/// One value with its unit.
pub(super) fn amount(kind: &Kind, count: u64) -> String {
    if let Some(known) = kind.known() {
        return describe::amount(known, count);
    }
    match kind.unit.as_str() {
        "bytes" => bytes(count),
        "nanoseconds" => nanoseconds(count),
        "count" => format!("{} {}", grouped(count), printable(&kind.kind)),
        unit => format!("{} {}", grouped(count), printable(unit)),
    }
}

/// `+1.5 MiB`, `-12 objects`, `±0`.
pub(super) fn signed(kind: &Kind, before: u64, after: u64) -> String {
    match before.cmp(&after) {
        std::cmp::Ordering::Less => format!("+{}", amount(kind, after - before)),
        std::cmp::Ordering::Greater => format!("-{}", amount(kind, before - after)),
        std::cmp::Ordering::Equal => "±0".to_owned(),
    }
}

/// `+25.0 %`, `new`, `gone`; nothing where there was and is nothing.
pub(super) fn part(before: u64, after: u64) -> String {
    match (before, after) {
        (0, 0) => String::new(),
        (0, _) => "new".to_owned(),
        (_, 0) => "gone".to_owned(),
        _ => {
            let part = 100.0 * (after as f64 - before as f64) / before as f64;
            // Hundreds of percent are hard to read.
            match part {
                part if part >= 1000.0 => format!("×{:.1}", after as f64 / before as f64),
                part => format!("{part:+.1} %"),
            }
        }
    }
}

/// `+1.5 MiB (+25.0 %)`.
fn changed(kind: &Kind, before: u64, after: u64) -> String {
    match before == 0 || after == 0 {
        true => signed(kind, before, after),
        false => format!("{} ({})", signed(kind, before, after), part(before, after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::golden::check;

    fn rendered(format: Format) -> String {
        let mut out = Vec::new();
        render(&sample::grown(), format, &Options::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn matches_the_golden_files() {
        check("grown.diff.txt", &rendered(Format::Table));
        check("grown.diff.folded", &rendered(Format::Folded));
        let document: serde_json::Value = serde_json::from_str(&rendered(Format::Json)).unwrap();
        check("grown.diff.json", &(serde_json::to_string_pretty(&document).unwrap() + "\n"));
    }

    #[test]
    fn changes_are_told_for_people() {
        let bytes = Kind::new("inuse_space", "bytes");
        assert_eq!(signed(&bytes, 1024, 4096), "+3.0 KiB");
        assert_eq!(signed(&bytes, 4096, 1024), "-3.0 KiB");
        assert_eq!(signed(&bytes, 7, 7), "±0");
        assert_eq!(signed(&Kind::new("samples", "count"), 1, 9), "+8 samples");
        assert_eq!(part(100, 150), "+50.0 %");
        assert_eq!(part(100, 50), "-50.0 %");
        assert_eq!(part(1, 31), "×31.0");
        assert_eq!([part(0, 1), part(1, 0), part(0, 0)], ["new", "gone", ""]);
    }
}
