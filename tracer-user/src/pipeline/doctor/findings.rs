//! What was looked at and tried on this host. Nothing is judged here.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use serde::Serialize;

use crate::address::FileOffset;
use crate::host::{self, System};
use crate::pipeline::{programs, sampler};
use crate::probe::features::{self, Feature, Refused};
use crate::probe::os::{Offsets, Unsuited};
use crate::probe::trap::{self, Trapped};
use crate::probe::{AttachSite, Attachment, GroupId, Kernel, Options, Program, Scope};

const OWN_FILE: &str = "/proc/self/exe";

/// Everything that was looked at and tried.
pub(super) struct Findings {
    pub system: System,
    pub features: Vec<(Feature, Result<(), Refused>)>,
    /// heaptap's own kernel programs: loaded, verified, attached and taken away again.
    pub own_programs: Result<(), Problem>,
    pub emulated: Result<Duration, Problem>,
    pub single_stepped: Result<Duration, Problem>,
    /// The tracepoints of the probes `os` and `os-alloc`; why none was tried.
    pub os: Result<Vec<Tracepoint>, Problem>,
    /// Processes that run Go programs; those that could not be looked at for lack of a privilege,
    /// and for other reasons.
    pub go: Result<GoProcesses, Problem>,
    /// Processes whose sampler a heaptap that was killed has left on.
    pub samplers: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct GoProcesses {
    pub seen: usize,
    pub not_permitted: usize,
    pub not_readable: usize,
}

/// A tracepoint that a program of heaptap's was attached to and taken off again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tracepoint {
    pub name: &'static str,
    /// For `os-alloc` alone.
    pub of_slow: bool,
    pub tried: Result<(), Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub text: String,
    pub is_permission: bool,
}

impl From<crate::probe::Error> for Problem {
    fn from(error: crate::probe::Error) -> Self {
        let text = error.to_string();
        // Where else to look: this is the place.
        let mut text = text.split(" (`heaptap doctor`").next().unwrap_or_default().to_owned();
        if let Some(reason) = error.reason() {
            text = format!("{text}: {reason}");
        }
        Self { is_permission: error.is_permission(), text }
    }
}

impl From<Unsuited> for Problem {
    fn from(unsuited: Unsuited) -> Self {
        Self { is_permission: unsuited.is_permission(), text: unsuited.to_string() }
    }
}

impl From<host::Error> for Problem {
    fn from(error: host::Error) -> Self {
        Self { is_permission: error.is_permission(), text: error.to_string() }
    }
}

impl Problem {
    fn other(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_permission: false }
    }
}

impl Findings {
    pub fn gather() -> Self {
        let emulated_at = own_offset(Trapped::Emulated);
        let stepped_at = own_offset(Trapped::SingleStepped);
        let features = tried(&emulated_at);
        let system = host::system();
        let has_links = has_links(&features);
        let refused = |(feature, tried): &(Feature, Result<(), Refused>)| {
            let refused = tried.as_ref().err().filter(|_| feature.is_required(has_links));
            refused.map(|refused| is_permission(&system, refused))
        };
        let refused: Vec<bool> = features.iter().filter_map(refused).collect();
        // They would fail for the reasons that are told already.
        let tried_in_vain = (!refused.is_empty()).then(|| {
            let text = "not tried, because something above is missing".to_owned();
            Problem { text, is_permission: refused.into_iter().all(|permission| permission) }
        });
        let may_try = || tried_in_vain.clone().map_or(Ok(()), Err);
        let kernel = may_try().and_then(|()| own_kernel());
        let os = Offsets::of_kernel().map_err(Problem::from).and_then(|offsets| {
            may_try()?;
            tracepoints(offsets)
        });
        let (own_programs, emulated, single_stepped) = match kernel {
            Ok(mut kernel) => (
                emulated_at.clone().and_then(|offset| attach_own(&mut kernel, offset)),
                emulated_at.and_then(|offset| cost(&mut kernel, Trapped::Emulated, offset)),
                stepped_at.and_then(|offset| cost(&mut kernel, Trapped::SingleStepped, offset)),
            ),
            Err(problem) => (Err(problem.clone()), Err(problem.clone()), Err(problem)),
        };
        let go = programs::count().map_err(Problem::from).map(|(seen, unseen)| {
            let not_permitted = unseen.iter().filter(|unseen| unseen.is_permission).count();
            GoProcesses { seen, not_permitted, not_readable: unseen.len() - not_permitted }
        });
        let samplers = sampler::left_on();
        Self { system, features, own_programs, emulated, single_stepped, os, go, samplers }
    }
}

/// Tries all features at a place in heaptap's file.
fn tried(offset: &Result<FileOffset, Problem>) -> Vec<(Feature, Result<(), Refused>)> {
    // Where the place is not known the kernel's answer to offset 0 still tells most.
    let offset = offset.as_ref().map_or(FileOffset(0), |offset| *offset);
    let one = |feature| (feature, features::try_out(feature, Path::new(OWN_FILE), offset));
    Feature::ALL.map(one).to_vec()
}

/// The same, for who wants to know nothing else.
pub(super) fn features() -> Vec<(Feature, Result<(), Refused>)> {
    tried(&own_offset(Trapped::Emulated))
}

/// Whether this kernel has links of many uprobes, which take no perf events.
pub(super) fn has_links(features: &[(Feature, Result<(), Refused>)]) -> bool {
    features.iter().any(|(feature, tried)| *feature == Feature::UprobeMulti && tried.is_ok())
}

/// Whether a privilege would help. Filters of system calls say of what they refuse that there is no such call.
pub(super) fn is_permission(system: &System, refused: &Refused) -> bool {
    refused.is_permission() || system.seccomp && refused.errno == Errno::ENOSYS
}

