//! `--budget`: what a recording costs a program stays within the budget, and what is said of the time in
//! between is an estimate that is right within the interval that it states.

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::{Cost, Profile};
use heaptap_tests::report::Report;
use heaptap_tests::{Fixture, Recording, Variant, require_root};

struct Run {
    profile: Profile,
    report: Report,
}

/// Records the fixture `mix` while it makes so many thousand objects.
fn record(thousands: u32, flags: &[&str]) -> Result<Run> {
    require_root()?;
    let mut mix = Fixture::build("mix", "1.26", Variant::Stripped)?.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let (pid, path) = (mix.pid().to_string(), json.display().to_string());
    let recording = Recording::start([&["-p", &pid, "-o", &path], flags].concat())?;
    mix.rounds(thousands)?;
    recording.stop()?.expect(0)?;
    Ok(Run { profile: Profile::read(&json)?, report: mix.report()? })
}

impl Run {
    fn cost(&self) -> Result<&Cost> {
        self.profile.processes[0].cost.as_ref().context("no cost is told")
    }

    /// Paths of which the true number lies in the stated interval, and all.
    fn covered(&self) -> Result<(usize, usize)> {
        let value = self.profile.value("alloc_objects")?;
        let mut covered = 0;
        for path in &self.report.paths {
            let (estimate, width) = self.profile.estimate(value, &path.frames[0].function);
            let off = (estimate - path.count as f64).abs();
            // Rounding, and what is allocated at the moments of beginning and end.
            covered += usize::from(off <= width + 3.0);
            eprintln!("{}: {estimate} ± {width:.0} of {}", path.id, path.count);
        }
        Ok((covered, self.report.paths.len()))
    }
}

fn stays_within(mode: &str) -> Result<()> {
    let run = record(50_000, &["--mode", mode, "--budget", "1%"])?;
    let cost = run.cost()?;
    eprintln!("{cost:?}");
    // What heaptap takes for a window is paid out of the budget too.
    ensure!(cost.own_ns > 100_000 * u64::from(cost.windows), "{cost:?}");
    run.profile.is_within_budget(cost, 0.01)?;
    ensure!(cost.windows > 1 && cost.scaled, "{cost:?}");
    ensure!(cost.observed_ns < cost.traced_ns / 2, "{cost:?}");
    ensure!(run.profile.meta.estimate && run.profile.meta.budget == Some(0.01));
    // All that the runtime counts is there, whoever it is said to be of.
    let total = run.profile.total("alloc_objects")? as f64;
    let more = total / run.report.mallocs as f64 - 1.0;
    ensure!(more.abs() < 0.005, "{total} of {}", run.report.mallocs);
    let (covered, all) = run.covered()?;
    ensure!(covered * 10 >= all * 7, "{covered} of {all} intervals of 95 % hold the truth");
    Ok(())
}

#[test]
fn an_exact_recording_of_a_fast_allocator_is_kept_to_its_budget() -> Result<()> {
    stays_within("exact")
}

#[test]
fn a_span_recording_of_a_fast_allocator_is_kept_to_its_budget() -> Result<()> {
    stays_within("span")
}

/// The kernel stops it, however late heaptap comes to it.
#[test]
fn the_first_window_ends_when_what_may_be_spent_is_spent() -> Result<()> {
    let run = record(8_000, &["--mode", "exact", "--budget", "0.01%"])?;
    let cost = run.cost()?;
    ensure!(cost.windows == 1, "{cost:?}");
    run.profile.is_within_budget(cost, 0.0001)?;
    // Of 8,000,000 objects.
    ensure!(run.profile.counter("recorded") < 20_000);
    // Whether any trap still comes before the probes are off is left to chance; each that does is told.
    let ways =
        ["recorded", "over_budget", "zero_size", "forwarded", "restarted", "lost_scratch_busy"];
    let told: u64 = ways.iter().map(|way| run.profile.counter(way)).sum();
    ensure!(told == cost.traps, "{told} of {} traps are told", cost.traps);
    Ok(())
}

#[test]
fn what_it_can_afford_is_always_traced() -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let (pid, path) = (alloc.pid().to_string(), json.display().to_string());
    let recording = Recording::start(["-p", &pid, "-o", &path, "--budget", "1%"])?;
    alloc.rounds(1)?;
    recording.stop()?.expect(0)?;
    let report = alloc.report()?;
    let profile = Profile::read(&json)?;
    heaptap_tests::check::all(&profile, &report)?;
    let cost = profile.processes[0].cost.as_ref().context("no cost is told")?;
    ensure!(cost.windows == 0 && !profile.meta.estimate, "{cost:?}");
    ensure!(cost.traps >= report.mallocs && cost.caused_ns > 100 * cost.traps, "{cost:?}");
    Ok(())
}

#[test]
fn without_a_budget_nothing_is_kept_back() -> Result<()> {
    let run = record(2_000, &["--mode", "exact", "--budget", "none", "--stats"])?;
    let own = run.profile.notes.iter().find(|note| note.starts_with("heaptap itself: "));
    let own = own.context("heaptap does not tell what it takes")?;
    for word in ["resident", "of CPU time", "in the kernel's tables", "of 65,536 stacks"] {
        ensure!(own.contains(word), "{own}");
    }
    ensure!(run.profile.processes[0].cost.is_none() && run.profile.meta.budget.is_none());
    ensure!(!run.profile.meta.estimate && run.profile.losses().is_empty());
    let (covered, all) = run.covered()?;
    ensure!(covered == all, "{covered} of {all}");
    Ok(())
}
