//! Functions: what each has itself and with all that it calls, for pages and scripts that have no use for each stack.
//!
//! In: a [`Profile`], or a comparison. Out: one document, the functions with most first; those beyond a bound are
//! counted. Fields are told in `docs/agent.md`.

use std::io::{self, Write};

use serde::Serialize;

use super::describe;
use super::stacks::{Both, Stacks, Weight};
use crate::profile::diff::Diff;
use crate::profile::{Name, Profile};

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
const SCHEMA: &str = "heaptap.functions/1";
const DIFF_SCHEMA: &str = "heaptap.functions.diff/1";

/// Functions in one document.
const MOST: usize = 1000;

#[derive(Serialize)]
struct Document<'a, W, T> {
    schema: &'static str,
    /// One line for people: how it was measured, and what is missing.
    about: String,
    /// What there is to choose from, and what was chosen.
    values: Vec<Value<'a>>,
    value: usize,
    /// The whole.
    #[serde(flatten)]
    of: W,
    /// Different stacks of names that have any of it.
    stacks: usize,
    functions: Vec<Function<'a, T>>,
    left_out: usize,
}

#[derive(Serialize)]
struct Value<'a> {
    kind: &'a str,
    unit: &'a str,
}

#[derive(Serialize)]
struct Function<'a, T> {
    function: &'a str,
    /// Of its declaration; empty and 0 when unknown.
    file: &'a str,
    line: u32,
    kind: &'static str,
    #[serde(flatten)]
    of: T,
}

/// Of a profile.
#[derive(Clone, Copy, Default, Serialize)]
struct Amounts {
    #[serde(rename = "self")]
    own: u64,
    total: u64,
}

#[derive(Serialize)]
struct Whole {
    total: u64,
}

/// Of a comparison, with all that it calls.
#[derive(Clone, Copy, Default, Serialize)]
struct Change {
    before: u64,
    after: u64,
}

/// Writes the functions of a profile.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    let Stacks { labels, stacks } = Stacks::new(profile, value, str::to_owned);
    let add = |of: &mut Amounts, more: u64, is_own: bool| {
        of.total = of.total.saturating_add(more);
        of.own = of.own.saturating_add(if is_own { more } else { 0 });
    };
    let sums: Vec<Amounts> = sums(labels.len(), &stacks, add);
    let mut found: Vec<Function<'_, Amounts>> = Vec::new();
    for (label, of) in labels.iter().zip(sums) {
        let Some(kind) = label.kind else { continue };
        let (file, line) = label.place.unwrap_or((Name(0), 0));
        let file = profile.names.text(file);
        found.push(Function { function: &label.text, file, line, kind: kind.word(), of });
    }
    // Labels are in the order of their names, which is what equal ones are in.
    found.sort_by_key(|one| std::cmp::Reverse((one.of.total, one.of.own)));
    let left_out = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    let types = profile.meta.value_types.iter();
    let document = Document {
        schema: SCHEMA,
        about: format!("{}; {}", describe::method(profile), describe::verdict(profile)),
        values: types.map(|of| Value { kind: of.kind, unit: of.unit }).collect(),
        value,
        of: Whole { total: profile.total(value) },
        stacks: stacks.len(),
        functions: found,
        left_out,
    };
    serde_json::to_writer(out, &document).map_err(io::Error::from)
}

/// Writes the functions of a comparison, those that changed most first.
pub fn write_diff(diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
    let weigh = |one: &_| Both::new(diff.of(one));
    let Stacks { labels, stacks } = Stacks::of(&diff.all, weigh, str::to_owned);
    let add = |of: &mut Change, more: Both, _: bool| {
        of.before = of.before.saturating_add(more.before);
        of.after = of.after.saturating_add(more.after);
    };
    let sums: Vec<Change> = sums(labels.len(), &stacks, add);
    let mut found: Vec<Function<'_, Change>> = Vec::new();
    for (label, of) in labels.iter().zip(sums) {
        let Some(kind) = label.kind else { continue };
        let (file, line) = label.place.unwrap_or((Name(0), 0));
        let file = diff.all.names.text(file);
        found.push(Function { function: &label.text, file, line, kind: kind.word(), of });
    }
    found.sort_by_key(|one| std::cmp::Reverse(one.of.before.abs_diff(one.of.after)));
    let left_out = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    let [before, after] = diff.totals();
    let document = Document {
        schema: DIFF_SCHEMA,
        about: super::diff::summary(diff),
        values: diff.types.iter().map(|of| Value { kind: &of.kind, unit: &of.unit }).collect(),
        value: diff.value,
        of: Change { before, after },
        stacks: stacks.len(),
        functions: found,
        left_out,
    };
    serde_json::to_writer(out, &document).map_err(io::Error::from)
}

/// What each label has; one that is in a stack several times has it once.
fn sums<V: Weight, T: Copy + Default>(
    labels: usize,
    stacks: &[(Vec<u32>, V)],
    add: impl Fn(&mut T, V, bool),
) -> Vec<T> {
    let mut sums = vec![T::default(); labels];
    let mut seen = vec![usize::MAX; labels];
    for (at, (stack, value)) in stacks.iter().enumerate() {
        for (depth, label) in stack.iter().enumerate().rev() {
            let label = *label as usize;
            if std::mem::replace(&mut seen[label], at) != at {
                add(&mut sums[label], *value, depth + 1 == stack.len());
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::output::{diff, sample};
    use crate::profile::Source;
    use crate::profile::build::Build;

    fn document(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Json {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_function_that_calls_itself_has_it_once() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.f f.go:5:3", "main.g g.go:1:1", "main.f f.go:6:3"], 1, 10);
        build.stack(p, &["main.g g.go:1:1"], 1, 5);
        let told = document(|out| write(&build.done(), 1, out));
        assert_eq!((&told["total"], &told["stacks"]), (&15.into(), &2.into()));
        let rows: Vec<_> = told["functions"].as_array().unwrap().iter().collect();
        let row = |at: usize| {
            let one: &Json = rows[at];
            (one["function"].as_str().unwrap(), one["self"].as_u64(), one["total"].as_u64())
        };
        assert_eq!(row(0), ("main.g", Some(5), Some(15)));
        assert_eq!(row(1), ("main.f", Some(10), Some(10)));
        assert_eq!((&rows[1]["file"], &rows[1]["line"]), (&"f.go".into(), &3.into()));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_processes_are_no_functions() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        for at in 0..MOST + 7 {
            build.stack(p, &[&format!("main.f{at}")], 1, 1 + at as u64);
        }
        let told = document(|out| write(&build.done(), 1, out));
        assert_eq!(told["left_out"], 7);
        assert_eq!(told["functions"][0]["function"], format!("main.f{}", MOST + 6));
        let told = document(|out| write(&sample::fleet(), 1, out));
        let names = told["functions"].as_array().unwrap().iter();
        assert!(names.clone().all(|one| one["function"] != "web (41)"), "{told}");
        assert_eq!(told["values"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_comparison_tells_both() {
        let told = document(|out| write_diff(&diff::sample::grown(), out));
        let row = &told["functions"][0];
        assert!(row["after"].as_u64() > row["before"].as_u64(), "{row}");
        let old = told["functions"].as_array().unwrap().iter();
        let old = old.clone().find(|one| one["function"] == "main.old").unwrap();
        assert_eq!((&old["before"], &old["after"]), (&(2 << 20).into(), &0.into()));
    }
}
