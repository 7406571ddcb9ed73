//! A process as cells of a table, for the screen and for `--once`.
//!
//! In: a process, the columns that fit. Out: spans of exactly the columns' widths.

use ratatui::style::Style;
use ratatui::text::Span;

use super::text::{bytes, count, fit, percent, rate, time};
use super::theme::Theme;
use super::{bar, text};
use crate::tui::model::history::Trend;
use crate::tui::model::process::{Column, LimitKind, Process};

/// Columns and how wide each is; the bar stands behind the heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub columns: Vec<(Column, usize)>,
    pub bar: usize,
}

/// What must be given up first when there is no room.
const ORDER: [Column; 12] = [
    Column::Place,
    Column::Limit,
    Column::Goal,
    Column::Pause,
    Column::Resident,
    Column::Gc,
    Column::Goroutines,
    Column::Trend,
    Column::Pid,
    Column::Rate,
    Column::Heap,
    Column::Name,
];

const LEAST_BAR: usize = 8;
const MOST_BAR: usize = 30;
const MOST_NAME: usize = 16;
const MOST_PLACE: usize = 64;

/// Least cells of a column; heads have room for the arrow of the sorted one.
fn least(column: Column) -> usize {
    match column {
        Column::Trend => 2,
        Column::Gc => 4,
        Column::Pause | Column::Resident | Column::Goal | Column::Heap | Column::Limit => 6,
        Column::Goroutines => 5,
        Column::Pid => 7,
        Column::Rate => 8,
        Column::Name => 10,
        Column::Place => 12,
    }
}

fn is_text(column: Column) -> bool {
    matches!(column, Column::Name | Column::Place | Column::Trend)
}

impl Layout {
    /// What fits into `width` cells; columns are parted by one. Of what is left names take some, the
    /// bar some, and the place the rest.
    pub fn new(width: usize, places: bool) -> Self {
        let mut columns: Vec<(Column, usize)> =
            Column::ALL.into_iter().map(|column| (column, least(column))).collect();
        let mut bar = LEAST_BAR;
        if !places {
            columns.retain(|(column, _)| *column != Column::Place);
        }
        let used = |columns: &[(Column, usize)], bar: usize| {
            columns.iter().map(|(_, width)| width + 1).sum::<usize>() + bar + usize::from(bar > 0)
        };
        for column in ORDER {
            if used(&columns, bar) <= width + 1 {
                break;
            }
            // The bar goes before what is left has no room.
            if bar > 0 && column == Column::Goroutines {
                bar = 0;
                if used(&columns, bar) <= width + 1 {
                    break;
                }
            }
            if columns.len() > 1 {
                columns.retain(|(there, _)| *there != column);
            }
        }
        let mut rest = (width + 1).saturating_sub(used(&columns, bar));
        let mut widen = |of: &mut usize, most: usize| {
            let more = most.saturating_sub(*of).min(rest);
            *of += more;
            rest -= more;
        };
        for (wanted, most) in [(Column::Name, MOST_NAME), (Column::Place, 24)] {
            columns.iter_mut().filter(|(c, _)| *c == wanted).for_each(|(_, w)| widen(w, most));
        }
        if bar > 0 {
            widen(&mut bar, MOST_BAR);
        }
        let last = columns.iter_mut().find(|(c, _)| *c == Column::Place);
        last.into_iter().for_each(|(_, width)| widen(width, MOST_PLACE));
        if let [(_, only)] = &mut columns[..] {
            *only = (*only).min(width);
        }
        Self { columns, bar }
    }

    /// Whether a column is there.
    pub fn has(&self, column: Column) -> bool {
        self.columns.iter().any(|(there, _)| *there == column)
    }

