//! The table on a terminal: top stacks, or top types, for a human at three in the morning.
//!
//! In: a [`Profile`] and a [`Style`]; whether there is a terminal, how wide it is and whether
//! colour is wanted is the caller's to find out. Out: lines of at most that width.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::ops::Range;

use super::describe;
use super::lines::{self, Paint};
use super::text::{bytes, grouped, keep_end, keep_start, printable, share, short_path};
use super::{maps, os, pools};
use crate::profile::{
    Frame, FrameId, FrameKind, GOROUTINES_CREATED, ProcessId, Profile, Ranked, Source, ValueType,
};

/// What the table looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours: for a terminal, when `NO_COLOR` is unset.
    pub color: bool,
    /// Columns; lines are cut to it, but not below 60.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { color: false, width: 100 }
    }
}

/// What the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    pub style: Style,
    /// Stacks or types shown at most.
    pub top: usize,
    /// Frames shown of a stack at most; of a longer one the middle is left out.
    pub frames: usize,
    /// Ranks types instead of stacks.
    pub by_type: bool,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { style: Style::default(), top: 10, frames: 12, by_type: false }
    }
}

/// Narrower terminals get this many columns all the same.
pub(super) const MIN_WIDTH: usize = 60;

/// A type gets at least this many columns, whatever the numbers before it need.
const TYPE_WIDTH: usize = 12;

/// Spaces before a frame.
const INDENT: usize = 6;

/// Writes what was measured, the top stacks or types, and what is missing.
pub fn write(
    profile: &Profile,
    value: usize,
    options: &TableOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let style = Style { width: options.style.width.max(MIN_WIDTH), ..options.style };
    let mut table = Table { profile, value, options, style, out };
    table.header()?;
    let total = profile.total(value);
    if total == 0 {
        let nothing = match profile.meta.source {
            Source::Records => "nothing is recorded there",
            _ => &format!("nothing was recorded: no {} was seen", describe::event(profile)),
        };
        writeln!(table.out, "\n{nothing}")?;
    } else if options.by_type {
        table.types(total)?;
    } else {
        pools::sections(profile, style, table.out)?;
        table.stacks(total)?;
        maps::sections(profile, style, table.out)?;
    }
    os::sections(profile, style, table.out)?;
    table.footer()
}

pub(super) struct Table<'a> {
    pub profile: &'a Profile,
    pub value: usize,
    pub options: &'a TableOptions,
    pub style: Style,
    pub out: &'a mut dyn Write,
}

