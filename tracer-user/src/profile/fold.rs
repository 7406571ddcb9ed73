//! Folds the runtime's own frames away, as Go's heap profile does.
//!
//! `runtime/pprof.writeHeapProto` (protomem.go) drops the innermost frames that are the runtime's
//! and keeps the whole stack when nothing else would be left. The runtime's are those named
//! `runtime.…` in Go up to 1.23, and `internal/runtime/…` too from 1.24 on, where maps moved into
//! such packages (read in 1.21.13, 1.22.10, 1.23.9, 1.24.11, 1.25.5, 1.26.6 and 1.27.3). One rule,
//! the newer one, serves all: before 1.24 such packages exist in 1.23 only, and of those just
//! `internal/runtime/exithook` allocates, when a hook is added. Packages like `runtime/debug` are
//! not the runtime's here. `runtime.goexit`, the outermost frame of every goroutine, is left out
//! as `appendLocsForStack` (proto.go) leaves it out.
//!
//! One thing is otherwise than in Go's profile: an allocation that the runtime makes for itself while
//! it serves another one (`gcStart` inside `mallocgc` starts a worker) is not the caller's. Its stack
//! stays whole, so that what is counted under the caller is what the caller allocated.
//!
//! Likewise a goroutine that starts in the runtime is the runtime's own, but for coroutines (`iter.Pull`).
//! Where the innermost function says what was done (slices and strings, [`Profile::keep_leaf`]), it stays.
//!
//! In and out: a [`Profile`]; [`Profile::merge_equal`] afterwards brings together what became equal.

use std::collections::HashMap;

use super::{Frame, FrameKind, Interner, Location, LocationId, Name, Profile};

/// Removes the innermost run of runtime frames from every stack that has others, and
/// `runtime.goexit` from its end.
///
/// Of what the kernel did for the program (probe os) the runtime's frames stay: they say whether it was
/// the runtime that asked for it.
pub fn fold_runtime(profile: &mut Profile) {
    let of_os: Vec<usize> = (profile.meta.value_types.iter().enumerate())
        .filter(|(_, of)| of.is_of_os())
        .map(|(at, _)| at)
        .collect();
    let goexit = profile.names.get("runtime.goexit");
    let newcoro = profile.names.get("runtime.newcoro");
    // A location folded in part (an inlined runtime call) becomes a location of its own.
    let mut trimmed: HashMap<(LocationId, usize), LocationId> = HashMap::new();
    let mut without = |locations: &mut Vec<Location>, whole: LocationId, skip: usize| {
        if skip == 0 {
            return whole;
        }
        *trimmed.entry((whole, skip)).or_insert_with(|| {
            let from = &locations[whole.0 as usize];
            let part = Location { frames: from.frames[skip..].to_vec(), ..*from };
            locations.push(part);
            LocationId(locations.len() as u32 - 1)
        })
    };
    for sample in &mut profile.samples {
        drop_goexit(&profile.locations, &mut sample.stack, goexit);
        if of_os.iter().any(|value| sample.value(*value) > 0) {
            continue;
        }
        let kept = sample.stack.first().copied().filter(|first| profile.leaves.contains(first));
        let Some((at, skip)) = first_outside_runtime(&profile.locations, &sample.stack) else {
            continue;
        };
        let inner = || sample.stack[..at].iter().map(|id| &profile.locations[id.0 as usize]);
        if is_nested(inner(), &profile.names, kept.is_none()) {
            continue;
        }
        let leaf = sample.leaf.and_then(|leaf| profile.locations[leaf.0 as usize].frames.first());
        let is_coroutine = |at: &Location| at.frames.iter().any(|f| Some(f.function) == newcoro);
        if leaf.is_some_and(|f| f.kind == FrameKind::Runtime) && !inner().any(is_coroutine) {
            continue;
        }
        sample.stack.drain(..at);
        sample.stack[0] = without(&mut profile.locations, sample.stack[0], skip);
        if let Some(kept) = kept.filter(|_| at > 0) {
            let inlined = profile.locations[kept.0 as usize].frames.len().saturating_sub(1);
            let kept = without(&mut profile.locations, kept, inlined);
            sample.stack.insert(0, kept);
        }
    }
}

