//! What the agent keeps of its privileges when it has begun: what it reads with, and what its recordings attach with, if there
//! are to be any.
//!
//! In: what the file asks for. Out: a process that can do no more than that, or a line that says what could not be given up. It
//! must be called before anything is started: capabilities are a thread's.

use crate::host::{self, Capability, Kept};
use crate::pipeline::doctor;

/// Looking at programs.
const TO_READ: [Capability; 2] = [Capability::SysPtrace, Capability::DacReadSearch];

/// Recording one; beside what it must have, what makes it better.
const TO_RECORD: [Capability; 5] = [
    Capability::Bpf,
    Capability::Perfmon,
    Capability::SysResource,
    Capability::SysNice,
    Capability::CheckpointRestore,
];

/// What is left.
#[derive(Clone, Copy, Debug)]
pub struct Least {
    /// What recordings take was kept.
    pub may_record: bool,
}

/// Gives up all else.
pub fn give_up(records: bool) -> Least {
    let mut passes_on = if records { TO_RECORD.to_vec() } else { Vec::new() };
    if records && doctor::takes_perf_events() {
        passes_on.push(Capability::SysAdmin);
    }
    let kept = Kept { acts_with: TO_READ.to_vec(), passes_on };
    if let Err(why) = host::confine(&kept) {
        eprintln!("heaptap: goes on with more privileges than it needs: {why}");
    }
    Least { may_record: records }
}
