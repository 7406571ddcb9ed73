//! What surrounds the frames and what stands in them: facts under the title, the legend, names.
//!
//! In: inferno's SVG with numbers for names. Out: the same with a taller head and with names,
//! written as it is walked. inferno has one line for a subtitle and no legend, and its texts know
//! no units. Whatever is not found where this version of inferno writes it is left as it is; tests
//! hold that everything is found.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use inferno::flamegraph::color::Color;

use super::shorten::{MAX_DEPTH, REPEATS, Shortened};
use crate::output::stacks::Label;
use crate::output::text::{grouped, keep_start, printable, wrap};
use crate::output::{describe, palette};
use crate::profile::{Name, Profile};

/// Of the frames' font, in pixels, and a character's width as a part of it: common monospace fonts
/// are a little wider than inferno thinks.
pub const FONT_SIZE: usize = 12;
pub const FONT_WIDTH: f64 = 0.625;

/// inferno's width where no script runs, in pixels.
const WIDTH: usize = 1200;
/// Characters in a line of the head.
const LINE: usize = 150;
/// Lines that notes can fill.
const NOTE_LINES: usize = 6;
/// Pixels: a line of the head, the legend.
const LINE_HEIGHT: usize = 17;
const LEGEND_HEIGHT: usize = 26;
/// Where inferno's subtitle ends.
const HEAD: usize = 48;

/// A line of the head.
pub struct Fact {
    pub text: String,
    pub is_loss: bool,
}

impl Fact {
    /// A text in as many lines as it takes, up to `most`.
    pub fn wrapped(text: &str, most: usize, is_loss: bool) -> Vec<Self> {
        let lines = wrap(text, LINE).into_iter().take(most);
        lines.map(|line| Fact { text: keep_start(&line, LINE).into_owned(), is_loss }).collect()
    }

    /// The first of the notes.
    pub fn notes(notes: &[String]) -> Vec<Self> {
        let shown = notes.iter().take(NOTE_LINES);
        let mut facts: Vec<Self> =
            shown.flat_map(|note| Self::wrapped(&printable(note), 2, false)).collect();
        if notes.len() > NOTE_LINES {
            let more = notes.len() - NOTE_LINES;
            facts.extend(Self::wrapped(
                &format!("{more} more notes: see the JSON output"),
                1,
                false,
            ));
        }
        facts
    }

    /// That not all is drawn as it is.
    pub fn shortened(Shortened { stacks, deepest }: Shortened) -> Self {
        let text = format!(
            "drawn shortened, with marks [… N frames]: recursion of more than {REPEATS} rounds and \
             the middle of more than {MAX_DEPTH} frames; {} of up to {} frames",
            describe::counted(stacks as u64, "stack"),
            grouped(deepest as u64)
        );
        Self { text, is_loss: false }
    }
}

/// inferno searches the whole text of a frame; numbers and files in it are no names.
const SEARCHES_TITLE: &str = "    var func = g_to_text(e);\n";
const SEARCHES_NAME: &str = "    var func = g_to_text(e).replace(/ \\([^(]*\\)$/, \"\");\n";

/// How inferno shows the word that starts a search.
const FAINT: &str = "opacity:0.1; cursor";

/// Where the frames begin.
const FRAMES: &str = "<svg id=\"frames\" ";

/// What goes around and into a picture of inferno's.
pub struct Page<'a> {
    pub facts: &'a [Fact],
    /// Colours, and what they mean.
    pub legend: &'a [(Color, &'static str)],
    /// What a frame is by its number, nothing for the whole, and what inferno says of it.
    pub frame: &'a dyn Fn(Option<usize>, &str) -> Shown<'a>,
}

/// What is shown of a frame.
pub struct Shown<'a> {
    pub name: Cow<'a, str>,
    /// Escaped, and without `(`.
    pub numbers: String,
}

impl Page<'_> {
    /// Writes the finished picture.
    pub fn write(&self, drawn: &str, out: &mut dyn Write) -> io::Result<()> {
        let Some((head, frames)) = drawn.split_once(FRAMES) else {
            return out.write_all(drawn.as_bytes());
        };
        let head = head.replacen(SEARCHES_TITLE, SEARCHES_NAME, 1);
        let head = head.replacen(FAINT, "opacity:0.6; cursor", 1);
        let extra = self.facts.len() * LINE_HEIGHT + LEGEND_HEIGHT;
        match grow(&head, extra) {
            Some(taller) => {
                out.write_all(taller.as_bytes())?;
                out.write_all(below(HEAD + LINE_HEIGHT, self.facts, self.legend).as_bytes())?;
                write!(out, "{FRAMES}y=\"{extra}\" ")?;
            }
            None => write!(out, "{head}{FRAMES}")?,
        }
        self.frames(frames, out)
    }

    /// Each frame is `<g><title>…</title><rect …/><text …>…</text></g>`.
    fn frames(&self, drawn: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut rest = drawn;
        while let Some(frame) = Drawn::next(rest) {
            let Shown { name, numbers } = (self.frame)(frame.number.parse().ok(), frame.numbers);
            let Drawn { before, shape, width, .. } = frame;
            write!(out, "{before}<title>{} ({numbers})</title>{shape}", escape(&name))?;
            write!(out, "{}</text>", escape(&fitting(&name, width)))?;
            rest = frame.rest;
        }
        out.write_all(rest.as_bytes())
    }
}