/// Whether the allocator appears a second time, as its own caller's caller; or at all, where what was counted
/// is no allocation.
fn is_nested<'a>(
    inner: impl Iterator<Item = &'a Location>,
    names: &Interner,
    is_allocation: bool,
) -> bool {
    let allocator = |f: &Frame| names.text(f.function).starts_with("runtime.mallocgc");
    let mut runs = 0;
    let mut before = false;
    for frame in inner.flat_map(|location| &location.frames) {
        let now = allocator(frame);
        // Neighbours are one call that the allocator hands on within itself.
        runs += u32::from(now && !before);
        before = now;
    }
    runs > u32::from(is_allocation)
}

fn drop_goexit(locations: &[Location], stack: &mut Vec<LocationId>, goexit: Option<Name>) {
    let is_goexit = |id: &LocationId| {
        let frames = &locations[id.0 as usize].frames;
        goexit.is_some() && frames.iter().all(|f| Some(f.function) == goexit)
    };
    if stack.len() > 1 && stack.last().is_some_and(is_goexit) {
        stack.pop();
    }
}

/// Position in the stack, and within that location, of the innermost frame that is not runtime's.
///
/// A marker is no frame of the program: a truncated stack of runtime frames alone stays whole.
fn first_outside_runtime(locations: &[Location], stack: &[LocationId]) -> Option<(usize, usize)> {
    let outside = |kind| !matches!(kind, FrameKind::Runtime | FrameKind::Marker);
    stack.iter().enumerate().find_map(|(at, id)| {
        let frames = &locations[id.0 as usize].frames;
        frames.iter().position(|f| outside(f.kind)).map(|skip| (at, skip))
    })
}

#[cfg(test)]
mod tests {
    use super::fold_runtime;
    use crate::profile::build::Build;
    use crate::profile::{FrameKind, Profile, Source, TRUNCATED};

