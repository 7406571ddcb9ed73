//! Collections over time as a picture: the heap, its goal and the limit above, pauses below, on one
//! axis. Everything in it stands still and needs no script; collections tell their figures when the
//! pointer rests on them.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::growth::{Growth, end, signed};
use super::plot::{Scale, powers, round_steps, thinned};
use super::text::{facts, remarks};
use super::{Process, Report};
use crate::output::svg::escape;
use crate::output::text::{bytes, grouped, keep_start, nanoseconds, utc, wrap};
use crate::runtime::cycles::{Cycle, Trigger};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 1180.0;
const HEAP_HEIGHT: f64 = 260.0;
const PAUSE_HEIGHT: f64 = 90.0;
const LINE: f64 = 16.0;
/// Characters of a line of text.
const COLUMNS: usize = 150;
/// Processes that are drawn; those with most collections.
const MOST_PROCESSES: usize = 12;
/// Above this many collections they are drawn by pixels, without figures.
const MOST_BANDS: usize = 1000;
/// Stacks of a collection that are shown.
const SHOWN: usize = 3;
/// A limit this many times higher than all else is told and not drawn.
const FAR: f64 = 4.0;

const STYLE: &str = "text{font:12px monospace;fill:#333}.t{font-size:17px}.s{fill:#666;font-size:11px}\
    .e{text-anchor:end}.m{text-anchor:middle}.grid{stroke:#ddd}.live{fill:#9cc3e6;fill-opacity:.55;\
    stroke:#2f6fae}.goal{fill:none;stroke:#d9822b;stroke-width:1.6}.limit{stroke:#c0392b;\
    stroke-width:1.6;stroke-dasharray:7 4}.mapped{fill:none;stroke:#888;stroke-dasharray:2 3}\
    .gc{fill:#7a5195;fill-opacity:.30}.gc:hover{fill-opacity:.6}.part{stroke:#999;stroke-dasharray:3 3}\
    .pause{fill:#7a5195}.forced{fill:#d62728}.grew{stroke:#2a7f46;stroke-dasharray:1 3}\
    .a{fill:#2a7f46;font-weight:bold}";

/// Writes the picture.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut order: Vec<&Process> = report.processes.iter().collect();
    order.sort_by_key(|process| std::cmp::Reverse(process.count()));
    let left_out = order.len().saturating_sub(MOST_PROCESSES);
    order.truncate(MOST_PROCESSES);
    let mut body = String::new();
    let mut y = 28.0;
    text(&mut body, WIDTH / 2.0, y, "t m", &format!("Collections from {}", utc(report.started)));
    for process in order {
        y = panel(&mut body, process, y + 26.0);
    }
    let mut notes = remarks(report);
    if left_out > 0 {
        notes.push(format!("{left_out} more processes with fewer collections: see .json"));
    }
    y += 10.0;
    for note in notes.iter().take(20) {
        for line in wrap(note, COLUMNS).iter().take(3) {
            y += LINE;
            text(&mut body, LEFT, y, "s", line);
        }
    }
    let height = y + 16.0;
    writeln!(
        out,
        "<?xml version=\"1.0\" standalone=\"no\"?>\n<svg version=\"1.1\" width=\"{WIDTH}\" \
         height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <style type=\"text/css\">{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>"
    )
}

fn text(body: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = escape(&keep_start(text, COLUMNS + 20));
    let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>");
}

fn line(body: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        body,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// One process from `y` on; where it ends.
fn panel(body: &mut String, process: &Process, mut y: f64) -> f64 {
    text(body, LEFT, y, "", &process.title());
    for (name, fact) in facts(process) {
        for (at, line) in wrap(&fact, COLUMNS - 14).iter().enumerate() {
            y += LINE;
            let name = if at == 0 { name } else { "" };
            text(body, LEFT, y, "s", name);
            text(body, LEFT + 95.0, y, "s", line);
        }
    }
    let picture = Picture::new(process, y + 40.0);
    picture.legend(body, y + 18.0);
    picture.heap(body);
    picture.pauses(body);
    picture.times(body);
    let mut y = picture.bottom + 24.0;
    if let Some(growth) = &process.growth {
        y = picture.growth(body, growth, y);
    }
    y
}

struct Picture<'a> {
    process: &'a Process,
    time: Scale,
    heap: Scale,
    /// Where pauses are drawn.
    top: f64,
    bottom: f64,
    /// A limit that is too far away to be drawn.
    far_limit: Option<u64>,
}