impl Table<'_> {
    fn header(&mut self) -> io::Result<()> {
        self.wrapped(&describe::processes(self.profile), "", Paint::Bold)?;
        self.wrapped(&describe::method(self.profile), "", Paint::Plain)?;
        self.wrapped(&describe::totals(self.profile), "", Paint::Plain)
    }

    fn stacks(&mut self, total: u64) -> io::Result<()> {
        let mut ranking = self.profile.ranked(self.value);
        let stacks = std::mem::take(&mut ranking.stacks);
        let ranked = rows(stacks, &self.profile.meta.value_types, self.value, self.options.frames);
        let (shown, rest) = ranked.split_at(ranked.len().min(self.options.top));
        let rows: Vec<_> = shown.iter().map(|r| (&r.sum.values[..], &r.sum.error[..])).collect();
        let columns = Columns::new(self.profile, self.value, &rows);
        self.heading(ranked.len(), "stack")?;
        for (at, one) in shown.iter().enumerate() {
            if at > 0 {
                writeln!(self.out)?;
            }
            let part = share(one.value(self.value), total);
            let mut line = columns.line(at + 1, &part, rows[at]);
            if self.profile.processes.len() > 1 {
                let process = &self.profile.processes[one.sum.process.0 as usize];
                line.push_str(&format!("   {} ({})", printable(&process.comm), process.who()));
            }
            self.line(&keep_start(&line, self.style.width), Paint::Bold)?;
            if let Some(ages) = one.sum.ages.as_deref() {
                let created = self.profile.value_of_kind(GOROUTINES_CREATED);
                let lives = match created.is_some_and(|created| one.value(created) > 0) {
                    true => describe::goroutine_lives(ages),
                    false => describe::lives(ages),
                };
                let lives = format!("{:INDENT$}{lives}", "");
                self.line(&keep_start(&lives, self.style.width), Paint::Plain)?;
            }
            for about in one.sum.iterations.as_deref().iter().flat_map(|of| maps::about(of)) {
                let about = format!("{:INDENT$}{about}", "");
                self.line(&keep_start(&about, self.style.width), Paint::Plain)?;
            }
            let frames: Vec<&Frame> = one.sum.frames.iter().map(|id| ranking.frame(*id)).collect();
            self.frames(&frames, one.left_out.as_ref())?;
        }
        let left = rest.iter().map(|r| r.value(self.value)).fold(0, u64::saturating_add);
        self.left_out(rest.len(), "stack", left, total)
    }

    /// Writes frames, innermost first.
    pub fn frames(&mut self, frames: &[&Frame], left_out: Option<&LeftOut>) -> io::Result<()> {
        let names: Vec<_> = frames
            .iter()
            .map(|f| printable(self.profile.names.text(f.function)))
            .map(|name| if name.trim().is_empty() { "[unnamed]".into() } else { name })
            .collect();
        let places: Vec<String> = frames.iter().map(|f| self.place(f)).collect();
        let room = self.style.width.saturating_sub(INDENT);
        let place_width = widest(places.iter().cloned()).min(room / 2);
        let name_width = widest(names.iter().map(|n| n.to_string()));
        let name_width = name_width.min(room.saturating_sub(place_width + 2));
        for at in 0..frames.len() {
            if let Some(line) = left_out.filter(|left| left.at == at) {
                self.line(&format!("{:INDENT$}{}", "", line.text()), Paint::Dim)?;
            }
            let name = keep_end(&names[at], name_width);
            let place = keep_end(&places[at], place_width);
            let pad = if place.is_empty() { 0 } else { name_width - name.chars().count() + 2 };
            let painted = self.painted(&name, Paint::Of(frames[at].kind));
            let place = self.painted(&place, Paint::Dim);
            writeln!(self.out, "{:INDENT$}{painted}{:pad$}{place}", "", "")?;
        }
        Ok(())
    }

    fn place(&self, frame: &Frame) -> String {
        let file = printable(short_path(self.profile.names.text(frame.file)));
        match frame.line {
            0 => file.into_owned(),
            line => format!("{file}:{line}"),
        }
    }

    fn types(&mut self, total: u64) -> io::Result<()> {
        let ranked = self.profile.ranked_types(self.value);
        let (shown, rest) = ranked.split_at(ranked.len().min(self.options.top));
        let rows: Vec<_> = shown.iter().map(|r| (&r.values[..], &r.error[..])).collect();
        let columns = Columns::new(self.profile, self.value, &rows);
        self.heading(ranked.len(), "type")?;
        for (at, one) in shown.iter().enumerate() {
            let part = share(one.values[self.value], total);
            let line = columns.line(at + 1, &part, rows[at]);
            let line = keep_start(&line, self.style.width.saturating_sub(TYPE_WIDTH + 3));
            let room = self.style.width.saturating_sub(line.chars().count() + 3);
            let name = one.go_type.map(|name| self.profile.names.text(name));
            let (text, kind) = match name {
                Some(name) => (printable(name), FrameKind::Type),
                None => ("[no type]".into(), FrameKind::Unknown),
            };
            let name = self.painted(&keep_start(&text, room), Paint::Of(kind));
            writeln!(self.out, "{line}   {name}")?;
        }
        let left = rest.iter().map(|r| r.values[self.value]).fold(0, u64::saturating_add);
        self.left_out(rest.len(), "type", left, total)
    }

    fn heading(&mut self, count: usize, what: &str) -> io::Result<()> {
        let unit = describe::unit_of(self.profile, self.value);
        let all = describe::counted(count as u64, what);
        // Of several families a unit alone does not say which.
        let types = &self.profile.meta.value_types;
        let of_os = types.get(self.value).copied().and_then(describe::of_os);
        let family = types.get(self.value).map_or("", |t| t.family());
        let several = types.iter().any(|t| t.family() != family);
        let unit = match family {
            _ if of_os.is_some() => {
                format!("{} {}", unit.replace("nanoseconds", "time"), of_os.unwrap_or_default())
            }
            "inuse" if several => format!("{unit} in use"),
            "alloc" if several => format!("{unit} allocated"),
            "goroutines" => format!("goroutines {unit}"),
            "stack" => unit.replace("bytes", "bytes copied"),
            "box" if several => format!("{unit} boxed"),
            "map" | "gc" => unit.replace("nanoseconds", "time"),
            _ => unit.replace("nanoseconds", "time waited"),
        };
        let line = match self.options.top {
            top if top < count => format!("top {top} of {all} by {unit}"),
            _ => format!("{all} by {unit}"),
        };
        writeln!(self.out)?;
        self.line(&line, Paint::Dim)
    }

    fn left_out(&mut self, count: usize, what: &str, left: u64, total: u64) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let line =
            format!("{} more: {}", describe::counted(count as u64, what), share(left, total));
        writeln!(self.out)?;
        self.line(&line, Paint::Dim)
    }

    fn footer(&mut self) -> io::Result<()> {
        writeln!(self.out)?;
        self.wrapped(describe::verdict(self.profile), "", Paint::Plain)?;
        for loss in describe::losses(self.profile) {
            self.wrapped(&loss, "", Paint::Alarm)?;
        }
        for cost in describe::first_costs(self.profile) {
            self.wrapped(&cost, "", Paint::Plain)?;
        }
        for note in &self.profile.meta.notes {
            match note.starts_with(maps::FINDING) {
                true => self.wrapped(&printable(note), "", Paint::Alarm)?,
                false => self.wrapped(&printable(note), "note: ", Paint::Plain)?,
            }
        }
        Ok(())
    }

    fn wrapped(&mut self, text: &str, label: &str, paint: Paint) -> io::Result<()> {
        lines::wrapped(self.out, self.style, text, label, paint)
    }

    fn line(&mut self, text: &str, paint: Paint) -> io::Result<()> {
        let painted = self.painted(text, paint);
        writeln!(self.out, "{painted}")
    }

    fn painted(&self, text: &str, paint: Paint) -> String {
        lines::paint(text, paint, self.style)
    }
}

