//! Recordings over time: what is exported later is what was printed live, and whatever ends heaptap, what it has
//! written is there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Running, Variant, heaptap, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// What every output of a command is called.
const OUTPUTS: [&str; 4] = ["x.svg", "x.pb.gz", "x.folded", "x.json"];

/// A directory with a recording, and what was written beside it.
struct Made {
    dir: tempfile::TempDir,
    live: PathBuf,
}

impl Made {
    fn new() -> Result<Made> {
        let dir = tempfile::tempdir()?;
        let live = dir.path().join("live");
        fs::create_dir(&live)?;
        Ok(Made { dir, live })
    }

    fn file(&self) -> String {
        self.dir.path().join("run.htap").display().to_string()
    }

    /// Flags that write the recording, and all else there is.
    fn outputs(&self) -> Vec<String> {
        let all = OUTPUTS.map(|name| self.live.join(name).display().to_string());
        let flags = all.into_iter().chain([self.file(), "-".to_owned()]);
        flags.flat_map(|path| ["-o".to_owned(), path]).collect()
    }

    /// The last snapshot has to be what was written beside it, byte for byte, and in the table.
    fn equals(&self, table: &str) -> Result<()> {
        let later = self.dir.path().join("later");
        fs::create_dir_all(&later)?;
        let mut args = vec!["export".to_owned(), self.file(), "-o".to_owned(), "-".to_owned()];
        for name in OUTPUTS {
            args.extend(["-o".to_owned(), later.join(name).display().to_string()]);
        }
        let ended = heaptap::run(&args)?;
        ended.expect(0)?;
        for name in OUTPUTS {
            let (live, later) = (fs::read(self.live.join(name))?, fs::read(later.join(name))?);
            ensure!(live == later, "{name} is another");
        }
        ensure!(ended.stdout == table, "the table is another:\n{}\n{table}", ended.stdout);
        Ok(())
    }
}

/// Waits for so many snapshots.
fn wait_for(file: &str, count: u64) -> Result<()> {
    while heaptap::snapshots(file)? < count {}
    Ok(())
}

/// A part of a recording.
fn exported(file: &str, flags: &[&str]) -> Result<Profile> {
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("part.json");
    let mut args = vec!["export", file, "-o", json.to_str().context("no text")?];
    args.extend(flags);
    heaptap::run(args)?.expect(0)?;
    Profile::read(&json)
}

fn heap(go: &str) -> Result<Running> {
    let mut command = Command::new(Fixture::build("heap", go, Variant::Stripped)?.program);
    command.env("HEAP_RATE", "1");
    let mut program = Running::start(command)?;
    for order in ["work 3", "gc", "gc"] {
        program.ask(order)?;
    }
    Ok(program)
}

/// Of the runtime's own records.
#[test]
fn a_heap_that_is_exported_is_the_one_that_was_printed() -> Result<()> {
    require_root()?;
    let program = heap("1.27")?;
    let pid = program.pid().to_string();
    for flags in [&["--type", "alloc_objects"][..], &["--runtime-frames", "--top", "20"]] {
        let made = Made::new()?;
        let mut args: Vec<String> = ["heap", "-p", &pid].map(str::to_owned).to_vec();
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        args.extend(made.outputs());
        let ended = heaptap::run(&args)?;
        ended.expect(0)?;
        made.equals(&ended.stdout)?;
    }
    Ok(())
}

/// Of what probes have counted, with errors, losses, types and notes.
#[test]
fn what_was_recorded_is_exported_as_it_was_printed() -> Result<()> {
    require_root()?;
    for flags in [&["--mode", "exact", "--by", "type"][..], &["--mode", "span"]] {
        let mut alloc = Fixture::build("alloc", "1.26", Variant::Stripped)?.start()?;
        let made = Made::new()?;
        let mut args = vec!["-p".to_owned(), alloc.pid().to_string()];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        args.extend(made.outputs());
        let recording = Recording::start(&args)?;
        alloc.rounds(3)?;
        let ended = recording.stop()?;
        ended.expect(0)?;
        made.equals(&ended.stdout)?;
    }
    Ok(())
}

