//! `--probe slice`: slices made, grown and copied and strings built, against a program that counts its own.

use anyhow::{Context, Result, ensure};
use heaptap_tests::pprof::Pprof;
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::{Ended, Variant, told};
use serde::Deserialize;
use xtask::each_release;

/// What a function of the fixture has done by one function of the runtime.
#[derive(Deserialize)]
struct Path {
    name: String,
    leaf: String,
    calls: u64,
    copied: u64,
    asked: u64,
}

struct Recorded {
    profile: Profile,
    paths: Vec<Path>,
}

/// Records three rounds of the fixture.
fn record(go: &str, variant: Variant, flags: &[&str]) -> Result<(Recorded, Ended)> {
    record_of("slices", go, variant, flags)
}

fn record_of(
    fixture: &str,
    go: &str,
    variant: Variant,
    flags: &[&str],
) -> Result<(Recorded, Ended)> {
    let words = [&["record", "--budget", "none"], flags].concat();
    let told = told::record(fixture, go, variant, &words, &["go 3"])?;
    Ok((Recorded { profile: told.profile, paths: told.report }, told.ended))
}

impl Recorded {
    /// Stacks that a function of the fixture has made.
    fn stacks<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Stack> {
        let is_path = |name: &str| self.paths.iter().any(|path| path.name == name);
        self.profile.stacks.iter().filter(move |stack| {
            let own = stack.frames.iter().find(|frame| is_path(&frame.function));
            own.is_some_and(|frame| frame.function == name)
        })
    }

    /// Sum of a value over a function's stacks that begin in one of the runtime's, or in whatever.
    fn sum(&self, kind: &str, name: &str, leaf: Option<&str>) -> Result<u64> {
        let at = self.profile.value(kind)?;
        let begins = |stack: &&Stack| {
            let mut frames = stack.frames.iter().filter(|frame| frame.kind != "type");
            let first = frames.next().map(|frame| &*frame.function);
            // With a profile the forms for a few strings do it themselves.
            let is_same = |leaf: &str, first: &str| {
                leaf == first
                    || leaf == "runtime.concatstrings" && first.starts_with("runtime.concatstring")
            };
            leaf.is_none_or(|leaf| first.is_some_and(|first| is_same(leaf, first)))
        };
        Ok(self.stacks(name).filter(begins).map(|stack| stack.values[at]).sum())
    }

