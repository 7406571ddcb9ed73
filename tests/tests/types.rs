//! `--by type`: allocations carry the Go type that was allocated.

use anyhow::{Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Variant, require_root};
use xtask::each_release;

/// The program's own types, boxed values, closures and arrays show as what they are.
fn names_types(go: &str, variant: Variant) -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", go, variant)?.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let (pid, path) = (alloc.pid().to_string(), json.display().to_string());
    let recording = Recording::start(["-p", &pid, "--by", "type", "-o", &path])?;
    alloc.rounds(5)?;
    recording.stop()?.expect(0)?;
    let report = alloc.report()?;
    let profile = Profile::read(&json)?;
    let objects = profile.value("alloc_objects")?;
    // How often a type was allocated by the paths of one fixture function.
    let count = |name: &str, function: &str| -> u64 {
        let matching = profile.stacks.iter().filter(|stack| {
            stack.go_type.as_deref() == Some(name)
                && stack.frames.iter().any(|frame| frame.function == function)
        });
        matching.map(|stack| stack.values[objects]).sum()
    };
    let expected = [
        ("main.node", "main.kindsOfObject", &["composite", "reflect_new"][..]),
        ("[24]uint8", "main.sizesWithoutPointers", &["bytes_24"]),
        ("[3]*uint8", "main.sizesWithPointers", &["pointers_24"]),
        ("[6]int64", "main.recoverAndKeep", &["recovering"]),
        ("[50000]uint8", "main.worker", &["worker_large"]),
        ("[3]*uint8", "main.worker", &["worker_pointers"]),
    ];
    for (name, function, paths) in expected {
        let mut wanted = 0;
        for id in paths {
            wanted += report.path(id)?.count;
        }
        let found = count(name, function);
        ensure!(found == wanted, "{name} in {function}: {found} of {wanted}");
    }
    let leaf = profile.stacks.iter().find(|stack| stack.go_type.is_some());
    let kind = leaf.map(|stack| stack.frames[0].kind.as_str());
    ensure!(kind == Some("type"), "the innermost frame is a {kind:?}");
    let total = profile.total("alloc_objects")?;
    ensure!((report.mallocs..=report.mallocs + report.idle).contains(&total), "total {total}");
    Ok(())
}

each_release! {
    stripped: |go| names_types(go, Variant::Stripped);
    pie: |go| names_types(go, Variant::Pie);
}
