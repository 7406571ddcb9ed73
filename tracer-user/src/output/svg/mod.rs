//! Flame graph as SVG, drawn by inferno. In: a [`Profile`]. Out: a picture that is complete by
//! itself: what was measured and how, what was lost, whose code has which colour.
//!
//! Stacks are merged by function name; the width of a frame is its share of one value.

pub(super) mod diff;
mod page;
mod shorten;
mod tree;

use std::borrow::Cow;
use std::io::{self, Write};

pub(super) use page::escape;

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, Options};

use super::{describe, palette};
use crate::profile::build::Build;
use crate::profile::{Profile, Source};
use page::{Fact, Page, Shown};
use tree::Tree;

const BACKGROUND: Color = Color { r: 252, g: 252, b: 250 };

/// Writes the picture; one that says so when nothing was recorded.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut tree = Tree::new(profile, value);
    let mut facts = page::facts(profile);
    if tree.lines.is_empty() {
        let method = Fact { text: describe::method(profile), is_loss: false };
        facts.insert(0, method);
        let text = format!("Nothing was recorded: no {} was seen.", describe::event(profile));
        let nothing = page::nothing(&describe::title(profile), &facts, &text);
        return out.write_all(nothing.as_bytes());
    }
    facts.extend(tree.shortened.map(Fact::shortened));
    let kinds = tree.kinds();
    let legend: Vec<_> =
        kinds.iter().map(|kind| (palette::typical(*kind), palette::label(*kind))).collect();
    let drawn = Drawing::of(profile, value, &mut tree).draw()?;
    let frame = |number: Option<usize>, numbers: &str| {
        let label = number.and_then(|number| tree.labels.get(number));
        Shown {
            name: label.map_or(Cow::Borrowed("all"), |label| Cow::Borrowed(label.text.as_str())),
            numbers: page::numbers(profile, value, label, numbers),
        }
    };
    Page { facts: &facts, legend: &legend, frame: &frame }.write(&drawn, out)
}

/// What each picture has that is the same in all.
#[derive(Debug, Default)]
pub struct Parts {
    /// What zooms and searches.
    pub script: String,
    pub style: String,
}

/// inferno's script and style, as they are in every picture.
pub fn parts() -> Parts {
    let mut build = Build::new(Source::Exact);
    let process = build.process(1, "x", "");
    build.stack(process, &["main.main"], 1, 1);
    let mut drawn = Vec::new();
    // Writing to memory does not fail.
    let _ = write(&build.done(), 0, &mut drawn);
    let drawn = String::from_utf8_lossy(&drawn);
    let part = |begin: &str, end: &str| {
        let (_, rest) = drawn.split_once(begin)?;
        rest.split_once(end).map(|(part, _)| part.replace("]]><![CDATA[", "\n"))
    };
    let script = part("<script type=\"text/ecmascript\"><![CDATA[", "]]></script>");
    let style = part("<style type=\"text/css\">", "</style>");
    Parts { script: script.unwrap_or_default(), style: style.unwrap_or_default() }
}

/// What inferno draws, with numbers for names.
struct Drawing {
    title: String,
    subtitle: String,
    unit: String,
    /// What one unit of a line's value stands for.
    factor: f64,
    colors: PaletteMap,
    lines: Vec<String>,
}

impl Drawing {
    /// Takes the tree's lines.
    fn of(profile: &Profile, value: usize, tree: &mut Tree) -> Self {
        let mut colors = PaletteMap::default();
        colors.insert("", palette::NEUTRAL);
        for (number, label) in tree.labels.iter().enumerate() {
            let color =
                label.kind.map_or(palette::NEUTRAL, |kind| palette::color(kind, &label.text));
            colors.insert(number, color);
        }
        Self {
            title: describe::title(profile),
            subtitle: describe::method(profile),
            unit: describe::unit_of(profile, value).to_owned(),
            factor: tree.factor,
            colors,
            lines: std::mem::take(&mut tree.lines),
        }
    }

    fn draw(mut self) -> io::Result<String> {
        let mut options = Options::default();
        options.title = self.title;
        options.subtitle = Some(self.subtitle);
        options.count_name = self.unit;
        options.factor = self.factor;
        options.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
        options.palette_map = Some(&mut self.colors);
        options.font_size = page::FONT_SIZE;
        options.font_width = page::FONT_WIDTH;
        // Narrow frames are gone already; what is left keeps the order of the tree, which inferno
        // leaves alone in a flame chart, where it only turns lines round.
        options.min_width = 0.0;
        options.flame_chart = true;
        let lines = self.lines.iter().rev().map(String::as_str);
        let mut drawn = Vec::new();
        flamegraph::from_lines(&mut options, lines, &mut drawn)?;
        String::from_utf8(drawn).map_err(io::Error::other)
    }
}