    /// Fails unless every path is as the program counted it, with nothing beside it and nothing lost.
    fn equals(&self) -> Result<()> {
        ensure!(self.profile.meta.lost_events == 0, "{:?}", self.profile.losses());
        let mut wrong = Vec::new();
        for path in &self.paths {
            let Path { name, leaf, calls, copied, asked } = path;
            let sum = |kind| self.sum(kind, name, Some(leaf));
            let seen = [sum("slice_calls")?, sum("slice_copied")?, sum("slice_space")?];
            if seen != [*calls, *copied, *asked] {
                wrong.push(format!("{name} by {leaf}: {seen:?} of {calls}, {copied}, {asked}"));
            }
            let told = self.paths.iter().filter(|other| other.name == *name);
            let told: u64 = told.map(|other| other.calls).sum();
            let all = self.sum("slice_calls", name, None)?;
            if all != told {
                wrong.push(format!("{name}: {all} calls of {told}"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    /// That so many paths were taken.
    fn has(&self, taken: usize) -> Result<()> {
        let found = self.paths.iter().filter(|path| path.calls > 0).count();
        ensure!(found >= taken, "only {found} paths were taken");
        Ok(())
    }

    /// What is asked for is what is allocated, as the allocator itself sees it.
    fn equals_allocations(&self) -> Result<()> {
        for path in &self.paths {
            // Reflection and panics allocate beside it.
            if path.name.starts_with("main.ref") {
                continue;
            }
            let asked = self.sum("slice_space", &path.name, None)?;
            // A collection that starts within an allocation is no part of it.
            let is_nested =
                |stack: &&Stack| stack.frames[0].function.starts_with("runtime.mallocgc");
            let at = self.profile.value("alloc_space")?;
            let own = self.stacks(&path.name).filter(|stack| !is_nested(stack));
            let allocated: u64 = own.map(|stack| stack.values[at]).sum();
            ensure!(asked == allocated, "{}: {asked} asked, {allocated} allocated", path.name);
        }
        Ok(())
    }
}

/// Calls, bytes copied and asked for of every path are what the program counted, and what the probe of
/// allocations sees.
fn equals_the_programs_counts(go: &str) -> Result<()> {
    let alone = record(go, Variant::Default, &["--probe", "slice"])?.0;
    alone.has(23)?;
    alone.equals().with_context(|| format!("Go {go}"))?;
    let (both, _) = record(go, Variant::Stripped, &["--probe", "slice,alloc", "--mode", "exact"])?;
    both.equals().with_context(|| format!("Go {go}, stripped"))?;
    both.equals_allocations().with_context(|| format!("Go {go}, stripped"))
}

each_release! {
    exact: equals_the_programs_counts;
}

/// Strings and bytes that lie in C's memory are copied from there.
#[test]
fn what_comes_from_c_is_seen() -> Result<()> {
    for go in ["1.24", "1.27"] {
        let (recorded, _) = record_of("slicesc", go, Variant::Default, &["--probe", "slice"])?;
        recorded.has(3)?;
        recorded.equals().with_context(|| format!("Go {go}"))?;
    }
    Ok(())
}

/// A profile (PGO) that puts copies of what builds strings into other functions hides nothing.
#[test]
fn copies_that_a_profile_makes_are_seen() -> Result<()> {
    for go in ["1.21", "1.27"] {
        let (recorded, ended) = record(go, Variant::Profiled, &["--probe", "slice"])?;
        recorded.equals().with_context(|| format!("Go {go}"))?;
        let leaf = |stack: &Stack| stack.frames[0].function == "runtime.concatstring2";
        ensure!(recorded.profile.stacks.iter().any(leaf), "Go {go}: nothing is inlined");
        ensure!(!ended.stderr.contains("NOT COMPLETE"), "{}", ended.stderr);
    }
    Ok(())
}

/// Table, flame graph, pprof; elements' types.
#[test]
fn what_is_copied_is_shown() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (flames, pprof) = (file("flames.svg"), file("a.pb.gz"));
    let flags = ["--probe", "slice", "--by", "type", "-o", "-", "-o", &flames, "-o", &pprof];
    let (recorded, ended) = record("1.27", Variant::Pie, &flags)?;
    recorded.equals()?;
    let table = &ended.stdout;
    for wanted in [
        "exact: every slice and string that the runtime made or grew counted",
        " copied",
        "main.linked",
        "[256]uint8",
        "exact, nothing lost",
    ] {
        ensure!(table.contains(wanted), "no {wanted:?} in\n{table}");
    }
    let calls = recorded.profile.value("slice_calls")?;
    for (name, go_type) in [
        ("main.growLinked", "main.linked"),
        ("main.growWide", "[256]uint8"),
        ("main.concat", "[no type: string or byte buffer]"),
        ("main.toRunes", "int32"),
        ("main.movedSized", "[8-byte values without pointers]"),
        ("main.movedWhole", "string"),
    ] {
        let stacks = recorded.stacks(name).filter(|stack| stack.values[calls] > 0);
        let types: Vec<_> = stacks.map(|stack| stack.go_type.as_deref()).collect();
        ensure!(!types.is_empty() && types.iter().all(|of| *of == Some(go_type)), "{types:?}");
    }
    let flames = std::fs::read_to_string(flames)?;
    ensure!(flames.contains("runtime.growslice") && flames.contains(" copied"), "{flames}");
    let profile = Pprof::read(pprof.as_ref())?;
    let types = ["slice_calls/count", "slice_copied/bytes", "slice_space/bytes"];
    ensure!(profile.types == types, "{:?}", profile.types);
    Ok(())
}