/// `1,536 bytes, 5.00%` with the size for people in front, and whose code and where behind.
/// What follows a title's last `(` is not shown in the frame, so there must be no other in it.
pub fn numbers(profile: &Profile, value: usize, label: Option<&Label>, numbers: &str) -> String {
    let mut text = String::new();
    let count = numbers.split(' ').next().unwrap_or_default().replace(',', "");
    let of = profile.meta.value_types.get(value);
    // Large sizes and times are hard to read as they are.
    let shortened = of.filter(|of| of.unit != "count");
    if let (Some(of), Some(count)) = (shortened, count.parse().ok().filter(|n| *n >= 1024)) {
        let _ = write!(text, "{}, ", describe::amount(*of, count));
    }
    text.push_str(numbers);
    if let Some(kind) = label.and_then(|l| l.kind) {
        let _ = write!(text, "; {}", palette::label(kind));
    }
    let place = label.and_then(|l| l.place).filter(|(file, _)| *file != Name(0));
    if let Some((file, line)) = place {
        let path = printable(profile.names.text(file)).into_owned();
        let _ = write!(text, "; {}", escape(&path.replace('(', "[").replace(')', "]")));
        if line > 0 {
            let _ = write!(text, ":{line}");
        }
    }
    text
}

/// A frame as inferno draws it.
struct Drawn<'a> {
    /// What comes before its title.
    before: &'a str,
    /// What stands for its name, and what the title says of it.
    number: &'a str,
    numbers: &'a str,
    /// From the title's end to the text's start, and how much of the picture it takes, in percent.
    shape: &'a str,
    width: f64,
    /// What comes after its text.
    rest: &'a str,
}

impl<'a> Drawn<'a> {
    fn next(text: &'a str) -> Option<Self> {
        let (before, after) = text.split_once("<title>")?;
        let (title, after) = after.split_once("</title>")?;
        let (number, numbers) = title.rsplit_once(" (")?;
        let numbers = numbers.strip_suffix(')')?;
        let (shape, rest) = after.split_once("</text>")?;
        let shape = &shape[..=shape.rfind('>')?];
        let width = between(shape, " width=\"", "%\"")?.parse().ok()?;
        Some(Self { before, number, numbers, shape, width, rest })
    }
}

/// As much of a name as fits. Its end says more than its start: inferno's script keeps the end, and
/// so do we in pictures that no script runs in.
fn fitting(name: &str, width: f64) -> String {
    let character = 100.0 * FONT_SIZE as f64 * FONT_WIDTH / WIDTH as f64;
    let fit = (width / character) as usize;
    match name.chars().count() {
        _ if fit < 3 => String::new(),
        length if length < fit => name.to_owned(),
        length => format!("..{}", name.chars().skip(length + 2 - fit).collect::<String>()),
    }
}

/// A picture of nothing, and what it says instead.
pub fn nothing(title: &str, facts: &[Fact], text: &str) -> String {
    let head = below(HEAD, facts, &[]);
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
         <text x=\"50%\" y=\"{middle}\" style=\"font-size:20px\">{}</text>\n</svg>\n",
        fill.r,
        fill.g,
        fill.b,
        escape(title),
        escape(text),
    )
}

/// What is said of a profile.
pub fn facts(profile: &Profile) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |text: &str, most: usize, is_loss: bool| {
        facts.extend(Fact::wrapped(text, most, is_loss));
    };
    add(&format!("{}; {}", describe::totals(profile), describe::verdict(profile)), 2, false);
    add(&describe::processes(profile), 3, false);
    for cost in describe::first_costs(profile) {
        add(&cost, 2, false);
    }
    for loss in describe::losses(profile) {
        add(&loss, 2, true);
    }
    facts.extend(Fact::notes(&profile.meta.notes));
    facts
}

