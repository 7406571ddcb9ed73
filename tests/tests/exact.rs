//! Exact means exact: on every Go release, however the program was built, every call path has its
//! own count, bytes and frames, and the total is `runtime.MemStats.Mallocs`.

use std::ffi::OsStr;

use anyhow::{Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Variant, check, require_root};
use xtask::each_release;

const ROUNDS: u32 = 10;

fn counts_exactly(go: &str, variant: Variant) -> Result<()> {
    counts_exactly_with(go, variant, &[])
}

fn counts_exactly_with(go: &str, variant: Variant, flags: &[&str]) -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", go, variant)?.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let pid = alloc.pid().to_string();
    let args = ["-p".as_ref(), pid.as_ref(), "-o".as_ref(), json.as_os_str()];
    let recording = Recording::start(args.into_iter().chain(flags.iter().map(OsStr::new)))?;
    alloc.rounds(ROUNDS)?;
    recording.stop()?.expect(0)?;
    let report = alloc.report()?;
    let profile = Profile::read(&json)?;
    check::all(&profile, &report)?;
    let deep = report.path("recursion_160")?.count;
    let truncated = profile.counter("truncated_stacks");
    ensure!(truncated == deep, "{truncated} stacks truncated, {deep} are too deep");
    // Where the probe is at the jump of the stack check, calls that grow the stack come to it twice. On arm64 it is
    // there in every release; in which of them such a call comes is not known.
    let (restarted, at_check) = (profile.counter("restarted"), go == "1.19");
    let any = cfg!(target_arch = "aarch64") && !at_check;
    ensure!(
        any || (restarted > 0) == at_check,
        "{restarted} calls that started again are left out"
    );
    let version = profile.processes[0].go_version.as_deref();
    ensure!(version == Some(&report.go), "Go version {version:?} of a {} program", report.go);
    Ok(())
}

each_release! {
    default: |go| counts_exactly(go, Variant::Default);
    stripped: |go| counts_exactly(go, Variant::Stripped);
    pie: |go| counts_exactly(go, Variant::Pie);
    pie_stripped: |go| counts_exactly(go, Variant::PieStripped);
}

/// The 66 size-specialised functions of an experimental Go 1.26 are entries too.
#[test]
fn go1_26_with_size_specialised_functions() -> Result<()> {
    counts_exactly("1.26", Variant::OtherMalloc)
}

/// Go 1.27 can be told to do without its 14.
#[test]
fn go1_27_without_size_specialised_functions() -> Result<()> {
    counts_exactly("1.27", Variant::OtherMalloc)
}

/// The system's linker lays the program out in its own way.
#[test]
fn linked_externally() -> Result<()> {
    counts_exactly("1.26", Variant::External)
}

/// No section headers, no build info: what packers and some package makers leave.
#[test]
fn without_sections_and_build_info() -> Result<()> {
    for go in ["1.21", "1.24", "1.27"] {
        counts_exactly(go, Variant::Bare)?;
        counts_exactly(go, Variant::BarePie)?;
    }
    Ok(())
}

/// Go functions that C calls: their own frames are there and every call counts; direct calls keep
/// their whole stack.
#[test]
fn called_back_from_c() -> Result<()> {
    require_root()?;
    for go in ["1.21", "1.24", "1.27"] {
        let mut cgo = Fixture::build("cgo", go, Variant::Default)?.start()?;
        let dir = tempfile::tempdir()?;
        let json = dir.path().join("out.json");
        let pid = cgo.pid().to_string();
        let recording =
            Recording::start(["-p".as_ref(), pid.as_ref(), "-o".as_ref(), json.as_os_str()])?;
        let mallocs = cgo.rounds(ROUNDS)?;
        recording.stop()?.expect(0)?;
        let profile = Profile::read(&json)?;
        let value = profile.value("alloc_objects")?;
        let count = |function: &str, caller: &str| -> u64 {
            let by = profile.stacks.iter().filter(|stack| {
                let names: Vec<&str> =
                    stack.frames.iter().take(2).map(|frame| frame.function.as_str()).collect();
                names == [function, caller]
            });
            by.map(|stack| stack.values[value]).sum()
        };
        let (called, direct) =
            (count("main.keepCalled", "main.called_by_c"), count("main.keepDirect", "main.round"));
        ensure!(called == u64::from(ROUNDS) * 50, "Go {go}: {called} allocations in callbacks");
        ensure!(direct == u64::from(ROUNDS) * 2, "Go {go}: {direct} allocations beside callbacks");
        let total = profile.total("alloc_objects")?;
        // The answer's line and the next command's are allocated outside of what it counts.
        ensure!((mallocs..mallocs + 20).contains(&total), "Go {go}: {total} seen of {mallocs}");
    }
    Ok(())
}

/// Kernels before 6.6 have perf events only, a breakpoint each.
#[test]
fn attached_through_perf_events() -> Result<()> {
    counts_exactly_with("1.27", Variant::Pie, &["--perf-events"])
}

/// A profile inlines what `mallocgc` divides its work among, and hides none of it.
#[test]
fn go1_24_with_a_profile() -> Result<()> {
    counts_exactly("1.24", Variant::Profiled)
}

/// A profile inlines `mallocgc` itself into what calls it.
#[test]
fn go1_26_with_a_profile() -> Result<()> {
    counts_exactly("1.26", Variant::Profiled)
}

/// A profile inlines size-specialised functions into `mallocgc`.
#[test]
fn go1_27_with_a_profile() -> Result<()> {
    counts_exactly("1.27", Variant::Profiled)
}
