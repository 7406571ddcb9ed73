//! What one exact event costs the program: no probe, an empty probe at the same sites, heaptap, and
//! bpftrace at the function's entry.
//!
//! One Go program allocates one object again and again under a stack of a known depth and times
//! itself. All of them are measured in the same run of the program, in turn, round after round; what
//! a round says is compared within the round. Two rounds of nothing show the noise floor.

use std::{
    fs::File,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use heaptap::{
    gobin::{GoBinary, sites},
    probe::{self, AttachSite, Attachment, GroupId, Kernel, Program, Scope},
};
use tracer_common::{Cookie, ProcEntry, record::PROC_LIVE};

use crate::{report, stats::Series, target, target::Target, tracer::Tracer};

#[derive(clap::Args)]
pub struct Options {
    /// Go releases
    #[arg(long, value_delimiter = ',', default_value = "1.21,1.24,1.26,1.27")]
    go: Vec<String>,
    /// Frames of the stack, from the allocation function's caller to runtime.goexit
    #[arg(long, default_value_t = 20)]
    depth: u32,
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

/// Allocations of one measurement.
const PLAIN: u32 = 2_000_000;
const PROBED: u32 = 300_000;
const BPFTRACE: u32 = 50_000;

/// Figures of all rounds, in nanoseconds per allocation.
#[derive(Default)]
struct Figures {
    none: Series,
    none_again: Series,
    empty: Series,
    heaptap: Series,
    bpftrace: Series,
}

pub fn run(options: &Options) -> Result<()> {
    let mut body = format!(
        "One `new` of 64 bytes under {} frames, {} rounds; medians (smallest to largest), \
         nanoseconds per allocation. Cost is the difference to no probe in the same round.\n\n\
         | Go | no probe | noise | empty probe | heaptap | bpftrace | heaptap / empty | bpftrace / heaptap |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        options.depth, options.rounds
    );
    for release in &options.go {
        let f = measure(options, release)?;
        let (empty, heaptap) = (f.empty.minus(&f.none), f.heaptap.minus(&f.none));
        let bpftrace = f.bpftrace.minus(&f.none);
        let noise = f.none_again.minus(&f.none);
        body += &format!(
            "| {release} | {} | {} | {} | {} | {} | {} | {} |\n",
            f.none.text(0),
            noise.text(0),
            empty.text(0),
            heaptap.text(0),
            bpftrace.text(0),
            heaptap.over(&empty).text(2),
            bpftrace.over(&heaptap).text(2),
        );
    }
    body += "\nBars: heaptap / empty at most 1.5, bpftrace / heaptap at least 8.\n";
    let versions = [
        format!("heaptap {}", env!("CARGO_PKG_VERSION")),
        report::first_line("bpftrace", &["--version"]),
    ];
    report::keep("cost", "Cost of one exact event", &versions, &body)
}

fn measure(options: &Options, release: &str) -> Result<Figures> {
    let binary = target::build("cost", release)?;
    let mut target = Target::start(&binary)?;
    let mut figures = Figures::default();
    let ask = |target: &mut Target, count: u32| {
        // A little first, so that what is new (a breakpoint's page, a stack's entry) is not timed.
        target.ask(&format!("{} {}", options.depth, count / 20))?;
        target.ask(&format!("{} {count}", options.depth))
    };
    for round in 0..options.rounds {
        eprint!("\rcost: go {release}, round {} of {} ", round + 1, options.rounds);
        figures.none.push(ask(&mut target, PLAIN)?);
        let mut empty = attach_empty(&binary, target.pid())?;
        figures.empty.push(ask(&mut target, PROBED)?);
        empty.detach_all();
        let mut heaptap = heaptap(&options.heaptap, target.pid())?;
        figures.heaptap.push(ask(&mut target, PROBED)?);
        heaptap.stop()?;
        figures.none_again.push(ask(&mut target, PLAIN)?);
        let mut bpftrace = bpftrace(&binary, target.pid())?;
        // It says nothing when its probes are attached; but it can be felt.
        let plain = figures.none.median();
        let felt = |ns: f64| ns > 20.0 * plain;
        ensure!(
            (0..100).any(|_| ask(&mut target, 2_000).is_ok_and(felt)),
            "bpftrace's probe was not felt"
        );
        figures.bpftrace.push(ask(&mut target, BPFTRACE)?);
        bpftrace.stop()?;
    }
    eprintln!();
    Ok(figures)
}

/// The empty program at every allocation site.
fn attach_empty(binary: &Path, pid: u32) -> Result<Kernel> {
    let file = File::open(binary)?;
    let go = GoBinary::open(file.try_clone()?)?;
    let mut kernel = Kernel::load(&probe::Options::default())?;
    let scope = Scope::Process(NonZeroU32::new(pid).context("pid 0")?);
    kernel
        .select(pid, &ProcEntry { image: 1, binary: 1, state: PROC_LIVE, ..Default::default() })?;
    let found = sites::alloc_sites(&go)?;
    let sites: Vec<AttachSite<'_>> = found
        .sites
        .iter()
        .enumerate()
        .map(|(index, alloc)| AttachSite {
            offset: alloc.site.offset,
            expected: &alloc.site.bytes,
            cookie: Cookie {
                binary: 1,
                site: index as u16,
                at_check: alloc.site.at_check,
                kind: alloc.min_size,
            },
        })
        .collect();
    let at = Attachment { program: Program::Empty, file: &file, scope, sites: &sites };
    kernel.attach(GroupId::default(), &at)?;
    Ok(kernel)
}

fn heaptap(heaptap: &Path, pid: u32) -> Result<Tracer> {
    let pid = pid.to_string();
    let arguments = ["--mode", "exact", "--budget", "none", "-p", &pid];
    let mut tracer = Tracer::spawn_heaptap(heaptap, arguments)?;
    tracer.until_recording()?;
    Ok(tracer)
}

/// What one would do with bpftrace: bytes by process and stack, at the function's entry.
fn bpftrace(binary: &Path, pid: u32) -> Result<Tracer> {
    let go = GoBinary::open(File::open(binary)?)?;
    // The function that allocates 64 bytes without pointers: class 6 where there are such.
    let specialised = "runtime.mallocgcSmallNoScanSC6";
    let function =
        if go.find_function(specialised).is_some() { specialised } else { "runtime.mallocgc" };
    let script = format!(
        "BEGIN {{ printf(\"begun\\n\"); }} uprobe:{}:\"{function}\" {{ @[pid, ustack(64)] = sum(reg(\"ax\")); }}",
        binary.display()
    );
    Tracer::bpftrace(&script, Some(pid))
}
