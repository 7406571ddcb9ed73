//! heaptap's pprof files against those that programs write of themselves.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::fixture;
use crate::pprof::{Pprof, Sample};

impl Pprof {
    /// Sum of a value.
    pub fn total(&self, value: usize) -> i64 {
        self.samples.iter().map(|sample| sample.values[value]).sum()
    }

    /// Samples that say anything: by stack, size of objects and values.
    fn ordered(&self) -> Vec<&Sample> {
        let says = |sample: &&Sample| sample.values.iter().any(|value| *value != 0);
        let mut all: Vec<&Sample> = self.samples.iter().filter(says).collect();
        // Times may differ a little, but all of them by the same factor.
        all.sort_by_key(|sample| (key(sample), sample.values.clone()));
        all
    }

    /// Fails unless both have the same samples; `tolerance` is by how much values may differ, as a
    /// part of themselves.
    pub fn assert_same(&self, own: &Pprof, tolerance: f64) -> Result<()> {
        ensure!(self.types == own.types, "{:?} and {:?}", self.types, own.types);
        ensure!(self.period == own.period, "{:?} and {:?}", self.period, own.period);
        let (ours, theirs) = (self.ordered(), own.ordered());
        ensure!(!theirs.is_empty(), "the program's own profile is empty");
        let near = |a: &i64, b: &i64| (a - b).abs() as f64 <= tolerance * (*b as f64).abs();
        let same = |a: &Sample, b: &Sample| {
            key(a) == key(b) && a.values.iter().zip(&b.values).all(|(a, b)| near(a, b))
        };
        if let Some((a, b)) = ours.iter().zip(&theirs).find(|(a, b)| !same(a, b)) {
            bail!(
                "{} samples, the program has {}; first:\n{a:#?}\nwhere the program has\n{b:#?}",
                ours.len(),
                theirs.len(),
            );
        }
        ensure!(ours.len() == theirs.len(), "{} samples of {}", ours.len(), theirs.len());
        Ok(())
    }
}

/// What a sample is of: functions, files and lines of its stack, and the size of its objects.
fn key(sample: &Sample) -> (Vec<(&str, &str, u32)>, i64) {
    let stack = sample.stack.iter().map(|f| (f.function.as_str(), f.file.as_str(), f.line));
    (stack.collect(), sample.numbers.get("bytes").copied().unwrap_or(0))
}

/// What `go tool pprof -top` prints of a file, from the heading of its columns on.
pub fn top(path: &Path, value: &str) -> Result<String> {
    top_since(None, path, value)
}

/// The same of what a file has more than another one, its base.
pub fn top_since(base: Option<&Path>, path: &Path, value: &str) -> Result<String> {
    let mut tool = fixture::go_tool("1.27", "pprof")?;
    let dir = tempfile::tempdir()?;
    tool.args(["-top", "-nodecount=10000", "-nodefraction=0"]);
    if let Some(base) = base {
        tool.arg("-diff_base").arg(base);
    }
    tool.arg(format!("-sample_index={value}")).arg(path).env("PPROF_TMPDIR", dir.path());
    tool.env("PPROF_BINARY_PATH", dir.path());
    let output = tool.output().context("can't start go tool pprof")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let start = text.find("      flat ").context("go tool pprof printed no table")?;
    Ok(text[start..].to_owned())
}
