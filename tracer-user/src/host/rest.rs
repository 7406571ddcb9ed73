//! Whether a process has run since it was last looked at, told by the kernel's own counts.
//!
//! In: a pid. Out: a number that stands for as long as none of its threads was on a CPU. It errs to one side: what can't be told,
//! or is at rest for too short a time, is taken for running. Knows nothing of what is read meanwhile.
//!
//! CPU time alone does not tell: where a hypervisor stole time, the kernel may take all of a short run for stolen. How often each
//! thread was put on a CPU (`schedstat`) does, but not of one that is there all the time, whose CPU time grows. Both together do.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// For so long nothing must have run before a look, so that no thread can be in the midst of a run whose time is not seen yet.
const SETTLED: Duration = Duration::from_millis(100);
/// Whoever has more threads is always taken for running: asking each of them takes as long as what it would save.
const MOST_THREADS: usize = 32;
/// Open files of all processes: the kernel keeps 4 KiB for each.
const MOST_FILES: usize = 1024;

/// Open files of all that is here.
static FILES: AtomicUsize = AtomicUsize::new(0);
/// Whether this kernel counts: this thread was put on a CPU.
static COUNTS: LazyLock<bool> = LazyLock::new(|| {
    File::open("/proc/thread-self/schedstat").and_then(|file| runs(&file)).is_ok()
});

/// What is known of one process.
#[derive(Debug)]
pub struct Rest {
    pid: u32,
    clock: ClockId,
    /// CPU time of all threads in the last look.
    taken: Option<TimeSpec>,
    threads: Option<Threads>,
    /// When all that is compared was first as it is.
    since: Option<Instant>,
    turn: u64,
}

/// All threads of a process, and how often each was put on a CPU.
#[derive(Debug)]
struct Threads {
    /// `/proc/PID/task`, which has a link for each.
    list: File,
    files: Vec<(File, u64)>,
    _held: Held,
}

/// So many of [`MOST_FILES`].
#[derive(Debug)]
struct Held(usize);

impl Rest {
    /// Begins to look at a process; nothing where that can't be told of any.
    pub fn of(pid: u32) -> Option<Self> {
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
        let rest = Self { pid, clock, taken: None, threads: None, since: None, turn: 0 };
        COUNTS.then_some(rest)
    }

    /// Which rest it is at; nothing while it runs. Two looks that say the same say that no thread ran between them, nor
    /// just before the first.
    pub fn look(&mut self) -> Option<u64> {
        // Cheap, and enough for whoever is busy.
        let taken = clock_gettime(self.clock).ok();
        if taken.is_none() || taken != self.taken {
            self.taken = taken;
            self.turn += 1;
            self.since = None;
            return None;
        }
        let still = match &mut self.threads {
            Some(threads) => threads.still(),
            None => None,
        };
        match (still, self.since) {
            (Some(true), Some(since)) => (since.elapsed() >= SETTLED).then_some(self.turn),
            (still, _) => {
                if still.is_none() {
                    // What is held is given back first.
                    self.threads = None;
                    self.threads = Threads::open(&super::process::dir(self.pid)).ok().flatten();
                }
                self.turn += 1;
                self.since = self.threads.is_some().then(Instant::now);
                None
            }
        }
    }
}

impl Threads {
    /// Opens what tells of each thread; nothing when there are too many.
    fn open(process: &Path) -> io::Result<Option<Self>> {
        let dir = process.join("task");
        let list = File::open(&dir)?;
        let count = threads(&list)?;
        let held = match count <= MOST_THREADS {
            true => Held::new(count + 1),
            false => None,
        };
        let Some(held) = held else { return Ok(None) };
        let mut files = Vec::with_capacity(count);
        for thread in fs::read_dir(&dir)?.take(count + 1) {
            let file = File::open(thread?.path().join("schedstat"))?;
            let runs = runs(&file)?;
            files.push((file, runs));
        }
        // One that began or ended meanwhile: another time.
        Ok((files.len() == count && threads(&list)? == count).then_some(Self {
            list,
            files,
            _held: held,
        }))
    }

