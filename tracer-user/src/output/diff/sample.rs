//! Comparisons for tests.

use crate::profile::build::Build;
use crate::profile::diff::{Asked, Diff, Measured};
use crate::profile::{ProcessId, Source};

const MIB: u64 = 1 << 20;

fn side(name: &str, pid: u32, make: impl Fn(&mut Build, ProcessId)) -> Measured {
    let mut build = Build::new(Source::Exact);
    let process = build.process(pid, "server", "go1.26.6");
    make(&mut build, process);
    Measured::new(name.to_owned(), build.done())
}

/// One stack grown, one shrunk, one gone, one new, one moved, one as it was.
pub fn grown() -> Diff {
    let main = "main.main /src/main.go:10";
    let before = side("before.htap", 41, |build, p| {
        build.stack(p, &["main.(*Cache).Put /src/cache.go:57", main], 100, MIB);
        build.stack(p, &["encoding/json.Unmarshal json/decode.go:9", main], 500, 8 * MIB);
        build.stack(p, &["main.old /src/old.go:3", main], 30, 2 * MIB);
        build.stack(p, &["main.moved /src/m.go:3", main], 3, MIB / 2);
        build.stack(p, &["main.same /src/same.go:3", main], 3, MIB);
    });
    let after = side("after.htap", 42, |build, p| {
        build.stack(p, &["main.(*Cache).Put /src/cache.go:57", main], 3100, 31 * MIB);
        build.stack(p, &["encoding/json.Unmarshal json/decode.go:9", main], 300, 5 * MIB);
        build.stack(p, &["main.fresh /src/fresh.go:3", main], 30, 4 * MIB);
        build.stack(p, &["main.moved /src/m.go:4", main], 3, MIB / 2);
        build.stack(p, &["main.same /src/same.go:3", main], 3, MIB);
    });
    compared(&before, &after)
}

/// One of what was sampled, with errors and a period.
pub fn sampled() -> Diff {
    let [before, after] = [("a.pb.gz", 10), ("b.pb.gz", 20)].map(|(name, objects)| {
        let mut one = side(name, 7, |build, p| {
            build.stack(p, &["main.a a.go:1"], objects, 64 * objects).error(1.0, 8.0);
            build.note("a note");
        });
        one.period = Some((crate::profile::diff::Kind::new("space", "bytes"), 524_288));
        one
    });
    compared(&before, &after)
}

fn compared(before: &Measured, after: &Measured) -> Diff {
    match Diff::new(before, after, &Asked::default()) {
        Ok(diff) => diff,
        Err(unlike) => panic!("{unlike}"),
    }
}
