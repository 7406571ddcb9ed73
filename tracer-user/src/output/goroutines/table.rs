//! The table of goroutines on a terminal: groups, and in each where its goroutines are.
//!
//! In: [`Goroutines`] and what to show. Out: lines of at most the terminal's width.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::{By, Goroutine, Goroutines};
use crate::output::describe::{self, counted};
use crate::output::lines::{self, Paint, paint};
use crate::output::table::{Style, hidden};
use crate::output::text::{duration, grouped, keep_end, keep_start, printable, share, short_path};
use crate::profile::{Frame, FrameKind, LocationId, Name};

/// What the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub style: Style,
    pub by: By,
    /// Groups shown at most.
    pub top: usize,
    /// The runtime's own goroutines too.
    pub system: bool,
}

/// Narrower terminals get this many columns all the same.
const MIN_WIDTH: usize = 60;
/// Places shown of a group, frames of a place, labels of a place, and goroutines by number.
const PLACES: usize = 3;
const FRAMES: usize = 6;
const ALL_FRAMES: usize = 16;
const LABELS: usize = 2;
const NUMBERS: usize = 3;
/// Spaces before what goroutines of a group do, and before frames.
const INDENT: usize = 5;
const FRAME_INDENT: usize = 9;

/// Writes the table.
pub fn write(goroutines: &Goroutines, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let style = Style { width: options.style.width.max(MIN_WIDTH), ..options.style };
    let mut table = Table { goroutines, options, style, out };
    table.header()?;
    table.groups()?;
    table.footer()
}

struct Table<'a> {
    goroutines: &'a Goroutines,
    options: &'a Options,
    style: Style,
    out: &'a mut dyn Write,
}

/// Goroutines of a group that are alike.
type Places<'a> = HashMap<(u32, Name, Option<LocationId>), Vec<&'a Goroutine>>;

/// What is the same for all goroutines of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Creator(String),
    State(String),
    Labels(Vec<String>),
    Stack(u32),
}

impl<'a> Table<'a> {
    fn header(&mut self) -> io::Result<()> {
        let profile = &self.goroutines.profile;
        self.wrapped(&describe::processes(profile), "", Paint::Bold)?;
        self.wrapped(&describe::method(profile), "", Paint::Plain)?;
        let (system, program): (Vec<_>, Vec<_>) =
            self.goroutines.all.iter().partition(|g| g.system);
        let mut line = counted(program.len() as u64, "goroutine");
        line.push_str(&self.states(&program));
        self.wrapped(&line, "", Paint::Plain)?;
        let mut line = format!("{} of the runtime's own", grouped(system.len() as u64));
        line.push_str(&self.states(&system));
        self.wrapped(&line, "", Paint::Plain)
    }

