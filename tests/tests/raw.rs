//! Recordings without names (`--raw`), named later by the binaries alone: they end up as what was recorded with names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Running, Variant, heaptap, require_root};
use xtask::each_release;

/// Stacks by what they say, addresses included, and their values.
type Stacks = BTreeMap<String, Vec<u64>>;

fn stacks(profile: &Profile) -> Stacks {
    let mut stacks = Stacks::new();
    for stack in &profile.stacks {
        let frames = stack.frames.iter().map(|f| {
            format!("{} {} {}:{} {} {}", f.address, f.function, f.file, f.line, f.kind, f.inlined)
        });
        let frames: Vec<String> = frames.collect();
        let key = format!("{} {:?} {:?}", frames.join("\n"), stack.go_type, stack.labels);
        let sums = stacks.entry(key).or_insert_with(|| vec![0; stack.values.len()]);
        sums.iter_mut().zip(&stack.values).for_each(|(sum, value)| *sum += value);
    }
    stacks
}

/// What is the program's own: of other stacks the two heaptaps may see different ones at their ends.
fn own(stacks: Stacks) -> Stacks {
    stacks.into_iter().filter(|(frames, _)| frames.contains(" main.")).collect()
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn exported(&self, name: &str) -> Result<Profile> {
        let json = self.at("exported.json");
        heaptap::run(["export", &self.at(name), "-o", &json])?.expect(0)?;
        Profile::read(Path::new(&json))
    }

    /// Names a recording by one binary, which lies in a directory of its own under another name.
    fn named(&self, raw: &str, program: &Path, flags: &[&str]) -> Result<Profile> {
        let binaries = self.dir.path().join("releases/old");
        fs::create_dir_all(&binaries)?;
        fs::copy(program, binaries.join("renamed"))?;
        fs::write(binaries.join("README"), "no binary")?;
        let (raw, made) = (self.at(raw), self.at("named.htap"));
        let all = self.at("releases");
        let args = ["symbolize", &raw, "--binary", &all, "-o", &made];
        let ended = heaptap::run(args.iter().chain(flags))?;
        ended.expect(0)?;
        ensure!(ended.stderr.contains("named by 1 file; wrote"), "{}", ended.stderr);
        self.exported("named.htap")
    }
}

/// Two record the same: one names, one does not.
fn recorded(fixture: &Fixture, flags: &[&str], named_flags: &[&str], least: usize) -> Result<()> {
    let mut alloc = fixture.start()?;
    let pid = alloc.pid().to_string();
    let files = Files::new()?;
    let start = |file: &str, more: &[&str]| {
        let file = files.at(file);
        Recording::start(["-p", &pid, "-o", &file].iter().chain(flags).chain(more).copied())
    };
    let direct = start("direct.htap", named_flags)?;
    let raw = start("raw.htap", &["--raw"])?;
    alloc.rounds(2)?;
    direct.stop()?.expect(0)?;
    raw.stop()?.expect(0)?;

    let unnamed = files.exported("raw.htap")?;
    let is_own = |frame: &str| frame.starts_with("main.");
    let mut frames = unnamed.stacks.iter().flat_map(|stack| &stack.frames);
    ensure!(!frames.any(|frame| is_own(&frame.function)), "the raw recording has names");
    let (named, direct) =
        (files.named("raw.htap", &fixture.program, named_flags)?, files.exported("direct.htap")?);
    let (named, direct) = (own(stacks(&named)), own(stacks(&direct)));
    ensure!(direct.len() >= least, "only {} stacks", direct.len());
    for (stack, values) in &direct {
        ensure!(
            named.get(stack) == Some(values),
            "{values:?} of {stack} is {:?}",
            named.get(stack)
        );
    }
    ensure!(named.len() == direct.len(), "{} stacks instead of {}", named.len(), direct.len());
    Ok(())
}

fn stacks_of_probes(go: &str) -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("alloc", go, Variant::Stripped)?;
    recorded(&fixture, &["--by", "type"], &[], 20)
}

each_release!(stacks_of_probes);

#[test]
fn frames_of_the_runtime_are_a_choice_of_who_names() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("alloc", "1.27", Variant::Stripped)?;
    recorded(&fixture, &[], &["--runtime-frames"], 20)
}