/// Each snapshot has all that was counted until then, and two of them what was counted in between.
#[test]
fn snapshots_of_a_recording_add_up() -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", "1.27", Variant::Stripped)?.start()?;
    let made = Made::new()?;
    let (file, pid) = (made.file(), alloc.pid().to_string());
    let json = made.live.join("x.json");
    let shown = json.to_str().context("no text")?;
    let recording = Recording::start(["-p", &pid, "--every", "0.1", "-o", &file, "-o", shown])?;
    let first = alloc.rounds(2)?;
    // One may be under way.
    wait_for(&file, heaptap::snapshots(&file)? + 2)?;
    let middle = exported(&file, &[])?;
    let second = alloc.rounds(3)?;
    wait_for(&file, heaptap::snapshots(&file)? + 2)?;
    recording.stop()?.expect(0)?;
    let idle = alloc.report()?.idle;

    let total = |profile: &Profile| profile.total("alloc_objects");
    let before = total(&middle)?;
    ensure!((first..=first + idle).contains(&before), "{before} of {first} at first");
    let last = exported(&file, &[])?;
    ensure!(total(&last)? == total(&Profile::read(&json)?)?, "the last one is another");
    let end = |profile: &Profile| profile.meta.started_unix_ns + profile.meta.duration_ns;
    let start = exported(&file, &["--at", "0"])?;
    let offset = format!("{}ms", (end(&middle) - end(&start)).div_ceil(1_000_000));
    let then = exported(&file, &["--at", &offset])?;
    ensure!((end(&then), total(&then)?) == (end(&middle), before), "another one at {offset}");
    let between = exported(&file, &["--from", &offset])?;
    let later = total(&between)?;
    ensure!(before + later == total(&last)?, "{before} and {later} are not {}", total(&last)?);
    ensure!((second..=second + idle).contains(&later), "{later} of {second} later");
    ensure!(between.meta.started_unix_ns == end(&middle), "it began at another time");
    ensure!(last.losses().is_empty(), "lost: {:?}", last.losses());

    let nobody = heaptap::run(["export", &file, "--process", "1", "-o", "-"])?;
    nobody.refused(4, "--process 1: is not there")?;
    heaptap::run(["export", &file, "--at", "1h", "-o", "-"])?
        .refused(2, "has nothing of that time")?;
    let mine = exported(&file, &["--process", &pid])?;
    ensure!(total(&mine)? == total(&last)?, "it is the only one");
    Ok(())
}

/// What was written before is there when heaptap is killed, and when the file has become too large meanwhile.
#[test]
fn a_recording_survives_a_kill() -> Result<()> {
    require_root()?;
    let program = heap("1.24")?;
    let (made, pid) = (Made::new()?, program.pid().to_string());
    let file = made.file();
    let mut command = Command::new(heaptap::program()?);
    command.args(["heap", "-q", "-p", &pid, "--every", "0.01", "-o", &file, "--max-size", "64K"]);
    let mut heaptap = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let inode = || fs::metadata(&file).map(|there| there.ino()).ok();
    let mut seen = Vec::new();
    // It is written anew when its oldest snapshots go.
    while seen.len() < 3 {
        seen.extend(inode().filter(|inode| !seen.contains(inode)));
        ensure!(heaptap.try_wait()?.is_none(), "heaptap has ended");
    }
    heaptap.kill()?;
    heaptap.wait()?;
    ensure!(fs::metadata(&file)?.len() <= 64 << 10, "it is larger than it may be");
    ensure!(heaptap::snapshots(&file)? > 2, "there is nothing left");
    let profile = exported(&file, &[])?;
    let kept =
        profile.stacks.iter().any(|stack| stack.frames.iter().any(|f| f.function == "main.main"));
    ensure!(kept, "its stacks have no names");

    let alloc = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    let (made, pid) = (Made::new()?, alloc.pid().to_string());
    let file = made.file();
    let recording = Recording::start(["-p", &pid, "--every", "0.05", "-o", &file])?;
    wait_for(&file, 3)?;
    drop(recording);
    ensure!(heaptap::snapshots(&file)? >= 3, "snapshots are gone");
    exported(&file, &["--from", "0"])?;
    Ok(())
}

