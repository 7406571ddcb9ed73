//! Flame graph as SVG, drawn by inferno. In: a [`Profile`]. Out: a picture that is complete by
//! itself: what was measured and how, what was lost, whose code has which colour.
//!
//! Stacks are merged by function name; the width of a frame is its share of one value.

mod page;
mod shorten;
mod tree;

use std::io::{self, Write};

pub(super) use page::escape;

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, Options};

use super::{describe, palette};
use crate::profile::Profile;
use tree::Tree;

const BACKGROUND: Color = Color { r: 252, g: 252, b: 250 };

/// Writes the picture; one that says so when nothing was recorded.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut tree = Tree::new(profile, value);
    if tree.lines.is_empty() {
        return out.write_all(page::nothing(profile).as_bytes());
    }
    let kinds = tree.kinds();
    let drawn = draw(profile, value, &mut tree)?;
    let shortened = tree.shortened;
    page::Page { profile, value, labels: &tree.labels, kinds: &kinds, shortened }.write(&drawn, out)
}

/// inferno's picture, with numbers for names; takes the tree's lines.
fn draw(profile: &Profile, value: usize, tree: &mut Tree) -> io::Result<String> {
    let mut colors = PaletteMap::default();
    colors.insert("", palette::NEUTRAL);
    for (number, label) in tree.labels.iter().enumerate() {
        let color = label.kind.map_or(palette::NEUTRAL, |kind| palette::color(kind, &label.text));
        colors.insert(number, color);
    }
    let mut options = Options::default();
    options.title = describe::title(profile);
    options.subtitle = Some(describe::method(profile));
    options.count_name = describe::unit_of(profile, value).to_owned();
    options.factor = tree.factor;
    options.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
    options.palette_map = Some(&mut colors);
    options.font_size = page::FONT_SIZE;
    options.font_width = page::FONT_WIDTH;
    // Narrow frames are gone already; what is left keeps the order of the tree, which inferno
    // leaves alone in a flame chart, where it only turns lines round.
    options.min_width = 0.0;
    options.flame_chart = true;
    let lines = std::mem::take(&mut tree.lines);
    let mut drawn = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().rev().map(String::as_str), &mut drawn)?;
    String::from_utf8(drawn).map_err(io::Error::other)
}