    /// Heads, with an arrow at the sorted one.
    pub fn head(&self, theme: Theme, sorted: Option<(Column, bool)>) -> Vec<Span<'static>> {
        let mut spans = Vec::new();
        for (column, width) in &self.columns {
            let mut title = column.title().to_owned();
            let mut style = theme.head();
            if let Some((_, reversed)) = sorted.filter(|(by, _)| by == column) {
                let up = matches!(column, Column::Pid | Column::Name | Column::Place) != reversed;
                title.push(if up { '▲' } else { '▼' });
                style = theme.active();
            }
            push(&mut spans, Span::styled(fit(&title, *width, !is_text(*column)), style));
            if *column == Column::Heap && self.bar > 0 {
                let head = match self.bar {
                    ..24 => "OF GOAL",
                    _ => "█ live ▒ since GC ┃ goal",
                };
                push(&mut spans, Span::styled(fit(head, self.bar, false), theme.head()));
            }
        }
        spans
    }

    /// The cells of one process.
    pub fn row(&self, theme: Theme, process: &Process) -> Vec<Span<'static>> {
        let mut spans = Vec::new();
        for (column, width) in &self.columns {
            let (text, style) = self.cell(theme, *column, process);
            let text = fit(&text, *width, !is_text(*column));
            push(&mut spans, Span::styled(text, style));
            if *column == Column::Heap && self.bar > 0 {
                let stats = &process.look.stats;
                let heap = bar::Heap {
                    alloc: stats.heap.alloc,
                    marked: stats.heap.marked,
                    goal: stats.heap.goal,
                    limit: stats.collector.memory_limit,
                };
                let bar = bar::heap(theme, heap, self.bar);
                spans.push(Span::raw(" "));
                spans.extend(bar);
            }
        }
        spans
    }

    fn cell(&self, theme: Theme, column: Column, process: &Process) -> (String, Style) {
        let look = &process.look;
        let stats = &look.stats;
        let plain = Style::new();
        let unknown = || ("-".to_owned(), theme.dim());
        match column {
            Column::Pid => (look.id.pid.to_string(), theme.dim()),
            Column::Name => {
                let place = process.place().filter(|_| !self.has(Column::Place));
                let name = match place {
                    Some(place) => format!("{}·{place}", look.comm),
                    None => look.comm.clone(),
                };
                (name, theme.strong())
            }
            Column::Trend => {
                let trend = process.trend();
                let style = match trend {
                    Trend::Up => theme.warning(),
                    Trend::Down => theme.good(),
                    Trend::Flat | Trend::Unknown => theme.dim(),
                };
                (trend.arrow().to_owned(), style)
            }
            Column::Heap => (bytes(stats.heap.alloc), plain),
            Column::Goal => match stats.heap.goal {
                Some(goal) => (bytes(goal), plain),
                None => ("off".to_owned(), theme.warning()),
            },
            Column::Limit => process.limit().map_or_else(unknown, |limit| {
                let word = match limit.of {
                    LimitKind::Go => "go",
                    LimitKind::Cgroup => "cg",
                };
                let style = match limit.share {
                    ..0.8 => plain,
                    0.8..0.95 => theme.warning(),
                    _ => theme.bad(),
                };
                (format!("{:.0}%{word}", limit.share * 100.0), style)
            }),
            Column::Rate => (rate(process.history.rate()), plain),
            Column::Gc => {
                let share = stats.collector.cpu_fraction;
                let style = match share {
                    ..0.1 => plain,
                    0.1..0.25 => theme.warning(),
                    _ => theme.bad(),
                };
                (percent(share), style)
            }
            Column::Pause => process.pause_p99().map_or_else(unknown, |ns| (time(ns), plain)),
            Column::Goroutines => (count(look.goroutines), plain),
            Column::Resident => look.memory.resident.map_or_else(unknown, |r| (bytes(r), plain)),
            Column::Place => process.place().map_or_else(unknown, |place| (place, plain)),
        }
    }
}

fn push(spans: &mut Vec<Span<'static>>, span: Span<'static>) {
    if !spans.is_empty() {
        spans.push(Span::raw(" "));
    }
    spans.push(span);
}

/// The line of a process that can't be read.
pub fn unread(
    theme: Theme,
    unread: &crate::tui::model::process::Unread,
    width: usize,
) -> Vec<Span<'static>> {
    let pid = fit(&unread.pid.to_string(), least(Column::Pid), true);
    let name = fit(&unread.comm, MOST_NAME, false);
    let used = text::width(&pid) + text::width(&name) + 2;
    let reason = text::cut(&unread.reason, width.saturating_sub(used)).into_owned();
    vec![
        Span::styled(pid, theme.dim()),
        Span::raw(" "),
        Span::styled(name, theme.strong()),
        Span::raw(" "),
        Span::styled(reason, theme.warning()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(spans: &[Span<'_>]) -> String {
        spans.iter().map(|span| span.content.as_ref()).collect()
    }

    #[test]
    fn heads_and_rows_are_as_wide_as_they_may_be() {
        let list = crate::tui::model::made::list();
        let theme = Theme { color: false };
        for places in [true, false] {
            for width in 1..300 {
                let layout = Layout::new(width, places);
                let head = line(&layout.head(theme, Some((Column::Heap, false))));
                assert!(text::width(&head) <= width, "{width}: {head}");
                for shown in list.lines() {
                    let crate::tui::model::list::Line::Read(process) = shown else { continue };
                    let row = line(&layout.row(theme, process));
                    assert_eq!(text::width(&row), text::width(&head), "{width}: {row}");
                }
                assert!(!layout.columns.is_empty());
            }
        }
    }

    #[test]
    fn what_matters_most_stays_longest() {
        let has = |width| Layout::new(width, true).columns.iter().map(|c| c.0).collect::<Vec<_>>();
        assert_eq!(has(10), [Column::Name]);
        assert_eq!(has(40), [Column::Pid, Column::Name, Column::Trend, Column::Heap, Column::Rate]);
        assert_eq!(has(120), Column::ALL);
        let narrow = Layout::new(80, true);
        for column in [Column::Goroutines, Column::Resident, Column::Gc, Column::Pause] {
            assert!(narrow.has(column), "{column:?}");
        }
        assert!(narrow.bar >= LEAST_BAR);
    }
}