/// What `heaptap stats` printed, once and again and again, is printed later from what it recorded meanwhile.
#[test]
fn statistics_that_are_exported_are_those_that_were_printed() -> Result<()> {
    require_root()?;
    let program = heap("1.27")?;
    let other = heap("1.19")?;
    let made = Made::new()?;
    let (file, json) = (made.file(), made.live.join("x.json"));
    let written = json.to_str().context("no text")?;
    let (pid, more) = (program.pid().to_string(), other.pid().to_string());
    for pids in [vec!["-p", &pid], vec!["-p", &pid, "-p", &more]] {
        let live = heaptap::run([&["stats", "-o", &file, "--json"], &pids[..]].concat())?;
        live.expect(0)?;
        heaptap::run(["export", &file, "-q", "--stats", "-o", written])?.expect(0)?;
        ensure!(fs::read_to_string(&json)? == live.stdout, "another document");
    }
    let live = heaptap::run(["stats", "-p", &pid, "-o", &file])?;
    let later = heaptap::run(["export", &file, "--stats"])?;
    ensure!(live.expect(0)?.stdout == later.expect(0)?.stdout, "another text: {}", later.stdout);
    heaptap::run(["export", &file, "-o", "-"])?.refused(5, "holds statistics alone")?;
    heaptap::run(["export", &file, "--stats", "--process", "1"])?.refused(4, "is not there")?;
    let told = heaptap::run(["export", &file])?;
    ensure!(told.expect(0)?.stdout.contains("statistics of 2"), "{}", told.stdout);

    for flags in [&["--json"][..], &[]] {
        let mut command = Command::new(heaptap::program()?);
        command.args(["stats", "-p", &pid, "-p", &more, "--watch", "0.05", "-o", &file]);
        let shown = made.live.join("shown");
        command.args(flags).stdin(Stdio::null()).stdout(fs::File::create(&shown)?);
        let mut watching = command.stderr(Stdio::null()).spawn()?;
        while fs::read_to_string(&shown)?.lines().count() < 40 {
            ensure!(watching.try_wait()?.is_none(), "heaptap has ended");
        }
        interrupt(&mut watching)?;
        let live = fs::read_to_string(&shown)?;
        let later = match flags {
            [] => heaptap::run(["export", &file, "--stats", "--from", "0"])?.stdout,
            _ => {
                let args = ["export", &file, "-q", "--stats", "--from", "0", "-o", written];
                heaptap::run(args)?.expect(0)?;
                fs::read_to_string(&json)?
            }
        };
        ensure!(live == later, "{} and {} bytes", live.len(), later.len());
    }
    Ok(())
}

fn interrupt(child: &mut std::process::Child) -> Result<()> {
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
    let status = child.wait()?;
    ensure!(status.success(), "heaptap ended with {status}");
    Ok(())
}

/// Whatever records stacks records statistics with them, and those are what `heaptap stats` prints.
#[test]
fn statistics_go_along_with_snapshots_from_any_source() -> Result<()> {
    require_root()?;
    let program = heap("1.27")?;
    let pid = program.pid().to_string();
    let made = Made::new()?;
    let file = made.file();
    // Nothing moves any more.
    kill(Pid::from_raw(program.pid().try_into()?), Signal::SIGSTOP)?;
    heaptap::run(["heap", "-q", "-p", &pid, "-o", &file])?.expect(0)?;
    equal_statistics(&file, &pid)?;
    let recording =
        Recording::start(["-p", &pid, "--every", "0.1", "--mode", "span", "-o", &file])?;
    wait_for(&file, 3)?;
    recording.stop()?.expect(0)?;
    equal_statistics(&file, &pid)?;
    let (told, count) = (heaptap::run(["export", &file])?.stdout, heaptap::snapshots(&file)?);
    ensure!(told.contains(&format!("statistics of {count} times")), "{told}");
    let then = heaptap::run(["export", &file, "--stats", "--at", "0", "--process", &pid])?;
    ensure!(then.expect(0)?.stdout.starts_with("heap-go1.27"), "{}", then.stdout);
    Ok(())
}

/// The last statistics of a recording have to be those of now.
fn equal_statistics(file: &str, pid: &str) -> Result<()> {
    let live = heaptap::run(["stats", "-p", pid, "--json"])?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("x.json");
    let written = json.to_str().context("no text")?;
    heaptap::run(["export", file, "-q", "--stats", "-o", written])?.expect(0)?;
    let process = |text: &str| -> Result<Value> {
        let mut document: Value = serde_json::from_str(text)?;
        let mut process = document["processes"][0].take();
        // Others are in its control group.
        process["memory"]["cgroup"].take();
        Ok(process)
    };
    let (live, later) = (process(&live.expect(0)?.stdout)?, process(&fs::read_to_string(&json)?)?);
    ensure!(live["heap"]["objects"].as_u64() > Some(0), "{live}");
    ensure!(live == later, "{live}\n{later}");
    Ok(())
}

/// Files that are no recordings are one line and an exit code.
#[test]
fn what_is_no_recording_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let refused = |name: &str, bytes: &[u8], wanted: &str| -> Result<()> {
        fs::write(Path::new(&path(name)), bytes)?;
        heaptap::run(["export", &path(name)])?.refused(1, wanted)
    };
    refused("a.pb.gz", b"\x1f\x8b\x08", "is no recording")?;
    refused("empty.htap", b"", "holds no whole snapshot")?;
    heaptap::run(["export", &path("not-there")])?.refused(1, "can't be read: No such file")
}
