//! Which processes exist, what they are, and what this kernel can do. The only reader of /proc.
//!
//! In: /proc and a few files of /sys. Out: [`Process`]es with their identity (pid and start time),
//! their opened executables and load bias, and [`System`], what this kernel and this user may do.
//! What stands in /proc was in part written by other people's programs: every read is bounded,
//! every text is bytes until checked, and each field can fail alone. Knows nothing of Go.
//!
//! The `procfs` crate is not used: it gives up on a whole file when one name in it is not UTF-8, it
//! panics on a mapped file called `/SYSV`, and it bounds nothing.

#[cfg(any(test, fuzzing))]
mod any;
mod cgroup;
mod confine;
mod error;
mod exe;
mod lease;
mod maps;
mod memory;
mod names;
mod pressure;
mod priority;
mod process;
mod read;
mod rest;
mod select;
mod system;

#[cfg(any(test, fuzzing))]
pub use any::text as any_text;
pub use cgroup::{Container, Runtime};
pub use confine::{Kept, confine, permitted};
pub use error::Error;
pub use exe::{ExeFile, ExePath, FileKey, exe_key, open_exe, open_memory, open_writable_memory};
pub use lease::Lease;
pub use maps::{MAX_MAPPINGS, Mapping, Segment, load_bias, mappings, open_mapped};
pub use memory::{
    Brakes, CgroupMemory, MemoryFiles, MemoryReader, MemoryUse, Nearest, groups_of, memory_use,
};
pub use names::Names;
pub use priority::Priority;
pub use process::{Identity, Process, pids, process, processes};
pub use rest::Rest;
pub use select::{
    Filter, Kind, Selected, Selection, Selector, matches, matches as matches_glob, select,
};
pub use system::{
    Capabilities, Capability, CgroupMode, Cgroups, System, Tracefs, same_clock, system,
};
