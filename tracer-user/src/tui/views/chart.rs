//! A chart in cells: columns that are filled from below, and a second value as a line.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Filled from below by eighths.
const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const LINE: &str = "─";

/// What a chart is of; the newest value is last, and to the right.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Nothing where it is not known.
    pub filled: Vec<Option<f64>>,
    /// Drawn as a line above.
    pub line: Vec<Option<f64>>,
}

impl Series {
    /// The largest of the values that fit.
    pub fn top(&self, width: usize) -> f64 {
        let last = |values: &Vec<Option<f64>>| {
            values.iter().rev().take(width).flatten().fold(0.0, |top: f64, value| top.max(*value))
        };
        last(&self.filled).max(last(&self.line))
    }
}

/// Draws as many of the last values as there are columns; the highest reaches the top.
pub fn draw(series: &Series, styles: [Style; 2], area: Rect, buffer: &mut Buffer) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let top = series.top(width).max(1.0);
    let recent = |values: &[Option<f64>], back: usize| {
        values.len().checked_sub(back + 1).and_then(|at| values[at])
    };
    for back in 0..width {
        let x = area.right() - 1 - back as u16;
        let level = |value: f64| (value / top * (height * 8) as f64).round() as usize;
        let filled = recent(&series.filled, back).map(|value| {
            // Anything at all is seen.
            level(value).max(usize::from(value > 0.0))
        });
        let line = recent(&series.line, back).map(|value| level(value).max(1).div_ceil(8));
        for row in 0..height {
            let y = area.bottom() - 1 - row as u16;
            let eighths = filled.unwrap_or(0).saturating_sub(row * 8).min(8);
            let cell = &mut buffer[(x, y)];
            if eighths > 0 {
                cell.set_symbol(EIGHTHS[eighths]).set_style(styles[0]);
            } else if line == Some(row + 1) {
                cell.set_symbol(LINE).set_style(styles[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(series: &Series, width: u16, height: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        draw(series, [Style::new(); 2], area, &mut buffer);
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        (0..height).map(row).collect()
    }

    #[test]
    fn the_newest_is_to_the_right_and_the_highest_at_the_top() {
        let series = Series {
            filled: [0.0, 1.0, 4.0, 8.0].map(Some).to_vec(),
            line: vec![None, Some(16.0), Some(16.0), Some(12.0)],
        };
        assert_eq!(drawn(&series, 6, 2), ["   ───", "   ▁▄█"]);
        assert_eq!(drawn(&series, 2, 1), ["▂▄"], "what was before does not count");
        let unknown = Series { filled: vec![None, Some(0.0), Some(5.0)], line: Vec::new() };
        assert_eq!(drawn(&unknown, 3, 1), ["  █"]);
        assert_eq!(drawn(&Series::default(), 2, 1), ["  "]);
        assert!(drawn(&unknown, 0, 0).is_empty());
    }
}
