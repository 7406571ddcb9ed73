//! Processes opened for reading their runtime's records, and what that shares with recording.
//!
//! In: pids. Out: a [`LiveProcess`]: who it is and a [`Live`] to read from. A file that several
//! processes run is read once.

use std::cell::OnceCell;
use std::fs::File;
use std::sync::Arc;

use super::at_rest::{AtRest, Turn};
use super::counted;
use crate::address::{LoadBias, VAddr};
use crate::exit::{Exit, Failure};
use crate::gobin::{self, GoBinary, LoadType};
use crate::host::{
    self, ExeFile, FileKey, Filter, MemoryFiles, MemoryReader, MemoryUse, Segment, Selection,
};
use crate::runtime::g::Goroutines;
use crate::runtime::memory::Memory;
use crate::runtime::stats::Stats;
use crate::runtime::{self, Live, ProcessMemory, Program};

/// A live process and its memory.
pub struct LiveProcess {
    pub process: host::Process,
    /// As the process sees it.
    pub path: String,
    pub live: Live<ProcessMemory>,
    /// Once they were asked for.
    memory_files: OnceCell<MemoryFiles>,
    at_rest: AtRest,
}

impl LiveProcess {
    /// What the kernel says of its memory.
    ///
    /// # Errors
    /// It is gone.
    pub fn memory_use(&self, reader: &mut MemoryReader) -> Result<MemoryUse, host::Error> {
        let files = match self.memory_files.get() {
            Some(files) => files,
            None => {
                let files = MemoryFiles::open(self.process.id.pid)?;
                self.memory_files.get_or_init(|| files)
            }
        };
        reader.of_open(files)
    }

    /// Its memory statistics; they are read unless it has not run since they were.
    ///
    /// # Errors
    /// As [`Live::stats`].
    pub fn stats(&self) -> Result<Stats, runtime::Error> {
        self.stats_in(self.at_rest.turn())
    }

    /// The same, and how many goroutines it has.
    ///
    /// # Errors
    /// As [`Live::stats`] and [`Live::count_goroutines`].
    pub fn stats_and_goroutines(&self) -> Result<(Stats, Goroutines), runtime::Error> {
        let turn = self.at_rest.turn();
        let stats = self.stats_in(turn)?;
        Ok((stats, self.at_rest.goroutines(turn, || self.live.count_goroutines())?))
    }

    fn stats_in(&self, turn: Turn) -> Result<Stats, runtime::Error> {
        let (mut stats, kept) = self.at_rest.stats(turn, || self.live.stats())?;
        if kept {
            // heaptap itself writes that (`heap --enable-sampler`).
            stats.sampler_rate = self.live.sampler_rate()?;
        }
        Ok(stats)
    }

    pub fn comm(&self) -> String {
        self.process.comm.to_string_lossy().into_owned()
    }

    /// As its binary tells it.
    pub fn go_version(&self) -> Option<String> {
        self.live.program.go.facts().version.map(|version| version.to_string())
    }

    /// The id of its container, if it is in one and that can be told.
    pub fn container(&self) -> Option<String> {
        let container = self.process.container.as_ref().ok().and_then(Option::as_ref);
        container.map(|container| container.id.clone())
    }

    /// Whether it still runs what was opened.
    pub fn is_there(&self) -> bool {
        self.live.memory.check().is_ok()
    }
}

/// Opens processes; keeps what is known of their files.
#[derive(Default)]
pub struct Opener {
    files: Vec<OpenedFile>,
    /// Why others can't be read.
    refused: Vec<RefusedFile>,
}

/// A file that processes run. It is held open and keeps its inode number to itself.
struct OpenedFile {
    key: FileKey,
    go: Arc<GoBinary>,
    /// Nothing until it is asked for.
    program: Option<Arc<Program>>,
    /// Since [`Opener::forget_unused`].
    used: bool,
}

/// A file that is no Go program, or one that can't be read. It is not held open: its inode number may
/// be another file's later, which then has another time of change.
struct RefusedFile {
    key: FileKey,
    why: Failure,
    used: bool,
}

impl Opener {
    /// Opens a process.
    ///
    /// # Errors
    /// It is gone, no Go program, of a release whose records are not known, or may not be read.
    pub fn open(&mut self, pid: u32) -> Result<LiveProcess, Failure> {
        let process = host::process(pid).map_err(not_readable)?;
        let exe = host::open_exe(pid).map_err(not_readable)?;
        let named = |f: Failure| Failure::new(f.exit, format!("process {pid}: {f}"));
        let program = self.program(&exe).map_err(named)?;
        let bias = load_bias(&exe, &program.go)?;
        let path = exe.path.to_string_lossy().into_owned();
        let live = live(&exe, program, bias)?;
        let (memory_files, at_rest) = (OnceCell::new(), AtRest::new(pid));
        Ok(LiveProcess { process, path, live, memory_files, at_rest })
    }

    /// Whether a file is known to be no Go program.
    pub fn knows_no_go(&mut self, key: &FileKey) -> bool {
        let refused = self.refused.iter_mut().find(|file| file.key == *key);
        refused.is_some_and(|file| {
            file.used = true;
            file.why.exit == Exit::Target
        })
    }

    /// Reads the file that a process runs, unless it is known.
    pub fn go(&mut self, exe: &ExeFile) -> Result<Arc<GoBinary>, Failure> {
        self.file(exe).map(|file| Arc::clone(&file.go))
    }

