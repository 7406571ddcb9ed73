//! heaptap at one server: a command after another, each ended at a moment that chance decides.
//!
//! In: a process, and a seed. Out: how many there were, and how they ended. One that fails by itself, and a probe
//! that is left in the server, are errors.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use heaptap_tests::stress;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::random::Random;

/// What looks at a program without recording it.
const LOOKS: [&[&str]; 8] = [
    &["gc", "--mode", "trap", "--duration", "2"],
    &["heap", "--quiet"],
    &["heap", "--watch", "0.2", "--quiet"],
    &["goroutines", "--quiet"],
    &["stats", "--watch", "0.2"],
    &["maps", "--duration", "2"],
    &["pools", "--duration", "2"],
    &["top", "--once"],
];
/// Most that heaptap may take to end when it is told to: perf events take the kernel long where all processors are busy.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub struct Tapped {
    recordings: u64,
    looks: u64,
    /// By how they ended.
    ends: BTreeMap<&'static str, u64>,
    /// Seconds that the slowest took to end when it was told to.
    slowest: f64,
    /// After which the kernel had given up taking a probe off.
    left: u64,
}

/// How one is to end.
#[derive(Clone, Copy)]
enum Fate {
    Killed,
    Told(Signal),
    Itself,
}

impl Tapped {
    pub fn run(
        &mut self,
        heaptap: &Path,
        pid: u32,
        program: &Path,
        seed: u64,
        under_way: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let mut random = Random(seed);
        let dir = tempfile::tempdir()?;
        let temporary = tempfile::tempdir()?;
        let given_up = stress::given_up()?;
        while under_way() {
            let mut command = Command::new(heaptap);
            let words = self.words(&mut random, pid, program, dir.path())?;
            command.args(&words).env("TMPDIR", temporary.path());
            let (end, took) = one(&mut random, &mut command, dir.path())
                .with_context(|| format!("heaptap {}", words.join(" ")))?;
            *self.ends.entry(end).or_default() += 1;
            self.slowest = self.slowest.max(took);
            self.left += u64::from(stress::take_off(heaptap, pid, given_up)?);
        }
        let left: Vec<_> =
            fs::read_dir(&temporary)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        ensure!(left.is_empty(), "heaptap has left files: {left:?}");
        Ok(())
    }

    /// A command line.
    fn words(
        &mut self,
        random: &mut Random,
        pid: u32,
        program: &Path,
        dir: &Path,
    ) -> Result<Vec<String>> {
        let pid = pid.to_string();
        let mut words: Vec<&str> = Vec::new();
        let program = program.to_str().context("a path that is no text")?;
        let probes = stress::probes();
        let output = dir.join(random.of(&["out.json", "out.pb.gz", "out.htap", "out.svg"]));
        let output = output.to_str().context("a path that is no text")?;
        if random.below(4) == 0 {
            self.looks += 1;
            words.extend(LOOKS[random.below(LOOKS.len() as u64) as usize]);
            words.extend(["-p", &pid]);
        } else {
            self.recordings += 1;
            let way = stress::WAYS[random.below(stress::WAYS.len() as u64) as usize];
            words.push("record");
            words.extend(if random.below(2) == 0 { ["-p", &pid] } else { ["--exe", program] });
            words.extend(way);
            if !way.contains(&"--budget") {
                words.extend(["--budget", random.of(&["none", "1%", "0.2%"])]);
            }
            if !way.contains(&"--probe") && random.below(2) == 0 {
                words.extend(["--probe", &probes]);
            }
            words.extend(["--duration", random.of(&["0.1", "1", "4"]), "-o", output]);
        }
        Ok(words.into_iter().map(str::to_owned).collect())
    }

    pub fn text(&self) -> String {
        let ends: Vec<String> =
            self.ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
        format!(
            "{} recordings, {} looks: {}; the slowest had ended {:.1} s after it was told to",
            self.recordings,
            self.looks,
            ends.join(", "),
            self.slowest
        )
    }

    pub fn remarks(&self) -> Option<String> {
        (self.left > 0).then(|| {
            format!(
                "After {} of those that were killed the kernel had given up taking a probe off (its log says so); the \
                 next recording took it off.",
                self.left
            )
        })
    }
}

/// Starts one and has it meet its fate: how it ended, and how many seconds after it was told to.
fn one(random: &mut Random, command: &mut Command, dir: &Path) -> Result<(&'static str, f64)> {
    let said = dir.join("said");
    let log = File::create(&said)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn().context("can't start heaptap")?;
    let fate = match random.below(6) {
        0 | 1 => Fate::Killed,
        2 => Fate::Told(Signal::SIGINT),
        3 => Fate::Told(Signal::SIGTERM),
        _ => Fate::Itself,
    };
    // Half of them while they begin.
    let most = if random.below(2) == 0 { 300 } else { 4000 };
    let moment = Duration::from_millis(random.below(most));
    let done = match fate {
        // Some would go on for ever.
        Fate::Itself => ended(&mut child, Duration::from_secs(8))?,
        _ => ended(&mut child, moment)?,
    };
    let moment = Instant::now();
    let (status, end) = match (done, fate) {
        (Some(status), _) => (status, "by themselves"),
        (None, Fate::Killed) => {
            child.kill()?;
            child.wait()?;
            return Ok(("killed", 0.0));
        }
        (None, Fate::Told(signal)) => (told(&mut child, signal)?, "told to end"),
        (None, Fate::Itself) => (told(&mut child, Signal::SIGINT)?, "told to end"),
    };
    // A signal that comes before heaptap has made arrangements for it, or to what makes none, ends it.
    let by_signal = matches!(status.signal(), Some(number) if number == Signal::SIGINT as i32 || number == Signal::SIGTERM as i32);
    let is_well = status.success() || (by_signal && end == "told to end");
    ensure!(is_well, "{status}: {}", fs::read_to_string(&said).unwrap_or_default().trim());
    Ok((end, moment.elapsed().as_secs_f64()))
}

fn told(child: &mut Child, signal: Signal) -> Result<ExitStatus> {
    kill(Pid::from_raw(child.id().try_into()?), signal)?;
    match ended(child, PATIENCE)? {
        Some(status) => Ok(status),
        None => {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("it had not ended {} s after {signal}", PATIENCE.as_secs())
        }
    }
}

/// Waits for its end, for so long.
fn ended(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= patience {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}
