//! What surrounds the frames: facts under the title, the legend, better texts in the frames.
//!
//! In: inferno's SVG. Out: the same with a taller head. inferno has one line for a subtitle and no
//! legend, and its texts know no units. Whatever is not found where this version of inferno writes
//! it is left as it is; tests hold that everything is found.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::palette;
use super::tree::{Label, SEMICOLON, SPACE, Tree};
use crate::output::describe;
use crate::output::text::{bytes, keep_start, printable, wrap};
use crate::profile::{FrameKind, Profile};

/// Characters in a line of the head at inferno's 1200 pixels.
const LINE: usize = 150;
/// Lines that notes can fill.
const NOTE_LINES: usize = 6;
/// Pixels: a line of the head, the legend, a character of the 12 pixel font.
const LINE_HEIGHT: usize = 17;
const LEGEND_HEIGHT: usize = 26;
const CHARACTER: f64 = 7.22;
/// Where inferno's subtitle ends.
const HEAD: usize = 48;

struct Fact {
    text: String,
    is_loss: bool,
}

/// inferno's picture with our head.
pub fn finish(drawn: &str, profile: &Profile, value: usize, tree: &Tree) -> String {
    let facts = facts(profile);
    let extra = facts.len() * LINE_HEIGHT + LEGEND_HEIGHT;
    let head = head(&facts, &tree.kinds());
    let taller = grow(drawn, extra, &head).unwrap_or_else(|| drawn.to_owned());
    let in_bytes = describe::unit_of(profile, value) == "bytes";
    let named = Frames::new(&tree.labels, in_bytes).rewrite(&taller);
    let searched = named.replacen(SEARCHES_TITLE, SEARCHES_NAME, 1);
    let visible = searched.replacen(FAINT, "opacity:0.6; cursor", 1);
    visible.replace(SEMICOLON, ";").replace(SPACE, " ")
}

/// inferno searches the whole text of a frame; numbers and files in it are no names.
const SEARCHES_TITLE: &str = "    var func = g_to_text(e);\n";
const SEARCHES_NAME: &str = "    var func = g_to_text(e).replace(/ \\([^(]*\\)$/, \"\");\n";

/// How inferno shows the word that starts a search.
const FAINT: &str = "opacity:0.1; cursor";

/// The picture of a profile in which nothing is.
pub fn nothing(profile: &Profile) -> String {
    let mut facts = facts(profile);
    facts.insert(0, Fact { text: describe::method(profile), is_loss: false });
    let head = head_at(HEAD, &facts, &[]);
    let middle = HEAD + facts.len() * LINE_HEIGHT + 40;
    let height = middle + 50;
    let fill = super::BACKGROUND;
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"1200\" height=\"{height}\" viewBox=\"0 0 1200 {height}\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n\
         <style type=\"text/css\">text {{ font-family:monospace; font-size:12px; \
         text-anchor:middle }}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"rgb({},{},{})\"/>\n\
         <text x=\"50%\" y=\"24\" style=\"font-size:17px\">{}</text>\n{head}\
         <text x=\"50%\" y=\"{middle}\" style=\"font-size:20px\">Nothing was recorded: no \
         allocation was seen.</text>\n</svg>\n",
        fill.r,
        fill.g,
        fill.b,
        escape(&describe::title(profile)),
    )
}

fn facts(profile: &Profile) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |text: &str, max: usize, is_loss: bool| {
        let lines = wrap(text, LINE).into_iter().take(max);
        facts.extend(lines.map(|l| Fact { text: keep_start(&l, LINE).into_owned(), is_loss }));
    };
    add(&format!("{}; {}", describe::totals(profile), describe::verdict(profile)), 2, false);
    add(&describe::processes(profile), 3, false);
    for loss in describe::losses(profile) {
        add(&loss, 2, true);
    }
    let notes = &profile.meta.notes;
    for note in notes.iter().take(NOTE_LINES) {
        add(&printable(note), 2, false);
    }
    if notes.len() > NOTE_LINES {
        add(&format!("{} more notes: see the JSON output", notes.len() - NOTE_LINES), 1, false);
    }
    facts
}

