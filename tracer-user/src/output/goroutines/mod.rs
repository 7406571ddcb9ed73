//! Goroutines of a process as a table, as JSON, and as a profile for every other format.
//!
//! In: [`Goroutines`], named. Out: bytes, or a [`Profile`] that has a goroutine as its unit. Reads no
//! process and treats every name as hostile.

mod json;
mod table;

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

pub use table::Options;

use crate::profile::{FrameKind, Label, LabelValue, LocationId, Name, ProcessId, Profile, Sample};

/// What goroutines are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Where the `go` statement is that made them.
    Creator,
    /// What they wait for.
    State,
    /// Their profiler labels.
    Labels,
    /// Where they are.
    Stack,
}

/// All goroutines of one process.
#[derive(Debug)]
pub struct Goroutines {
    /// What is common to all: process, names, locations, what is missing. Has no samples.
    pub profile: Profile,
    pub all: Vec<Goroutine>,
    /// Each different stack once, innermost frame first; a marker where there is none.
    pub stacks: Vec<Vec<LocationId>>,
    /// How long it took to read them.
    pub read: Duration,
}

/// One goroutine.
#[derive(Clone, Debug)]
pub struct Goroutine {
    pub id: u64,
    /// As Go prints it: `chan receive`, `running`.
    pub state: Name,
    /// It waits for at least that long; nothing when it does not wait or nobody knows.
    pub waits: Option<Duration>,
    /// Bound to its thread.
    pub locked: bool,
    /// The runtime's own.
    pub system: bool,
    pub parent: Option<u64>,
    /// The `go` statement; nothing for the main goroutine.
    pub creator: Option<LocationId>,
    pub start: Option<LocationId>,
    /// Profiler labels; nothing when they can't be read.
    pub labels: Option<Vec<(Name, Name)>>,
    /// Index in [`Goroutines::stacks`].
    pub stack: u32,
    /// Why there is no stack.
    pub missing: Option<&'static str>,
}

impl Goroutines {
    /// Whose of them: the program's, and the runtime's own when they are wanted.
    fn wanted(&self, system: bool) -> impl Iterator<Item = &Goroutine> {
        self.all.iter().filter(move |g| system || !g.system)
    }

    /// A profile of the program's goroutines, with `system` of all; what they are grouped by is the
    /// outermost frame of each stack. Without that it is what Go's own goroutine profile holds.
    pub fn profile(&self, system: bool, by: Option<By>) -> Profile {
        let mut profile = self.profile.clone();
        let keys = ["state", "created_by"].map(|key| profile.names.intern(key));
        // There are few different ones among many.
        let mut groups: HashMap<_, (u64, &Goroutine)> = HashMap::new();
        for g in self.wanted(system) {
            let key = (g.stack, g.state, g.creator, g.labels.as_ref());
            groups.entry(key).or_insert((0, g)).0 += 1;
        }
        let mut groups: Vec<(u64, &Goroutine)> = groups.into_values().collect();
        groups.sort_by_key(|(_, g)| g.id);
        for (count, g) in groups {
            let mut stack = self.stacks[g.stack as usize].clone();
            let creator = self.creator(g);
            match by {
                Some(By::Creator) => {
                    let created = if g.creator.is_some() { "created by " } else { "" };
                    let kind = self.creator_kind(g);
                    stack.push(profile.made_up(&format!("{created}{creator}"), kind));
                }
                Some(By::State) => {
                    let text = self.profile.names.text(g.state);
                    stack.push(profile.made_up(text, FrameKind::Group));
                }
                Some(By::Labels) => {
                    for text in self.labels(g).iter().rev() {
                        stack.push(profile.made_up(text, FrameKind::Group));
                    }
                }
                Some(By::Stack) | None => {}
            }
            let creator = profile.names.intern(&creator);
            let own = [(keys[0], g.state), (keys[1], creator)];
            let labels = g.labels.iter().flatten().chain(&own);
            let mut labels: Vec<Label> = labels
                .map(|(key, value)| Label { key: *key, value: LabelValue::Text(*value) })
                .collect();
            labels.sort();
            profile.samples.push(Sample {
                process: ProcessId(0),
                stack,
                values: vec![count],
                error: Vec::new(),
                ages: None,
                iterations: None,
                go_type: None,
                leaf: None,
                labels,
            });
        }
        profile.merge_equal();
        profile
    }