/// Facts and legend, the first line at `y`.
fn below(mut y: usize, facts: &[Fact], colors: &[(Color, &'static str)]) -> String {
    let mut head = String::new();
    for Fact { text, is_loss } in facts {
        let color = if *is_loss { "rgb(200,0,0)" } else { "rgb(70,70,70)" };
        let text = escape(text);
        let _ = writeln!(
            head,
            "<text x=\"50%\" y=\"{y}\" fill=\"{color}\" text-anchor=\"middle\">{text}</text>"
        );
        y += LINE_HEIGHT;
    }
    if !colors.is_empty() {
        head.push_str(&legend(y, colors));
    }
    head
}

/// A swatch and a word for each kind, centred whatever the picture's width.
fn legend(y: usize, colors: &[(Color, &'static str)]) -> String {
    const SWATCH: f64 = 12.0;
    const GAP: f64 = 5.0;
    const BETWEEN: f64 = 22.0;
    let width = |(_, word): &(Color, &'static str)| {
        let characters = word.chars().count() as f64;
        SWATCH + GAP + characters * FONT_SIZE as f64 * FONT_WIDTH + BETWEEN
    };
    let mut x = (BETWEEN - colors.iter().map(width).sum::<f64>()) / 2.0;
    let mut legend = format!("<svg id=\"legend\" x=\"50%\" y=\"{y}\" overflow=\"visible\">\n");
    for swatch @ (c, word) in colors {
        let _ = writeln!(
            legend,
            "<rect x=\"{x:.1}\" y=\"-9\" width=\"{SWATCH}\" height=\"{SWATCH}\" \
             fill=\"rgb({},{},{})\" stroke=\"rgb(120,120,120)\" stroke-width=\"0.5\"/>\
             <text x=\"{:.1}\" y=\"1\">{}</text>",
            c.r,
            c.g,
            c.b,
            x + SWATCH + GAP,
            word,
        );
        x += width(swatch);
    }
    legend.push_str("</svg>\n");
    legend
}

/// Makes room of `extra` pixels below inferno's head.
fn grow(head: &str, extra: usize) -> Option<String> {
    let height: usize = between(head, " height=\"", "\"")?.parse().ok()?;
    let tall = height + extra;
    let mut grown = head.to_owned();
    let mut change = |from: String, to: String| -> Option<()> {
        let at = grown.find(&from)?;
        grown.replace_range(at..at + from.len(), &to);
        Some(())
    };
    change(format!(" height=\"{height}\""), format!(" height=\"{tall}\""))?;
    change(format!("viewBox=\"0 0 {WIDTH} {height}\""), format!("viewBox=\"0 0 {WIDTH} {tall}\""))?;
    change(
        format!("height=\"{height}\" fill=\"url(#background)\""),
        format!("height=\"{tall}\" fill=\"url(#background)\""),
    )?;
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

const ENTITIES: [(char, &str); 5] =
    [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('\'', "&apos;"), ('"', "&quot;")];

pub(in crate::output) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match ENTITIES.iter().find(|(plain, _)| *plain == c) {
            Some((_, entity)) => escaped.push_str(entity),
            None => escaped.push(c),
        }
    }
    escaped
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    Some(&text[start..start + text[start..].find(after)?])
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
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
        let mut tree = Tree::new(&profile, 1);
        let drawn = super::super::Drawing::of(&profile, 1, &mut tree).draw().unwrap();
        assert!(drawn.contains(SEARCHES_TITLE) && drawn.contains(FAINT));
        let (head, frames) = drawn.split_once(FRAMES).unwrap();
        let height: usize = between(head, " height=\"", "\"").unwrap().parse().unwrap();
        let grown = grow(head, 50).unwrap();
        assert_eq!(grown.matches(&format!("height=\"{}\"", height + 50)).count(), 2);
        assert!(grown.contains(&format!("viewBox=\"0 0 1200 {}\"", height + 50)));
        let first = Drawn::next(frames).unwrap();
        assert!(first.number.parse::<usize>().is_ok() && first.numbers.contains(" bytes, "));
        let svg = rendered(&profile, Format::Svg);
        assert!(svg.contains(SEARCHES_NAME));
        assert_eq!(svg.matches("<g><title>").count(), drawn.matches("<g><title>").count());
        let named = svg.matches("; standard library").count();
        assert_eq!(named, 7, "two of net/http, three of json, strings and time");
        assert!(svg.contains(">all</text>"), "which inferno leaves empty");
    }

    #[test]
    fn no_markup_comes_through() {
        let svg = rendered(&sample::hostile(), Format::Svg);
        assert!(!svg.contains("<script>alert"));
        assert_eq!(svg.matches("<script").count(), 1);
        assert!(!svg.contains(['\u{202e}', '\x1b']));
        assert!(svg.contains("main.a;b 12 (101 bytes"), "the name as it is");
        assert!(svg.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
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
        assert_eq!(fitting("abcdefgh", 100.0), "abcdefgh");
        assert_eq!(fitting("abcdefgh", 3.2), "..fgh", "38.4 pixels are five characters");
        assert_eq!(fitting("abcdefgh", 1.0), "");
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
