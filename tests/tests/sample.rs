//! `--mode sample`: objects that the runtime's own sampler chose, from allocation to free.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use heaptap_tests::heaptap::run;
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::{Fixture, Recording, Running, Variant, require_root};
use serde::Deserialize;
use xtask::each_release;

/// What a path of the fixture has done.
#[derive(Deserialize)]
struct Path {
    name: String,
    size: u64,
    allocated: u64,
    alive: u64,
}

/// One recording of the fixture from its start to after a collection.
struct Recorded {
    sample: Profile,
    exact: Profile,
    paths: Vec<Path>,
}

/// Objects that the fixture makes, in thousands: many are wanted where something is estimated. At rate 1 each of
/// them is three traps, and nothing is.
fn thousands(rate: &str) -> u32 {
    if rate == "1" { 40 } else { 400 }
}

fn start(go: &str, rate: &str) -> Result<Running> {
    let mut command = Command::new(Fixture::build("sampled", go, Variant::Stripped)?.program);
    command.arg(rate);
    Running::start(command)
}

fn report(mut program: Running) -> Result<Vec<Path>> {
    let report = program.ask("quit")?;
    serde_json::from_str(&report).context("the fixture's report is not as told")
}

/// Records in both modes at once.
fn record(go: &str, rate: &str, flags: &[&str]) -> Result<Recorded> {
    require_root()?;
    let mut program = start(go, rate)?;
    let dir = tempfile::tempdir()?;
    let [sample, exact] = ["sample", "exact"].map(|mode| dir.path().join(format!("{mode}.json")));
    let pid = program.pid().to_string();
    let (to, exactly) = (sample.display().to_string(), exact.display().to_string());
    let mut args = vec!["-p", &pid, "--mode", "sample", "-o", &to];
    args.extend(flags);
    let sampling = Recording::start(args)?;
    let counting = Recording::start(["-p", &pid, "-o", &exactly])?;
    program.ask(&format!("go {}", thousands(rate)))?;
    program.ask("collect")?;
    counting.stop()?.expect(0)?;
    sampling.stop()?.expect(0)?;
    let paths = report(program)?;
    Ok(Recorded { sample: Profile::read(&sample)?, exact: Profile::read(&exact)?, paths })
}

/// The value of a path's stacks, and the half-width of its interval.
fn of_path(profile: &Profile, path: &Path, kind: &str) -> Result<(f64, f64)> {
    let value = profile.value(kind)?;
    let mine = |stack: &&Stack| stack.frames[0].function == path.name;
    let (mut sum, mut squares) = (0.0, 0.0);
    for stack in profile.stacks.iter().filter(mine) {
        sum += stack.values[value] as f64;
        squares += stack.error.get(value).map_or(0.0, |error| error * error);
    }
    Ok((sum, squares.sqrt()))
}

/// What is allocated and what stays agrees with what the program did, within the intervals; and with
/// what the other mode counted in the same run.
fn follows_objects(go: &str) -> Result<()> {
    let recorded = record(go, "4096", &[])?;
    let mut wrong = Vec::new();
    for path in &recorded.paths {
        let (exact, _) = of_path(&recorded.exact, path, "alloc_objects")?;
        // Two of them at once on a busy machine may lose what they tell to be lost.
        let (exact, lost) = (exact as u64, recorded.exact.meta.lost_events);
        let possible = exact..=exact + lost;
        let told = recorded.exact.losses();
        ensure!(
            possible.contains(&path.allocated),
            "{}: {exact} of {}, {told:?}",
            path.name,
            path.allocated
        );
        let truths = [
            ("alloc_objects", path.allocated),
            ("alloc_space", path.allocated * path.size),
            ("inuse_objects", path.alive),
            ("inuse_space", path.alive * path.size),
        ];
        for (kind, truth) in truths {
            let (value, width) = of_path(&recorded.sample, path, kind)?;
            // 2.5 widths leave one failure in a million.
            if (value - truth as f64).abs() > 2.5 * width + 1.0 {
                wrong.push(format!("{} {kind}: {value} ± {width:.0} of {truth}", path.name));
            }
        }
    }
    ensure!(wrong.is_empty(), "Go {go}:\n{}", wrong.join("\n"));
    ensure!(recorded.sample.meta.source == "sample" && recorded.sample.meta.estimate);
    Ok(())
}

each_release! {
    follows: follows_objects;
    turns_on: turns_on_the_sampler;
}

/// Every object is sampled at rate 1: then nothing is estimated, and every trap is counted.
#[test]
fn at_rate_1_it_is_exact() -> Result<()> {
    let recorded = record("1.27", "1", &[])?;
    let sample = &recorded.sample;
    let (made, freed) = (sample.counter("recorded"), sample.counter("freed"));
    let alive = made.checked_sub(freed).context("more objects were freed than made")?;
    ensure!(made == sample.total("alloc_objects")? && alive == sample.total("inuse_objects")?);
    for path in &recorded.paths {
        for (kind, truth) in [("alloc_objects", path.allocated), ("inuse_objects", path.alive)] {
            let (value, width) = of_path(&recorded.sample, path, kind)?;
            ensure!(
                (value, width) == (truth as f64, 0.0),
                "{} {kind}: {value} of {truth}",
                path.name
            );
        }
    }
    Ok(())
}