    /// `path=/x`, sorted; one text that says so when there are none, or none that can be read.
    fn labels(&self, g: &Goroutine) -> Vec<String> {
        let text = |name: &Name| self.profile.names.text(*name);
        let Some(labels) = &g.labels else { return vec!["[labels not readable]".to_owned()] };
        let mut texts: Vec<String> =
            labels.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
        texts.sort_unstable();
        if texts.is_empty() {
            texts.push("[no labels]".to_owned());
        }
        texts
    }

    /// `main.serve main.go:31`.
    fn creator(&self, g: &Goroutine) -> String {
        let Some(location) = g.creator else {
            return "main goroutine".to_owned();
        };
        let place = self.profile.locations[location.0 as usize].frames.first();
        place.map_or_else(String::new, |frame| {
            let names = &self.profile.names;
            let file = super::text::short_path(names.text(frame.file));
            match frame.line {
                0 => names.text(frame.function).to_owned(),
                line => format!("{} {file}:{line}", names.text(frame.function)),
            }
        })
    }

    fn creator_kind(&self, g: &Goroutine) -> FrameKind {
        let location = g.creator.map(|location| &self.profile.locations[location.0 as usize]);
        location.and_then(|l| l.frames.first()).map_or(FrameKind::Runtime, |frame| frame.kind)
    }

