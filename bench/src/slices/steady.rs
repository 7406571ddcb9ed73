//! Real programs that do the same for as long as they live: servers that are asked the same again and again, and
//! one that allocates.
//!
//! In: a name. Out: a program at work on one processor, and how far it is: the bytes that its runtime says it has
//! allocated, of which each request takes as many as the one before. Who asks is on other processors.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, bail};
use heaptap::runtime::{Live, ProcessMemory};
use tempfile::TempDir;
use xtask::pins::GoRelease;

use crate::{
    target,
    work::{self, CHURN, bundle, server, site},
};

/// Who asks at the same time: the program is never without work.
const CLIENTS: usize = 4;
/// What each asks for before it reads.
const ROW: usize = 16;
/// A request is a small part of a slice.
const MODULES: usize = 6;
const PAGES: usize = 60;

/// A program that goes on.
pub struct Steady {
    child: Killed,
    live: Live<ProcessMemory>,
    clients: Option<Clients>,
    pub about: String,
    _dir: TempDir,
}

/// Ends when it is dropped.
struct Killed(Child);

/// Threads that ask, until they are told not to.
struct Clients {
    ended: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Steady {
    /// Starts a copy of a program that is called otherwise; `place` starts processes where the program is to be.
    pub fn start(
        name: &str,
        called: &str,
        place: impl FnOnce(&mut Command) -> Result<Child>,
    ) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = server::free_port()?;
        let (mut command, paths, about) = prepare(name, called, dir.path(), port)?;
        let log = fs::File::create(dir.path().join("stderr"))?;
        command.current_dir(dir.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let child = place(&mut command)?;
        let child = Killed(child);
        if let Some(first) = paths.first() {
            server::until_ready(port, first).with_context(|| name.to_owned())?;
        }
        let clients = (!paths.is_empty()).then(|| Clients::start(port, &paths));
        let live = target::live(child.0.id())?;
        Ok(Self { child, live, clients, about, _dir: dir })
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// How far it is.
    pub fn allocated(&self) -> Result<u64> {
        Ok(self.live.stats()?.allocated.bytes)
    }

    /// Ends it; how many requests were answered.
    pub fn end(mut self) -> Result<u64> {
        let answered = self.clients.take().map_or(Ok(0), Clients::end)?;
        Ok(answered)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command, what is asked for in turn, and what it does.
fn prepare(
    name: &str,
    called: &str,
    dir: &Path,
    port: u16,
) -> Result<(Command, Vec<String>, String)> {
    let program = match name {
        CHURN => target::build(CHURN, GoRelease::newest().minor())?,
        real => work::program(real)?,
    };
    let copy = dir.join(called);
    fs::copy(&program, &copy).with_context(|| program.display().to_string())?;
    let mut command = Command::new(copy);
    let (paths, about): (Vec<String>, String) = match name {
        CHURN => {
            command.arg("1000000000000000");
            (Vec::new(), "allocates objects of 64 bytes".to_owned())
        }
        "prometheus" => {
            server::configure(dir, &mut command, port)?;
            let paths = server::PATHS.map(str::to_owned).to_vec();
            (paths, "scrapes itself each second and is asked by 4 clients".to_owned())
        }
        "esbuild" => {
            bundle::generate(&dir.join("source"), MODULES)?;
            command.args(["source/main.ts", "--bundle", "--minify", "--sourcemap"]);
            command.args(["--outfile=out.js", "--log-level=error"]);
            command.arg(format!("--serve=127.0.0.1:{port}"));
            let about =
                format!("bundles {MODULES} TypeScript modules when it is asked, by 4 clients");
            (vec!["/out.js".to_owned()], about)
        }
        "hugo" => {
            site::generate(&dir.join("site"), PAGES)?;
            command.args(["server", "--source", "site", "--cacheDir"]).arg(dir.join("cache"));
            command.args(["--watch=false", "--disableLiveReload", "--quiet"]);
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
            (vec!["/".to_owned()], format!("serves a site of {PAGES} pages to 4 clients"))
        }
        other => bail!("no steady program called {other}"),
    };
    Ok((command, paths, about))
}

impl Clients {
    fn start(port: u16, paths: &[String]) -> Self {
        let (ended, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..CLIENTS).map(|_| {
            let (ended, answered) = (Arc::clone(&ended), Arc::clone(&answered));
            let paths = paths.to_vec();
            thread::spawn(move || {
                for path in paths.iter().cycle() {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    server::ask_in_a_row(port, path, ROW)?;
                    answered.fetch_add(ROW as u64, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let threads = threads.collect();
        Self { ended, answered, threads }
    }

    fn end(self) -> Result<u64> {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let Ok(asked) = thread.join() else { bail!("a thread that asks has failed") };
            asked?;
        }
        Ok(self.answered.load(Ordering::Relaxed))
    }
}
