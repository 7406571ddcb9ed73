//! Profiles in pprof's format: of any bytes the reader makes a profile that makes sense, or an error.

use crate::output::pprof::read::read;
use crate::profile::FrameKind;
use crate::profile::diff::{Asked, Diff};

/// Bytes of memory that one may take.
const MEMORY: usize = 8 << 20;

pub fn open(bytes: &[u8]) {
    let Ok(profile) = read("any".to_owned(), bytes, MEMORY, |_| FrameKind::Program) else {
        return;
    };
    // It can be compared with itself, and is like itself.
    let diff = Diff::new(&profile, &profile, &Asked::default());
    assert!(diff.is_ok_and(|diff| diff.totals()[0] == diff.totals()[1]));
}
