//! Processes: identity, owner, name, file, container.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, Uid, User, sysconf};

use super::cgroup::{self, Container};
use super::error::Error;
use super::exe::{self, ExePath};
use super::names;
use super::read::{self, Stat, Status};

/// Which process: pids are used again, pids with start times are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks from boot to the start of the process. An exec does not change it.
    pub start: u64,
}

/// What is known of a process. Fields fail alone, with their reason.
#[derive(Clone, Debug)]
pub struct Process {
    pub id: Identity,
    /// Command name: up to 15 bytes, any bytes.
    pub comm: OsString,
    /// Effective user.
    pub uid: Result<u32, Error>,
    /// Name of that user on this host, if it has one.
    pub user: Option<String>,
    pub exe: Result<ExePath, Error>,
    /// `Ok(None)`: in none that heaptap knows.
    pub container: Result<Option<Container>, Error>,
    /// systemd's unit, when it is in no container.
    pub unit: Option<String>,
    /// Its pid in its own pid namespace, when that is another one than heaptap's.
    pub inner_pid: Option<u32>,
}

pub(super) fn dir(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

impl Identity {
    /// Who has this pid now, if it is a process that runs a program.
    pub(super) fn read(dir: &Path, pid: u32) -> Result<Self, Error> {
        Self::with_comm(dir, pid).map(|(id, _)| id)
    }

    fn with_comm(dir: &Path, pid: u32) -> Result<(Self, OsString), Error> {
        let what = "state";
        let line = read::bounded(&dir.join("stat")).map_err(|e| Error::read(pid, what, &e))?;
        if line.is_empty() {
            return Err(Error::Gone { pid });
        }
        let stat = Stat::parse(&line).map_err(|detail| Error::Malformed { pid, what, detail })?;
        if stat.kernel_thread {
            return Err(Error::KernelThread { pid });
        }
        if stat.is_dead() {
            return Err(Error::Zombie { pid });
        }
        Ok((Self { pid, start: stat.start }, OsStr::from_bytes(stat.comm).to_owned()))
    }

    /// Whether the pid still is this process.
    pub(super) fn check(self, dir: &Path) -> Result<(), Error> {
        if Self::read(dir, self.pid)? == self {
            Ok(())
        } else {
            Err(Error::Replaced { pid: self.pid })
        }
    }

    /// Who has this pid now.
    ///
    /// # Errors
    /// Nobody, or a kernel thread or a zombie.
    pub fn of(pid: u32) -> Result<Self, Error> {
        Self::read(&dir(pid), pid)
    }

    /// For how long it has been there; zero where that can't be told.
    pub fn age(self) -> Duration {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        ticks(self.start).map_or(Duration::ZERO, |start| now.saturating_sub(start))
    }

    /// CPU time that it has taken; nothing when it is gone.
    pub fn cpu_time(self) -> Option<Duration> {
        let line = read::bounded(&dir(self.pid).join("stat")).ok()?;
        let stat = Stat::parse(&line).ok().filter(|stat| stat.start == self.start)?;
        ticks(stat.taken)
    }

    /// Whether this process still is there.
    pub fn is_alive(self) -> bool {
        self.check(&dir(self.pid)).is_ok()
    }
}

/// How long so many clock ticks are.
pub(super) fn ticks(count: u64) -> Option<Duration> {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().filter(|ticks| *ticks > 0)?;
    Some(Duration::from_secs_f64(count as f64 / per_second as f64))
}

/// Every process that runs a program, by ascending pid. Kernel threads, zombies and what ended
/// meanwhile are left out.
///
/// # Errors
/// [`Error::NoProc`] when /proc can't be listed.
pub fn processes() -> Result<Vec<Process>, Error> {
    processes_in(Path::new("/proc"))
}

/// Every pid in ascending order, of whatever kind of process.
///
/// # Errors
/// [`Error::NoProc`] when /proc can't be listed.
pub fn pids() -> Result<Vec<u32>, Error> {
    pids_in(Path::new("/proc"))
}

fn pids_in(proc: &Path) -> Result<Vec<u32>, Error> {
    let no_proc =
        |e: std::io::Error| Error::NoProc(e.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
    let mut pids = Vec::new();
    for entry in fs::read_dir(proc).map_err(no_proc)? {
        let name = entry.map_err(no_proc)?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

fn processes_in(proc: &Path) -> Result<Vec<Process>, Error> {
    let mut users = Users::default();
    let found = pids_in(proc)?
        .into_iter()
        .filter_map(|pid| Process::read(&proc.join(pid.to_string()), pid, &mut users).ok());
    Ok(found.collect())
}

/// One process.
///
/// # Errors
/// There is none with this pid, or it is a thread, a kernel thread or a zombie.
pub fn process(pid: u32) -> Result<Process, Error> {
    Process::read(&dir(pid), pid, &mut Users::default())
}

impl Process {
    fn read(dir: &Path, pid: u32, users: &mut Users) -> Result<Self, Error> {
        let (id, comm) = Identity::with_comm(dir, pid)?;
        let status = read::bounded(&dir.join("status")).map(|text| Status::parse(&text));
        let status = status.map_err(|e| Error::read(pid, "status", &e));
        let (uid, inner_pid) = match status {
            Ok(status) => {
                // /proc/TID exists for threads too, though it is not listed.
                if let Some(tgid) = status.tgid.filter(|tgid| *tgid != pid) {
                    return Err(Error::Thread { tid: pid, pid: tgid });
                }
                let (what, detail) = ("status", "no user id");
                let inner = status.ns_pids.get(1..).and_then(|inner| inner.last()).copied();
                (status.uid.ok_or(Error::Malformed { pid, what, detail }), inner)
            }
            Err(error) => (Err(error), None),
        };
        let mut unit = None;
        let container = read::bounded(&dir.join("cgroup"))
            .map(|text| {
                let text = String::from_utf8_lossy(&text);
                let mut container = cgroup::container(&text);
                match &mut container {
                    Some(container) => container.names = names::of(container, pid),
                    None => unit = cgroup::unit(&text),
                }
                container
            })
            .map_err(|e| Error::read(pid, "cgroup", &e));
        Ok(Self {
            id,
            comm,
            user: uid.as_ref().ok().and_then(|uid| users.name(*uid)),
            uid,
            exe: exe::exe_path(dir, pid),
            container,
            unit,
            inner_pid,
        })
    }

    /// The user's name, or the number where there is no name, or `?`.
    pub fn user_text(&self) -> String {
        match (&self.user, &self.uid) {
            (Some(name), _) => name.clone(),
            (None, Ok(uid)) => uid.to_string(),
            (None, Err(_)) => "?".to_owned(),
        }
    }
}

/// Names of users, asked once each: a directory service may be slow.
#[derive(Default)]
struct Users(HashMap<u32, Option<String>>);

impl Users {
    fn name(&mut self, uid: u32) -> Option<String> {
        let ask = || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        self.0.entry(uid).or_insert_with(ask).clone()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command, Stdio};

    /// A child that waits until its standard input closes. It is a copy of `cat`, so that its file
    /// can be deleted.
    pub(in crate::host) struct Sleeper(Child);

    impl Sleeper {
        pub(in crate::host) fn start() -> Self {
            Self::spawn(Path::new("cat"))
        }

        pub(in crate::host) fn copy_to(path: &Path) -> Self {
            let cat = ["/usr/bin/cat", "/bin/cat"].iter().find(|p| Path::new(p).exists());
            fs::copy(cat.unwrap(), path).unwrap();
            Self::spawn(path)
        }

        fn spawn(path: &Path) -> Self {
            let mut command = Command::new(path);
            // A copied file stays "busy" for as long as another thread's fork holds it open.
            let child = loop {
                match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
                    Ok(child) => break child,
                    Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                        std::thread::yield_now();
                    }
                    Err(e) => panic!("{}: {e}", path.display()),
                }
            };
            // It is returned by spawn in the midst of its exec; what it echoes shows that it runs.
            let mut sleeper = Self(child);
            sleeper.echo();
            sleeper
        }

        /// Makes it run.
        pub(in crate::host) fn echo(&mut self) {
            let mut echo = [0];
            self.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
            self.0.stdout.as_mut().unwrap().read_exact(&mut echo).unwrap();
        }

        pub(in crate::host) fn pid(&self) -> u32 {
            self.0.id()
        }

        pub(in crate::host) fn end(&mut self) {
            drop(self.0.stdin.take());
            self.0.wait().unwrap();
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    fn fixture(proc: &Path, pid: u32, name: &str, flags: u64, status: &str) {
        let dir = proc.join(pid.to_string());
        fs::create_dir(&dir).unwrap();
        let stat = format!(
            "{pid} ({name}) S 1 1 1 0 -1 {flags} 0 0 0 0 5 6 0 0 20 0 9 0 {} 1000 200\n",
            pid * 10
        );
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("status"), status).unwrap();
        fs::write(dir.join("cgroup"), "0::/\n").unwrap();
        symlink("/bin/app", dir.join("exe")).unwrap();
    }

    #[test]
    fn processes_of_a_made_up_host() {
        let proc = tempfile::tempdir().unwrap();
        let root = proc.path();
        fixture(root, 30, "in a (container)", 0, "Tgid:\t30\nUid:\t0\t0\t0\t0\nNSpid:\t30\t1\n");
        fixture(root, 7, "kworker", 0x0020_0000, "Tgid:\t7\n");
        fixture(root, 8, "thread", 0, "Tgid:\t30\n");
        fixture(root, 9, "odd", 0, "Tgid:\t9\nNSpid:\t9\n");
        fs::remove_file(root.join("9/exe")).unwrap();
        fs::remove_file(root.join("9/cgroup")).unwrap();
        fs::create_dir(root.join("11")).unwrap();
        fs::create_dir(root.join("self")).unwrap();
        fs::create_dir(root.join("99999999999")).unwrap();

        let found = processes_in(root).unwrap();
        let pids: Vec<_> = found.iter().map(|p| p.id.pid).collect();
        assert_eq!(pids, [9, 30]);

        let odd = &found[0];
        let (what, detail) = ("status", "no user id");
        assert_eq!(odd.uid, Err(Error::Malformed { pid: 9, what, detail }));
        assert_eq!(odd.user_text(), "?");
        assert_eq!(odd.exe, Err(Error::Gone { pid: 9 }));
        assert_eq!(odd.container, Err(Error::Gone { pid: 9 }));
        assert_eq!(odd.inner_pid, None);

        let contained = &found[1];
        assert_eq!(contained.id, Identity { pid: 30, start: 300 });
        assert_eq!(contained.comm, "in a (container)");
        assert_eq!(contained.user_text(), "root");
        assert_eq!(contained.inner_pid, Some(1));
        assert_eq!(contained.exe.as_ref().unwrap().path, Path::new("/bin/app"));
        assert_eq!(contained.container, Ok(None));
    }

    #[test]
    fn a_host_without_proc_is_said_so() {
        let error = processes_in(Path::new("/nonexistent")).expect_err("no /proc");
        assert_eq!(error, Error::NoProc(Errno::ENOENT));
        assert!(error.to_string().contains("mounted"));
    }

    #[test]
    fn a_child_is_found_and_known_again() {
        let mut sleeper = Sleeper::start();
        let all = processes().unwrap();
        let found = all.iter().find(|p| p.id.pid == sleeper.pid()).unwrap();
        assert_eq!(found.id, process(sleeper.pid()).unwrap().id);
        assert_eq!(found.uid, Ok(nix::unistd::geteuid().as_raw()));
        assert!(found.id.is_alive() && found.id.age() < Duration::from_secs(60));
        let first = Identity { pid: 1, start: 1 };
        assert!(first.age() > found.id.age());
        assert!(found.id.cpu_time().unwrap() < Duration::from_secs(60));
        assert_eq!(first.cpu_time(), None);
        let id = found.id;
        sleeper.end();
        assert!(!id.is_alive());
        assert_eq!(process(id.pid).unwrap_err(), Error::Gone { pid: id.pid });
    }

    #[test]
    fn a_zombie_is_said_to_be_one() {
        let mut sleeper = Sleeper::start();
        drop(sleeper.0.stdin.take());
        let pid = sleeper.pid();
        // Its end closes its standard output; the entry stays until it is waited for.
        let mut rest = Vec::new();
        let mut stdout = sleeper.0.stdout.take().unwrap();
        stdout.read_to_end(&mut rest).unwrap();
        let error = loop {
            match process(pid) {
                Ok(_) => std::thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::Zombie { pid });
    }

    #[test]
    fn a_thread_is_told_from_a_process() {
        let (send, receive) = std::sync::mpsc::channel::<u32>();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(nix::unistd::gettid().as_raw().unsigned_abs()).unwrap();
            wait.recv().unwrap();
        });
        let tid = receive.recv().unwrap();
        let error = process(tid).expect_err("a thread");
        assert_eq!(error, Error::Thread { tid, pid: std::process::id() });
        assert!(error.to_string().contains(&format!("give {}", std::process::id())));
        done.send(()).unwrap();
        thread.join().unwrap();
    }
}
