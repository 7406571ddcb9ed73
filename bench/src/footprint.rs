//! What heaptap itself takes: memory, time to the first event, time to end after Ctrl-C.
//!
//! Programs that are busy are recorded for a few seconds, ended by Ctrl-C, with a flame graph, a
//! pprof file and JSON to write. The first event is found from the numbers themselves: the program
//! notes when it made each object; heaptap counts every object until the program stops. What the
//! program made minus what heaptap counted is the object before the first one seen.

use std::{
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use xtask::pins::GoRelease;

use crate::{
    recorded::Frames,
    report,
    stats::Series,
    target::{self, Target},
    tracer::Tracer,
    watch::{Watch, maps_megabytes},
    work::Work,
};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Go releases of the program that allocates without pause
    #[arg(long, value_delimiter = ',', default_value = "1.21,1.26,1.27")]
    go: Vec<String>,
    /// How long each recording lasts, in milliseconds
    #[arg(long, default_value_t = 2500)]
    milliseconds: u64,
    #[arg(long, value_delimiter = ',', default_value = "exact,span")]
    modes: Vec<String>,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
    /// Real programs
    #[arg(default_values_t = ["hugo", "esbuild", "compile"].map(String::from))]
    programs: Vec<String>,
}

/// Of one program in one mode, over all rounds.
#[derive(Default)]
struct Figures {
    /// Milliseconds from the start of heaptap to its line `recording`.
    begun: Series,
    /// Milliseconds from the start of heaptap to the first event that it counted.
    first: Series,
    /// Milliseconds from Ctrl-C to its end.
    ended: Series,
    /// MB resident when Ctrl-C comes, at most until then, and at most until the end.
    resident: Series,
    recording: Series,
    peak: Series,
    /// MB of the kernel's maps.
    maps: Series,
    stacks: Series,
}

pub fn run(options: &Options) -> Result<()> {
    let mut body = format!(
        "{} rounds; medians (smallest to largest). `stream` is `bench/programs/stream`, which \
         allocates without pause on one thread; what the others do is told in frames.md. Each is \
         recorded for {} ms with `-o x.svg -o x.pb.gz -o x.json` and ended by Ctrl-C while it is at \
         work. Resident is VmRSS, peak is VmHWM, both with mapped files, looked at each 4 ms. \
         Kernel is what the BPF maps take there.\n\n\
         | program | mode | stacks | start to `recording`, ms | start to first event, ms | Ctrl-C to end, ms | resident at Ctrl-C, MB | peak until Ctrl-C, MB | peak until the end, MB | kernel, MB |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        options.rounds, options.milliseconds
    );
    for release in &options.go {
        let binary = target::build("stream", release)?;
        for mode in &options.modes {
            let figures = stream(options, &binary, mode)?;
            row(&mut body, &format!("stream, Go {release}"), mode, &figures)?;
        }
    }
    for name in &options.programs {
        if !Work::is_there(name)? {
            writeln!(body, "| {name}: can't be had on this machine | | | | | | | | | |")?;
            continue;
        }
        let work = Work::prepare(name)?;
        for mode in &options.modes {
            // What heaptap refuses to record is a result too.
            match real(options, &work, mode) {
                Ok(figures) => row(&mut body, name, mode, &figures)?,
                Err(err) => {
                    writeln!(body, "| {name} | {mode} | not measured: {err:#} | | | | | | | |")?
                }
            }
        }
    }
    body += "\nBars: below 60 MB resident, below 500 ms to the first event.\n";
    let versions = [
        format!("heaptap {}", env!("CARGO_PKG_VERSION")),
        format!("Go {}", GoRelease::newest().version),
    ];
    report::keep("footprint", "Memory and reaction times of heaptap", &versions, &body)
}

fn row(body: &mut String, name: &str, mode: &str, f: &Figures) -> Result<()> {
    writeln!(
        body,
        "| {name} | {mode} | {} | {} | {} | {} | {} | {} | {} | {} |",
        f.stacks.text(0),
        f.begun.text(0),
        f.first.text(0),
        f.ended.text(0),
        f.resident.text(1),
        f.recording.text(1),
        f.peak.text(1),
        f.maps.text(1),
    )?;
    Ok(())
}

