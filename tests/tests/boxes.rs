//! `--probe box`: values put into interfaces, against a program that counts its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use heaptap_tests::pprof::Pprof;
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::{Ended, Variant, told};
use serde::Deserialize;
use xtask::each_release;

/// What a function of the fixture has done.
#[derive(Deserialize)]
struct Path {
    name: String,
    values: u64,
    objects: u64,
    bytes: u64,
    /// Values by type.
    types: BTreeMap<String, u64>,
}

struct Recorded {
    profile: Profile,
    paths: Vec<Path>,
}

/// Records five rounds of the fixture.
fn record(go: &str, variant: Variant, flags: &[&str]) -> Result<(Recorded, Ended)> {
    let words = [&["record", "--probe", "box", "--budget", "none"], flags].concat();
    let told = told::record("boxes", go, variant, &words, &["go 5"])?;
    Ok((Recorded { profile: told.profile, paths: told.report }, told.ended))
}

impl Recorded {
    /// Stacks that a path has made.
    fn stacks<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Stack> {
        let is_path = |name: &str| self.paths.iter().any(|path| path.name == name);
        self.profile.stacks.iter().filter(move |stack| {
            let own = stack.frames.iter().find(|frame| is_path(&frame.function));
            own.is_some_and(|frame| frame.function == path.name)
        })
    }

    /// Fails unless every path is as the program counted it and nothing was lost.
    fn equals(&self) -> Result<()> {
        ensure!(self.profile.meta.lost_events == 0, "{:?}", self.profile.losses());
        let kinds = ["box_values", "box_objects", "box_space"];
        let at = kinds.map(|kind| self.profile.value(kind));
        let mut wrong = Vec::new();
        for path in &self.paths {
            let mut seen = [0; 3];
            for (sum, at) in seen.iter_mut().zip(&at) {
                let at = *at.as_ref().map_err(|err| anyhow::anyhow!("{err}"))?;
                *sum = self.stacks(path).map(|stack| stack.values[at]).sum();
            }
            if seen != [path.values, path.objects, path.bytes] {
                let Path { name, values, objects, bytes, .. } = path;
                wrong.push(format!("{name}: {seen:?} of {values}, {objects}, {bytes}"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        ensure!(self.paths.iter().filter(|path| path.values > 0).count() >= 12);
        Ok(())
    }

    /// The same of each type.
    fn types_equal(&self, go: &str) -> Result<()> {
        let values = self.profile.value("box_values")?;
        for path in &self.paths {
            // Go 1.19 hands the runtime the shape of a type argument.
            if go == "1.19" && path.name == "main.generic" {
                continue;
            }
            let mut seen: BTreeMap<String, u64> = BTreeMap::new();
            for stack in self.stacks(path) {
                let name = stack.go_type.clone().unwrap_or_default();
                *seen.entry(name).or_default() += stack.values[values];
            }
            let told: BTreeMap<String, u64> =
                path.types.clone().into_iter().filter(|(_, count)| *count > 0).collect();
            ensure!(seen == told, "{}: {seen:?} of {told:?}", path.name);
        }
        Ok(())
    }
}

/// Values, those that take memory, and bytes of every path are what the program counted; and their types.
fn equals_the_programs_counts(go: &str) -> Result<()> {
    record(go, Variant::Default, &[])?.0.equals().with_context(|| format!("Go {go}"))?;
    let (by_type, _) = record(go, Variant::Stripped, &["--by", "type"])?;
    by_type.equals().with_context(|| format!("Go {go}, stripped"))?;
    by_type.types_equal(go).with_context(|| format!("Go {go}, stripped"))
}

each_release! {
    exact: equals_the_programs_counts;
}

/// Table, flame graph and pprof.
#[test]
fn what_is_boxed_is_shown() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (flames, pprof) = (file("flames.svg"), file("a.pb.gz"));
    let (_, ended) =
        record("1.27", Variant::Pie, &["--by", "type", "-o", "-", "-o", &flames, "-o", &pprof])?;
    let table = &ended.stdout;
    for wanted in [
        "exact: every value that the runtime put into an interface counted",
        "[uint64-sized value]",
        "main.linked",
        " values ",
        "exact, nothing lost",
    ] {
        ensure!(table.contains(wanted), "no {wanted:?} in\n{table}");
    }
    let flames = std::fs::read_to_string(flames)?;
    ensure!(flames.contains("[3000]uint8"), "{flames}");
    let profile = Pprof::read(pprof.as_ref())?;
    let types = ["box_values/count", "box_objects/count", "box_space/bytes"];
    ensure!(profile.types == types, "{:?}", profile.types);
    Ok(())
}
