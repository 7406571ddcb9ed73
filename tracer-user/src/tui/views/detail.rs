//! The screen of one process: facts, charts, and a pane.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::chart::{self, Series};
use super::text::{bytes, count, percent, rate, time};
use super::theme::Theme;
use super::{flame, put, sides, sizes, stacks, text};
use crate::output::text::printable;
use crate::tui::model::detail::{Detail, Pane};
use crate::tui::model::history::{Point, Trend};

/// Least lines of a pane below charts.
const LEAST_PANE: u16 = 10;

/// Draws everything about the opened process into `area`.
pub fn draw(detail: &mut Detail, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let mut left = area;
    let mut take = |height: u16| {
        let part = Rect { height: height.min(left.height), ..left };
        left.y += part.height;
        left.height -= part.height;
        part
    };
    // The pane matters most: what is around it needs room.
    if area.height >= 7 {
        title(detail, theme, take(1), buffer);
    }
    if area.height >= 12 {
        facts(detail, theme, take(1), buffer);
    }
    let spare = area.height.saturating_sub(LEAST_PANE + 3);
    let charts = if detail.shows_flame() { spare / 4 } else { spare / 3 };
    if charts >= 3 {
        draw_charts(detail, theme, take(charts.min(10)), buffer);
    }
    if area.height >= 4 {
        tabs(detail, theme, take(1), buffer);
    }
    match detail.pane {
        Pane::Sizes => sizes::draw(detail, theme, left, buffer),
        _ if detail.shows_flame() => flame::draw(detail, theme, left, buffer),
        _ => stacks::draw(detail, theme, left, buffer),
    }
}

fn title(detail: &Detail, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let look = &detail.process.look;
    let mut spans = vec![
        Span::styled(printable(&look.comm).into_owned(), theme.title()),
        Span::raw(format!("  pid {}", look.id.pid)),
    ];
    if detail.ended {
        spans.push(Span::styled("  HAS ENDED", theme.bad()));
    }
    if let Some(version) = &look.go_version {
        spans.push(Span::raw(format!("  go{version}")));
    }
    if let Some(place) = detail.process.place() {
        spans.push(Span::raw(format!("  in {}", printable(&place))));
    }
    let path = Line::styled(printable(&look.path).into_owned(), theme.dim());
    sides(buffer, area, 0, Line::from(spans), path);
}

fn facts(detail: &Detail, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let process = &detail.process;
    let stats = &process.look.stats;
    let mut parts = vec![
        match process.trend() {
            Trend::Unknown => format!("live {}", bytes(stats.heap.marked)),
            known => format!("live {} {}", bytes(stats.heap.marked), known.arrow()),
        },
        format!("GCs {} ({} % CPU)", stats.collector.cycles, percent(stats.collector.cpu_fraction)),
    ];
    parts.extend(process.pause_p99().map(|ns| format!("p99 {}", time(ns))));
    parts.extend(process.look.memory.resident.map(|rss| format!("RSS {}", bytes(rss))));
    if let Some(limit) = stats.collector.memory_limit {
        parts.push(format!("GOMEMLIMIT {}", bytes(limit)));
    }
    if let Some(limit) = process.look.memory.cgroup.and_then(|cgroup| cgroup.limit) {
        parts.push(format!("cgroup limit {}", bytes(limit)));
    }
    parts.push(format!("stacks {}", bytes(stats.stacks_in_use)));
    parts.push(format!("{} objects", crate::output::text::grouped(stats.heap.objects)));
    let mut line = String::new();
    for part in parts {
        let more = if line.is_empty() { part } else { format!(" · {part}") };
        if text::width(&line) + text::width(&more) > usize::from(area.width) {
            break;
        }
        line.push_str(&more);
    }
    put(buffer, area, 0, Line::styled(line, theme.dim()));
}

/// Heap and goal, allocation rate, goroutines: as many as fit beside each other.
fn draw_charts(detail: &Detail, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let history = &detail.process.history;
    let series = |of: fn(&Point) -> Option<f64>| history.points().map(of).collect::<Vec<_>>();
    let last = |of: fn(&Point) -> Option<f64>| history.points().next_back().and_then(of);
    let heap = |p: &Point| Some(p.heap as f64);
    let goal = |p: &Point| p.goal.map(|goal| goal as f64);
    let goroutines = |p: &Point| Some(p.goroutines as f64);
    let size = |value: Option<f64>| value.map_or_else(|| "off".to_owned(), |v| bytes(v as u64));
    let charts = [
        (
            format!("heap {} ─ goal {}", size(last(heap)), size(last(goal))),
            Series { filled: series(heap), line: series(goal) },
        ),
        (
            format!("allocated {}/s", rate(last(|p| p.rate))),
            Series { filled: series(|p| p.rate), line: Vec::new() },
        ),
        (
            format!("goroutines {}", count(last(goroutines).unwrap_or(0.0) as u64)),
            Series { filled: series(goroutines), line: Vec::new() },
        ),
    ];
    let columns = (area.width / 24).clamp(1, 3);
    let width = (area.width + 2) / columns;
    for (at, (title, series)) in charts.into_iter().enumerate().take(usize::from(columns)) {
        let x = area.x + at as u16 * width;
        let column = Rect { x, width: width.saturating_sub(2).min(area.right() - x), ..area };
        let room = usize::from(column.width);
        let top = series.top(room);
        let top = if at == 2 { count(top as u64) } else { bytes(top as u64) };
        let title = Line::styled(text::cut(&title, room).into_owned(), theme.strong());
        sides(buffer, column, 0, title, Line::styled(format!("max {top}"), theme.dim()));
        let plot = Rect { y: column.y + 1, height: column.height.saturating_sub(1), ..column };
        chart::draw(&series, [theme.series(at), theme.warning()], plot, buffer);
    }
}

fn tabs(detail: &Detail, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let mut spans = Vec::new();
    for (at, pane) in Pane::ALL.into_iter().enumerate() {
        let style = if pane == detail.pane { theme.active() } else { theme.head() };
        // Without colours and lines the pane is known, too.
        let text = match pane == detail.pane {
            true => format!("[{} {}]", at + 1, pane.title()),
            false => format!(" {} {} ", at + 1, pane.title()),
        };
        spans.push(Span::styled(text, style));
    }
    if detail.shows_flame() {
        spans.push(Span::styled("  flame graph", theme.title()));
    }
    let left = Line::from(spans);
    let room = usize::from(area.width).saturating_sub(left.width() + 2);
    let method = stacks::method(detail.view()).filter(|_| detail.pane != Pane::Sizes);
    let method = method.filter(|_| room >= 20).map(|text| text::cut(&text, room).into_owned());
    sides(buffer, area, 0, left, Line::styled(method.unwrap_or_default(), theme.dim()));
}