/// Facts and legend, below inferno's subtitle.
fn head(facts: &[Fact], kinds: &[FrameKind]) -> String {
    head_at(HEAD + LINE_HEIGHT, facts, kinds)
}

fn head_at(first: usize, facts: &[Fact], kinds: &[FrameKind]) -> String {
    let mut head = String::new();
    let mut y = first;
    for Fact { text, is_loss } in facts {
        let color = if *is_loss { "rgb(200,0,0)" } else { "rgb(70,70,70)" };
        let text = escape(text);
        let style = "text-anchor:middle";
        let _ = writeln!(
            head,
            "<text x=\"50%\" y=\"{y}\" fill=\"{color}\" style=\"{style}\">{text}</text>"
        );
        y += LINE_HEIGHT;
    }
    if !kinds.is_empty() {
        head.push_str(&legend(y, kinds));
    }
    head
}

/// A swatch and a word for each kind, centred whatever the picture's width.
fn legend(y: usize, kinds: &[FrameKind]) -> String {
    const SWATCH: f64 = 12.0;
    const GAP: f64 = 5.0;
    const BETWEEN: f64 = 22.0;
    let width = |kind: &FrameKind| {
        SWATCH + GAP + palette::label(*kind).chars().count() as f64 * CHARACTER + BETWEEN
    };
    let mut x = (BETWEEN - kinds.iter().map(width).sum::<f64>()) / 2.0;
    let mut legend = format!("<svg id=\"legend\" x=\"50%\" y=\"{y}\" overflow=\"visible\">\n");
    for kind in kinds {
        let c = palette::typical(*kind);
        let _ = writeln!(
            legend,
            "<rect x=\"{x:.1}\" y=\"-9\" width=\"{SWATCH}\" height=\"{SWATCH}\" \
             fill=\"rgb({},{},{})\" stroke=\"rgb(120,120,120)\" stroke-width=\"0.5\"/>\
             <text x=\"{:.1}\" y=\"1\">{}</text>",
            c.r,
            c.g,
            c.b,
            x + SWATCH + GAP,
            palette::label(*kind),
        );
        x += width(kind);
    }
    legend.push_str("</svg>\n");
    legend
}

/// Makes room of `extra` pixels below inferno's head and puts ours there.
fn grow(drawn: &str, extra: usize, head: &str) -> Option<String> {
    let height: usize = between(drawn, " height=\"", "\"")?.parse().ok()?;
    let tall = height + extra;
    let mut grown = drawn.to_owned();
    let mut change = |from: String, to: String| -> Option<()> {
        let at = grown.find(&from)?;
        grown.replace_range(at..at + from.len(), &to);
        Some(())
    };
    change(format!(" height=\"{height}\""), format!(" height=\"{tall}\""))?;
    change(format!("viewBox=\"0 0 1200 {height}\""), format!("viewBox=\"0 0 1200 {tall}\""))?;
    change(
        format!("height=\"{height}\" fill=\"url(#background)\""),
        format!("height=\"{tall}\" fill=\"url(#background)\""),
    )?;
    change("<svg id=\"frames\" ".to_owned(), format!("{head}<svg id=\"frames\" y=\"{extra}\" "))?;
    for id in ["details", "matched"] {
        let start = grown.find(&format!("<text id=\"{id}\""))?;
        let tag = &grown[start..start + grown[start..].find('>')?];
        let y = between(tag, " y=\"", "\"")?;
        let moved = y.parse::<f64>().ok()? + extra as f64;
        let new = tag.replacen(&format!(" y=\"{y}\""), &format!(" y=\"{moved:.2}\""), 1);
        let end = start + tag.len();
        grown.replace_range(start..end, &new);
    }
    Some(grown)
}

