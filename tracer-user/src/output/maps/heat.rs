//! Steps over time: a row for each stack, a column for each second, the brighter the more.
//!
//! In: a [`Profile`]. Out: lines for a terminal, or a picture that needs no script.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::label;
use crate::output::describe;
use crate::output::lines::{self, Paint};
use crate::output::svg::escape;
use crate::output::table::Style;
use crate::output::text::{grouped, keep_end, keep_start};
use crate::profile::{MAP_STEPS, Profile, iterations::Seconds};

/// Rows of a terminal and of a picture; the stacks with most steps.
const LINES: usize = 12;
const ROWS: usize = 60;
/// Columns of a picture at most.
const COLUMNS: usize = 240;
/// What a terminal shows of a cell, from nothing to the most.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
/// Characters that a row's name gets at least, if it has as many.
const NAME: usize = 36;

/// Steps by stack and time.
struct Heat {
    rows: Vec<Row>,
    /// Seconds that a column stands for, and how many there are.
    width: u64,
    columns: usize,
    /// Stacks that have no row.
    left: usize,
}

struct Row {
    label: String,
    /// Frames, outermost last, for who wants to know.
    stack: Vec<String>,
    steps: u64,
    cells: Vec<u64>,
}

impl Heat {
    /// Nothing when no step was followed.
    fn new(profile: &Profile, most_rows: usize, most_columns: usize) -> Option<Self> {
        let steps = profile.value_of_kind(MAP_STEPS)?;
        let ranking = profile.ranked(steps);
        let all: Vec<_> = (ranking.stacks.iter())
            .filter_map(|one| Some((one, one.iterations.as_deref()?)))
            .collect();
        let left = all.len().saturating_sub(most_rows);
        let all = &all[..all.len() - left];
        let (mut width, times) = Seconds::aligned(all.iter().map(|(_, of)| &of.steps_at));
        let first = times.iter().filter_map(|times| times.keys().next()).min()?;
        let last = times.iter().filter_map(|times| times.keys().next_back()).max()?;
        let (first, length) = (*first, last - first + width);
        while length.div_ceil(width) > most_columns.max(1) as u64 {
            width += width;
        }
        let columns = length.div_ceil(width) as usize;
        let cells = |times: &BTreeMap<u64, u64>| {
            let mut cells = vec![0u64; columns];
            for (second, steps) in times {
                if let Some(cell) = cells.get_mut(((second - first) / width) as usize) {
                    *cell = cell.saturating_add(*steps);
                }
            }
            cells
        };
        let rows = all.iter().zip(&times).map(|((one, of), times)| {
            let frames = || one.frames.iter().map(|id| ranking.frame(*id));
            let name = |frame| profile.names.text(frame).to_owned();
            Row {
                label: label(profile, frames()),
                stack: frames().map(|frame| name(frame.function)).collect(),
                steps: of.steps,
                cells: cells(times),
            }
        });
        Some(Self { rows: rows.collect(), width, columns, left })
    }

    fn most(&self) -> u64 {
        self.rows.iter().flat_map(|row| &row.cells).copied().max().unwrap_or(0)
    }

    /// `123 steps/s`.
    fn rate(&self, steps: u64) -> String {
        format!("{} steps/s", grouped(steps / self.width))
    }
}

/// From 0 to 1: a tenth of the most is three quarters as bright, not a tenth.
fn brightness(steps: u64, most: u64) -> f64 {
    if steps == 0 {
        return 0.0;
    }
    let decades = (most.max(1) as f64 / steps as f64).log10();
    (1.0 - decades / 4.0).clamp(0.05, 1.0)
}