/// Stacks that look the same when the middle of each is left out.
struct Row {
    /// Without the frames that are left out.
    sum: Ranked,
    left_out: Option<LeftOut>,
}

/// Frames that a row does not show.
pub(super) struct LeftOut {
    /// Before which frame they would be.
    at: usize,
    /// Fewest and most of them.
    frames: (usize, usize),
    /// Different stacks that they make one.
    ways: usize,
}

impl Row {
    fn value(&self, value: usize) -> u64 {
        self.sum.values.get(value).copied().unwrap_or(0)
    }
}

impl LeftOut {
    /// Those at these places of a stack; nothing where there are none.
    pub fn new(hidden: Range<usize>) -> Option<Self> {
        let count = hidden.len();
        (count > 0).then_some(Self { at: hidden.start, frames: (count, count), ways: 1 })
    }

    fn text(&self) -> String {
        let (least, most) = self.frames;
        let count = if least == most { grouped(most as u64) } else { format!("{least} to {most}") };
        let ways = if self.ways > 1 { format!(", {} ways", self.ways) } else { String::new() };
        format!("… {count} more frames{ways}")
    }
}

/// Leaves out the middle of long stacks and adds up what then looks the same; largest first.
fn rows(ranked: Vec<Ranked>, types: &[ValueType], value: usize, max_frames: usize) -> Vec<Row> {
    let mut seen: HashMap<(ProcessId, Vec<FrameId>, bool), usize> = HashMap::new();
    let mut rows: Vec<Row> = Vec::new();
    for mut one in ranked {
        let hidden = hidden(one.frames.len(), max_frames);
        one.frames.drain(hidden.clone());
        one.frames.shrink_to_fit();
        let count = hidden.len();
        match seen.entry((one.process, one.frames.clone(), count > 0)) {
            Entry::Vacant(entry) => {
                entry.insert(rows.len());
                rows.push(Row { sum: one, left_out: LeftOut::new(hidden) });
            }
            Entry::Occupied(entry) => {
                let row = &mut rows[*entry.get()];
                row.sum.absorb(&one, types);
                if let Some(left) = &mut row.left_out {
                    left.frames = (left.frames.0.min(count), left.frames.1.max(count));
                    left.ways += 1;
                }
            }
        }
    }
    // Stable: equal values keep the order of their names.
    rows.sort_by_key(|row| Reverse(row.value(value)));
    rows
}

/// Which frames of a stack are left out: all but the first ones and the outermost two.
pub(super) fn hidden(count: usize, max: usize) -> Range<usize> {
    let max = max.max(3);
    // One frame is not worth the line that says it is missing.
    if count <= max + 1 { 0..0 } else { max - 2..count - 2 }
}

/// Columns of numbers: which values there are and how wide each is.
struct Columns(Vec<Column>);

struct Column {
    value: usize,
    of: ValueType,
    /// Widest count and widest `±`, in characters; the latter is 0 for exact values.
    count: usize,
    error: usize,
}

impl Columns {
    fn new(profile: &Profile, value: usize, rows: &[(&[u64], &[f64])]) -> Self {
        let columns = describe::columns(profile, value).into_iter().map(|value| {
            let of = profile.meta.value_types[value];
            let counts = rows.iter().map(|(values, _)| count_text(values, value, of));
            let errors = rows.iter().map(|(_, error)| error_text(error, value, of));
            Column { value, of, count: widest(counts), error: widest(errors) }
        });
        Self(columns.collect())
    }

