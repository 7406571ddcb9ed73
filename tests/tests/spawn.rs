//! `--probe goroutine`: goroutines from creation to end, against a program that counts its own.

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::{Ended, Variant, told};
use serde::Deserialize;
use xtask::each_release;

/// Whom a function of the fixture has started, and how many have ended.
#[derive(Deserialize)]
struct Path {
    creator: String,
    start: String,
    created: u64,
    ended: u64,
}

struct Recorded {
    profile: Profile,
    paths: Vec<Path>,
    ended: Ended,
    /// Whether programs were followed from their start on.
    follows: bool,
}

/// Goroutines that the fixture has from the beginning, and that the line `old` ends.
const OLDER: u64 = 7;

/// Records while the fixture does what is said; `probe` may be followed by flags.
fn record(go: &str, variant: Variant, probe: &str, lines: &[&str]) -> Result<Recorded> {
    let mut words = vec!["record", "--probe"];
    words.extend(probe.split(' '));
    let told = told::record("spawn", go, variant, &words, lines)?;
    Ok(Recorded { profile: told.profile, paths: told.report, ended: told.ended, follows: false })
}

impl Recorded {
    /// Stacks that start a path's function, and whose innermost frame is its creator, but for the
    /// library between them.
    fn stacks<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Stack> {
        let start = format!("go {}", path.start);
        self.profile.stacks.iter().filter(move |stack| {
            let mut frames = stack.frames.iter().map(|frame| frame.function.as_str());
            frames.next() == Some(&start)
                && frames.find(|name| !name.starts_with("iter.")) == Some(&path.creator)
        })
    }

