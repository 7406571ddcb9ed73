//! A stripped program's frames are those that `go tool addr2line` tells for the same addresses of
//! its twin with symbols.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use heaptap_tests::profile::{Profile, StackFrame};
use heaptap_tests::{Fixture, Recording, Variant, fixture, require_root};
use xtask::each_release;

fn equals_its_twin(go: &str, variant: Variant) -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("alloc", go, variant)?;
    let mut alloc = fixture.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let pid = alloc.pid().to_string();
    // With the runtime's frames: nothing of an address is folded away.
    let args = ["-p", &pid, "--runtime-frames", "-o"];
    let recording = Recording::start(args.iter().map(AsRef::as_ref).chain([json.as_os_str()]))?;
    alloc.rounds(2)?;
    recording.stop()?.expect(0)?;
    let profile = Profile::read(&json)?;

    let places = places(&profile);
    ensure!(places.len() > 100, "only {} addresses", places.len());
    let twin = Fixture::build("alloc", go, variant.unstripped())?;
    let told = addr2line(&twin, places.keys().copied())?;
    let mut wrong = Vec::new();
    for ((address, place), told) in places.iter().zip(told) {
        if *place != told {
            wrong.push(format!("{address}: heaptap {place:?}, addr2line {told:?}"));
        }
    }
    if !wrong.is_empty() {
        bail!("{} of {} addresses differ:\n{}", wrong.len(), places.len(), wrong.join("\n"));
    }
    Ok(())
}

/// What `go tool addr2line` tells of an address: the function that was really called, and the
/// innermost file and line, which may be an inlined function's.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    function: String,
    line: String,
}

/// Every address of a profile. Addresses with a hidden wrapper or without a name are left out.
fn places(profile: &Profile) -> BTreeMap<&str, Place> {
    let mut places = BTreeMap::new();
    for stack in &profile.stacks {
        let mut innermost: Option<&StackFrame> = None;
        for frame in &stack.frames {
            let first = innermost.get_or_insert(frame);
            if frame.inlined {
                continue;
            }
            let place = Place {
                function: frame.function.clone(),
                line: format!("{}:{}", first.file, first.line),
            };
            if frame.kind != "marker" {
                places.insert(frame.address.as_str(), place);
            }
            innermost = None;
        }
    }
    places
}

fn addr2line<'a>(twin: &Fixture, addresses: impl Iterator<Item = &'a str>) -> Result<Vec<Place>> {
    // The tool of Go 1.19 knows no position-independent programs; later ones read those of 1.19.
    let tool = if twin.release.minor() == "1.19" { "1.21" } else { twin.release.minor() };
    let mut command = fixture::go_tool(tool, "addr2line")?;
    command.arg(&twin.program).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("can't start go tool addr2line")?;
    let mut stdin = child.stdin.take().context("addr2line has no stdin")?;
    // A few hundred lines: they fit into the pipe while nobody reads the answers.
    for address in addresses {
        writeln!(stdin, "{address}")?;
    }
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "addr2line failed: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<&str> = text.lines().collect();
    let place = |pair: &[&str]| Place { function: pair[0].to_owned(), line: pair[1].to_string() };
    Ok(lines.chunks_exact(2).map(place).collect())
}

each_release! {
    stripped: |go| equals_its_twin(go, Variant::Stripped);
    pie_stripped: |go| equals_its_twin(go, Variant::PieStripped);
}
