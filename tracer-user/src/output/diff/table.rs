//! A comparison on a terminal: the stacks that changed most, and all that was compared.

use std::io::{self, Write};

use super::{about, amount, notes, part, signed};
use crate::output::lines::{self, Paint};
use crate::output::table::{LeftOut, MIN_WIDTH, Style, Table, TableOptions, hidden};
use crate::output::text::keep_start;
use crate::profile::diff::Diff;
use crate::profile::{Frame, Sample};

/// Writes what was compared, and the stacks with the largest changes.
pub fn write(diff: &Diff, options: &TableOptions, out: &mut dyn Write) -> io::Result<()> {
    let style = Style { width: options.style.width.max(MIN_WIDTH), ..options.style };
    for line in about(diff) {
        let paint = if line.is_loss { Paint::Alarm } else { Paint::Plain };
        lines::wrapped(out, style, &line.text, "", paint)?;
    }
    stacks(diff, options, style, out)?;
    let notes = notes(diff);
    if !notes.is_empty() {
        writeln!(out)?;
    }
    for note in notes {
        lines::wrapped(out, style, &note, "note: ", Paint::Plain)?;
    }
    Ok(())
}

fn stacks(
    diff: &Diff,
    options: &TableOptions,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let kind = diff.kind();
    let changed: Vec<&Sample> = (diff.all.samples.iter())
        .filter(|one| {
            let [before, after] = diff.of(one);
            before != after
        })
        .collect();
    writeln!(out)?;
    if changed.is_empty() {
        return writeln!(out, "nothing has changed");
    }
    let shown = &changed[..changed.len().min(options.top)];
    let all = super::counted(changed.len(), "changed stack");
    let heading = match shown.len() < changed.len() {
        true => format!("top {} of {all} by change of {}", shown.len(), kind.kind),
        false => format!("{all} by change of {}", kind.kind),
    };
    writeln!(out, "{}", lines::paint(&heading, Paint::Dim, style))?;
    let rows: Vec<[String; 5]> = shown.iter().map(|one| row(diff, one)).collect();
    let widths = [0, 1, 2, 3, 4].map(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or(0)
    });
    let line = |rank: &str, cells: [&str; 5]| {
        let [change, error, part, before, after] = cells;
        let [c, e, p, b, a] = widths;
        let error = if e > 0 { format!(" {error:<e$}") } else { String::new() };
        format!("{rank:>3}  {change:>c$}{error}  {part:>p$}   {before:>b$}   {after:>a$}")
    };
    let heads = keep_start(&line("", HEADS), style.width).into_owned();
    writeln!(out, "{}", lines::paint(&heads, Paint::Dim, style))?;
    for (at, (one, row)) in shown.iter().zip(&rows).enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let [before, after] = diff.of(one);
        let paint = if after > before { Paint::Alarm } else { Paint::Relief };
        let cells = [0, 1, 2, 3, 4].map(|column| row[column].as_str());
        let line = line(&(at + 1).to_string(), cells);
        writeln!(out, "{}", lines::paint(&keep_start(&line, style.width), paint, style))?;
        let mut frames: Vec<&Frame> = diff.all.frames(one).collect();
        let hidden = hidden(frames.len(), options.frames);
        let left_out = LeftOut::new(hidden.clone());
        frames.drain(hidden);
        let table = Table { profile: &diff.all, value: 0, options, style, out: &mut *out };
        { table }.frames(&frames, left_out.as_ref())?;
    }
    let rest = changed[shown.len()..].iter().map(|one| {
        let [before, after] = diff.of(one);
        before.abs_diff(after)
    });
    let left = changed.len() - shown.len();
    if left > 0 {
        let most = amount(kind, rest.max().unwrap_or(0));
        let more = super::counted(left, "changed stack");
        let text = format!("{more} more, each by {most} at most");
        writeln!(out)?;
        writeln!(out, "{}", lines::paint(&text, Paint::Dim, style))?;
    }
    Ok(())
}

const HEADS: [&str; 5] = ["CHANGE", "", "", "BEFORE", "AFTER"];

/// Change, its error, part, before and after of a stack.
fn row(diff: &Diff, one: &Sample) -> [String; 5] {
    let kind = diff.kind();
    let [before, after] = diff.of(one);
    let error = one.error.get(diff.value).map(|error| error.ceil() as u64);
    [
        signed(kind, before, after),
        error.map_or(String::new(), |error| format!("± {}", amount(kind, error))),
        part(before, after),
        amount(kind, before),
        amount(kind, after),
    ]
}
