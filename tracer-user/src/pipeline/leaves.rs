//! What comes of a stack, as the frame on top of it: where the goroutine starts that it makes, the
//! sizes that its own stack is moved between.
//!
//! In: a program and the class that it has split a stack by. Out: a location, labels.

use tracer_common::record::Moved;

use super::naming::Namer;
use crate::{
    address::VAddr,
    output::text::bytes,
    probe::Program,
    profile::{FrameKind, Label, LabelValue, LocationId, Profile},
};

/// Stands for a start function that could not be read.
const NOT_READ: &str = "go [start function not read]";

/// The frame on top of a stack.
pub fn leaf(
    profile: &mut Profile,
    namer: &mut Namer,
    program: Program,
    class: u64,
) -> Option<LocationId> {
    match program {
        Program::GoroutineNew if class == 0 => Some(profile.made_up(NOT_READ, FrameKind::Unknown)),
        Program::GoroutineNew => namer.start(profile, VAddr(class)),
        Program::StackMove => {
            let Moved { old, new } = Moved::of(class);
            let sizes = format!("{} → {}", bytes(old.into()), bytes(new.into()));
            Some(profile.made_up(&sizes, FrameKind::Group))
        }
        _ => None,
    }
}

/// The same for programs that read the profile.
pub fn labels(profile: &mut Profile, program: Program, class: u64) -> Vec<Label> {
    let Program::StackMove = program else { return Vec::new() };
    let Moved { old, new } = Moved::of(class);
    [("stack_old_bytes", old), ("stack_new_bytes", new)]
        .map(|(key, size)| Label {
            key: profile.names.intern(key),
            value: LabelValue::Number(size.into()),
        })
        .into()
}
