//! `--probe pool`: what pools give and get back, against a program that counts its own.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap_tests::pprof::Pprof;
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::{Ended, Fixture, Recording, Running, Variant, heaptap, require_root, told};
use serde::Deserialize;
use xtask::each_release;

/// Gets, misses, puts.
type Sums = [u64; 3];

/// What a function of the fixture has done.
#[derive(Deserialize)]
struct Path {
    name: String,
    gets: u64,
    misses: u64,
    puts: u64,
}

struct Recorded {
    profile: Profile,
    paths: Vec<Path>,
}

fn start(go: &str, variant: Variant) -> Result<Running> {
    Running::start(Command::new(Fixture::build("pools", go, variant)?.program))
}

/// Records while the fixture takes every path so often.
fn record(go: &str, variant: Variant, rounds: u32, words: &[&str]) -> Result<(Recorded, Ended)> {
    let told = told::record("pools", go, variant, words, &[&format!("go {rounds}")])?;
    Ok((Recorded { profile: told.profile, paths: told.report }, told.ended))
}

const RECORD: [&str; 3] = ["record", "--probe", "pool"];

impl Recorded {
    fn sums(&self, stacks: impl Fn(&Stack) -> bool) -> Result<Sums> {
        let value = |kind| self.profile.value(kind);
        let values = [value("pool_gets")?, value("pool_misses")?, value("pool_puts")?];
        let stacks: Vec<&Stack> = self.profile.stacks.iter().filter(|s| stacks(s)).collect();
        Ok(values.map(|value| stacks.iter().map(|stack| stack.values[value]).sum()))
    }

    /// Of stacks whose innermost frame of the program's own is this function.
    fn of_function(&self, name: &str) -> Result<Sums> {
        let is_own = |name: &str| name.starts_with("main.") && !name.contains("buffers)");
        self.sums(|stack| {
            let own = stack.frames.iter().find(|frame| is_own(&frame.function));
            own.is_some_and(|frame| without_shapes(&frame.function) == name)
        })
    }

    /// What is said of pools, by name.
    fn pools(&self) -> Result<BTreeMap<String, Sums>> {
        let name = |stack: &Stack| stack.text_labels().remove("sync_pool");
        let names = self.profile.stacks.iter().filter_map(name);
        let all: std::collections::BTreeSet<String> = names.collect();
        let one = |pool: String| {
            let sums = self.sums(|stack| name(stack).as_ref() == Some(&pool))?;
            Ok((pool, sums))
        };
        all.into_iter().map(one).collect()
    }

    fn path(&self, name: &str) -> Result<&Path> {
        self.paths.iter().find(|path| path.name == name).with_context(|| format!("no {name}"))
    }