    /// Whether none was put on a CPU since the last look; nothing when they are others.
    fn still(&mut self) -> Option<bool> {
        let mut still = true;
        for (file, known) in &mut self.files {
            let now = runs(file).ok()?;
            still &= now == *known;
            *known = now;
        }
        (threads(&self.list).ok()? == self.files.len()).then_some(still)
    }
}

impl Held {
    fn new(count: usize) -> Option<Self> {
        let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(now, _)| now / 4);
        let most = usize::try_from(allowed).unwrap_or(usize::MAX).min(MOST_FILES);
        let more = |held: usize| held.checked_add(count).filter(|sum| *sum <= most);
        FILES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(count))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        FILES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// How many threads there are (fs/proc/base.c, `proc_task_getattr`).
fn threads(list: &File) -> io::Result<usize> {
    let links = list.metadata()?.nlink();
    usize::try_from(links.saturating_sub(2)).map_err(io::Error::other)
}

/// How often a thread was put on a CPU: the last of three numbers (fs/proc/base.c, `proc_pid_schedstat`).
fn runs(schedstat: &File) -> io::Result<u64> {
    let mut text = [0; 72];
    let len = schedstat.read_at(&mut text, 0)?;
    let runs = count_of(&text[..len]);
    // None: it was never on one, or this kernel does not count.
    runs.filter(|runs| *runs > 0).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn count_of(schedstat: &[u8]) -> Option<u64> {
    let mut numbers = std::str::from_utf8(schedstat).ok()?.strip_suffix('\n')?.split(' ').skip(2);
    numbers.next().filter(|_| numbers.next().is_none())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::tests::Sleeper;

    /// Looks until it is at rest.
    fn at_rest(rest: &mut Rest) -> u64 {
        let began = Instant::now();
        loop {
            if let Some(turn) = rest.look() {
                return turn;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it never is at rest: {rest:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn every_run_is_seen() {
        let mut sleeper = Sleeper::start();
        let mut rest = Rest::of(sleeper.pid()).unwrap();
        let mut before = at_rest(&mut rest);
        assert!(rest.since.unwrap().elapsed() >= SETTLED);
        // One that waits for a CPU may get it only then.
        let mut rested = 0;
        for _ in 0..20 {
            rested += u32::from(rest.look() == Some(before));
            sleeper.echo();
            assert_eq!(rest.look(), None);
            let after = at_rest(&mut rest);
            assert_ne!(after, before);
            before = after;
        }
        assert!(rested > 0, "nobody has touched it");
        sleeper.end();
        assert_eq!(rest.look(), None);
        assert_eq!(rest.look(), None);
    }

    /// As after a run that the kernel took for stolen time.
    #[test]
    fn a_run_without_cpu_time_is_seen() {
        let sleeper = Sleeper::start();
        let mut rest = Rest::of(sleeper.pid()).unwrap();
        let before = at_rest(&mut rest);
        rest.threads.as_mut().unwrap().files[0].1 -= 1;
        assert_eq!(rest.look(), None);
        assert_ne!(at_rest(&mut rest), before);
    }

    #[test]
    fn threads_that_come_and_go_are_seen() {
        let sleeper = Sleeper::start();
        let mut threads =
            Threads::open(&crate::host::process::dir(sleeper.pid())).unwrap().unwrap();
        assert!(threads.still().is_some());
        assert!(FILES.load(Ordering::Relaxed) >= 2);
        // Of a process that has one more.
        threads.files.pop();
        assert_eq!(threads.still(), None);
    }

    #[test]
    fn who_runs_is_not_at_rest() {
        let mut rest = Rest::of(std::process::id()).unwrap();
        for _ in 0..1000 {
            assert_eq!(rest.look(), None);
        }
    }

    #[test]
    fn a_schedstat_that_is_none_says_nothing() {
        assert_eq!(count_of(b"31224738 2738912 85\n"), Some(85));
        for text in [&b""[..], b"1 2\n", b"1 2 3", b"1 2 3 4\n", b"1 2 x\n", b"1 2 \n", b"\xff"] {
            assert_eq!(count_of(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn open_files_are_bounded() {
        assert!(Held::new(MOST_FILES + 1).is_none());
        assert!(Held::new(usize::MAX).is_none());
    }
}
