//! `--probe map`: iterations over maps, against a program that counts its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use heaptap_tests::pprof::Pprof;
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::{Ended, Fixture, Recording, Running, Variant, require_root, told};
use serde::Deserialize;
use std::process::{Command, Stdio};
use xtask::each_release;

/// What a function of the fixture has done.
#[derive(Deserialize)]
struct Path {
    name: String,
    iterations: u64,
    steps: u64,
    depths: BTreeMap<u32, u64>,
    nanos: u64,
}

struct Recorded {
    profile: Profile,
    paths: Vec<Path>,
}

/// What was recorded of a function.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    iterations: u64,
    steps: u64,
    depths: BTreeMap<u32, u64>,
    time: u64,
    cost: u64,
}

fn start(go: &str, variant: Variant) -> Result<Running> {
    Running::start(Command::new(Fixture::build("maps", go, variant)?.program))
}

/// Records while the fixture does what is said; `probe` may be followed by flags.
fn record(go: &str, variant: Variant, probe: &str, lines: &[&str]) -> Result<(Recorded, Ended)> {
    let mut words = vec!["record", "--budget", "none", "--probe"];
    words.extend(probe.split(' '));
    let told = told::record("maps", go, variant, &words, lines)?;
    Ok((Recorded { profile: told.profile, paths: told.report }, told.ended))
}

impl Recorded {
    /// Stacks whose innermost frame of the program's own is a path's.
    fn stacks<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Stack> {
        self.profile.stacks.iter().filter(|stack| {
            let own = stack.frames.iter().find(|frame| frame.function.starts_with("main."));
            own.is_some_and(|frame| frame.function == path.name)
        })
    }

    fn seen(&self, path: &Path) -> Result<Seen> {
        let value = |kind| self.profile.value(kind);
        let [iterations, steps, time] =
            [value("map_iterations")?, value("map_steps")?, value("map_time")?];
        let mut seen = Seen::default();
        for stack in self.stacks(path) {
            // Its allocations have none.
            let Some(followed) = &stack.iterations else { continue };
            seen.iterations += stack.values[iterations];
            seen.steps += stack.values[steps];
            seen.time += stack.values[time];
            seen.cost += followed.cost_ns;
            for (depth, count) in &followed.by_depth {
                *seen.depths.entry(*depth).or_default() += count;
            }
        }
        Ok(seen)
    }

