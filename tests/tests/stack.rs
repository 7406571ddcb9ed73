//! `--probe stack`: moves of goroutines' stacks, against a program that watches its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::{Variant, told};
use serde::Deserialize;
use xtask::each_release;

/// What happened to the stack in a function of the fixture.
#[derive(Deserialize)]
struct Path {
    name: String,
    moves: Vec<Move>,
}

#[derive(Deserialize)]
struct Move {
    old: u64,
    new: u64,
    count: u64,
    /// Bytes that were in use; not known of those that became smaller.
    copied: u64,
}

/// Count and bytes copied, by function, old and new size.
type Moves = BTreeMap<(String, u64, u64), (u64, u64)>;

fn record(go: &str, variant: Variant) -> Result<(Profile, Vec<Path>)> {
    let words = ["record", "--probe", "stack", "--budget", "none"];
    let told = told::record("stacks", go, variant, &words, &["go 10"])?;
    Ok((told.profile, told.report))
}

/// Moves of the profile, by the innermost function of the program's own.
fn moves(profile: &Profile) -> Result<Moves> {
    let [growths, shrinks, copied] = [
        profile.value("stack_growths")?,
        profile.value("stack_shrinks")?,
        profile.value("stack_copied")?,
    ];
    let mut moves = Moves::new();
    for stack in &profile.stacks {
        let size = |key: &str| {
            let size = stack.labels.get(key).and_then(|size| size.as_u64());
            size.with_context(|| format!("no {key}: {:?}", stack.labels))
        };
        let (old, new) = (size("stack_old_bytes")?, size("stack_new_bytes")?);
        let (grown, shrunk) = (stack.values[growths], stack.values[shrinks]);
        ensure!(
            if new > old { shrunk == 0 } else { grown == 0 },
            "{old} → {new}: {grown}, {shrunk}"
        );
        let own = stack.frames.iter().find(|frame| frame.function.starts_with("main."));
        let Some(own) = own else { continue };
        let sum = moves.entry((own.function.clone(), old, new)).or_default();
        *sum = (sum.0 + grown + shrunk, sum.1 + stack.values[copied]);
    }
    Ok(moves)
}

/// How often each function's stack was moved, between what sizes and with what on it, is what the program
/// saw.
fn equals_what_the_program_saw(go: &str) -> Result<()> {
    for variant in [Variant::Default, Variant::Stripped] {
        let (profile, paths) = record(go, variant)?;
        let seen = moves(&profile)?;
        let lost = profile.losses();
        ensure!(lost.is_empty(), "{lost:?}");
        let mut moved = 0;
        for (path, one) in paths.iter().flat_map(|path| path.moves.iter().map(move |m| (path, m))) {
            let (count, copied) =
                seen.get(&(path.name.clone(), one.old, one.new)).copied().unwrap_or_default();
            let what =
                format!("Go {go}, {}: {} {} → {}", variant.name(), path.name, one.old, one.new);
            ensure!(count == one.count, "{what}: {count} of {}\n{seen:?}", one.count);
            if one.new > one.old {
                ensure!(copied == one.copied, "{what}: copied {copied} of {}", one.copied);
            } else {
                // The runtime makes smaller what is used to less than a quarter.
                ensure!(copied > 0 && copied < count * one.old / 4, "{what}: copied {copied}");
            }
            moved += count;
        }
        // At least four of each goroutine, of both kinds.
        let shrinks = paths.iter().flat_map(|path| &path.moves).filter(|m| m.new < m.old).count();
        ensure!(moved >= 80 && shrinks >= 4, "{moved} moves, {shrinks} sizes to shrink from");
        // Each was told by the program; functions that do not look may need room too.
        let told = |name: &str, old, new| {
            let path = paths.iter().find(|path| path.name == name);
            path.is_none_or(|path| path.moves.iter().any(|one| (one.old, one.new) == (old, new)))
        };
        let untold = seen.keys().find(|(name, old, new)| !told(name, *old, *new));
        ensure!(untold.is_none(), "Go {go}, {}: {untold:?}", variant.name());
    }
    Ok(())
}

each_release! {
    exact: equals_what_the_program_saw;
}

/// A goroutine that waits is shown where it waits, one that was interrupted or has no room at what it was
/// about to call.
#[test]
fn the_stacks_are_the_goroutines_own() -> Result<()> {
    let (profile, _) = record("1.26", Variant::Stripped)?;
    let names = |leaf: &str, own: &str| -> Result<Vec<String>> {
        let of = |stack: &&Stack| {
            let names: Vec<&str> = stack.frames.iter().map(|f| &*f.function).collect();
            names[0] == leaf && names.get(1) == Some(&own)
        };
        let stack =
            profile.stacks.iter().find(of).with_context(|| format!("no {leaf} of {own}"))?;
        Ok(stack.frames.iter().map(|frame| frame.function.clone()).collect())
    };
    let waits = names("128.0 KiB → 64.0 KiB", "main.rests")?;
    ensure!(waits[1..] == ["main.rests", "main.all"], "{waits:?}");
    let runs = names("128.0 KiB → 64.0 KiB", "main.step")?;
    ensure!(runs[1..] == ["main.step", "main.runs", "main.interrupted.func1"], "{runs:?}");
    let leaps = names("32.0 KiB → 64.0 KiB", "main.leaps")?;
    ensure!(leaps.last().is_some_and(|last| last == "main.all"), "{leaps:?}");
    ensure!(leaps[1..leaps.len() - 1].iter().all(|name| name == "main.leaps"), "{leaps:?}");
    Ok(())
}