    /// Finds the runtime's variables and structures, unless they are known.
    pub fn program(&mut self, exe: &ExeFile) -> Result<Arc<Program>, Failure> {
        let file = self.file(exe)?;
        if let Some(program) = &file.program {
            return Ok(Arc::clone(program));
        }
        let program = Program::new(Arc::clone(&file.go)).map_err(|err| {
            Failure::new(err.exit(), format!("{}: {err}", exe.path.to_string_lossy()))
        })?;
        Ok(Arc::clone(file.program.insert(Arc::new(program))))
    }

    /// Lets go of files that no opened process runs and that were not asked for since the last time.
    pub fn forget_unused(&mut self) {
        self.files.retain_mut(|file| {
            let runs = file.program.as_ref().is_some_and(|program| Arc::strong_count(program) > 1);
            std::mem::take(&mut file.used) || runs
        });
        self.refused.retain_mut(|file| std::mem::take(&mut file.used));
    }

    fn file(&mut self, exe: &ExeFile) -> Result<&mut OpenedFile, Failure> {
        let at = match self.files.iter().position(|file| file.key == exe.key) {
            Some(at) => at,
            None => {
                let go = Arc::new(self.read(exe)?);
                self.files.push(OpenedFile { key: exe.key, go, program: None, used: true });
                self.files.len() - 1
            }
        };
        self.files[at].used = true;
        Ok(&mut self.files[at])
    }

    /// Reads a file, unless it is known that it can't be.
    fn read(&mut self, exe: &ExeFile) -> Result<GoBinary, Failure> {
        if let Some(file) = self.refused.iter_mut().find(|file| file.key == exe.key) {
            file.used = true;
            return Err(file.why.clone());
        }
        let file = exe.duplicate().map_err(not_readable)?;
        go_binary(exe, file).inspect_err(|why| {
            self.refused.push(RefusedFile { key: exe.key, why: why.clone(), used: true });
        })
    }
}

/// The records of a process that runs a known program.
pub fn live(
    exe: &ExeFile,
    program: Arc<Program>,
    bias: LoadBias,
) -> Result<Live<ProcessMemory>, Failure> {
    let memory = Place::of(&program.go).memory(exe, bias)?;
    Ok(Live::new(program, bias, memory))
}

/// Reads the file that a process runs.
fn go_binary(exe: &ExeFile, file: File) -> Result<GoBinary, Failure> {
    let path = exe.path.to_string_lossy();
    let failure = |exit, why: String| Failure::new(exit, format!("{path}: {why}"));
    let opened = GoBinary::open(file).and_then(|go| go.runs_here().map(|()| go));
    opened.map_err(|err| match err {
        gobin::Error::NotElf | gobin::Error::NotGo => failure(Exit::Target, err.to_string()),
        _ => failure(Exit::Unsupported, err.to_string()),
    })
}

/// Where a process has its binary in memory.
pub fn load_bias(exe: &ExeFile, go: &GoBinary) -> Result<LoadBias, Failure> {
    Place::of(go).bias(exe)
}

/// What must be known of a binary to find it in the memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Of its text; nothing when the loader can't move it.
    segment: Option<Segment>,
    /// Where Go's text begins.
    text: VAddr,
}

impl Place {
    pub fn of(go: &GoBinary) -> Self {
        let segment = match go.facts().load {
            LoadType::Fixed => None,
            LoadType::Pie => {
                go.text_mapping().map(|text| Segment { vaddr: text.start, offset: text.offset })
            }
        };
        Self { segment, text: go.text_range().0 }
    }

    /// What the loader added to its addresses.
    pub fn bias(&self, exe: &ExeFile) -> Result<LoadBias, Failure> {
        let Some(segment) = self.segment else { return Ok(LoadBias(0)) };
        host::load_bias(exe, segment).map_err(not_readable)
    }

    /// The memory of a process that has it there.
    pub fn memory(&self, exe: &ExeFile, bias: LoadBias) -> Result<ProcessMemory, Failure> {
        // After an exec, which may move the program, nothing can be read through what is opened here.
        let memory = host::open_memory(exe).map_err(not_readable)?;
        if self.bias(exe)? != bias {
            return Err(not_readable(host::Error::Replaced { pid: exe.process.pid }));
        }
        let refused = |err: runtime::Error| Failure::new(err.exit(), err.to_string());
        let landmark = bias.to_runtime(self.text);
        ProcessMemory::new(exe.process.pid, memory, landmark).map_err(|err| refused(err.into()))
    }
}

/// Why something about a process can't be told, as the command's failure.
pub fn not_readable(err: host::Error) -> Failure {
    Failure::new(err.exit(), err.to_string())
}

/// Why there is nobody to look at, of `found` processes that were meant.
pub fn nobody(selection: &Selection, found: usize) -> Failure {
    let what = match (selection.without_exceptions(), found) {
        (Selection::Exe(path), 0) => {
            let there = if path.exists() { "" } else { ", and there is no such file" };
            format!("no process runs {}{there}", path.display())
        }
        (Selection::Exe(path), _) => format!("{} is no Go program", path.display()),
        (Selection::Comm(glob), 0) => format!("no process is called {}", glob.display()),
        (Selection::Comm(glob), _) => {
            let processes = counted(found, "process");
            format!("{processes} called {}, no Go program among them", glob.display())
        }
        (Selection::Only(Filter { kind, glob }), 0) => {
            format!("no process has {} {}", kind.word(), glob.display())
        }
        (Selection::Only(Filter { kind, glob }), _) => {
            let processes = counted(found, "process");
            let (kind, glob) = (kind.word(), glob.display());
            format!("{processes} with {kind} {glob}, no Go program among them")
        }
        (Selection::All | Selection::Pids(_) | Selection::Except(..), _) => {
            "no Go program runs here".to_owned()
        }
    };
    Failure::new(Exit::Target, format!("{what}; heaptap ps lists the Go programs of this host"))
}
