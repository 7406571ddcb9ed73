//! `--budget` with probes that follow something from its beginning to its end: recorded until it has cost
//! the share of the whole that it may, and exactly until then.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::{Cost, Profile, Stack};
use heaptap_tests::{Ended, Fixture, Recording, Running, Variant, heaptap, require_root, told};
use serde::Deserialize;

struct Run<T> {
    profile: Profile,
    ended: Ended,
    /// What the program counted, and how many rounds of it while it was recorded and before.
    paths: T,
}

impl<T: for<'de> Deserialize<'de>> Run<T> {
    /// Records a program that does the same again and again, for so many seconds, and has done so for a while.
    fn of(fixture: &str, lines: &[&str], before: u32, words: &[&str]) -> Result<Self> {
        require_root()?;
        let program = Fixture::build(fixture, "1.26", Variant::Stripped)?.program;
        let mut program = Running::start(Command::new(program))?;
        let round = |program: &mut Running| -> Result<()> {
            for line in lines {
                ensure!(program.ask(line)? == "done");
            }
            Ok(())
        };
        for _ in 0..before {
            round(&mut program)?;
        }
        let dir = tempfile::tempdir()?;
        let json = dir.path().join("out.json");
        let mut command = Command::new(heaptap::program()?);
        command.args(words).args(["-o".as_ref(), json.as_os_str()]).stdin(Stdio::null());
        let mut recording = Recording::of(command.args(["-p", &program.pid().to_string()]))?;
        while recording.is_under_way()? {
            round(&mut program)?;
        }
        let ended = recording.finish()?;
        ended.expect(0)?;
        let paths = serde_json::from_str(&program.ask("quit")?)?;
        Ok(Self { profile: Profile::read(&json)?, ended, paths })
    }

    fn cost(&self) -> Result<&Cost> {
        self.profile.processes[0].cost.as_ref().context("no cost is told")
    }

    /// Fails unless it was recorded for a part of the time, within its share of all of it, and says so.
    fn ended_early(&self, share: f64) -> Result<&Cost> {
        let cost = self.cost()?;
        eprintln!("{cost:?}");
        ensure!(cost.ended_early && cost.windows == 1 && !cost.scaled, "{cost:?}");
        ensure!(cost.observed_ns < cost.traced_ns / 2, "{cost:?}");
        self.profile.is_within_budget(cost, share)?;
        // Not at once either.
        let all = (cost.caused_ns + cost.own_ns) as f64;
        ensure!(all >= 0.1 * share * cost.cpu_ns as f64, "{cost:?}");
        let meta = &self.profile.meta;
        ensure!(
            !meta.estimate && meta.budget == Some(share) && meta.duration_ns == cost.observed_ns
        );
        let told = |text: &str| text.contains("was recorded for") && text.contains("--budget none");
        let notes = &self.profile.notes;
        ensure!(notes.iter().any(|note| note.starts_with("finding: ") && told(note)), "{notes:?}");
        ensure!(self.profile.losses().is_empty(), "{:?}", self.profile.losses());
        ensure!(self.ended.stderr.contains("exact, nothing lost"), "{}", self.ended.stderr);
        Ok(cost)
    }
}

/// What a function of the fixture maps has done.
#[derive(Deserialize)]
struct Path {
    name: String,
    iterations: u64,
    steps: u64,
}

/// What is there is how the program's doings began, to the last iteration.
#[test]
fn iterations_are_followed_until_they_have_cost_their_share() -> Result<()> {
    let words = ["record", "--probe", "map", "-d", "4", "--budget", "10%"];
    let run: Run<Vec<Path>> = Run::of("maps", &["go 1"], 5_000, &words)?;
    run.ended_early(0.1)?;
    let value = |kind| run.profile.value(kind);
    let (iterations, steps) = (value("map_iterations")?, value("map_steps")?);
    let of = |name: &str| -> (u64, u64) {
        let own = |stack: &&Stack| {
            let mut own = stack.frames.iter().filter(|frame| frame.function.starts_with("main."));
            own.next().is_some_and(|frame| frame.function == name)
        };
        let stacks = run.profile.stacks.iter().filter(own);
        stacks.fold((0, 0), |(i, s), stack| (i + stack.values[iterations], s + stack.values[steps]))
    };
    // The truth of one round is that of all, divided by how often it was taken.
    let whole = run.paths.iter().find(|path| path.name == "main.single").context("no single")?;
    let rounds = whole.iterations;
    let mut seen = Vec::new();
    for path in &run.paths {
        let (name, own, own_steps) = {
            let (own, steps) = of(&path.name);
            (&path.name, own, steps)
        };
        let (each, each_steps) = (path.iterations / rounds, path.steps / rounds);
        if each == 0 || (each * rounds, each_steps * rounds) != (path.iterations, path.steps) {
            // It is not the same in each round.
            continue;
        }
        eprintln!(
            "{name}: {own} iterations of {each} in a round, {own_steps} steps of {each_steps}"
        );
        seen.push((own / each, own.div_ceil(each)));
        // All but those that are under way in the end have all their steps.
        let (least, most) =
            (own.saturating_sub(1) / each * each_steps, own.div_ceil(each) * each_steps);
        ensure!((least..=most).contains(&own_steps), "{name}: {own}, {own_steps}");
    }
    ensure!(seen.len() > 10, "{seen:?}");
    // Nothing is missing in between: every path was taken as often as the others, but for the last round.
    let (least, most) =
        (seen.iter().map(|seen| seen.0).min(), seen.iter().map(|seen| seen.1).max());
    let (least, most) = (least.context("nothing")?, most.context("nothing")?);
    ensure!(least > 3 && most <= least + 1, "{seen:?}");
    Ok(())
}

/// What the kernel's tracepoints cost is counted, and bounded too.
#[test]
fn what_the_kernel_does_is_recorded_until_it_has_cost_its_share() -> Result<()> {
    let words = ["record", "--probe", "os", "-d", "3", "--budget", "0.5%"];
    let run: Run<serde_json::Value> = Run::of("os", &["touch 2", "release"], 300, &words)?;
    let cost = run.ended_early(0.005)?;
    ensure!(cost.traps > run.profile.counter("recorded"), "{cost:?}");
    Ok(())
}

#[derive(Deserialize)]
struct Spawned {
    created: u64,
    ended: u64,
}

/// What costs less than it may is recorded to the end, whatever probe it is: nothing is said, and nothing lost.
#[test]
fn what_it_can_afford_is_recorded_throughout() -> Result<()> {
    for (fixture, probe, line) in [("spawn", "goroutine", "go 1"), ("pools", "pool", "go 1")] {
        let words = ["record", "--probe", probe, "--budget", "100%"];
        let told: told::Told<Vec<serde_json::Value>> =
            told::record(fixture, "1.26", Variant::Stripped, &words, &[line])?;
        let cost = told.profile.processes[0].cost.as_ref().context("no cost is told")?;
        ensure!(!cost.ended_early && cost.windows == 0, "{cost:?}");
        ensure!(cost.traps > 0 && cost.caused_ns > 100 * cost.traps, "{cost:?}");
        ensure!(told.profile.losses().is_empty());
        if probe == "goroutine" {
            let all: Vec<Spawned> = serde_json::from_value(told.report.into())?;
            let sum = |of: fn(&Spawned) -> u64| all.iter().map(of).sum::<u64>();
            let seen = |kind| told.profile.total(kind);
            ensure!(seen("goroutines_created")? == sum(|path| path.created));
            ensure!(seen("goroutines_ended")? == sum(|path| path.ended));
        }
    }
    Ok(())
}