/// Objects that were freed and objects that were not are told apart by age.
#[test]
fn ages_are_of_all_objects() -> Result<()> {
    let recorded = record("1.26", "4096", &[])?;
    let (objects, live) =
        (recorded.sample.value("alloc_objects")?, recorded.sample.value("inuse_objects")?);
    for stack in &recorded.sample.stacks {
        let ages = stack.ages.as_ref().context("a stack without ages")?;
        let [freed, alive] = [&ages.freed, &ages.live].map(|counts| counts.iter().sum::<u64>());
        // Each class is rounded by itself.
        let close = |a: u64, b: u64| a.abs_diff(b) <= 24 * 8;
        ensure!(close(alive, stack.values[live]), "{alive} live, {}", stack.values[live]);
        ensure!(close(freed + alive, stack.values[objects]), "{freed} freed, {alive} live");
    }
    Ok(())
}

/// What keeps something is left out.
#[test]
fn short_lived_stacks_are_those_that_keep_nothing() -> Result<()> {
    let recorded = record("1.27", "4096", &["--short-lived"])?;
    let there = |name: &str| {
        let mut stacks = recorded.sample.stacks.iter().map(|stack| &stack.frames);
        stacks.any(|frames| {
            let is_whole = frames.last().is_some_and(|frame| frame.function == "runtime.main");
            is_whole && frames.iter().any(|frame| frame.function == name)
        })
    };
    for name in ["main.drop512", "main.drop40960", "main.dropPointers96"] {
        ensure!(there(name), "{name} is missing");
    }
    for name in ["main.keep64", "main.keep4096", "main.hold1024"] {
        for stack in &recorded.sample.stacks {
            let is_of = stack.frames.iter().any(|frame| frame.function == name);
            // One whose outer frames could not be read is another stack, and keeps what it has.
            let outermost = stack.frames.last().map_or("", |frame| &frame.function);
            let is_of = is_of && outermost == "runtime.main";
            ensure!(!is_of, "{name} keeps objects: {stack:#?}\n{:#?}", recorded.sample.counters);
        }
    }
    ensure!(recorded.sample.notes.iter().any(|note| note.contains("keep nothing")));
    Ok(())
}

/// A program whose linker left the sampler off shows nothing, and is told so.
#[test]
fn a_sampler_that_is_off_is_refused() -> Result<()> {
    require_root()?;
    let mix = Fixture::build("mix", "1.26", Variant::Stripped)?.start()?;
    let pid = mix.pid().to_string();
    run(["record", "-p", &pid, "--mode", "sample"])?.refused(5, "sampler is off")
}

/// Turned on for the recording, the sampler shows what is allocated, and is off again afterwards.
fn turns_on_the_sampler(go: &str) -> Result<()> {
    require_root()?;
    let mut mix = Fixture::build("mix", go, Variant::Stripped)?.start()?;
    let pid = mix.pid().to_string();
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("on.json").display().to_string();
    let recording =
        Recording::start(["-p", &pid, "--mode", "auto", "--enable-sampler=4096", "-o", &json])?;
    mix.rounds(200)?;
    let ended = recording.stop()?;
    ended.expect(0)?;
    let profile = Profile::read(json.as_ref())?;
    ensure!(profile.meta.source == "sample" && profile.total("alloc_space")? > 1 << 20);
    ensure!(ended.stderr.contains("MemProfileRate is 0 again"), "{}", ended.stderr);
    run(["record", "-p", &pid, "--mode", "sample"])?.refused(5, "sampler is off")
}

/// Left to itself it takes the cheapest way that sees the program, and says which.
#[test]
fn auto_takes_the_cheapest() -> Result<()> {
    require_root()?;
    let sampled = start("1.26", "524288")?;
    let mix = Fixture::build("mix", "1.26", Variant::Stripped)?.start()?;
    let pids = [sampled.pid().to_string(), mix.pid().to_string()];
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("auto.json").display().to_string();
    for (pids, source, why) in [
        (&pids[..1], "sample", None),
        (&pids[1..], "span", Some("sampler")),
        (&pids[..], "span", Some("sampler")),
    ] {
        let mut args = vec!["--mode", "auto", "-o", &json];
        args.extend(pids.iter().flat_map(|pid| ["-p", pid]));
        let ended = Recording::start(args)?.stop()?;
        ended.expect(0)?;
        let profile = Profile::read(json.as_ref())?;
        ensure!(profile.meta.source == source, "{} for {pids:?}", profile.meta.source);
        ensure!(ended.stderr.contains(&format!("mode {source}")), "{}", ended.stderr);
        if let Some(why) = why {
            ensure!(profile.notes.iter().any(|note| note.contains(why)), "{:?}", profile.notes);
        }
    }
    Ok(())
}

/// Objects that can't be followed are counted as lost, and the rest is right.
#[test]
fn a_full_table_of_objects_is_told() -> Result<()> {
    let recorded = record("1.27", "4096", &["--max-objects", "100"])?;
    let lost = recorded.sample.counter("lost_objects_full");
    ensure!(lost > 0 && recorded.sample.meta.lost_events >= lost, "{lost} lost");
    let Some(path) = recorded.paths.iter().find(|path| path.name == "main.drop512") else {
        bail!("no such path");
    };
    let (value, width) = of_path(&recorded.sample, path, "alloc_objects")?;
    ensure!((value - path.allocated as f64).abs() < 2.5 * width, "{value} ± {width}");
    Ok(())
}