#[test]
fn stacks_of_callbacks_from_c() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("cgo", "1.27", Variant::Default)?;
    recorded(&fixture, &[], &[], 2)
}

fn heap(go: &str) -> Result<(PathBuf, Running)> {
    let fixture = Fixture::build("heap", go, Variant::Stripped)?;
    let mut command = Command::new(&fixture.program);
    command.env("HEAP_RATE", "1");
    let mut program = Running::start(command)?;
    for order in ["work 3", "gc", "gc"] {
        program.ask(order)?;
    }
    Ok((fixture.program, program))
}

/// The runtime's own profile does not change while the program rests.
#[test]
fn a_heap_profile_that_is_named_later_is_the_same() -> Result<()> {
    require_root()?;
    for go in ["1.19", "1.27"] {
        let (program, running) = heap(go)?;
        let (pid, files) = (running.pid().to_string(), Files::new()?);
        for flags in [&[][..], &["--runtime-frames"]] {
            let raw = files.at("raw.htap");
            let direct = || {
                let args = ["heap", "-p", &pid, "-o", &files.at("direct.htap")];
                heaptap::run(args.iter().chain(flags))?.expect(0)?;
                anyhow::Ok(stacks(&files.exported("direct.htap")?))
            };
            // A collection may come in between.
            let expected = loop {
                let before = direct()?;
                heaptap::run(["heap", "-p", &pid, "--raw", "-o", &raw])?.expect(0)?;
                if direct()? == before {
                    break before;
                }
            };
            let named = stacks(&files.named("raw.htap", &program, flags)?);
            ensure!(expected.len() > 5, "Go {go} {flags:?}: {} stacks", expected.len());
            for (stack, values) in &expected {
                let found = named.get(stack);
                ensure!(
                    found == Some(values),
                    "Go {go} {flags:?}: {values:?} of {stack} is {found:?}"
                );
            }
            ensure!(named.len() == expected.len(), "Go {go} {flags:?}: {} stacks", named.len());
            let statistics = |file: &str| -> Result<String> {
                let ended = heaptap::run(["export", file, "--stats"])?;
                ended.expect(0)?;
                Ok(ended.stdout)
            };
            let named = statistics(&files.at("named.htap"))?;
            ensure!(named == statistics(&raw)? && named.contains(&pid), "statistics: {named}");
        }
    }
    Ok(())
}

#[test]
fn what_can_not_be_named_is_told() -> Result<()> {
    require_root()?;
    let (program, running) = heap("1.27")?;
    let (pid, files) = (running.pid().to_string(), Files::new()?);
    let (raw, named) = (files.at("raw.htap"), files.at("named.htap"));
    heaptap::run(["heap", "-p", &pid, "--raw", "-o", &raw])?.expect(0)?;
    let symbolize = |binary: &str| heaptap::run(["symbolize", &raw, "-b", binary, "-o", &named]);

    let other = Fixture::build("alloc", "1.27", Variant::Default)?.program;
    let path = program.to_str().context("no text")?;
    symbolize(other.to_str().context("no text")?)?.refused(4, "none of these is recorded")?;
    symbolize(&raw)?.refused(2, "no ELF file")?;
    symbolize("/nowhere")?.refused(2, "can't be read")?;
    ensure!(!Path::new(&named).exists(), "something was written");

    let table = heaptap::run(["export", &raw, "-o", "-"])?;
    table.expect(0)?;
    ensure!(table.stderr.contains("heaptap symbolize"), "{}", table.stderr);
    ensure!(table.stdout.contains("0x"), "no addresses: {}", table.stdout);
    heaptap::run(["heap", "-p", &pid, "--raw", "-o", &files.at("x.svg")])?
        .refused(2, "--raw is for a recording alone")?;

    symbolize(path)?.expect(0)?;
    let again = files.at("again.htap");
    heaptap::run(["symbolize", &named, "-b", path, "-o", &again])?
        .refused(2, "has its names already")?;
    // It rests.
    let nothing = files.at("nothing.htap");
    heaptap::run(["record", "-p", &pid, "-d", "0.1", "--raw", "-o", &nothing])?.expect(0)?;
    heaptap::run(["symbolize", &nothing, "-b", path, "-o", &again])?
        .refused(2, "nothing was recorded")
}