/// Lines for a terminal; none when all was over within a second.
pub fn text(profile: &Profile, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let room = style.width.saturating_sub(NAME + 4);
    let Some(heat) = Heat::new(profile, LINES, room).filter(|heat| heat.columns > 1) else {
        return Ok(());
    };
    let mut line = |text: &str, paint| {
        writeln!(out, "{}", lines::paint(&keep_start(text, style.width), paint, style))
    };
    let most = heat.most();
    let head = format!(
        "steps over time, a column for {}; {} is {}",
        describe::counted(heat.width, "second"),
        SHADES[SHADES.len() - 1],
        heat.rate(most)
    );
    line("", Paint::Plain)?;
    line(&head, Paint::Dim)?;
    let names = style.width.saturating_sub(heat.columns + 4);
    for row in &heat.rows {
        let shade = |steps: &u64| {
            let top = (SHADES.len() - 1) as f64;
            SHADES[(brightness(*steps, most) * top).ceil() as usize % SHADES.len()]
        };
        let cells: String = row.cells.iter().map(shade).collect();
        line(&format!("  {cells}  {}", keep_end(&row.label, names)), Paint::Plain)?;
    }
    if heat.left > 0 {
        line(&format!("{} more", describe::counted(heat.left as u64, "stack")), Paint::Dim)?;
    }
    Ok(())
}

const WIDTH: f64 = 1200.0;
const NAMES: f64 = 380.0;
const CELL: f64 = 18.0;
const TOP: f64 = 92.0;
const STYLE: &str = "text{font:12px monospace;fill:#ddd}.t{font-size:17px}.s{fill:#999;font-size:11px}\
    .m{text-anchor:middle}.e{text-anchor:end}";

/// Writes the picture.
pub fn svg(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let heat = Heat::new(profile, ROWS, COLUMNS);
    let mut body = String::new();
    text_at(&mut body, WIDTH / 2.0, 26.0, "t m", &describe::title(profile));
    text_at(&mut body, WIDTH / 2.0, 46.0, "s m", &describe::processes(profile));
    text_at(&mut body, WIDTH / 2.0, 62.0, "s m", &describe::method(profile));
    let height = match &heat {
        Some(heat) => picture(&mut body, heat) + 8.0,
        None => {
            let text = "Nothing was recorded: no iteration over a map was seen.";
            text_at(&mut body, WIDTH / 2.0, TOP + 20.0, "t m", text);
            TOP + 40.0
        }
    };
    let mut height: f64 = height;
    let remarks = std::iter::once(describe::verdict(profile).to_owned());
    for remark in remarks.chain(describe::losses(profile)) {
        height += 16.0;
        text_at(&mut body, WIDTH / 2.0, height - 8.0, "s m", &remark);
    }
    writeln!(
        out,
        "<?xml version=\"1.0\" standalone=\"no\"?>\n<svg version=\"1.1\" width=\"{WIDTH}\" \
         height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <style type=\"text/css\">{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#14171c\"/>\n{body}</svg>"
    )
}

fn text_at(body: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = escape(&keep_start(text, 180));
    let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>");
}

/// Rows, their names, the axis and what the colours mean; the height of it all.
fn picture(body: &mut String, heat: &Heat) -> f64 {
    let most = heat.most();
    let cell = (WIDTH - NAMES - 20.0) / heat.columns as f64;
    for (at, row) in heat.rows.iter().enumerate() {
        let y = TOP + at as f64 * CELL;
        // 7.3 pixels a character.
        let name = keep_end(&row.label, (NAMES / 7.3) as usize - 2);
        let mut title = format!("{} steps", grouped(row.steps));
        for frame in row.stack.iter().take(30) {
            let _ = write!(title, "\n{}", crate::output::text::printable(frame));
        }
        let _ = writeln!(
            body,
            "<g><title>{}</title><text x=\"{:.1}\" y=\"{:.1}\" class=\"e\">{}</text></g>",
            escape(&title),
            NAMES - 8.0,
            y + CELL - 5.0,
            escape(&name)
        );
        for (column, steps) in row.cells.iter().enumerate().filter(|(_, steps)| **steps > 0) {
            let second = column as u64 * heat.width;
            let _ = writeln!(
                body,
                "<rect x=\"{:.2}\" y=\"{y:.1}\" width=\"{cell:.2}\" height=\"{}\" fill=\"{}\">\
                 <title>{second} s: {}</title></rect>",
                NAMES + column as f64 * cell,
                CELL - 1.0,
                color(brightness(*steps, most)),
                heat.rate(*steps)
            );
        }
    }
    let mut y = TOP + heat.rows.len() as f64 * CELL + 14.0;
    let every = heat.columns.div_ceil(10).max(1);
    for column in (0..heat.columns).step_by(every) {
        let x = NAMES + column as f64 * cell;
        text_at(body, x, y, "s", &format!("{} s", column as u64 * heat.width));
    }
    y += 24.0;
    let mut x = NAMES;
    for part in [1.0, 0.1, 0.01, 0.001] {
        let steps = ((most as f64 * part) as u64).max(1);
        let fill = color(brightness(steps, most));
        let _ = writeln!(
            body,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"14\" height=\"12\" fill=\"{fill}\"/>",
            y - 10.0
        );
        text_at(body, x + 19.0, y, "s", &heat.rate(steps));
        x += 180.0;
    }
    if heat.left > 0 {
        y += 18.0;
        let left = describe::counted(heat.left as u64, "stack");
        text_at(body, NAMES, y, "s", &format!("{left} more, with fewer steps"));
    }
    y + 16.0
}

