//! By which allocation stacks a heap grew, collection by collection: what is told of that.
//!
//! In: a process with its [`Growth`]. Out: lines. The numbers are made in the pipeline.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::Process;
use crate::output::caller::chain;
use crate::output::text::{bytes, grouped};
use crate::profile::{Frame, Interner};

/// What the program's own heap sampler says of allocations between ends of collections.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// Mean bytes between samples; nothing: the sampler was off.
    pub rate: Option<u64>,
    pub names: Interner,
    /// Innermost frame first; each stack once.
    pub stacks: Vec<Vec<Frame>>,
    /// In order of collections.
    pub spans: Vec<Span>,
    /// All of them together.
    pub total: Option<Span>,
    /// Collections that are in none.
    pub unknown: u64,
    /// Why not, or what else is to be said.
    pub notes: Vec<String>,
}

/// From the end of the collection before `first` to the end of `last`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    pub first: u32,
    pub last: u32,
    pub sum: Amounts,
    /// By stack, an index in [`Growth::stacks`]; what grew most is first. Empty where `is_cut`.
    pub by: Vec<(u32, Amounts)>,
    /// Its stacks were not kept.
    pub is_cut: bool,
}

/// What was allocated, and by how much what is alive became more. With half-widths of 95 % intervals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amounts {
    pub allocated_objects: u64,
    pub allocated_bytes: u64,
    pub allocated_error: u64,
    pub grew_objects: i64,
    pub grew_bytes: i64,
    pub grew_error: u64,
}

impl Span {
    pub fn collections(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// `GC 7`, `GC 7 to 9`.
    pub fn title(&self) -> String {
        match self.collections() {
            1 => format!("GC {}", self.last),
            _ => format!("GC {} to {}", self.first, self.last),
        }
    }
}

/// Spans that are told one by one.
const SPANS: usize = 5;
/// A stack with less than this part of the span's bytes is not worth a line.
const LITTLE: u64 = 100;

impl Growth {
    /// Those after which most more was alive, the most first.
    pub fn largest(&self) -> Vec<&Span> {
        let mut spans: Vec<&Span> = self.spans.iter().filter(|s| s.sum.grew_bytes > 0).collect();
        spans.sort_by_key(|span| (Reverse(span.sum.grew_bytes), span.first));
        spans.truncate(SPANS);
        spans
    }

    /// Stacks of a span that grew most.
    pub fn grew_most<'s>(
        &self,
        span: &'s Span,
        top: usize,
    ) -> impl Iterator<Item = &'s (u32, Amounts)> {
        let least = span.sum.grew_bytes.max(0) / LITTLE as i64;
        span.by.iter().take(top).filter(move |(_, by)| by.grew_bytes > least)
    }

    /// Those, and those that allocated most.
    fn top(&self, span: &Span, top: usize) -> Vec<(u32, Amounts)> {
        let mut rows: Vec<(u32, Amounts)> = self.grew_most(span, top).copied().collect();
        let there: HashSet<u32> = rows.iter().map(|(stack, _)| *stack).collect();
        let least = span.sum.allocated_bytes / LITTLE;
        let mut most: Vec<(u32, Amounts)> = span.by.clone();
        most.retain(|(_, by)| by.allocated_bytes > least);
        most.sort_by_key(|(stack, by)| (Reverse(by.allocated_bytes), *stack));
        rows.extend(most.into_iter().take(top).filter(|(stack, _)| !there.contains(stack)));
        rows
    }

    /// A stack in one line.
    pub fn line(&self, stack: u32) -> String {
        let frames = self.stacks.get(stack as usize).map_or(&[][..], Vec::as_slice);
        chain(&self.names, frames)
    }

    /// What it is from, and of which collections it is known.
    pub fn source(&self, process: &Process) -> String {
        let Some(rate) = self.rate else { return self.notes.join("; ") };
        let error = match rate {
            1 => "every object is sampled".to_owned(),
            _ => format!("one sample for {}, ± holds 95 %", bytes(rate)),
        };
        let all = process.count();
        let known = all.saturating_sub(self.unknown);
        let mut text = format!(
            "by allocation stack, from the program's own heap profile ({error}): {} of {} collections",
            grouped(known),
            grouped(all)
        );
        let joined: u64 = self.spans.iter().map(Span::collections).filter(|n| *n > 1).sum();
        if joined > 0 {
            text.push_str(&format!(", {} of them told together with others", grouped(joined)));
        }
        for note in &self.notes {
            text.push_str("; ");
            text.push_str(note);
        }
        text
    }
}

/// Bytes with a sign.
pub fn signed(count: i64) -> String {
    let sign = match count {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", bytes(count.unsigned_abs()))
}

/// By how much what was found alive became more in a span, where both ends were seen in full.
pub fn live_change(process: &Process, span: &Span) -> Option<i64> {
    let live = |number: u32| {
        let at = process.cycles.binary_search_by_key(&number, |cycle| cycle.number).ok()?;
        i64::try_from(process.cycles[at].detail?.live).ok()
    };
    Some(live(span.last)? - live(span.first.checked_sub(1)?)?)
}

/// When the last collection of a span ended, in nanoseconds since 1970.
pub fn end(process: &Process, span: &Span) -> Option<u64> {
    let at = process.cycles.binary_search_by_key(&span.last, |cycle| cycle.number).ok()?;
    Some(process.cycles[at].end_unix_ns)
}

/// All spans together and those that grew most, each with its stacks, as lines.
pub fn lines(process: &Process, growth: &Growth, top: usize) -> Vec<String> {
    let Some(total) = growth.total.as_ref().filter(|_| top > 0) else { return Vec::new() };
    let number = |text: String, error: u64| match error {
        0 => text,
        error => format!("{text} ±{}", bytes(error)),
    };
    let row = |sum: &Amounts, by: String| {
        let grew = number(signed(sum.grew_bytes), sum.grew_error);
        [grew, number(bytes(sum.allocated_bytes), sum.allocated_error), by]
    };
    let mut rows = vec![["GREW BY", "ALLOCATED", "BY"].map(str::to_owned)];
    let largest = if growth.spans.len() > 1 { growth.largest() } else { Vec::new() };
    for (at, span) in std::iter::once(total).chain(largest).enumerate() {
        let mut title = span.title();
        if at == 0 && growth.spans.len() > 1 {
            title.push_str(", all together");
        } else if let Some(end) = end(process, span) {
            let since = end.saturating_sub(process.first_unix_ns);
            title.push_str(&format!(" at {:.3} s", since as f64 / 1e9));
        }
        if let Some(change) = live_change(process, span) {
            title.push_str(&format!(" (alive {})", signed(change)));
        }
        if span.is_cut {
            title.push_str(": its stacks were not kept");
        }
        rows.push(row(&span.sum, title));
        for (stack, by) in growth.top(span, top) {
            rows.push(row(&by, format!("    {}", growth.line(stack))));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let [grew, allocated] = [0, 1].map(|column| width(column).unwrap_or(0) + 2);
    rows.iter().map(|[a, b, by]| format!("{a:>grew$}{b:>allocated$}  {by}")).collect()
}
