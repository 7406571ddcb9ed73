//! Whose code has which colour. In: a frame's kind and name. Out: the same colour for the same
//! name in every picture and page: the kind gives the hue, the package the shade.

use inferno::flamegraph::color::Color;

use crate::profile::FrameKind;

/// Lightest and darkest shade of a kind; black text is readable on both.
struct Shades(Color, Color);

/// Frames that stand for no code: the whole, a process.
pub const NEUTRAL: Color = rgb(214, 219, 226);

/// What has more than before, as much, and less.
pub const GROWN: Color = rgb(238, 92, 76);
pub const SAME: Color = rgb(246, 244, 240);
pub const SHRUNK: Color = rgb(96, 150, 236);

/// A colour from one to another.
pub fn between(from: Color, to: Color, share: f32) -> Color {
    mix(&Shades(from, to), share)
}

/// What the legend calls a kind.
pub fn label(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Program => "program and its modules",
        FrameKind::Standard => "standard library",
        FrameKind::Runtime => "Go runtime",
        FrameKind::Native => "native code",
        FrameKind::Type => "type allocated",
        FrameKind::Marker => "cut off",
        FrameKind::Group => "grouped by",
        FrameKind::Unknown => "unknown",
    }
}

/// The colour that the legend shows for a kind.
pub fn typical(kind: FrameKind) -> Color {
    mix(&shades(kind), 0.5)
}

/// The colour of a function.
pub fn color(kind: FrameKind, name: &str) -> Color {
    // Packages differ, and so do the functions of one.
    let shade = 0.5 * fraction(package(name)) + 0.5 * fraction(name);
    mix(&shades(kind), shade)
}

fn shades(kind: FrameKind) -> Shades {
    match kind {
        FrameKind::Program => Shades(rgb(255, 205, 96), rgb(243, 128, 68)),
        FrameKind::Standard => Shades(rgb(173, 212, 250), rgb(112, 169, 228)),
        FrameKind::Runtime => Shades(rgb(205, 205, 207), rgb(172, 172, 176)),
        FrameKind::Native => Shades(rgb(176, 224, 160), rgb(118, 194, 122)),
        FrameKind::Type => Shades(rgb(220, 200, 246), rgb(184, 154, 228)),
        FrameKind::Marker => Shades(rgb(255, 255, 255), rgb(255, 255, 255)),
        FrameKind::Group => Shades(rgb(244, 214, 224), rgb(236, 190, 206)),
        FrameKind::Unknown => Shades(rgb(201, 176, 146), rgb(201, 176, 146)),
    }
}

/// `encoding/json` of `encoding/json.(*Decoder).Decode`.
fn package(name: &str) -> &str {
    let start = name.rfind('/').map_or(0, |at| at + 1);
    let end = name[start..].find('.').map_or(name.len(), |at| start + at);
    &name[..end]
}

/// A number from 0 to 1 that depends on the text alone (FNV-1a, folded to 16 bits).
fn fraction(text: &str) -> f32 {
    let hash = text
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    f32::from((hash >> 16) as u16 ^ hash as u16) / f32::from(u16::MAX)
}

fn mix(Shades(light, dark): &Shades, shade: f32) -> Color {
    let one = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * shade) as u8;
    rgb(one(light.r, dark.r), one(light.g, dark.g), one(light.b, dark.b))
}

const fn rgb(r: u8, g: u8, b: u8) -> Color {
    Color { r, g, b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_never_meet() {
        let all: Vec<_> = FrameKind::ALL.iter().map(|k| (shades(*k), *k)).collect();
        let far = |a: Color, b: Color| {
            let d = |a: u8, b: u8| i32::from(a).abs_diff(i32::from(b));
            d(a.r, b.r) + d(a.g, b.g) + d(a.b, b.b)
        };
        for (at, (Shades(a1, a2), a)) in all.iter().enumerate() {
            for (Shades(b1, b2), b) in &all[at + 1..] {
                for (x, y) in [(a1, b1), (a1, b2), (a2, b1), (a2, b2)] {
                    assert!(far(*x, *y) > 40, "{a:?} and {b:?}: {x} {y}");
                }
            }
        }
    }

    #[test]
    fn a_name_has_one_colour_and_black_text_is_readable_on_it() {
        for name in ["main.f", "encoding/json.(*Decoder).Decode", "", "/", ".", "a/b"] {
            for kind in FrameKind::ALL {
                let c = color(kind, name);
                assert_eq!(c, color(kind, name));
                let light = u32::from(c.r) * 3 + u32::from(c.g) * 6 + u32::from(c.b);
                assert!(light > 10 * 120, "{kind:?} {c}");
            }
        }
    }

    #[test]
    fn packages_are_found_in_names() {
        assert_eq!(package("encoding/json.(*Decoder).Decode"), "encoding/json");
        assert_eq!(package("github.com/a/b.v2.F"), "github.com/a/b");
        assert_eq!(package("main.main"), "main");
        assert_eq!(package("malloc"), "malloc");
    }
}