impl<'a> Picture<'a> {
    fn new(process: &'a Process, y: f64) -> Self {
        let heap_bottom = y + HEAP_HEIGHT;
        let first = process.first_unix_ns as f64;
        let last = (process.last_unix_ns.max(process.first_unix_ns + 1)) as f64;
        let details = process.cycles.iter().filter_map(|cycle| cycle.detail);
        let of_cycles = details.map(|d| d.heap_after.max(d.heap_before).max(d.goal.unwrap_or(0)));
        let of_samples = process.samples.iter().map(|(_, s)| s.live.max(s.goal.unwrap_or(0)));
        let most = of_cycles.chain(of_samples).max().unwrap_or(0) as f64;
        let limit = process.samples.iter().filter_map(|(_, s)| s.memory_limit).max();
        let mapped = process.samples.iter().filter(|(_, s)| s.memory_limit.is_some());
        let mapped = mapped.map(|(_, s)| s.mapped).max().unwrap_or(0) as f64;
        let far_limit = limit.filter(|limit| *limit as f64 > FAR * most.max(mapped));
        let drawn = limit.filter(|_| far_limit.is_none()).map_or(0.0, |l| l as f64);
        let most = most.max(drawn).max(if drawn > 0.0 { mapped } else { 0.0 });
        let time = Scale { from: first, to: last, start: LEFT, end: RIGHT };
        let heap = Scale { from: 0.0, to: (most * 1.05).max(1.0), start: heap_bottom, end: y };
        let top = heap_bottom + 22.0;
        Self { process, time, heap, top, bottom: top + PAUSE_HEIGHT, far_limit }
    }

    fn legend(&self, body: &mut String, y: f64) {
        let mut parts = vec![
            ("#2f6fae", "heap (what survived, and what was allocated since)".to_owned()),
            ("#d9822b", "goal".to_owned()),
            ("#7a5195", "collection, pauses".to_owned()),
            ("#d62728", "forced".to_owned()),
        ];
        let limit = self.process.samples.iter().filter_map(|(_, s)| s.memory_limit).max();
        match (limit, self.far_limit) {
            (Some(_), None) => {
                parts.push(("#c0392b", "- - GOMEMLIMIT".to_owned()));
                parts.push(("#888888", "··· what it is held against".to_owned()));
            }
            (Some(limit), Some(_)) => {
                parts.push(("#c0392b", format!("GOMEMLIMIT {}: above the picture", bytes(limit))));
            }
            _ => {}
        }
        let mut x = LEFT;
        for (color, name) in parts {
            let _ = writeln!(
                body,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{color}\"/>",
                y - 9.0
            );
            text(body, x + 14.0, y, "s", &name);
            x += 14.0 + 6.7 * name.chars().count() as f64 + 18.0;
        }
    }

    fn heap(&self, body: &mut String) {
        for step in round_steps(self.heap.to, 6, true) {
            let y = self.heap.at(step);
            line(body, "grid", (LEFT, y), (RIGHT, y));
            text(body, LEFT - 6.0, y + 4.0, "s e", &bytes(step as u64));
        }
        self.bands(body);
        let live = self.live();
        for run in live.split(|(_, value)| value.is_none()) {
            let place = |(t, value): &(u64, Option<u64>)| {
                (self.x(*t), self.heap.at(value.unwrap_or(0) as f64))
            };
            let points = thinned(run.iter().map(place));
            let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
            let floor = self.heap.start;
            let _ = writeln!(
                body,
                "<path class=\"live\" d=\"M{:.1} {floor:.1}L{}L{:.1} {floor:.1}Z\"/>",
                first.0,
                path(&points),
                last.0
            );
        }
        self.steps(body, "goal", self.goals().into_iter());
        if self.far_limit.is_none() {
            let limited = |value: fn(&crate::runtime::cycles::Sample) -> u64| {
                let samples = self.process.samples.iter();
                samples.map(move |(t, s)| (*t, s.memory_limit.map(|_| value(s))))
            };
            self.steps(body, "mapped", limited(|s| s.mapped));
            self.steps(body, "goal limit", limited(|s| s.memory_limit.unwrap_or(0)));
        }
    }

    fn x(&self, unix_ns: u64) -> f64 {
        self.time.at(unix_ns as f64)
    }

    /// The heap's size: at looks, and where collections began and ended; nothing where one was that
    /// is not known.
    fn live(&self) -> Vec<(u64, Option<u64>)> {
        let samples = self.process.samples.iter();
        let mut points: Vec<_> = samples.map(|(t, s)| (*t, Some(s.live))).collect();
        for cycle in &self.process.cycles {
            let end = cycle.end_unix_ns;
            let Some(detail) = &cycle.detail else {
                points.push((end, None));
                continue;
            };
            points.push((end.saturating_sub(detail.length_ns()), Some(detail.heap_before)));
            let marked = end.saturating_sub(detail.mark_termination_ns);
            points.push((marked, Some(detail.heap_after)));
            points.push((end, Some(detail.live)));
        }
        points.sort_by_key(|(t, _)| *t);
        points
    }

