//! What recordings take: bytes of an hour, processor time of each snapshot, memory to export a large one.
//!
//! Two ways. A program that is made up (`heaptap::recording::busy`) is written as it comes, which tells what writing
//! itself takes; and heaptap records a real one, which tells what a snapshot takes as a whole: reading the program, naming,
//! making the profile, writing. A recording of a gigabyte is made and exported with little memory allowed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use heaptap::profile::Profile;
use heaptap::recording::busy::Busy;
use heaptap::recording::{Bounds, Limits, Recording, Shown, Writer};
use nix::time::{ClockId, clock_gettime};

use crate::{report, requests::Requests, stats::Series, work::cpu_seconds};

#[derive(clap::Args)]
pub struct Options {
    /// Stacks of the programs
    #[arg(long, default_value_t = 5_000)]
    stacks: usize,
    /// Snapshots of an hour
    #[arg(long, default_value_t = 360)]
    shots: u32,
    /// Seconds that a real program is recorded
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Bytes of the large recording; 0: none
    #[arg(long, default_value_t = 1_000_000_000)]
    large: u64,
    /// Go release of the real program
    #[arg(long, default_value = "1.27")]
    go: String,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    let mut body = hour(options)?;
    body += &real(options)?;
    if options.large > 0 {
        body += &large(options)?;
    }
    body += "\nBars: an hour in under 5 MB, a snapshot in under 10 ms, a recording of 1 GB in bounded memory.\n";
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("recording", "Recordings", &versions, &body)
}

/// What happens between two snapshots.
type Pass = fn(&mut Busy) -> Result<()>;

const PASSES: [(&str, Pass); 5] = [
    ("heap of a program that allocates 100 MiB/s", |busy| {
        busy.pass(2_000);
        Ok(())
    }),
    ("the same at 500 MiB/s", |busy| {
        busy.pass(10_000);
        Ok(())
    }),
    ("values that are no counts of samples, all of which change", |busy| {
        busy.pass(2_000);
        busy.profile.samples.iter_mut().for_each(|sample| sample.values[0] += 1000);
        Ok(())
    }),
    ("estimates with errors that all change", |busy| {
        busy.pass(2_000);
        for sample in &mut busy.profile.samples {
            sample.error = sample.values.iter().map(|value| (*value as f64).sqrt() * 9.7).collect();
        }
        busy.profile.round_errors();
        Ok(())
    }),
    ("heap at 100 MiB/s, of a profile that is made anew each time, as `record` does", |busy| {
        busy.pass(2_000);
        busy.profile = anew(&busy.profile)?;
        Ok(())
    }),
];

/// The same profile with nothing where it was.
fn anew(profile: &Profile) -> Result<Profile> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("x.htap");
    writer(&path)?.write(profile, Shown::default())?;
    let mut recording = Recording::open(fs::File::open(&path)?, Limits::default())?;
    Ok(recording.at(u64::MAX)?.context("nothing was written")?.shot.profile)
}

fn writer(path: &Path) -> Result<Writer> {
    let made = tempfile::NamedTempFile::new_in(path.parent().context("no directory")?)?;
    Ok(Writer::new(path.to_owned(), made, Bounds::default()))
}

fn hour(options: &Options) -> Result<String> {
    let mut body = format!(
        "{} snapshots of a made-up program with {} stacks (`tracer-user/src/recording/busy.rs`), written as \
         they come; processor time of this thread, median (5 % to 95 %).\n\n\
         | what | bytes | ms of processor time each |\n| --- | ---: | ---: |\n",
        options.shots, options.stacks
    );
    for (what, pass) in PASSES {
        eprintln!("recording: {what}");
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("hour.htap");
        let mut writer = writer(&path)?;
        let mut busy = Busy::new(options.stacks);
        let mut times = Series::default();
        for _ in 0..options.shots {
            pass(&mut busy)?;
            let began = spent_here()?;
            writer.write(&busy.profile, Shown::default())?;
            times.push((spent_here()? - began).as_secs_f64() * 1e3);
        }
        let bytes = fs::metadata(&path)?.len();
        writeln!(
            body,
            "| {what} | {bytes} | {:.2} ({:.2} to {:.2}) |",
            times.median(),
            times.quantile(0.05),
            times.quantile(0.95)
        )?;
    }
    Ok(body)
}