    /// Fails unless every function is as the program counted it and nothing was lost.
    fn equals(&self) -> Result<()> {
        let mut lost = self.profile.losses();
        // What a program does before it is looked at: it says that it is ready.
        lost.retain(|counter| counter.name != "lost_exec_gap");
        ensure!(lost.is_empty(), "{lost:?}");
        let mut wrong = Vec::new();
        for path in &self.paths {
            let (seen, told) = (self.of_function(&path.name)?, [path.gets, path.misses, path.puts]);
            if seen != told {
                wrong.push(format!("{}: {seen:?} of {told:?}", path.name));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

/// `main.generic[go.shape.*uint8]` as `main.generic[...]`, as linkers wrote it up to Go 1.20.
fn without_shapes(name: &str) -> String {
    match name.split_once('[') {
        Some((name, _)) => format!("{name}[...]"),
        None => name.to_string(),
    }
}

/// Gets, misses and puts of every function are what the program counted, and pools have their names.
fn equals_the_programs_counts(go: &str) -> Result<()> {
    for variant in [Variant::Default, Variant::Stripped] {
        let (recorded, _) = record(go, variant, 20, &RECORD)?;
        recorded.equals().with_context(|| format!("Go {go}, {}", variant.name()))?;
        ensure!(recorded.profile.counter("nil_puts") == 60, "{:?}", recorded.profile.counters);
        names(&recorded, variant).with_context(|| format!("Go {go}, {}", variant.name()))?;
    }
    Ok(())
}

/// Pools have the names of their variables where there are symbols, and those of what makes new things.
fn names(recorded: &Recorded, variant: Variant) -> Result<()> {
    let pools = recorded.pools()?;
    let told = |path: &str| -> Result<Sums> {
        let path = recorded.path(path)?;
        Ok([path.gets, path.misses, path.puts])
    };
    let named = |new: &str| -> Result<(&String, &Sums)> {
        let new = format!("(New {new})");
        pools.iter().find(|(name, _)| name.ends_with(&new)).with_context(|| format!("no {new}"))
    };
    let (leaks, sums) = named("main.newLeaks")?;
    ensure!(*sums == told("main.leaks")?, "{leaks}: {sums:?}");
    let (_, deep) = named("main.newDeep")?;
    ensure!(*deep == told("main.deep")?, "{deep:?}");
    let on_heap =
        pools.iter().filter(|(name, _)| name.contains(" on the heap (New main.newOnHeap)"));
    let gets: u64 = on_heap.map(|(_, sums)| sums[0]).sum();
    ensure!(gets == recorded.path("main.onHeap")?.gets, "{gets} of pools on the heap");
    let method = "New main.(*server).newThing";
    ensure!(pools.keys().filter(|name| name.contains(method)).count() == 3, "{pools:?}");
    if variant == Variant::Default {
        ensure!(leaks == "main.leaksPool (New main.newLeaks)", "{leaks}");
        let second = format!("main.staticServer+0x38 ({method})");
        ensure!(pools.get(&second) == Some(&[40, 20, 40]), "{pools:?}");
        let without = pools.get("main.withoutNewPool").context("a pool without New has no name")?;
        ensure!(*without == told("main.withoutNew")?, "{without:?}");
    } else {
        ensure!(leaks.starts_with("0x"), "{leaks}");
    }
    Ok(())
}

each_release!(equals_the_programs_counts);

/// Where the loader puts the program makes no difference, and a variable is what the linker placed.
#[test]
fn position_independent_programs() -> Result<()> {
    let (recorded, _) = record("1.26", Variant::Pie, 20, &RECORD)?;
    recorded.equals()?;
    names(&recorded, Variant::Default)
}

/// Beside allocations and iterations, in every mode, pools are the same.
#[test]
fn with_other_probes() -> Result<()> {
    for mode in ["exact", "span"] {
        let words = ["record", "--probe", "alloc,map,pool", "--mode", mode];
        let (recorded, _) = record("1.27", Variant::Stripped, 20, &words)?;
        recorded.equals().context(mode)?;
        ensure!(recorded.profile.total("alloc_objects")? > 0);
    }
    let words = ["record", "--probe", "alloc,pool", "--mode", "exact", "--by", "type"];
    let (recorded, _) = record("1.27", Variant::PieStripped, 20, &words)?;
    recorded.equals()
}

/// The short command: a table of pools, findings, a part of the picture for each pool, pprof's labels.
#[test]
fn the_command_tells_which_pools_are_no_good() -> Result<()> {
    require_root()?;
    let mut program = start("1.27", Variant::Default)?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (flames, pprof) = (file("flames.svg"), file("a.pb.gz"));
    let mut command = Command::new(heaptap::program()?);
    command.args(["pools", "-p", &program.pid().to_string(), "--budget", "none"]);
    let recording = Recording::of(command.args(["-o", "-", "-o", &flames, "-o", &pprof]))?;
    program.ask("go 20")?;
    let ended = recording.stop()?;
    let table = &ended.expect(0)?.stdout;
    for wanted in [
        "exact: every Get and Put of a sync.Pool counted",
        "      -1,980      1.0 %  main.leaksPool (New main.newLeaks)\n       2,000  gets     100.0 %  main.leaks (",
        "\n       1,980  misses   100.0 %  main.leaks (",
        "\n          20  puts     100.0 %  main.leaks (",
        "finding: pool main.leaksPool (New main.newLeaks) gives 2,000 and gets 20 back; empty in 1,980",
        "exact, nothing lost",
    ] {
        ensure!(table.contains(wanted), "no {wanted:?} in\n{table}");
    }
    let flames = std::fs::read_to_string(flames)?;
    ensure!(flames.contains("sync_pool=main.leaksPool"), "{flames}");
    let profile = Pprof::read(pprof.as_ref())?;
    let types = ["pool_gets/count", "pool_misses/count", "pool_puts/count"];
    ensure!(profile.types == types, "{:?}", profile.types);
    Ok(())
}

/// What ended programs gave and got back is told, and of programs that start meanwhile.
#[test]
fn programs_that_come_and_go_are_told() -> Result<()> {
    let told = told::record_two::<Vec<Path>>("pools", "1.25", &RECORD, &["go 5"])?;
    let mut truth: BTreeMap<String, Sums> = BTreeMap::new();
    for path in told.report.into_iter().flatten() {
        let sums = truth.entry(path.name).or_default();
        let more = [path.gets, path.misses, path.puts];
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    let paths =
        truth.into_iter().map(|(name, [gets, misses, puts])| Path { name, gets, misses, puts });
    Recorded { profile: told.profile, paths: paths.collect() }.equals()
}
