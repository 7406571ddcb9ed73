//! The only user of aya: loads kernel programs, attaches them to sites, drains their maps.
//!
//! In: sites (file, offset, the bytes that must be there), the processes that are selected, sizes.
//! Out: raw stacks with counts, counters, notices of exec and exit. It knows no Go version, no
//! symbol and no /proc; what a site means was decided in `gobin`, what a stack means is decided in
//! `symbolize`.

mod account;
mod ahead;
#[cfg(any(test, fuzzing))]
mod any;
mod attach;
mod btf;
pub mod budget;
pub mod clock;
mod collections;
mod decode;
pub mod detacher;
mod drain;
pub mod ends;
mod error;
pub mod features;
mod gate;
mod groups;
mod iterations;
mod load;
mod multi;
pub mod os;
mod passes;
mod ready;
mod syscall;
mod take;
pub mod trap;

#[cfg(any(test, fuzzing))]
pub use any::records as any_records;
pub use attach::{AttachSite, Attachment, Program, Scope};
pub use decode::{Ages, Notice, RawStack, Text};
pub use drain::{KernelLog, LabelTexts, Notices};
pub use error::Error;
pub use gate::Taken as Traps;
pub use groups::GroupId;
pub use load::{Kernel, Options};
pub use ready::Ready;
pub use syscall::wait_for_programs;
pub use take::Taken;

/// The kernel programs, as built by `cargo xtask build`.
pub fn object() -> &'static [u8] {
    aya::include_bytes_aligned!(env!("HEAPTAP_BPF_OBJECT"))
}