/// Processor time of this thread.
fn spent_here() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// heaptap beside a real program.
fn real(options: &Options) -> Result<String> {
    let mut target = Requests::start(&options.go, 100, 100 << 20)?;
    // Some of the stacks are never sampled.
    target.populate(1, u32::try_from(options.stacks * 5 / 4)?)?;
    let mut body = format!(
        "\nheaptap beside `bench/programs/requests` (Go {}) with {} stacks in its heap profile, {} s each with \
         a snapshot every 0.2 s. All of heaptap's processor time from its third snapshot on.\n\n\
         | command | stacks | snapshots | bytes each | ms of processor time each |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
        options.go, options.stacks, options.seconds
    );
    for flags in [&["heap"][..], &["record", "--mode", "exact", "--budget", "none"]] {
        eprintln!("recording: heaptap {}", flags.join(" "));
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.htap");
        let mut command = Command::new(&options.heaptap);
        command.args(flags).args(["-q", "-p", &target.pid().to_string(), "--every", "0.2", "-o"]);
        let mut heaptap = command.arg(&path).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let measured = follow(options, &mut target, &path, heaptap.id());
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(heaptap.id())?),
            nix::sys::signal::Signal::SIGINT,
        )?;
        heaptap.wait()?;
        let (shots, bytes, seconds) = measured?;
        let mut recording = Recording::open(fs::File::open(&path)?, Limits::default())?;
        let last = recording.at(u64::MAX)?.context("nothing was written")?.shot.profile;
        writeln!(
            body,
            "| `{} --every 0.2` | {} | {shots} | {} | {:.1} |",
            flags.join(" "),
            last.samples.len(),
            bytes / shots.max(1),
            1e3 * seconds / shots.max(1) as f64
        )?;
    }
    Ok(body)
}

/// How many snapshots came, bytes and seconds of processor time that they took.
fn follow(
    options: &Options,
    target: &mut Requests,
    path: &Path,
    pid: u32,
) -> Result<(u64, u64, f64)> {
    let look = || -> Result<(u64, u64)> {
        let Ok(file) = fs::File::open(path) else { return Ok((0, 0)) };
        let bytes = file.metadata()?.len();
        Ok((Recording::open(file, Limits::default())?.count(0, u64::MAX)?, bytes))
    };
    let begun = Instant::now();
    while look()?.0 < 3 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "heaptap writes nothing");
        target.collect()?;
    }
    let (began, (shots, bytes), used) = (Instant::now(), look()?, cpu_seconds(pid)?);
    while began.elapsed() < Duration::from_secs(options.seconds) {
        target.work()?;
        target.collect()?;
    }
    let (used, (more, end)) = (cpu_seconds(pid)? - used, look()?);
    Ok((more - shots, end - bytes, used))
}

/// A recording as large as is asked for, exported.
fn large(options: &Options) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("large.htap");
    let mut writer = writer(&path)?;
    let mut busy = Busy::new(options.stacks);
    let mut shots = 0u64;
    let mut noise = 1u64;
    while writer.size() < options.large {
        busy.pass(100);
        for sample in &mut busy.profile.samples {
            // Nothing that can be compressed.
            sample.error.clear();
            sample.error.extend((0..4).map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                f64::from_bits(noise >> 2)
            }));
        }
        writer.write(&busy.profile, Shown::default())?;
        shots += 1;
        if shots.is_multiple_of(500) {
            eprint!("\rrecording: {} MB ", writer.size() / 1_000_000);
        }
    }
    eprintln!();
    let mut body = format!(
        "\nA recording of {} bytes ({shots} snapshots of {} stacks, each with errors that are noise).\n\n\
         | command | seconds | MB of memory at most |\n| --- | ---: | ---: |\n",
        writer.size(),
        options.stacks
    );
    let json = dir.path().join("x.json");
    let json = json.to_str().context("no text")?;
    for flags in [
        &["-q"][..],
        &["-o", json],
        &["--at", "1000s", "-o", json],
        &["--from", "1000s", "-o", json],
    ] {
        let began = Instant::now();
        let mut command = Command::new(&options.heaptap);
        command.arg("export").arg(&path).args(flags).args(["--max-memory", "256"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut most = 0.0f64;
        let ended = loop {
            if let Some(ended) = child.try_wait()? {
                break ended;
            }
            most = most.max(high_water(child.id()).unwrap_or(0.0));
            std::thread::sleep(Duration::from_millis(5));
        };
        ensure!(ended.success(), "heaptap export {} ended with {ended}", flags.join(" "));
        let told = flags.iter().map(|flag| if *flag == json { "x.json" } else { *flag });
        let told: Vec<&str> = told.collect();
        let seconds = began.elapsed().as_secs_f64();
        writeln!(body, "| `export large.htap {}` | {seconds:.2} | {most:.0} |", told.join(" "))?;
    }
    Ok(body)
}

/// Megabytes that a process had in memory at most.
fn high_water(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}
