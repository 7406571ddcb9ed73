//! Iterations over maps as the agent tells them: one process recorded after the other.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heaptap_tests::agent::{Agent, Metrics};
use heaptap_tests::{Fixture, Variant, require_root};
use serde::Deserialize;

/// What a function of the fixture has done.
#[derive(Deserialize)]
struct Path {
    iterations: u64,
    steps: u64,
}

const SOON: Duration = Duration::from_secs(60);

fn agent(watch: &str, dir: &std::path::Path, pids: &[u32]) -> Result<Agent> {
    let file = dir.join("agent.toml");
    let captures = dir.join("captures").display().to_string();
    fs::write(
        &file,
        format!(
            "[listen]\nmax_rate = 100000\n[watch]\ncpu = \"50%\"\n{watch}\n[captures]\ndir = \"{captures}\"\n"
        ),
    )?;
    let file = file.display().to_string();
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut words = vec!["--every", "100ms", "--config", &file];
    words.extend(pids.iter().flat_map(|pid| ["-p", pid]));
    Agent::start(&words)
}

#[test]
fn iterations_over_maps_are_recorded_in_turns() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("maps", "1.26", Variant::Stripped)?;
    let mut program = fixture.start()?;
    // One that could iterate and does not, and one that has no such code.
    let quiet = fixture.start()?;
    let without = Fixture::build("stats", "1.27", Variant::Default)?.start()?;
    let dir = tempfile::tempdir()?;
    let (pid, other) = (program.pid(), quiet.pid());
    let agent = agent("maps = \"300ms\"", dir.path(), &[pid, other, without.pid()])?;
    let until = Instant::now() + SOON;
    let recorded = |metrics: &Metrics, pid| {
        metrics.of(pid, "heaptap_map_recorded_seconds_total", &[]).unwrap_or(0.0)
    };
    let metrics = loop {
        ensure!(program.ask("go 1")? == "done");
        let metrics = agent.metrics()?;
        let seen = metrics.of(pid, "heaptap_map_iterations_total", &[]).unwrap_or(0.0);
        // Each of them has had a second turn.
        if seen > 0.0 && recorded(&metrics, other) > 0.5 {
            break metrics;
        }
        ensure!(Instant::now() < until, "{}", metrics.0);
    };
    let of = |pid, name: &str| metrics.of(pid, name, &[]).with_context(|| format!("no {name}"));
    let (seen, steps) =
        (of(pid, "heaptap_map_iterations_total")?, of(pid, "heaptap_map_steps_total")?);
    ensure!(of(pid, "heaptap_map_iteration_seconds_count")? == seen);
    let time = of(pid, "heaptap_map_iteration_seconds_sum")?;
    ensure!(time > 0.0 && time < SOON.as_secs_f64(), "{time}");
    ensure!(of(pid, "heaptap_map_lost_total")? == 0.0, "{}", metrics.0);
    ensure!(of(other, "heaptap_map_iterations_total")? == 0.0);
    // It costs much, so it is recorded for a shorter time than the other one.
    ensure!(recorded(&metrics, pid) > 0.0 && recorded(&metrics, pid) < recorded(&metrics, other));
    let failed = metrics.number("heaptap_map_recordings_total", &["failed"]);
    ensure!(failed == Some(1.0), "{failed:?}");
    ensure!(recorded(&metrics, without.pid()) == 0.0);
    let kept: Vec<_> = fs::read_dir(dir.path().join("captures"))?.flatten().collect();
    ensure!(kept.len() <= 1, "{kept:?}");
    drop(agent);
    let paths: Vec<Path> = serde_json::from_str(&program.ask("quit")?)?;
    let all = |of: fn(&Path) -> u64| paths.iter().map(of).sum::<u64>() as f64;
    ensure!(seen <= all(|path| path.iterations) && steps <= all(|path| path.steps));
    // More steps than iterations, as the program has it.
    ensure!(steps > seen);
    Ok(())
}

/// Nobody is recorded unless the file says so.
#[test]
fn nobody_is_recorded_unasked() -> Result<()> {
    require_root()?;
    let program = Fixture::build("stats", "1.27", Variant::Default)?.start()?;
    let dir = tempfile::tempdir()?;
    let agent = agent("", dir.path(), &[program.pid()])?;
    let metrics = agent.wait("some rounds", |metrics| {
        metrics.number("heaptap_rounds_total", &[]).is_some_and(|rounds| rounds > 20.0)
    })?;
    ensure!(metrics.series("heaptap_map_recorded_seconds_total", &[]).count() == 0);
    ensure!(metrics.series("heaptap_map_recordings_total", &[]).sum::<f64>() == 0.0);
    ensure!(!dir.path().join("captures").exists());
    Ok(())
}
