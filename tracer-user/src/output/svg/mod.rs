//! Flame graph as SVG, drawn by inferno. In: a [`Profile`]. Out: a picture that is complete by
//! itself: what was measured and how, what was lost, whose code has which colour.
//!
//! Stacks are merged by function name; the width of a frame is its share of one value.

mod page;
mod palette;
mod tree;

use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, Options};

use super::describe;
use crate::profile::Profile;
use tree::Tree;

const BACKGROUND: Color = Color { r: 252, g: 252, b: 250 };

/// Writes the picture; one that says so when nothing was recorded.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    let tree = Tree::new(profile, value);
    if tree.is_empty() {
        return out.write_all(page::nothing(profile).as_bytes());
    }
    let drawn = draw(profile, value, &tree)?;
    out.write_all(page::finish(&drawn, profile, value, &tree).as_bytes())
}

fn draw(profile: &Profile, value: usize, tree: &Tree) -> io::Result<String> {
    let mut colors = PaletteMap::default();
    colors.insert("", palette::NEUTRAL);
    for label in &tree.labels {
        let color = label.kind.map_or(palette::NEUTRAL, |kind| palette::color(kind, &label.text));
        colors.insert(&label.text, color);
    }
    let mut options = Options::default();
    options.title = describe::title(profile);
    options.subtitle = Some(describe::method(profile));
    options.count_name = describe::unit_of(profile, value).to_owned();
    options.factor = tree.factor();
    options.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
    options.palette_map = Some(&mut colors);
    // Common monospace fonts are a little wider than inferno thinks.
    options.font_width = 0.625;
    // Narrow frames are gone already; what is left keeps the order of the tree, which inferno
    // leaves alone in a flame chart, where it only turns lines round.
    options.min_width = 0.0;
    options.flame_chart = true;
    let lines = tree.lines();
    let mut drawn = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().rev().map(String::as_str), &mut drawn)?;
    String::from_utf8(drawn).map_err(io::Error::other)
}
