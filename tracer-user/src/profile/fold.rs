//! Folds the runtime's own allocation frames away, as Go's heap profile does.
//!
//! `runtime/pprof.writeHeapProto` drops leading frames named `runtime.` or `internal/runtime/`, and
//! keeps the whole stack when nothing else would be left. In and out: a [`Profile`].

use std::collections::HashMap;

use super::{FrameKind, Location, LocationId, Profile};

/// Removes the innermost run of runtime frames from every stack that has others.
pub fn fold_runtime(profile: &mut Profile) {
    // A location folded in part (an inlined runtime call) becomes a location of its own.
    let mut trimmed: HashMap<(LocationId, usize), LocationId> = HashMap::new();
    for sample in &mut profile.samples {
        let Some((at, skip)) = first_outside_runtime(&profile.locations, &sample.stack) else {
            continue;
        };
        sample.stack.drain(..at);
        if skip == 0 {
            continue;
        }
        let whole = sample.stack[0];
        let locations = &mut profile.locations;
        sample.stack[0] = *trimmed.entry((whole, skip)).or_insert_with(|| {
            let from = &locations[whole.0 as usize];
            let part = Location { frames: from.frames[skip..].to_vec(), ..*from };
            locations.push(part);
            LocationId(locations.len() as u32 - 1)
        });
    }
}

/// Position in the stack, and within that location, of the innermost frame that is not runtime's.
fn first_outside_runtime(locations: &[Location], stack: &[LocationId]) -> Option<(usize, usize)> {
    stack.iter().enumerate().find_map(|(at, id)| {
        let frames = &locations[id.0 as usize].frames;
        frames.iter().position(|f| f.kind != FrameKind::Runtime).map(|skip| (at, skip))
    })
}
