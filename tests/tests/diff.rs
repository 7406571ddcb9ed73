//! `heaptap diff` against `go tool pprof -diff_base`, of profiles that programs write of themselves, of heaptap's, and
//! of recordings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap_tests::own_profile::{top, top_since};
use heaptap_tests::{Fixture, Running, Variant, heaptap, require_root};
use serde_json::Value as Json;

/// The fixture heap, which keeps what `large` makes, and a place for files.
struct Heap {
    program: Running,
    dir: tempfile::TempDir,
}

impl Heap {
    fn start() -> Result<Heap> {
        let mut command = Command::new(Fixture::build("heap", "1.27", Variant::Stripped)?.program);
        command.env("HEAP_RATE", "1");
        let mut heap = Heap { program: Running::start(command)?, dir: tempfile::tempdir()? };
        heap.work(3)?;
        Ok(heap)
    }

    /// Allocates, and has all of it in the profile.
    fn work(&mut self, rounds: usize) -> Result<()> {
        for order in [&format!("work {rounds}"), "gc", "gc"] {
            self.program.ask(order)?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The program's own profile.
    fn own(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        self.program.ask(&format!("heap {}", path.display()))?;
        Ok(path)
    }

    /// heaptap's, in any format.
    fn read(&self, name: &str) -> Result<PathBuf> {
        let pid = self.program.pid().to_string();
        heaptap::run(["heap", "-p", &pid, "-o", &self.text(name)])?.expect(0)?;
        Ok(self.path(name))
    }

    /// What changed, as Go's tool has it of heaptap's file, and all of it.
    fn diff(&self, flags: &[&str], value: &str) -> Result<(String, Json)> {
        let (pprof, json) = (self.text("diff.pb.gz"), self.text("diff.json"));
        let outputs = ["diff", "--type", value, "-o", &pprof, "-o", &json];
        heaptap::run([&outputs[..], flags].concat())?.expect(0)?;
        let document = fs::read(self.path("diff.json"))?;
        Ok((top(&self.path("diff.pb.gz"), value)?, serde_json::from_slice(&document)?))
    }
}

fn word(path: &Path) -> Result<&str> {
    path.to_str().context("no text")
}

/// The stack with the largest change: its innermost function of the program, and the change.
fn first(document: &Json) -> Result<(String, i64)> {
    let value = document["default_value"].as_u64().context("no value")? as usize;
    let stack = &document["stacks"][0];
    let frames = stack["frames"].as_array().context("no frames")?;
    let named = frames.iter().filter_map(|frame| frame["function"].as_str());
    let name = named.into_iter().find(|name| name.starts_with("main.")).context("no function")?;
    Ok((name.to_owned(), stack["change"][value].as_i64().context("no change")?))
}

/// Go's own profiles, with and without gzip, and heaptap's: all differences are what Go's tool makes of the
/// program's own files, and the stack that grows comes first.
#[test]
fn a_difference_is_the_one_that_go_tool_pprof_makes() -> Result<()> {
    require_root()?;
    let mut heap = Heap::start()?;
    let own_before = heap.own("own1.pb.gz")?;
    let (before, recorded) = (heap.read("a.pb.gz")?, heap.read("a.htap")?);
    heap.work(5)?;
    let own_after = heap.own("own2.pb.gz")?;
    let (after, recorded_after) = (heap.read("b.pb.gz")?, heap.read("b.htap")?);
    let mut unpacked = Vec::new();
    let packed = fs::File::open(&own_before)?;
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut unpacked)?;
    let plain = heap.path("own1.pb");
    fs::write(&plain, unpacked)?;
    for value in ["inuse_space", "alloc_objects"] {
        let expected = top_since(Some(&own_before), &own_after, value)?;
        let pairs = [(&own_before, &own_after), (&plain, &own_after), (&before, &after)];
        for (before, after) in pairs.into_iter().chain([(&recorded, &recorded_after)]) {
            let (found, document) = heap.diff(&[word(before)?, word(after)?], value)?;
            ensure!(found == expected, "{before:?}: {found}\nwhere Go's tool has\n{expected}");
            if value == "inuse_space" {
                let (name, change) = first(&document)?;
                // Five rounds of a hundred objects of 64 bytes.
                ensure!((name.as_str(), change) == ("main.small", 5 * 100 * 64), "{name} {change}");
            }
        }
        // Backwards, what grew shrinks.
        let (_, document) = heap.diff(&[word(&after)?, word(&before)?], value)?;
        ensure!(first(&document)?.1 < 0, "{:?}", first(&document)?);
    }
    let same = heap.diff(&[word(&before)?, word(&recorded)?], "inuse_space")?.1;
    let [grown, shrunk] = ["grown", "shrunk"].map(|part| same[part]["stacks"].as_u64());
    ensure!([grown, shrunk] == [Some(0), Some(0)], "{:?} {:?}", same["grown"], same["shrunk"]);
    Ok(())
}

/// A recording in which the heap rests, grows and rests again, with `rest` snapshots of each or more.
fn grown_recording(heap: &mut Heap, file: &str, rest: u64) -> Result<()> {
    let pid = heap.program.pid().to_string();
    let mut command = Command::new(heaptap::program()?);
    command.args(["heap", "-q", "-p", &pid, "--every", "0.05", "-o", file]);
    let mut recording = command.stdin(std::process::Stdio::null()).spawn()?;
    let mut grow = || -> Result<()> {
        while heaptap::snapshots(file)? < rest {}
        heap.work(4)?;
        let there = heaptap::snapshots(file)?;
        while heaptap::snapshots(file)? < there + rest {}
        Ok(())
    };
    let grown = grow();
    let pid = nix::unistd::Pid::from_raw(recording.id().try_into()?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
    recording.wait()?;
    grown
}

/// Two times of one recording; what is said of it on a terminal and in a picture.
#[test]
fn two_times_of_a_recording_are_compared() -> Result<()> {
    require_root()?;
    let mut heap = Heap::start()?;
    let file = heap.text("run.htap");
    grown_recording(&mut heap, &file, 2)?;

    let svg = heap.text("x.svg");
    let flags = ["diff", &file, "--from", "0", "--type", "inuse_space", "-o", "-", "-o", &svg];
    let ended = heaptap::run(flags)?;
    ended.expect(0)?;
    let table = ended.stdout;
    ensure!(table.contains("shrunk") && table.contains("AFTER"), "{table}");
    let row = table.lines().find(|line| line.starts_with("  1 ")).context("no row")?;
    ensure!(row.contains('+'), "{table}");
    let svg = fs::read_to_string(svg)?;
    ensure!(svg.contains("<title>main.large (+"), "no frame has grown");
    let folded = heap.text("x.folded");
    heaptap::run(["diff", &file, "--to", "1h", "-o", &folded])?
        .refused(2, "has nothing of that time")?;
    heaptap::run(["diff", &file, "--from", "0", "-o", &folded])?.expect(0)?;
    let folded = fs::read_to_string(folded)?;
    ensure!(folded.lines().all(|line| line.split(' ').count() == 3), "{folded}");
    let (_, document) = heap.diff(&[&file, "--from", "0"], "inuse_space")?;
    ensure!(
        first(&document)? == ("main.small".to_owned(), 4 * 100 * 64),
        "{:?}",
        first(&document)?
    );
    Ok(())
}

/// Phases that are found, and such as are not there.
#[test]
fn phases_of_a_recording_are_found_and_compared() -> Result<()> {
    require_root()?;
    let mut heap = Heap::start()?;
    let file = heap.text("run.htap");
    grown_recording(&mut heap, &file, 8)?;
    let json = heap.text("x.json");
    let flags = ["diff", &file, "--type", "inuse_space", "-o", "-", "-o", &json, "--phases"];
    let ended = heaptap::run([&flags[..], &["small,large"]].concat())?;
    ended.expect(0)?;
    ensure!(ended.stdout.starts_with("2 phases, found from inuse_space of "), "{}", ended.stdout);
    ensure!(ended.stdout.contains("\nsmall → large\n"), "{}", ended.stdout);
    let document: Json = serde_json::from_slice(&fs::read(heap.path("x.small-large.json"))?)?;
    ensure!(
        first(&document)? == ("main.small".to_owned(), 4 * 100 * 64),
        "{:?}",
        first(&document)?
    );
    let given = heaptap::run([&flags[..], &["a=0s,b=0.1s,c=0.2s"]].concat())?;
    given.expect(0)?;
    let pairs = ["a → b", "b → c", "a → c"];
    ensure!(pairs.iter().all(|pair| given.stdout.contains(pair)), "{}", given.stdout);
    heaptap::run([&flags[..], &["a=0s,b=1h"]].concat())?.refused(2, "b has no time")?;
    heaptap::run(["diff", &file, "--type", "no_value", "--phases", "a,b"])?
        .refused(2, "the recording has no such value")
}

/// What can't be compared is one line.
#[test]
fn what_can_not_be_compared_is_refused() -> Result<()> {
    require_root()?;
    let mut heap = Heap::start()?;
    let own = heap.own("own.pb.gz")?;
    let own = word(&own)?;
    heaptap::run(["diff", own, own, "--type", "cpu"])?
        .refused(2, "has no value cpu; it has alloc")?;
    heaptap::run(["diff", own, own, "--normalize"])?.refused(2, "at a moment")?;
    heaptap::run(["diff", own, "not-there.pb.gz"])?.refused(1, "can't be read: No such file")?;
    let text = heap.text("text.pb.gz");
    fs::write(&text, "heap profile: 1: 2 [3: 4] @ heap/1048576\n")?;
    heaptap::run(["diff", own, &text])?.refused(1, "is no pprof file")?;
    let (_, document) = heap.diff(&[own, own], "inuse_space")?;
    ensure!(document["grown"]["stacks"] == 0 && document["shrunk"]["stacks"] == 0);
    let negative = heap.text("diff.pb.gz");
    heap.work(1)?;
    let later = heap.own("later.pb.gz")?;
    heap.diff(&[own, word(&later)?], "inuse_space")?;
    heaptap::run(["diff", own, &negative])?.refused(1, "it is a difference already")?;
    // Another rate.
    let mut command = Command::new(Fixture::build("heap", "1.27", Variant::Stripped)?.program);
    command.env("HEAP_RATE", "4096");
    let mut other = Running::start(command)?;
    for order in ["work 3", "gc", "gc"] {
        other.ask(order)?;
    }
    let path = heap.text("other.pb.gz");
    other.ask(&format!("heap {path}"))?;
    heaptap::run(["diff", own, &path])?.refused(1, "can't be compared")?;
    Ok(())
}