/// Rewrites the texts of inferno's frames.
struct Frames<'a> {
    /// Labels by their text as inferno writes it.
    labels: HashMap<String, &'a Label>,
    in_bytes: bool,
}

impl<'a> Frames<'a> {
    fn new(labels: &'a [Label], in_bytes: bool) -> Self {
        let labels = labels.iter().map(|label| (escape(&label.text), label)).collect();
        Self { labels, in_bytes }
    }

    /// Each frame is `<g><title>…</title><rect …/><text …>…</text></g>`.
    fn rewrite(&self, svg: &str) -> String {
        let mut out = String::with_capacity(svg.len() + svg.len() / 4);
        let mut rest = svg;
        while let Some((before, after)) = rest.split_once("<title>") {
            let Some((title, tail)) = after.split_once("</title>") else { break };
            out.push_str(before);
            let (name, numbers) = title.rsplit_once(" (").unwrap_or((title, ""));
            let numbers = self.numbers(name, numbers);
            let _ = write!(out, "<title>{name} ({numbers}</title>");
            rest = tail;
            if let Some((attributes, tail)) = tail.split_once("</text>")
                && let Some((shape, shown)) = attributes.rsplit_once('>')
            {
                let _ = write!(out, "{shape}>{}</text>", shortened(name, shown));
                rest = tail;
            }
        }
        out.push_str(rest);
        out
    }

    /// `1,536 bytes, 5.00%)` with the size for people in front and the place behind. What follows
    /// the last `(` is not shown in a frame, so there must be no other one in it.
    fn numbers(&self, name: &str, numbers: &str) -> String {
        let mut text = String::new();
        let count = numbers.split(' ').next().unwrap_or_default().replace(',', "");
        if let Some(count) = count.parse().ok().filter(|c| self.in_bytes && *c >= 1024) {
            let _ = write!(text, "{}, ", bytes(count));
        }
        text.push_str(numbers.strip_suffix(')').unwrap_or(numbers));
        if let Some(label) = self.labels.get(name) {
            if let Some(kind) = label.kind {
                let _ = write!(text, "; {}", palette::label(kind));
            }
            if let Some(place) = &label.place {
                let plain: String = place.replace('(', "[").replace(')', "]");
                let _ = write!(text, "; {}", escape(&plain));
            }
        }
        text.push(')');
        text
    }
}

/// The end of a name says more than its start: inferno's script keeps the end, and so do we in
/// pictures that no script runs in.
fn shortened(name: &str, shown: &str) -> String {
    // inferno leaves the whole without a text.
    if name == "all" && shown.is_empty() {
        return name.to_owned();
    }
    if !shown.ends_with("..") {
        return shown.to_owned();
    }
    let plain = unescape(name);
    let keep = unescape(shown).chars().count().saturating_sub(2);
    let from = plain.chars().count().saturating_sub(keep);
    format!("..{}", escape(&plain.chars().skip(from).collect::<String>()))
}

const ENTITIES: [(char, &str); 5] =
    [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('\'', "&apos;"), ('"', "&quot;")];

/// As inferno escapes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match ENTITIES.iter().find(|(plain, _)| *plain == c) {
            Some((_, entity)) => escaped.push_str(entity),
            None => escaped.push(c),
        }
    }
    escaped
}