    /// Writes the JSON document.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json::write(self, out)
    }

    /// Writes the table.
    pub fn write_table(&self, options: &Options, out: &mut dyn Write) -> io::Result<()> {
        table::write(self, options, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::goroutines::table::Options;
    use crate::output::table::Style;
    use crate::profile::build::Build;
    use crate::profile::{GOROUTINE, Source};

    /// Three workers that wait in one place, one that runs, the main goroutine, one of the runtime's.
    fn made() -> Goroutines {
        let mut build = Build::new(Source::Records);
        build.values(&[GOROUTINE], 0).records("goroutines: 6", GOROUTINE, 1);
        let process = build.process(4242, "server", "go1.27.3");
        for frames in [
            &["runtime.gopark proc.go:462", "runtime.chanrecv chan.go:667", "main.work w.go:44"][..],
            &["unknown:[running]"],
            &["syscall.Read syscall.go:1", "main.main main.go:9", "runtime.main proc.go:283"],
            &["runtime.gopark proc.go:462", "runtime.bgsweep mgcsweep.go:279"],
            &["main.(*pool).start pool.go:31", "+unused"],
        ] {
            build.stack(process, frames, 1, 1);
        }
        let mut profile = build.done();
        let stacks: Vec<_> = profile.samples.drain(..).map(|s| s.stack).collect();
        let pool = stacks[4][0];
        let mut name = |text| profile.names.intern(text);
        let (waits, runs, calls, sweeps) =
            (name("chan receive"), name("running"), name("syscall"), name("GC sweep wait"));
        let label = (name("handler"), name("/api\x1b"));
        let one = |id, state, stack| Goroutine {
            id,
            state,
            waits: (state == waits).then_some(Duration::from_secs(185)),
            locked: id == 7,
            system: id == 2,
            parent: (id > 2).then_some(1),
            creator: (id > 2).then_some(pool),
            start: None,
            labels: Some(if id > 6 { vec![label] } else { Vec::new() }),
            stack,
            missing: (state == runs).then_some("running"),
        };
        let all = vec![
            one(1, calls, 2),
            one(2, sweeps, 3),
            one(5, waits, 0),
            one(6, waits, 0),
            one(7, waits, 0),
            one(8, runs, 1),
        ];
        Goroutines { profile, all, stacks, read: Duration::from_millis(3) }
    }

    fn table(by: By, system: bool, width: usize) -> String {
        let style = Style { color: false, width };
        let mut out = Vec::new();
        made().write_table(&Options { style, by, top: 2, system }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn groups_say_who_what_and_where() {
        let text = table(By::Creator, false, 100);
        for expected in [
            "5 goroutines: 3 chan receive, 1 running, 1 syscall\n",
            "1 of the runtime's own: 1 GC sweep wait\n",
            "  1   80.0 %   4   created by main.(*pool).start pool.go:31\n",
            "     3 chan receive, the longest for at least 3 min 5 s, goroutines 5 6 7, 1 × {handler: \
             /api\\x1b}\n",
            "         main.work  w.go:44\n",
            "     1 running, goroutine 8, {handler: /api\\x1b}\n         [running]\n",
            "  2   20.0 %   1   main goroutine\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
        assert!(!text.contains("bgsweep"));
    }

    #[test]
    fn other_groups_and_the_runtimes_own() {
        let states = table(By::State, true, 100);
        assert!(
            states.contains("top 2 of 4 states\n  1   50.0 %   3   chan receive\n"),
            "{states}"
        );
        assert!(states.contains("2 states more: 2 goroutines"), "{states}");
        assert!(states.contains(", created by main.(*pool).start pool.go:31, "), "{states}");
        let stacks = table(By::Stack, false, 100);
        assert!(stacks.contains("top 2 of 3 stacks\n  1   60.0 %   3"), "{stacks}");
        let labels = table(By::Labels, false, 100);
        assert!(labels.contains("2 label sets\n  1   60.0 %   3   [no labels]\n"), "{labels}");
        assert!(labels.contains("  2   40.0 %   2   handler=/api\\x1b\n"), "{labels}");
        for by in [By::Creator, By::State, By::Labels, By::Stack] {
            for width in [60, 80, 200] {
                let text = table(by, true, width);
                let longest = text.lines().map(|l| l.chars().count()).max().unwrap();
                assert!(longest <= width, "{longest} at {width}");
                assert!(!text.chars().any(|c| c != '\n' && c.is_control()));
            }
        }
    }

    fn outermost(profile: &Profile) -> Vec<(String, u64)> {
        let last = |sample| profile.frames(sample).last().map(|f| profile.names.text(f.function));
        let samples = profile.samples.iter();
        samples.map(|s| (last(s).unwrap_or_default().to_owned(), s.values[0])).collect()
    }

    #[test]
    fn a_profile_has_what_go_has_or_a_group_below() {
        let goroutines = made();
        let plain = goroutines.profile(false, None);
        assert_eq!(plain.total(0), 5);
        let work = ("main.work".to_owned(), 2);
        assert!(outermost(&plain).contains(&work), "labels part equal stacks");
        let creators = outermost(&goroutines.profile(false, Some(By::Creator)));
        let pool = "created by main.(*pool).start pool.go:31".to_owned();
        assert!(creators.contains(&(pool, 2)), "{creators:?}");
        assert!(creators.contains(&("main goroutine".to_owned(), 1)), "{creators:?}");
        let states = outermost(&goroutines.profile(true, Some(By::State)));
        assert!(states.contains(&("GC sweep wait".to_owned(), 1)), "{states:?}");
        let labels = outermost(&goroutines.profile(false, Some(By::Labels)));
        assert!(labels.contains(&("handler=/api\u{1b}".to_owned(), 1)), "{labels:?}");
        assert!(labels.contains(&("[no labels]".to_owned(), 2)), "{labels:?}");
    }

    #[test]
    fn every_field_of_the_document_is_described() {
        fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(members) => members.iter().for_each(|(name, member)| {
                    found.push(name.clone());
                    if name != "labels" {
                        keys(member, found);
                    }
                }),
                serde_json::Value::Array(all) => all.iter().for_each(|one| keys(one, found)),
                _ => {}
            }
        }
        let mut out = Vec::new();
        made().write_json(&mut out).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["goroutines"][5]["stack_missing"], "running");
        assert_eq!(document["goroutines"][4]["labels"]["handler"], "/api\x1b");
        assert_eq!(document["goroutines"][2]["waits_at_least_ns"], 185_000_000_000u64);
        let mut found = Vec::new();
        keys(&document, &mut found);
        let described = [
            include_str!("../../../../docs/goroutines-json.md"),
            include_str!("../../../../docs/output.md"),
        ];
        for key in found {
            let words = |text: &str| {
                text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key)
            };
            assert!(described.into_iter().any(words), "{key} is not described");
        }
    }
}
