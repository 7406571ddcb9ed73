//! What holds that which grows, as far as the stacks of its line tell.
//!
//! In: stacks with the runtime's own frames. Out: whether a map or a slice is written there, or a `sync.Pool` filled.

use super::Place;
use crate::profile::FrameKind;

/// What keeps objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A map gets entries there, and grows.
    Map,
    /// A slice is appended to there, and grows.
    Slice,
    /// What a pool has not is made there.
    Pool,
}

impl Keeper {
    /// As documents have it.
    pub fn word(self) -> &'static str {
        match self {
            Keeper::Map => "map",
            Keeper::Slice => "slice",
            Keeper::Pool => "pool",
        }
    }

    /// What a stack tells, innermost first.
    pub fn of<'a>(stack: impl Iterator<Item = &'a Place>) -> Option<Self> {
        let mut keeper = None;
        for place in stack {
            let name = &*place.function;
            match place.kind {
                FrameKind::Runtime if is_map(name) => keeper = keeper.or(Some(Keeper::Map)),
                FrameKind::Runtime if name.starts_with("runtime.growslice") => {
                    keeper = keeper.or(Some(Keeper::Slice));
                }
                FrameKind::Runtime => {}
                FrameKind::Standard if name.starts_with("sync.(*Pool).Get") => {
                    return Some(Keeper::Pool);
                }
                FrameKind::Standard if is_sync_map(name) => keeper = Some(Keeper::Map),
                // What the program's functions are called by tells nothing more, but for a pool's New.
                _ => {}
            }
        }
        keeper
    }
}

/// runtime/map.go and its variants up to Go 1.23; internal/runtime/maps from 1.24 on.
fn is_map(name: &str) -> bool {
    ["runtime.mapassign", "runtime.hashGrow", "runtime.growWork", "internal/runtime/maps."]
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// sync/map.go up to Go 1.23; internal/sync/hashtriemap.go from 1.24 on.
fn is_sync_map(name: &str) -> bool {
    ["sync.(*Map).", "internal/sync.(*HashTrieMap[", "internal/sync.newEntryNode["]
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stack: &[&str]) -> Option<Keeper> {
        let kind = |name: &str| match name.split('.').next().unwrap_or_default() {
            "runtime" | "internal/runtime/maps" => FrameKind::Runtime,
            "main" => FrameKind::Program,
            _ => FrameKind::Standard,
        };
        let place = |name: &&str| Place {
            function: (*name).into(),
            file: "".into(),
            line: 1,
            kind: kind(name),
        };
        let places: Vec<Place> = stack.iter().map(place).collect();
        Keeper::of(places.iter())
    }

    #[test]
    fn what_is_written_is_told_by_who_writes_it() {
        let old = ["runtime.newarray", "runtime.hashGrow", "runtime.mapassign_faststr", "main.f"];
        let new = [
            "runtime.newarray",
            "internal/runtime/maps.(*table).grow",
            "runtime.mapassign",
            "main.f",
        ];
        let sync =
            ["runtime.newobject", "internal/sync.newEntryNode[...]", "sync.(*Map).Store", "main.f"];
        for map in [&old, &new, &sync] {
            assert_eq!(of(map), Some(Keeper::Map), "{map:?}");
        }
        assert_eq!(of(&["runtime.mallocgc", "runtime.growslice", "main.f"]), Some(Keeper::Slice));
        let pool = ["runtime.newobject", "main.init.func1", "sync.(*Pool).Get", "main.f"];
        assert_eq!(of(&pool), Some(Keeper::Pool));
        assert_eq!(of(&["runtime.newobject", "main.f"]), None);
        assert_eq!(of(&[]), None);
    }
}