    /// Fails unless every path is as the program counted it and nothing was lost.
    fn equals(&self) -> Result<()> {
        let value = |kind| self.profile.value(kind);
        let values =
            [value("goroutines_created")?, value("goroutines_ended")?, value("goroutines_live")?];
        let mut wrong = Vec::new();
        for path in &self.paths {
            let seen = values.map(|value| self.stacks(path).map(|s| s.values[value]).sum::<u64>());
            let counted = [path.created, path.ended, path.created - path.ended];
            if seen != counted {
                wrong.push(format!("{}: {seen:?} of {counted:?}", path.creator));
            }
            let ages = self.stacks(path).filter_map(|stack| stack.ages.as_ref());
            let freed: u64 = ages.flat_map(|ages| &ages.freed).sum();
            if freed != path.ended {
                wrong.push(format!("{}: ages of {freed} of {}", path.creator, path.ended));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        let mut lost = self.profile.losses();
        // Of a program that starts meanwhile the runtime may make its first goroutines before it is looked at.
        lost.retain(|counter| !self.follows || counter.name != "lost_exec_gap");
        ensure!(lost.is_empty(), "{lost:?}");
        Ok(())
    }
}

/// How many goroutines every path made, and how many ended, is what the program counted; those that were
/// there before are counted apart.
fn equals_the_programs_counts(go: &str) -> Result<()> {
    for variant in [Variant::Default, Variant::Stripped] {
        let recorded = record(go, variant, "goroutine", &["go 20", "old"])?;
        recorded.equals().with_context(|| format!("Go {go}, {}", variant.name()))?;
        let older = recorded.profile.counter("goroutines_ended_older");
        ensure!(older == OLDER, "Go {go}: {older} older ones ended");
        let wanted = if matches!(go, "1.19" | "1.21" | "1.22") { 14 } else { 16 };
        ensure!(recorded.paths.len() == wanted, "{} paths", recorded.paths.len());
    }
    Ok(())
}

each_release! {
    exact: equals_the_programs_counts;
}

/// Position-independent programs have their start functions elsewhere.
#[test]
fn start_functions_of_programs_that_lie_anywhere() -> Result<()> {
    record("1.26", Variant::PieStripped, "goroutine", &["go 20"])?.equals()
}

/// With allocations, in the mode that follows objects too, goroutines are the same.
#[test]
fn two_probes_in_one_recording() -> Result<()> {
    let recorded = record("1.27", Variant::Stripped, "alloc,goroutine --mode exact", &["go 20"])?;
    recorded.equals()?;
    ensure!(recorded.profile.total("alloc_objects")? > 100);
    let values = recorded.profile.meta.value_types.len();
    ensure!(recorded.profile.stacks.iter().all(|stack| stack.values.len() == values));
    Ok(())
}

/// What finds no room is counted, and not taken for one that was there before.
#[test]
fn goroutines_without_room_are_counted() -> Result<()> {
    let recorded = record("1.27", Variant::Stripped, "goroutine --max-objects 8", &["go 20"])?;
    let lost = recorded.profile.counter("lost_living_full");
    ensure!(lost > 0, "{:?}", recorded.profile.counters);
    let [created, ended, live] = ["goroutines_created", "goroutines_ended", "goroutines_live"]
        .map(|kind| recorded.profile.total(kind));
    ensure!(created? == ended? + live? + lost);
    Ok(())
}

/// What a program has made is told when it has ended, and of programs that start meanwhile: what lived then
/// is told as that.
#[test]
fn programs_that_come_and_go_are_told() -> Result<()> {
    let words = ["record", "--probe", "goroutine"];
    let told = told::record_two::<Vec<Path>>("spawn", "1.25", &words, &["go 10"])?;
    let mut paths: Vec<Path> = Vec::new();
    for path in told.report.into_iter().flatten() {
        let same = |of: &&mut Path| (&of.creator, &of.start) == (&path.creator, &path.start);
        match paths.iter_mut().find(same) {
            Some(sum) => {
                sum.created += path.created;
                sum.ended += path.ended;
            }
            None => paths.push(path),
        }
    }
    let recorded = Recorded { profile: told.profile, paths, ended: told.ended, follows: true };
    ensure!(recorded.profile.processes.len() == 2, "{:?}", recorded.profile.processes);
    recorded.equals()
}

/// Goroutines have the profiler labels of who made them, in both forms that the runtime keeps them in.
#[test]
fn labels_are_inherited() -> Result<()> {
    for go in ["1.21", "1.27"] {
        let recorded = record(go, Variant::Stripped, "goroutine --labels", &["go 20"])?;
        let with: Vec<&Stack> =
            recorded.profile.stacks.iter().filter(|stack| !stack.labels.is_empty()).collect();
        ensure!(with.len() == 1, "Go {go}: {} stacks with labels", with.len());
        ensure!(with[0].labels["who"] == "labelled", "Go {go}: {:?}", with[0].labels);
        ensure!(with[0].frames[0].function == "go main.withLabels", "{:?}", with[0].frames);
    }
    Ok(())
}

/// Who makes goroutines that do not end is named.
#[test]
fn a_leak_is_a_finding() -> Result<()> {
    let recorded = record("1.27", Variant::Stripped, "goroutine", &["go 20", "wait"])?;
    recorded.equals()?;
    let finding = |creator: &str, start: &str| {
        let found = |note: &&String| {
            note.starts_with("finding: ") && note.contains(&format!("{creator} (spawn/"))
        };
        let note = recorded.profile.notes.iter().find(found);
        let note = note.with_context(|| format!("{creator}: {:?}", recorded.profile.notes))?;
        let wanted = format!("made 20 goroutines (go {start}), of which 0 ended; 20 live");
        ensure!(note.contains(&wanted), "{note}");
        Ok(())
    };
    finding("main.stays", "main.staying")?;
    finding("called by main.leaves", "runtime.corostart")?;
    let findings = recorded.profile.notes.iter().filter(|note| note.starts_with("finding: "));
    ensure!(findings.count() == 2, "{:?}", recorded.profile.notes);
    ensure!(recorded.ended.stderr.contains("probe goroutine"), "{}", recorded.ended.stderr);
    Ok(())
}