    /// ` 1   42.1 %   512.0 MiB   1,234 objects`
    fn line(&self, rank: usize, part: &str, (values, error): (&[u64], &[f64])) -> String {
        let mut line = format!("{rank:>3}  {part:>7}");
        for Column { value, of, count, error: error_width } in &self.0 {
            line.push_str(&format!("   {:>count$}", count_text(values, *value, *of)));
            if *error_width > 0 {
                let error = error_text(error, *value, *of);
                line.push_str(&format!(" {error:<error_width$}"));
            }
        }
        line
    }
}

fn widest(texts: impl Iterator<Item = String>) -> usize {
    texts.map(|t| t.chars().count()).max().unwrap_or(0)
}

fn count_text(values: &[u64], value: usize, of: ValueType) -> String {
    describe::amount(of, values.get(value).copied().unwrap_or(0))
}

/// Empty for exact values.
fn error_text(error: &[f64], value: usize, of: ValueType) -> String {
    match error.get(value).map(|half_width| half_width.ceil() as u64) {
        None => String::new(),
        Some(half_width) if of.unit == "bytes" => format!("± {}", bytes(half_width)),
        Some(half_width) => format!("± {}", grouped(half_width)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::golden::{check, rendered};
    use crate::output::{Format, sample};
    use crate::profile::Source;
    use crate::profile::build::Build;

    fn with(profile: &Profile, options: TableOptions) -> String {
        let mut out = Vec::new();
        write(profile, 1, &options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn styled(color: bool, width: usize) -> TableOptions {
        TableOptions { style: Style { color, width }, ..TableOptions::default() }
    }

    #[test]
    fn matches_the_golden_files() {
        check("server.txt", &rendered(&sample::server(), Format::Table));
        check("fleet.txt", &rendered(&sample::fleet(), Format::Table));
        check("empty.txt", &rendered(&sample::empty(), Format::Table));
        check("hostile.txt", &rendered(&sample::hostile(), Format::Table));
        check("server.color.txt", &with(&sample::server(), styled(true, 80)));
        let types = TableOptions { by_type: true, ..TableOptions::default() };
        check("server.types.txt", &with(&sample::server(), types));
        let few = TableOptions { top: 2, frames: 4, ..TableOptions::default() };
        check("server.few.txt", &with(&sample::server(), few));
        check("heap.txt", &rendered(&sample::heap(), Format::Table));
        check("block.txt", &rendered(&sample::block(), Format::Table));
    }

    #[test]
    fn lines_keep_to_the_width() {
        for profile in [sample::server(), sample::fleet(), sample::hostile(), sample::empty()] {
            for width in [60, 72, 100, 200] {
                for by_type in [false, true] {
                    let options = TableOptions { by_type, ..styled(false, width) };
                    let text = with(&profile, options);
                    let longest = text.lines().max_by_key(|l| l.chars().count()).unwrap();
                    assert!(longest.chars().count() <= width, "{width}: {longest}");
                }
            }
        }
        assert_eq!(
            with(&sample::server(), styled(false, 0)),
            with(&sample::server(), styled(false, 60))
        );
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let plain = with(&sample::fleet(), styled(false, 90));
        let mut stripped = with(&sample::fleet(), styled(true, 90));
        while let Some(start) = stripped.find('\x1b') {
            let end = start + stripped[start..].find('m').unwrap();
            stripped.replace_range(start..=end, "");
        }
        assert_eq!(stripped, plain);
    }

    #[test]
    fn nothing_of_a_hostile_name_reaches_the_terminal() {
        let text = rendered(&sample::hostile(), Format::Table);
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()));
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn stacks_that_differ_in_hidden_frames_only_are_one_row() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        let names: Vec<String> = (0..30).map(|at| format!("main.f{at} f.go:1")).collect();
        for cut in [8, 9, 11] {
            let frames: Vec<&str> =
                names[..8].iter().chain(&names[cut..]).map(|n| &n[..]).collect();
            build.stack(p, &frames, 1, 100);
        }
        build.stack(p, &["main.g f.go:1"], 1, 200);
        let options = TableOptions { frames: 6, ..TableOptions::default() };
        let text = with(&build.done(), options);
        assert!(text.contains("2 stacks by bytes\n  1   60.0 %   300 B   3 objects\n"), "{text}");
        assert!(
            text.contains("main.f3   f.go:1\n      … 21 to 24 more frames, 3 ways\n"),
            "{text}"
        );
    }

    #[test]
    fn the_middle_of_a_long_stack_is_left_out() {
        assert_eq!(hidden(12, 12), 0..0);
        assert_eq!(hidden(13, 12), 0..0);
        assert_eq!(hidden(14, 12), 10..12);
        assert_eq!(hidden(100, 0), 1..98);
    }
}