    /// The goal at each look, from the end of the collection before it on, which is what moves it.
    fn goals(&self) -> Vec<(u64, Option<u64>)> {
        let ends: Vec<u64> = self.process.cycles.iter().map(|cycle| cycle.end_unix_ns).collect();
        let mut before = 0;
        let mut goals = Vec::new();
        for (t, sample) in &self.process.samples {
            let ended = ends.partition_point(|end| end <= t).checked_sub(1).map(|at| ends[at]);
            if let Some(end) = ended.filter(|end| *end > before) {
                goals.push((end, sample.goal));
            }
            goals.push((*t, sample.goal));
            before = *t;
        }
        goals
    }

    /// A line of steps; gaps where there is no value.
    fn steps(
        &self,
        body: &mut String,
        class: &str,
        values: impl Iterator<Item = (u64, Option<u64>)>,
    ) {
        let mut runs: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for (t, value) in values {
            let x = self.x(t);
            let last = runs.last_mut().map(|run| (run.last().copied(), run));
            let Some((before, run)) = last else { continue };
            match value {
                Some(value) => {
                    let y = self.heap.at(value as f64);
                    if let Some((_, before)) = before.filter(|(_, before)| *before != y) {
                        run.push((x, before));
                    }
                    run.push((x, y));
                }
                None if !run.is_empty() => runs.push(Vec::new()),
                None => {}
            }
        }
        for run in runs.into_iter().map(thinned).filter(|run| !run.is_empty()) {
            let _ = writeln!(body, "<path class=\"{class}\" fill=\"none\" d=\"M{}\"/>", path(&run));
        }
    }

    /// Where collections were under way; a dashed line where only the end is known.
    fn bands(&self, body: &mut String) {
        let (top, height) = (self.heap.end, self.heap.start - self.heap.end);
        if self.process.cycles.len() > MOST_BANDS {
            return self.shades(body);
        }
        for cycle in &self.process.cycles {
            let end = self.x(cycle.end_unix_ns);
            let title = escape(&tooltip(self.process, cycle));
            match &cycle.detail {
                Some(detail) => {
                    let start = self.x(cycle.end_unix_ns.saturating_sub(detail.length_ns()));
                    let width = (end - start).max(1.0);
                    let _ = writeln!(
                        body,
                        "<rect class=\"gc\" x=\"{start:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
                         height=\"{height:.1}\"><title>{title}</title></rect>"
                    );
                }
                None => line(body, "part", (end, top), (end, self.heap.start)),
            }
        }
    }