    /// `: 10 chan receive, 2 select`.
    fn states(&self, all: &[&Goroutine]) -> String {
        let mut counts: BTreeMap<Name, u64> = BTreeMap::new();
        for g in all {
            *counts.entry(g.state).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        let one = |(name, count): &(Name, u64)| {
            format!("{} {}", grouped(*count), printable(self.text(*name)))
        };
        let named: Vec<String> = counts.iter().map(one).collect();
        if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) }
    }

    fn groups(&mut self) -> io::Result<()> {
        let goroutines = self.goroutines;
        let mut groups: HashMap<Key, Vec<&'a Goroutine>> = HashMap::new();
        let mut creators: HashMap<Option<LocationId>, String> = HashMap::new();
        for g in goroutines.wanted(self.options.system) {
            let key = match self.options.by {
                By::Creator => {
                    let creator = creators.entry(g.creator);
                    Key::Creator(creator.or_insert_with(|| goroutines.creator(g)).clone())
                }
                By::State => Key::State(self.text(g.state).to_owned()),
                By::Labels => Key::Labels(goroutines.labels(g)),
                By::Stack => Key::Stack(g.stack),
            };
            groups.entry(key).or_default().push(g);
        }
        let total: usize = groups.values().map(Vec::len).sum();
        let mut groups: Vec<(Key, Vec<&Goroutine>)> = groups.into_iter().collect();
        groups.sort_by(|(a, of_a), (b, of_b)| of_b.len().cmp(&of_a.len()).then(a.cmp(b)));
        let what = match self.options.by {
            By::Creator => "creator",
            By::State => "state",
            By::Labels => "label set",
            By::Stack => "stack",
        };
        let all = counted(groups.len() as u64, what);
        let top = self.options.top;
        let heading = if top < groups.len() { format!("top {top} of {all}") } else { all };
        writeln!(self.out)?;
        self.line(&heading, Paint::Dim)?;
        let widest = groups.first().map_or(0, |(_, all)| grouped(all.len() as u64).len());
        let shown = groups.len().min(top);
        for (at, (key, all)) in groups[..shown].iter().enumerate() {
            let count = grouped(all.len() as u64);
            let part = share(all.len() as u64, total as u64);
            let line = format!("{:>3}  {part:>7}   {count:>widest$}   {}", at + 1, self.title(key));
            if at > 0 {
                writeln!(self.out)?;
            }
            self.line(&keep_start(&line, self.style.width), Paint::Bold)?;
            self.places(all)?;
        }
        let left: usize = groups[shown..].iter().map(|(_, all)| all.len()).sum();
        if left > 0 {
            let more = counted((groups.len() - shown) as u64, what);
            writeln!(self.out)?;
            let goroutines = counted(left as u64, "goroutine");
            self.line(&format!("{more} more: {goroutines}"), Paint::Dim)?;
        }
        Ok(())
    }

    fn title(&self, key: &Key) -> String {
        let text = match key {
            Key::Creator(creator) if creator == "main goroutine" => creator.clone(),
            Key::Creator(creator) => format!("created by {creator}"),
            Key::State(state) => state.clone(),
            Key::Labels(labels) => labels.join(", "),
            Key::Stack(_) => String::new(),
        };
        printable(&text).into_owned()
    }

    /// What the goroutines of a group do, most of them first.
    fn places(&mut self, all: &[&'a Goroutine]) -> io::Result<()> {
        let mut places: Places = HashMap::new();
        for g in all {
            // What the title says already is the same for all.
            let creator = g.creator.filter(|_| self.options.by != By::Creator);
            places.entry((g.stack, g.state, creator)).or_default().push(g);
        }
        let mut places: Vec<_> = places.into_iter().collect();
        places.sort_by_key(|((stack, state, _), all)| {
            let id = all.iter().map(|g| g.id).min();
            (std::cmp::Reverse(all.len()), self.text(*state), *stack, id)
        });
        let shown = places.len().min(PLACES);
        let by_stack = self.options.by == By::Stack;
        for (_, all) in &places[..shown] {
            let line = self.place(all);
            self.line(
                &keep_start(&format!("{:INDENT$}{line}", ""), self.style.width),
                Paint::Plain,
            )?;
            if !by_stack {
                self.frames(all[0].stack, FRAMES)?;
            }
        }
        let left: usize = places[shown..].iter().map(|(_, all)| all.len()).sum();
        if left > 0 {
            let more = grouped((places.len() - shown) as u64);
            let goroutines = counted(left as u64, "goroutine");
            self.line(&format!("{:INDENT$}… {more} more ways: {goroutines}", ""), Paint::Dim)?;
        }
        if let Some(g) = all.first().filter(|_| by_stack) {
            self.frames(g.stack, ALL_FRAMES)?;
        }
        Ok(())
    }

    /// `12 select, up to 3 min at least, goroutines 7 8 9 …, {handler: /api}`.
    fn place(&self, all: &[&Goroutine]) -> String {
        let g = all[0];
        let mut parts =
            vec![format!("{} {}", grouped(all.len() as u64), printable(self.text(g.state)))];
        if let Some(longest) = all.iter().filter_map(|g| g.waits).max() {
            let most = if all.len() > 1 { "the longest for" } else { "for" };
            parts.push(format!("{most} at least {}", duration(longest)));
        }
        if all.iter().all(|g| g.locked) {
            parts.push("locked to thread".to_owned());
        }
        if self.options.by != By::Creator {
            let creator = self.goroutines.creator(g);
            let created = if g.creator.is_some() { "created by " } else { "" };
            parts.push(format!("{created}{}", printable(&creator)));
        }
        let mut numbers: Vec<u64> = all.iter().map(|g| g.id).collect();
        numbers.sort_unstable();
        // One number takes no more room than the dots for it.
        let shown = if numbers.len() > NUMBERS + 1 { NUMBERS } else { numbers.len() };
        let more = if shown < numbers.len() { " …" } else { "" };
        let named: Vec<String> = numbers.iter().take(shown).map(u64::to_string).collect();
        let noun = if numbers.len() == 1 { "goroutine" } else { "goroutines" };
        parts.push(format!("{noun} {}{more}", named.join(" ")));
        if self.options.by != By::Labels {
            parts.extend(self.labels(all));
        }
        parts.join(", ")
    }

    fn labels(&self, all: &[&Goroutine]) -> Option<String> {
        let mut sets: BTreeMap<String, u64> = BTreeMap::new();
        for g in all {
            let labels = g.labels.iter().flatten();
            let one = |(key, value): &(Name, Name)| {
                format!("{}: {}", printable(self.text(*key)), printable(self.text(*value)))
            };
            let text: Vec<String> = labels.map(one).collect();
            if !text.is_empty() {
                *sets.entry(format!("{{{}}}", text.join(", "))).or_default() += 1;
            }
        }
        let mut sets: Vec<_> = sets.into_iter().collect();
        sets.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let more = sets.len().saturating_sub(LABELS);
        let named = sets.iter().take(LABELS).map(|(text, count)| match *count as usize {
            count if count == all.len() => text.clone(),
            count => format!("{count} × {text}"),
        });
        let mut named: Vec<String> = named.collect();
        if more > 0 {
            named.push(format!("{more} other labels"));
        }
        (!named.is_empty()).then(|| named.join(" "))
    }

    /// The frames of a stack without those of the runtime that put the goroutine to sleep.
    fn frames(&mut self, stack: u32, most: usize) -> io::Result<()> {
        let profile = &self.goroutines.profile;
        let stack = &self.goroutines.stacks[stack as usize];
        let frames: Vec<&Frame> =
            stack.iter().flat_map(|id| &profile.locations[id.0 as usize].frames).collect();
        if frames.is_empty() {
            // All there is are wrappers, which Go does not show either.
            return self.line(&format!("{:FRAME_INDENT$}[has not run yet]", ""), Paint::Dim);
        }
        let outside = |frame: &&&Frame| frame.kind != FrameKind::Runtime;
        let skip = frames.len() - frames.iter().skip_while(|f| !outside(f)).count();
        let frames = if skip == frames.len() { &frames[..] } else { &frames[skip..] };
        let hidden = hidden(frames.len(), most);
        let left = hidden.len();
        let at = hidden.start;
        let frames: Vec<&Frame> =
            frames[..at].iter().chain(&frames[hidden.end..]).copied().collect();
        let name = |frame: &Frame| printable(self.text(frame.function)).into_owned();
        let names: Vec<String> = frames.iter().map(|frame| name(frame)).collect();
        let place = |frame: &Frame| {
            let file = printable(short_path(self.text(frame.file))).into_owned();
            if frame.line == 0 { file } else { format!("{file}:{}", frame.line) }
        };
        let places: Vec<String> = frames.iter().map(|frame| place(frame)).collect();
        let widest = |texts: &[String]| texts.iter().map(|t| t.chars().count()).max().unwrap_or(0);
        let room = self.style.width - FRAME_INDENT;
        let place_width = widest(&places).min(room / 2);
        let name_width = widest(&names).min(room.saturating_sub(place_width + 2));
        for (nth, ((name, place), frame)) in names.iter().zip(&places).zip(frames).enumerate() {
            if nth == at && left > 0 {
                self.line(&format!("{:FRAME_INDENT$}… {left} more frames", ""), Paint::Dim)?;
            }
            let name = keep_end(name, name_width);
            let place = keep_end(place, place_width);
            let pad = if place.is_empty() { 0 } else { name_width - name.chars().count() + 2 };
            let name = paint(&name, Paint::Of(frame.kind), self.style);
            let place = paint(&place, Paint::Dim, self.style);
            writeln!(self.out, "{:FRAME_INDENT$}{name}{:pad$}{place}", "", "")?;
        }
        Ok(())
    }

    fn footer(&mut self) -> io::Result<()> {
        let profile = &self.goroutines.profile;
        writeln!(self.out)?;
        let known = self.goroutines.all.iter().filter(|g| g.waits.is_some()).count();
        let line = format!(
            "how long is known of {}: those that a collection has found waiting",
            counted(known as u64, "goroutine")
        );
        self.wrapped(&line, "", Paint::Plain)?;
        for loss in describe::losses(profile) {
            self.wrapped(&loss, "", Paint::Alarm)?;
        }
        for note in &profile.meta.notes {
            self.wrapped(&printable(note), "note: ", Paint::Plain)?;
        }
        Ok(())
    }

    fn wrapped(&mut self, text: &str, label: &str, paint: Paint) -> io::Result<()> {
        lines::wrapped(self.out, self.style, text, label, paint)
    }

    fn line(&mut self, text: &str, paint: Paint) -> io::Result<()> {
        writeln!(self.out, "{}", self::paint(text, paint, self.style))
    }

    fn text(&self, name: Name) -> &'a str {
        self.goroutines.profile.names.text(name)
    }
}