    fn folded(frames: &[&str]) -> Vec<String> {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, frames, 1, 16);
        let mut profile = build.done();
        fold_runtime(&mut profile);
        names(&profile, 0)
    }

    fn names(profile: &Profile, sample: usize) -> Vec<String> {
        let frames = profile.frames(&profile.samples[sample]);
        frames.map(|f| profile.names.text(f.function).to_owned()).collect()
    }

    #[test]
    fn allocation_frames_go_and_runtime_main_stays() {
        let frames = [
            "runtime.mallocgc",
            "runtime.newobject",
            "main.alloc",
            "main.main",
            "runtime.main",
            "runtime.goexit",
        ];
        assert_eq!(folded(&frames), ["main.alloc", "main.main", "runtime.main"]);
    }

    #[test]
    fn an_allocation_inside_the_allocator_is_not_the_callers() {
        let handed_on =
            ["runtime.mallocgcSmallNoScanSC6", "runtime.mallocgc", "runtime.newobject", "main.f"];
        assert_eq!(folded(&handed_on), ["main.f"]);
        let refill =
            ["runtime.(*mcache).refill", "runtime.mallocgcSmallNoscan", "runtime.mallocgc"];
        assert_eq!(folded(&[&refill[..], &["main.f"]].concat()), ["main.f"]);
        let nested = [
            "runtime.mallocgc",
            "runtime.malg",
            "runtime.newproc1",
            "runtime.gcStart",
            "runtime.mallocgc",
            "runtime.newobject",
            "main.f",
        ];
        assert_eq!(folded(&nested), nested);
    }

    #[test]
    fn what_says_what_was_done_stays() {
        let fold = |frames: &[&str]| {
            let mut build = Build::new(Source::Exact);
            let process = build.process(1, "server", "go1.26.6");
            build.stack(process, frames, 1, 16);
            let mut profile = build.done();
            let leaf = profile.samples[0].stack[0];
            profile.keep_leaf(leaf);
            fold_runtime(&mut profile);
            names(&profile, 0)
        };
        let concat = ["runtime.concatstrings", "runtime.concatstring2", "main.f", "runtime.main"];
        assert_eq!(fold(&concat), ["runtime.concatstrings", "main.f", "runtime.main"]);
        let reflected = ["runtime.growslice", "reflect.growslice", "main.f"];
        assert_eq!(fold(&reflected), reflected);
        let standard = ["internal/bytealg.MakeNoZero", "strings.(*Builder).grow", "main.f"];
        assert_eq!(fold(&standard), standard);
        let of_the_runtime = [
            "runtime.growslice",
            "runtime.allgadd",
            "runtime.mallocgc",
            "runtime.newobject",
            "main.f",
        ];
        assert_eq!(fold(&of_the_runtime), of_the_runtime);
    }

    #[test]
    fn runtime_frames_between_others_stay() {
        let frames =
            ["runtime.mallocgc", "main.inner", "runtime.systemstack", "main.outer", "runtime.main"];
        assert_eq!(
            folded(&frames),
            ["main.inner", "runtime.systemstack", "main.outer", "runtime.main"]
        );
    }

    #[test]
    fn the_runtimes_packages_go_as_since_go_1_24() {
        let frames = ["runtime.mallocgc", "internal/runtime/maps.newarray", "runtime.makemap"];
        let with_user = [&frames[..], &["main.f"]].concat();
        assert_eq!(folded(&with_user), ["main.f"]);
    }

    #[test]
    fn packages_that_only_look_like_the_runtime_stay() {
        for leaf in ["runtime/debug.Stack", "runtime/pprof.Lookup", "internal/bytealg.MakeNoZero"] {
            assert_eq!(folded(&["runtime.mallocgc", leaf, "main.f"]), [leaf, "main.f"]);
        }
        let reflect = ["runtime.mallocgc", "reflect.unsafe_New", "main.f"];
        assert_eq!(folded(&reflect), ["reflect.unsafe_New", "main.f"]);
    }

    #[test]
    fn a_stack_of_the_runtime_alone_stays_whole() {
        let frames = ["runtime.mallocgc", "runtime.allgadd", "runtime.newproc1"];
        assert_eq!(folded(&frames), frames);
        let with_goexit = [&frames[..], &["runtime.goexit"]].concat();
        assert_eq!(folded(&with_goexit), frames);
        let truncated = [&frames[..], &[TRUNCATED]].concat();
        assert_eq!(folded(&truncated), truncated);
        assert_eq!(folded(&["runtime.goexit"]), ["runtime.goexit"]);
    }

    #[test]
    fn an_unknown_frame_is_not_the_runtimes() {
        let frames = ["runtime.mallocgc", "unknown:[no~such~address]", "runtime.main"];
        assert_eq!(folded(&frames), ["[no such address]", "runtime.main"]);
    }

    #[test]
    fn an_inlined_runtime_call_is_folded_out_of_its_location() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        let frames = ["runtime.mallocgc", "+runtime.makeslicecopy", "main.copy main.go:7"];
        build.stack(process, &frames, 1, 16);
        build.stack(process, &["runtime.growslice", frames[1], frames[2]], 2, 32);
        let mut profile = build.done();
        let before = profile.locations.len();
        fold_runtime(&mut profile);
        assert_eq!(names(&profile, 0), ["main.copy"]);
        assert_eq!(profile.locations.len(), before + 1, "one location for both stacks");
        profile.merge_equal();
        assert_eq!(profile.samples.len(), 1);
        assert_eq!(profile.samples[0].values, [3, 48]);
        let location = &profile.locations[profile.samples[0].stack[0].0 as usize];
        assert!(location.binary.is_some() && location.address.0 != 0);
    }

    #[test]
    fn goroutines_of_the_runtime_are_not_the_callers() {
        let fold = |start: &str, frames: &[&str]| {
            let mut build = Build::new(Source::Exact);
            let process = build.process(1, "server", "go1.26.6");
            build.stack(process, frames, 1, 0);
            let mut profile = build.done();
            let kind =
                if start.contains("main.") { FrameKind::Program } else { FrameKind::Runtime };
            profile.samples[0].leaf = Some(profile.made_up(start, kind));
            fold_runtime(&mut profile);
            names(&profile, 0)
        };
        let worker = ["runtime.newproc1", "runtime.gcStart", "runtime.mallocgc", "main.f"];
        assert_eq!(fold("go runtime.gcBgMarkWorker", &worker), worker);
        let plain = ["runtime.newproc1", "runtime.newproc", "main.f"];
        assert_eq!(fold("go main.g", &plain), ["main.f"]);
        let pull = ["runtime.newproc1", "runtime.newcoro.func1", "runtime.newcoro", "iter.Pull"];
        assert_eq!(fold("go runtime.corostart", &pull), ["iter.Pull"]);
    }

    #[test]
    fn an_empty_stack_is_left_alone() {
        assert!(folded(&[]).is_empty());
    }
}