/// Tries the tracepoints of the probe `os`; no process is selected.
fn tracepoints(offsets: Offsets) -> Result<Vec<Tracepoint>, Problem> {
    let offsets = Offsets { trap: Some(0), ..offsets };
    let smallest =
        Options { max_stacks: 1, max_processes: 1, os: Some(offsets), ..Options::default() };
    let tried = Kernel::load(&smallest)?.try_os();
    let tracepoint = |(name, of_slow, tried): (_, _, Result<(), crate::probe::Error>)| Tracepoint {
        name,
        of_slow,
        tried: tried.map_err(Problem::from),
    };
    Ok(tried.into_iter().map(tracepoint).collect())
}

/// Where a function of heaptap's own lies in its file.
fn own_offset(function: Trapped) -> Result<FileOffset, Problem> {
    let machine = || Problem::other("it is measured on x86-64 and arm64 only");
    let address = function.address().ok_or_else(machine)?;
    let mappings = host::mappings(std::process::id())?;
    mappings
        .iter()
        .find(|mapping| (mapping.start..mapping.end).contains(&address))
        .and_then(|mapping| mapping.offset.0.checked_add(address.0 - mapping.start.0))
        .map(FileOffset)
        .ok_or_else(|| Problem::other("heaptap can't find its own code in its own file"))
}

/// The kernel programs with the smallest tables.
fn own_kernel() -> Result<Kernel, Problem> {
    let smallest = Options { max_stacks: 1, max_processes: 1, ..Options::default() };
    let mut kernel = Kernel::load(&smallest)?;
    kernel.watch_processes()?;
    Ok(kernel)
}

/// Attaches each program that recording attaches. They count nothing: no process is selected.
fn attach_own(kernel: &mut Kernel, offset: FileOffset) -> Result<(), Problem> {
    let file = own_file()?;
    let cookie = tracer_common::Cookie { binary: 0, site: 0, at_check: false, kind: 0 };
    let sites = &[AttachSite { offset, expected: &[], cookie }];
    for &program in Program::RECORDING {
        let at = Attachment { program, file: &file, scope: Scope::File, sites };
        kernel.attach(GroupId::default(), &at)?;
    }
    kernel.detach_all();
    Ok(())
}

fn cost(kernel: &mut Kernel, function: Trapped, offset: FileOffset) -> Result<Duration, Problem> {
    Ok(trap::cost(kernel, function, &own_file()?, offset)?)
}

/// Whether uprobes can be attached here without perf events, and so without CAP_SYS_ADMIN.
pub fn attaches_without_perf() -> bool {
    let offset = own_offset(Trapped::Emulated).unwrap_or(FileOffset(0));
    features::try_out(Feature::UprobeMulti, Path::new(OWN_FILE), offset).is_ok()
}

/// What one trap costs on this host; nothing where it can't be measured.
pub fn trap_cost(function: Trapped) -> Option<Duration> {
    let offset = own_offset(function).ok()?;
    let smallest = Options { max_stacks: 1, max_processes: 1, ..Options::default() };
    cost(&mut Kernel::load(&smallest).ok()?, function, offset).ok()
}

/// A function of heaptap's own that can be trapped and that nobody calls, in heaptap's file.
pub fn own_function() -> Option<(File, FileOffset)> {
    Some((own_file().ok()?, own_offset(Trapped::Emulated).ok()?))
}

fn own_file() -> Result<File, Problem> {
    File::open(OWN_FILE).map_err(|error| Problem::other(format!("{OWN_FILE}: {error}")))
}

#[cfg(test)]
pub(super) mod sample {
    use super::*;
    use crate::host::{Capabilities, CgroupMode, Cgroups, Tracefs};

    fn system() -> System {
        System {
            kernel: "6.18.0".into(),
            machine: "x86_64".into(),
            capabilities: Capabilities(u64::MAX),
            btf: true,
            tracefs: Tracefs::NotMounted,
            perf_event_paranoid: Some(2),
            kptr_restrict: Some(0),
            unprivileged_bpf_disabled: Some(2),
            lockdown: None,
            cgroups: Cgroups(Some(CgroupMode::V2)),
            memlock: Some(8 << 20),
            seccomp: false,
            initial_pid_namespace: Some(true),
            initial_user_namespace: Some(true),
        }
    }

    pub fn all_well() -> Findings {
        Findings {
            system: system(),
            features: Feature::ALL.map(|feature| (feature, Ok(()))).to_vec(),
            own_programs: Ok(()),
            emulated: Ok(Duration::from_nanos(870)),
            single_stepped: Ok(Duration::from_nanos(9400)),
            os: Ok(["sys_enter", "rss_stat", "page_fault_user"]
                .map(|name| Tracepoint { name, of_slow: name == "page_fault_user", tried: Ok(()) })
                .to_vec()),
            go: Ok(GoProcesses { seen: 3, not_permitted: 0, not_readable: 0 }),
            samplers: Vec::new(),
        }
    }

    /// As if every feature was refused with `errno`.
    pub fn refused(findings: Findings, errno: Errno) -> Findings {
        let refusal = Refused { call: "bpf(BPF_PROG_LOAD)", errno };
        let is_permission = refusal.is_permission();
        let features = Feature::ALL.map(|feature| (feature, Err(refusal))).to_vec();
        let text = "not tried, because something above is missing".to_owned();
        let problem = Problem { text, is_permission };
        Findings {
            features,
            own_programs: Err(problem.clone()),
            emulated: Err(problem.clone()),
            single_stepped: Err(problem.clone()),
            os: Err(problem),
            ..findings
        }
    }
}