    /// How much of each pixel's time collections took.
    fn shades(&self, body: &mut String) {
        let columns = (RIGHT - LEFT) as usize;
        let mut taken = vec![0.0f64; columns + 1];
        for cycle in &self.process.cycles {
            let Some(detail) = &cycle.detail else { continue };
            let from = self.x(cycle.end_unix_ns.saturating_sub(detail.length_ns())) - LEFT;
            let to = self.x(cycle.end_unix_ns) - LEFT;
            for (at, share) in
                taken.iter_mut().enumerate().take(to as usize + 1).skip(from as usize)
            {
                let at = at as f64;
                *share += (to.min(at + 1.0) - from.max(at)).max(0.0);
            }
        }
        for (at, share) in taken.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let _ = writeln!(
                body,
                "<rect fill=\"#7a5195\" fill-opacity=\"{:.2}\" x=\"{:.1}\" y=\"{:.1}\" width=\"1\" \
                 height=\"{:.1}\"/>",
                0.4 * share.min(1.0),
                LEFT + at as f64,
                self.heap.end,
                self.heap.start - self.heap.end
            );
        }
    }

    /// Pauses of each collection, on a scale of powers of ten.
    fn pauses(&self, body: &mut String) {
        let pauses = self.process.cycles.iter().map(|cycle| cycle.pause_ns);
        let most = pauses.clone().max().unwrap_or(1_000).max(10_000) as f64;
        let least = pauses.min().unwrap_or(1_000).max(1_000) as f64;
        let floor = 10f64.powi(least.log10().floor() as i32);
        let scale = Scale {
            from: floor.log10(),
            to: (most * 1.2).log10(),
            start: self.bottom,
            end: self.top,
        };
        for power in powers(floor, most * 1.2) {
            let y = scale.at(power.log10());
            line(body, "grid", (LEFT, y), (RIGHT, y));
            text(body, LEFT - 6.0, y + 4.0, "s e", &nanoseconds(power as u64));
        }
        // The longest of each pixel.
        let mut bars: Vec<Option<&Cycle>> = vec![None; (RIGHT - LEFT) as usize + 1];
        for cycle in &self.process.cycles {
            let at = (self.x(cycle.end_unix_ns) - LEFT) as usize;
            let bar = &mut bars[at];
            if bar.is_none_or(|other| other.pause_ns < cycle.pause_ns) {
                *bar = Some(cycle);
            }
        }
        let many = bars.iter().flatten().count() > 300;
        for (at, cycle) in bars.iter().enumerate().filter_map(|(at, bar)| Some((at, (*bar)?))) {
            let y = scale.at((cycle.pause_ns.max(1) as f64).log10());
            let class = match cycle.trigger {
                Some(Trigger::Forced) => "forced",
                _ => "pause",
            };
            let _ = writeln!(
                body,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{}\" height=\"{:.1}\">\
                 <title>{}</title></rect>",
                LEFT + at as f64,
                if many { 1 } else { 2 },
                (self.bottom - y).max(1.0),
                escape(&tooltip(self.process, cycle))
            );
        }
        line(body, "grid", (LEFT, self.bottom), (RIGHT, self.bottom));
    }

    /// Collections after which most more was alive: a letter above each, and below the picture from which
    /// stacks. Where it ends.
    fn growth(&self, body: &mut String, growth: &Growth, mut y: f64) -> f64 {
        let mut largest = growth.largest();
        largest.sort_by_key(|span| span.first);
        if !largest.is_empty() {
            y += LINE;
            text(body, LEFT, y, "", "largest growth, by what allocated it");
        }
        let mut free = LEFT;
        for (letter, span) in ('A'..).zip(largest) {
            let mut title = format!("{letter}  {}", span.title());
            if let Some(end) = end(self.process, span) {
                let since = end.saturating_sub(self.process.first_unix_ns);
                title.push_str(&format!(" at {:.3} s", since as f64 / 1e9));
                let (x, top) = (self.x(end), self.heap.end);
                line(body, "grew", (x, top), (x, self.heap.start));
                // Beside another one rather than upon it.
                text(body, x.max(free), top - 4.0, "a m", &letter.to_string());
                free = x.max(free) + 10.0;
            }
            y += LINE;
            text(body, LEFT, y, "s", &title);
            text(body, LEFT + 290.0, y, "s e", &signed(span.sum.grew_bytes));
            let mut by = growth.grew_most(span, SHOWN).peekable();
            if by.peek().is_none() {
                text(body, LEFT + 305.0, y, "s", "no stack stands out");
            }
            for (at, (stack, amounts)) in by.enumerate() {
                y += if at > 0 { LINE } else { 0.0 };
                text(body, LEFT + 375.0, y, "s e", &signed(amounts.grew_bytes));
                text(body, LEFT + 385.0, y, "s", &keep_start(&growth.line(*stack), 104));
            }
        }
        y
    }

    fn times(&self, body: &mut String) {
        let length = (self.time.to - self.time.from) / 1e9;
        for step in round_steps(length, 10, false) {
            let x = self.time.at(self.time.from + step * 1e9);
            line(body, "grid", (x, self.bottom), (x, self.bottom + 4.0));
            let digits = if length < 1.0 { 2 } else { usize::from(length < 10.0) };
            text(body, x, self.bottom + 17.0, "s m", &format!("{step:.digits$} s"));
        }
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::with_capacity(points.len() * 12);
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { "" } else { "L" });
    }
    path
}

fn tooltip(process: &Process, cycle: &Cycle) -> String {
    let at = cycle.end_unix_ns.saturating_sub(process.first_unix_ns);
    let mut text = format!("GC {} at {:.3} s", grouped(cycle.number.into()), at as f64 / 1e9);
    let why = match cycle.trigger {
        Some(Trigger::Heap) => ", by growth of the heap",
        Some(Trigger::Periodic) => ", after two minutes without one",
        Some(Trigger::Forced) => ", forced",
        None => "",
    };
    let _ = write!(text, "{why}; stopped {}", nanoseconds(cycle.pause_ns));
    match &cycle.detail {
        Some(detail) => {
            let _ = write!(
                text,
                "; marking {}, assists {}; heap {} → {}, alive {}",
                nanoseconds(detail.mark_ns),
                nanoseconds(detail.assist_ns),
                bytes(detail.heap_before),
                bytes(detail.heap_after),
                bytes(detail.live)
            );
            if let Some(goal) = detail.goal {
                let _ = write!(text, ", goal {}", bytes(goal));
            }
        }
        None => text.push_str("; not seen in full"),
    }
    let growth = process.growth.as_ref();
    let at = growth.and_then(|g| g.spans.binary_search_by_key(&cycle.number, |s| s.last).ok());
    if let (Some(growth), Some(at)) = (growth, at) {
        let span = &growth.spans[at];
        let since = span.title();
        let _ = write!(text, "\n{since}: {} more alive", signed(span.sum.grew_bytes));
        for (stack, by) in growth.grew_most(span, SHOWN) {
            let _ = write!(text, "\n{} {}", signed(by.grew_bytes), growth.line(*stack));
        }
    }
    text
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