    /// Fails unless every path is as the program counted it and nothing was lost.
    fn equals(&self) -> Result<()> {
        let lost = self.profile.losses();
        ensure!(lost.is_empty() && self.profile.counter("steps_unknown") == 0, "{lost:?}");
        let mut wrong = Vec::new();
        for path in &self.paths {
            let seen = self.seen(path)?;
            if (seen.iterations, seen.steps) != (path.iterations, path.steps)
                || seen.depths != path.depths
            {
                let (iterations, steps) = (path.iterations, path.steps);
                wrong.push(format!("{}: {seen:?} of {iterations}, {steps}", path.name));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    fn path(&self, name: &str) -> Result<&Path> {
        self.paths.iter().find(|path| path.name == name).with_context(|| format!("no {name}"))
    }
}

/// Iterations, elements visited and depths of every path are what the program counted.
fn equals_the_programs_counts(go: &str) -> Result<()> {
    equals(go, Variant::Default)?;
    equals(go, Variant::Stripped)
}

fn equals(go: &str, variant: Variant) -> Result<()> {
    let (recorded, _) = record(go, variant, "map", &["go 20"])?;
    recorded.equals().with_context(|| format!("Go {go}, {}", variant.name()))?;
    let taken = recorded.paths.iter().filter(|path| path.iterations > 0).count();
    ensure!(taken >= 17, "only {taken} paths were taken");
    Ok(())
}

/// Times are the program's own within 10 %, when what recording took of them is added; that was taken out
/// and is told.
fn times_are_the_programs(go: &str) -> Result<()> {
    let (recorded, ended) = record(go, Variant::Stripped, "map", &["timed 5"])?;
    for name in ["main.timed", "main.timedOuter"] {
        let path = recorded.path(name)?;
        let seen = recorded.seen(path)?;
        let off = (seen.time + seen.cost).abs_diff(path.nanos);
        ensure!(off <= path.nanos / 10, "Go {go}: {name}: {seen:?} of {} ns", path.nanos);
        ensure!(seen.cost > 0 && seen.time < path.nanos, "Go {go}: {name}: {seen:?}");
    }
    let note = |note: &String| note.starts_with("times are less what following the steps took");
    ensure!(
        recorded.profile.notes.iter().any(note),
        "{:?}\n{}",
        recorded.profile.notes,
        ended.stderr
    );
    Ok(())
}

/// The cheap form counts the same iterations, by the elements that their maps have.
fn the_cheap_form_counts_iterations(go: &str) -> Result<()> {
    let (recorded, _) = record(go, Variant::Stripped, "map-count", &["go 5"])?;
    let [iterations, elements] =
        [recorded.profile.value("map_iterations")?, recorded.profile.value("map_elements")?];
    for path in &recorded.paths {
        let seen: u64 = recorded.stacks(path).map(|stack| stack.values[iterations]).sum();
        ensure!(seen == path.iterations, "{}: {seen} of {}", path.name, path.iterations);
    }
    for (name, of_each) in [("main.whole", 1013), ("main.empty", 0), ("main.left", 3000)] {
        let path = recorded.path(name)?;
        let seen: u64 = recorded.stacks(path).map(|stack| stack.values[elements]).sum();
        ensure!(seen == 5 * of_each, "{name}: {seen} elements");
    }
    Ok(())
}

each_release! {
    exact: equals_the_programs_counts;
    times: times_are_the_programs;
    counts: the_cheap_form_counts_iterations;
}

/// Go 1.24 and 1.25 can be told to keep the old maps.
#[test]
fn old_maps_of_newer_releases() -> Result<()> {
    equals("1.24", Variant::OldMaps)?;
    equals("1.25", Variant::OldMaps)
}

/// Allocations and iterations in one recording are those of two.
#[test]
fn two_probes_in_one_recording() -> Result<()> {
    let (recorded, _) = record("1.26", Variant::Stripped, "alloc,map", &["go 20"])?;
    for path in &recorded.paths {
        let seen = recorded.seen(path)?;
        ensure!((seen.iterations, seen.steps) == (path.iterations, path.steps), "{}", path.name);
    }
    ensure!(recorded.profile.total("alloc_objects")? > 0);
    let values = recorded.profile.meta.value_types.len();
    ensure!(recorded.profile.stacks.iter().all(|stack| stack.values.len() == values));
    Ok(())
}

/// The short command: table, findings, pictures.
#[test]
fn the_command_tells_what_is_worth_a_look() -> Result<()> {
    require_root()?;
    let mut program = start("1.27", Variant::Stripped)?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (heat, flames, pprof) = (file("heat.svg"), file("flames.svg"), file("a.pb.gz"));
    let mut command = Command::new(heaptap_tests::heaptap::program()?);
    command.args(["maps", "-p", &program.pid().to_string(), "--p99-over", "1000"]);
    command.args(["--budget", "none"]);
    command.args(["--steps-over", "900", "--heat", &heat]);
    command.args(["-o", "-", "-o", &flames, "-o", &pprof]);
    let recording = Recording::of(command.stdin(Stdio::null()))?;
    program.ask("go 3")?;
    program.ask("timed 3")?;
    let ended = recording.stop()?;
    let table = &ended.expect(0)?.stdout;
    for wanted in [
        "exact: every step of every iteration over a map followed",
        "iterations by depth of nesting",
        "functions by steps",
        "main.timedInner",
        "finding: main.timed (maps/main.go:",
        "one iteration visited 1,000 elements",
        "exact, nothing lost",
    ] {
        ensure!(table.contains(wanted), "no {wanted:?} in\n{table}");
    }
    let heat = std::fs::read_to_string(heat)?;
    ensure!(heat.contains("main.timedInner") && heat.contains("steps/s</title></rect>"), "{heat}");
    let flames = std::fs::read_to_string(flames)?;
    ensure!(flames.contains("main.timedInner") && flames.contains(" steps, "), "{flames}");
    let profile = Pprof::read(pprof.as_ref())?;
    let types = ["map_iterations/count", "map_steps/count", "map_time/nanoseconds"];
    ensure!(profile.types == types, "{:?}", profile.types);
    Ok(())
}

/// What a program has iterated is told when it has ended, and of programs that start meanwhile.
#[test]
fn programs_that_come_and_go_are_told() -> Result<()> {
    let told =
        told::record_two::<Vec<Path>>("maps", "1.25", &["record", "--probe", "map"], &["go 5"])?;
    let mut truth = BTreeMap::new();
    for path in told.report.into_iter().flatten() {
        let sums: &mut (u64, u64) = truth.entry(path.name).or_default();
        *sums = (sums.0 + path.iterations, sums.1 + path.steps);
    }
    let recorded = Recorded { profile: told.profile, paths: Vec::new() };
    ensure!(recorded.profile.meta.lost_events == 0, "{:?}", recorded.profile.losses());
    for (name, (iterations, steps)) in truth {
        let (depths, nanos) = (BTreeMap::new(), 0);
        let seen = recorded.seen(&Path { name: name.clone(), iterations, steps, depths, nanos })?;
        ensure!((seen.iterations, seen.steps) == (iterations, steps), "{name}: {seen:?}");
    }
    Ok(())
}

/// Some 50,000 iterations a second, nested, beside a collector that moves stacks: nothing is lost.
#[test]
fn a_busy_program_is_followed_without_loss() -> Result<()> {
    let (recorded, _) = record("1.26", Variant::Stripped, "map", &["go 300"])?;
    recorded.equals()?;
    let profile = &recorded.profile;
    ensure!(profile.counter("recorded") > 100_000, "{:?}", profile.counters);
    Ok(())
}

/// A goroutine takes no room once its iterations are over, however many there are.
#[test]
fn goroutines_that_do_not_iterate_take_no_room() -> Result<()> {
    let lines = ["crowd", "crowd"];
    let (recorded, _) = record("1.27", Variant::Stripped, "map --max-goroutines 64", &lines)?;
    recorded.equals()?;
    ensure!(recorded.path("main.inCrowd")?.iterations == 1000);
    Ok(())
}
