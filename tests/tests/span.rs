//! `--mode span`: far fewer traps, and estimates that are right within the interval they state.

use anyhow::{Result, bail, ensure};
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::report::{Path, is_printed};
use heaptap_tests::{Fixture, Recording, Variant, require_root};
use xtask::each_release;

/// A stack's part that depends on the moment at which recording begins and ends, and on objects that
/// the runtime itself allocates in the same class.
const ENDS: f64 = 0.0002;

fn estimates(go: &str) -> Result<()> {
    require_root()?;
    let mut mix = Fixture::build("mix", go, Variant::Stripped)?.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let (pid, path) = (mix.pid().to_string(), json.display().to_string());
    let recording = Recording::start(["-p", &pid, "--mode", "span", "-o", &path])?;
    mix.rounds(3000)?;
    recording.stop()?.expect(0)?;
    let report = mix.report()?;
    let profile = Profile::read(&json)?;
    ensure!(profile.meta.estimate && profile.meta.source == "span", "{:?}", profile.meta);
    let events = profile.counter("recorded");
    ensure!(events < report.mallocs / 10, "{events} traps for {} objects", report.mallocs);
    let (mut held, mut asked) = (0, 0);
    let mut wrong = Vec::new();
    for kind in ["alloc_objects", "alloc_space"] {
        let value = profile.value(kind)?;
        let total = profile.total(kind)? as f64;
        let truth =
            |path: &Path| if kind == "alloc_objects" { Some(path.count) } else { path.bytes };
        let true_total: u64 = report.paths.iter().filter_map(truth).sum();
        // Not the shares alone: what the runtime itself counts is the sum.
        let more = total / true_total as f64 - 1.0;
        ensure!(more.abs() < 0.0005, "{kind}: {total} recorded of {true_total}");
        for path in &report.paths {
            let mine =
                |stack: &&Stack| is_printed(&stack.frames[0].function, &path.frames[0].function);
            let (mut estimate, mut squares) = (0, 0.0);
            for stack in profile.stacks.iter().filter(mine) {
                estimate += stack.values[value];
                squares += stack.error.get(value).map_or(0.0, |error| error * error);
            }
            let share = estimate as f64 / total;
            let true_share = truth(path).unwrap_or_default() as f64 / true_total as f64;
            // The interval covers 95 %; 2.5 times its width leaves one failure in a million. What one
            // stack has alone has none: the rest of the error is rounding and the ends.
            let width = f64::sqrt(squares) / total;
            let off = (share - true_share).abs();
            held += u32::from(off <= width + ENDS * true_share);
            asked += 1;
            let allowed = 2.5 * width + ENDS * true_share;
            if off > allowed || allowed > true_share.max(0.02) {
                wrong.push(format!(
                    "{} of {kind}: {:.2} % of {:.2} %, ±{:.2} % allowed",
                    path.id,
                    100.0 * share,
                    100.0 * true_share,
                    100.0 * allowed
                ));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("Go {go}, {events} traps:\n{}", wrong.join("\n"));
    }
    ensure!(held * 10 >= asked * 8, "{held} of {asked} intervals of 95 % hold the truth");
    Ok(())
}

each_release!(estimates);