/// From dark violet by orange to light yellow.
fn color(brightness: f64) -> String {
    const STOPS: [[f64; 3]; 4] =
        [[45.0, 20.0, 80.0], [150.0, 40.0, 110.0], [245.0, 125.0, 30.0], [252.0, 245.0, 170.0]];
    let at = brightness.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let from = (at as usize).min(STOPS.len() - 2);
    let part = at - from as f64;
    let mixed = |channel: usize| {
        let (a, b) = (STOPS[from][channel], STOPS[from + 1][channel]);
        (a + (b - a) * part).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", mixed(0), mixed(1), mixed(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::golden::check;
    use crate::output::sample;

    fn picture_of(profile: &Profile) -> String {
        let mut out = Vec::new();
        svg(profile, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn matches_the_golden_file() {
        check("maps.heat.svg.txt", &picture_of(&sample::maps()));
    }

    #[test]
    fn cells_are_the_steps_of_their_seconds() {
        let heat = Heat::new(&sample::maps(), ROWS, COLUMNS).unwrap();
        assert_eq!((heat.columns, heat.width, heat.rows.len()), (10, 1, 2));
        assert_eq!(heat.rows[0].cells, [1_000_000; 10]);
        assert_eq!(heat.rows[1].cells[..8], [32; 8]);
        assert_eq!(heat.rows[0].cells.iter().sum::<u64>(), heat.rows[0].steps);
        let narrow = Heat::new(&sample::maps(), 1, 3).unwrap();
        assert_eq!((narrow.columns, narrow.width, narrow.left), (3, 4, 1));
        assert_eq!(narrow.rate(narrow.most()), "1,000,000 steps/s");
    }

    #[test]
    fn a_terminal_shows_shades() {
        let mut out = Vec::new();
        text(&sample::maps(), Style::default(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("██████████  main.rebuild (shop/index.go:88)"), "{text}");
        assert!(text.contains("░░░░░░░░··"), "{text}");
        assert!(text.contains("█ is 1,000,000 steps/s"), "{text}");
    }

    #[test]
    fn brighter_is_more() {
        let steps = [0, 1, 10, 1_000, 100_000, 1_000_000];
        let levels = steps.map(|steps| brightness(steps, 1_000_000));
        assert!(levels.is_sorted() && levels[0] == 0.0 && levels[5] == 1.0);
        assert_eq!((color(0.0).as_str(), color(1.0).as_str()), ("#2d1450", "#fcf5aa"));
    }

    #[test]
    fn nothing_and_hostile_names_make_pictures_too() {
        assert!(picture_of(&sample::empty()).contains("Nothing was recorded"));
        let mut hostile = sample::hostile();
        let maps = sample::maps();
        hostile.meta.value_types = maps.meta.value_types.clone();
        for sample in &mut hostile.samples {
            sample.values = maps.samples[0].values.clone();
            sample.iterations = maps.samples[0].iterations.clone();
        }
        let picture = picture_of(&hostile);
        assert!(!picture.contains("<script") && !picture.contains(['\u{202e}', '\x1b']));
    }
}