fn real(options: &Options, work: &Work, mode: &str) -> Result<Figures> {
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        eprint!("\rfootprint: {} {mode}, round {} of {} ", work.name, round + 1, options.rounds);
        let mut running = work.start()?;
        let recording = Recording::start(options, mode, running.pid())?;
        thread::sleep(Duration::from_millis(options.milliseconds));
        ensure!(!running.has_ended()?, "the program ended before the recording");
        recording.finish(&mut figures)?;
        running.end()?;
    }
    eprintln!();
    Ok(figures)
}

fn stream(options: &Options, binary: &Path, mode: &str) -> Result<Figures> {
    let mut figures = Figures::default();
    let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for round in 0..options.rounds {
        eprint!("\rfootprint: {name} {mode}, round {} of {} ", round + 1, options.rounds);
        let target = Target::start(binary)?;
        let recording = Recording::start(options, mode, target.pid())?;
        thread::sleep(Duration::from_millis(options.milliseconds));
        recording.finish(&mut figures)?;
        drop(target);
        if mode == "exact" {
            figures.first.push(first_event(options, binary)?);
        }
    }
    eprintln!();
    Ok(figures)
}

/// Milliseconds from the start of heaptap to the first event it counted.
fn first_event(options: &Options, binary: &Path) -> Result<f64> {
    let mut target = Target::start(binary)?;
    let recording = Recording::start(options, "exact", target.pid())?;
    let spawned = recording.spawned.duration_since(SystemTime::UNIX_EPOCH)?;
    thread::sleep(Duration::from_millis(500));
    let made = target.ask("stop")?;
    let frames = recording.finish(&mut Figures::default())?;
    ensure!(frames.lost == 0, "{} events were lost", frames.lost);
    let before = made - frames.events as f64;
    ensure!(before > 0.0, "heaptap counted {} of {made} objects", frames.events);
    // The answer is exact to one batch of 1,000 objects: 30 µs, 1 ms when each is a trap.
    let nanoseconds = target.ask(&format!("{before:.0}"))?;
    Ok((nanoseconds - spawned.as_nanos() as f64) / 1e6)
}

/// A recording by heaptap, and what is seen of heaptap.
struct Recording {
    tracer: Tracer,
    watch: Watch,
    spawned: SystemTime,
    begun: Duration,
    dir: TempDir,
}

impl Recording {
    fn start(options: &Options, mode: &str, pid: u32) -> Result<Self> {
        let dir = TempDir::new()?;
        let pid = pid.to_string();
        let mut arguments: Vec<OsString> = ["-p", &pid, "--mode", mode, "--budget", "none"]
            .into_iter()
            .map(OsString::from)
            .collect();
        for suffix in ["svg", "pb.gz", "json"] {
            arguments.extend(["-o".into(), dir.path().join(format!("out.{suffix}")).into()]);
        }
        let (spawned, began) = (SystemTime::now(), Instant::now());
        let mut tracer = Tracer::spawn_heaptap(&options.heaptap, arguments)?;
        let watch = Watch::start(tracer.pid());
        tracer.until_recording()?;
        Ok(Self { tracer, watch, spawned, begun: began.elapsed(), dir })
    }

    /// Ends it and notes what was seen of it; returns what it recorded.
    fn finish(mut self, figures: &mut Figures) -> Result<Frames> {
        let maps = maps_megabytes(self.tracer.pid())?;
        let interrupted = Instant::now();
        let ended = self.tracer.stop()?;
        let looks = self.watch.finish()?;
        let last = looks.last().context("heaptap was never looked at")?;
        let recording = looks.iter().rfind(|look| look.when < interrupted).unwrap_or(last);
        figures.begun.push(self.begun.as_secs_f64() * 1e3);
        figures.ended.push(ended.as_secs_f64() * 1e3);
        figures.resident.push(recording.now);
        figures.recording.push(recording.peak);
        figures.peak.push(last.peak);
        figures.maps.push(maps);
        let mut frames = Frames::default();
        frames.add(&self.dir.path().join("out.json"))?;
        figures.stacks.push(frames.stacks as f64);
        Ok(frames)
    }
}