fn unescape(text: &str) -> String {
    // `&amp;` comes first in the table and must be undone last.
    ENTITIES
        .iter()
        .rev()
        .fold(text.to_owned(), |text, (c, entity)| text.replace(entity, c.encode_utf8(&mut [0; 4])))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    Some(&text[start..start + text[start..].find(after)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::golden::{check, rendered};
    use crate::output::{Format, Options, render, sample};
    use crate::profile::Source;
    use crate::profile::build::Build;

    /// The picture without inferno's script, one element a line.
    fn picture(profile: &Profile) -> String {
        let svg = rendered(profile, Format::Svg);
        let svg = match (svg.find("<script"), svg.find("</script>")) {
            (Some(start), Some(end)) => format!("{}{}", &svg[..start], &svg[end + 9..]),
            _ => svg,
        };
        svg.replace("><", ">\n<")
    }

    #[test]
    fn matches_the_golden_files() {
        check("server.svg.txt", &picture(&sample::server()));
        check("fleet.svg.txt", &picture(&sample::fleet()));
        check("empty.svg.txt", &picture(&sample::empty()));
        check("hostile.svg.txt", &picture(&sample::hostile()));
    }

    #[test]
    fn everything_of_infernos_is_found_where_it_is_looked_for() {
        let profile = sample::server();
        let tree = Tree::new(&profile, 1);
        let drawn = super::super::draw(&profile, 1, &tree).unwrap();
        assert!(drawn.contains(SEARCHES_TITLE) && drawn.contains(FAINT));
        let height: usize = between(&drawn, " height=\"", "\"").unwrap().parse().unwrap();
        let grown = grow(&drawn, 50, "<HEAD/>").unwrap();
        assert_eq!(grown.matches(&format!("height=\"{}\"", height + 50)).count(), 2);
        assert!(grown.contains("<HEAD/><svg id=\"frames\" y=\"50\" x=\"10\""));
        assert!(grown.contains(&format!("viewBox=\"0 0 1200 {}\"", height + 50)));
        let svg = rendered(&profile, Format::Svg);
        assert!(svg.contains(SEARCHES_NAME));
        let frames = svg.matches("<g><title>").count();
        assert_eq!(frames, drawn.matches("<g><title>").count());
        let named = svg.matches("; standard library").count();
        assert_eq!(named, 7, "two of net/http, three of json, strings and time");
    }

    #[test]
    fn no_markup_and_no_placeholder_comes_through() {
        let svg = rendered(&sample::hostile(), Format::Svg);
        assert!(!svg.contains("<script>alert"));
        assert_eq!(svg.matches("<script").count(), 1);
        assert!(!svg.contains([SEMICOLON, SPACE, '\u{202e}', '\x1b']));
        assert!(svg.contains("main.a;b 12 (101 bytes"), "the name as it is");
        let legal = |c: char| c == '\n' || c == '\t' || !c.is_control();
        assert!(svg.chars().all(|c| legal(c) || c == '\r'));
    }

    #[test]
    fn a_picture_of_objects_counts_objects() {
        let mut out = Vec::new();
        let options = Options { value: Some(0), ..Options::default() };
        render(&sample::server(), Format::Svg, &options, &mut out).unwrap();
        let svg = String::from_utf8(out).unwrap();
        assert!(svg.contains("all (153,016 objects, 100%)"));
        assert!(!svg.contains(" bytes, "));
    }

    #[test]
    fn pictures_are_the_same_every_time() {
        for profile in [sample::server(), sample::hostile(), sample::fleet()] {
            assert_eq!(rendered(&profile, Format::Svg), rendered(&profile, Format::Svg));
        }
    }

    #[test]
    fn names_that_are_cut_keep_their_end() {
        assert_eq!(shortened("a&lt;bcdefgh", "a&lt;b.."), "..fgh");
        assert_eq!(shortened("abcdefgh&amp;&gt;", "abc.."), "..h&amp;&gt;");
        assert_eq!(shortened("abc", "abc"), "abc");
        assert_eq!(unescape(&escape("&lt;<>'\"&amp;")), "&lt;<>'\"&amp;");
    }

    #[test]
    fn a_thousand_notes_do_not_push_the_frames_away() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.a"], 1, 1);
        for _ in 0..1000 {
            build.note("n");
        }
        let svg = rendered(&build.done(), Format::Svg);
        assert!(svg.contains("994 more notes"));
        let height: usize = between(&svg, " height=\"", "\"").unwrap().parse().unwrap();
        assert!(height < 400);
    }
}
