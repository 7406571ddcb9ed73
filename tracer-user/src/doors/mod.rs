//! Doors for bytes of any origin: one for each kind of them, which does with any bytes all that heaptap does with such.
//!
//! In: bytes. Out: nothing; what is not as it must be panics, and what takes too long or too much is seen by who
//! calls. Fuzzers call them (`fuzz/`), and so do tests, with the fuzzers' corpora and mutations of them. In no other
//! build. What bounds each kind is told in docs/hostile-input.md.

mod binary;
mod host;
mod memory;
mod pprof;
mod recording;
mod records;
#[cfg(test)]
pub(crate) mod replay;
mod slim;

pub use slim::slim;

use std::fs::File;
use std::io::{self, Write};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A kind of bytes.
pub struct Door {
    /// What its fuzzer and its corpus are called.
    pub name: &'static str,
    pub open: fn(&[u8]),
}

/// All of them.
pub const DOORS: [Door; 8] = [
    Door { name: "binary", open: binary::open },
    Door { name: "code", open: code },
    Door { name: "config", open: config },
    Door { name: "host", open: host::open },
    Door { name: "memory", open: memory::open },
    Door { name: "pprof", open: pprof::open },
    Door { name: "recording", open: recording::open },
    Door { name: "records", open: records::open },
];

/// Goes through the door of a name.
///
/// # Panics
/// There is none, or something is wrong behind it.
pub fn through(name: &str, bytes: &[u8]) {
    let door = DOORS.iter().find(|door| door.name == name);
    assert!(door.is_some(), "no door is called {name}");
    door.into_iter().for_each(|door| (door.open)(bytes));
}

/// The code of any function, as every search for a probe site and for a variable decodes it.
fn code(bytes: &[u8]) {
    crate::gobin::sites::any_code(bytes);
    crate::gobin::symbols::any_code(bytes);
}

/// The agent's settings and rules; what is refused is refused in one line.
fn config(bytes: &[u8]) {
    match crate::agent::config::parse(&String::from_utf8_lossy(bytes)) {
        Ok(config) => {
            let _safe = config.listen.is_safe();
        }
        Err(problem) => assert!(!problem.to_string().contains('\n'), "{problem}"),
    }
}

/// An opened file with these bytes, which is nowhere.
fn file(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"hostile", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}
