//! What the fixture `alloc` counted of itself.

use heaptap::symbolize::name_for_print;
use serde::Deserialize;

/// The fixture's last line.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// `go1.27.3`.
    pub go: String,
    pub pid: u32,
    /// The runtime's own count of allocations in all rounds.
    pub mallocs: u64,
    /// Allocations while it waited: the runtime's own, rare.
    pub idle: u64,
    pub paths: Vec<Path>,
}

/// One way to allocate.
#[derive(Clone, Debug, Deserialize)]
pub struct Path {
    pub id: String,
    pub count: u64,
    /// Requested bytes; nothing where they differ from release to release.
    pub bytes: Option<u64>,
    /// How the names of functions begin that lie between the innermost frame and the allocation;
    /// nothing when the frame itself allocates.
    pub inner: Option<Vec<String>>,
    /// Innermost first, inlined calls included.
    pub frames: Vec<Frame>,
}

/// One function at one line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Frame {
    pub function: String,
    pub file: String,
    pub line: u32,
}

/// Whether `printed` is how Go's tracebacks print a name: its release decides whether the arguments of
/// a generic type and those of its method are told apart.
pub fn is_printed(name: &str, printed: &str) -> bool {
    name == printed
        || [false, true].into_iter().any(|two| name_for_print(name, two).as_ref() == printed)
}

impl Report {
    /// The path with this id.
    pub fn path(&self, id: &str) -> anyhow::Result<&Path> {
        let found = self.paths.iter().find(|path| path.id == id);
        found.ok_or_else(|| anyhow::anyhow!("the fixture has no path {id}"))
    }
}
