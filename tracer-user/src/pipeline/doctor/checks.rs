//! Judges what was found: one line for each thing, and what all lines together mean. Touches nothing
//! of the host, so it is tested without one.

use std::time::Duration;

use serde::Serialize;

use super::findings::{Findings, GoProcesses, Problem, Tracepoint, has_links, is_permission};
use crate::exit::Exit;
use crate::host::{Capability, System, Tracefs};
use crate::output::text::grouped;
use crate::pipeline::counted;
use crate::pipeline::programs::not_permitted;
use crate::probe::features::{Feature, Refused};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    /// Recording works with less than could be.
    Limited,
    /// Recording can't work.
    Missing,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub name: &'static str,
    pub state: State,
    /// When it is missing: whether a privilege would help.
    pub by_privilege: bool,
    pub text: String,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, state: State::Ok, by_privilege: false, text: text.into() }
    }

    fn limited(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, state: State::Limited, by_privilege: false, text: text.into() }
    }

    fn missing(name: &'static str, by_privilege: bool, text: impl Into<String>) -> Self {
        Self { name, state: State::Missing, by_privilege, text: text.into() }
    }
}

/// What all checks together mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Works,
    Privilege,
    Kernel,
}

impl Verdict {
    pub fn of(checks: &[Check]) -> Self {
        let missing = || checks.iter().filter(|check| check.state == State::Missing);
        if missing().next().is_none() {
            Verdict::Works
        } else if missing().all(|check| check.by_privilege) {
            Verdict::Privilege
        } else {
            Verdict::Kernel
        }
    }

    pub fn exit(self) -> Exit {
        match self {
            Verdict::Works => Exit::Ok,
            Verdict::Privilege => Exit::Permission,
            Verdict::Kernel => Exit::Unsupported,
        }
    }
}

/// Judges what was found.
pub(super) fn checks(findings: &Findings) -> Vec<Check> {
    let system = &findings.system;
    let mut checks = vec![Check::ok("kernel", format!("{} {}", system.kernel, system.machine))];
    let has_links = has_links(&findings.features);
    checks.extend(capabilities(system, has_links));
    checks.extend(namespaces(system));
    let refused = |(tried, result): &(Feature, Result<(), Refused>)| {
        tried.is_required(has_links) && result.is_err()
    };
    checks.extend(seccomp(system, findings.features.iter().any(refused)));
    let feature = |tried, result| feature(system, tried, result, has_links);
    checks.extend(findings.features.iter().map(|(tried, result)| feature(*tried, result)));
    checks.push(own_programs(system, &findings.own_programs));
    checks.extend(settings(system));
    checks.extend(os_probes(system, &findings.os));
    checks.push(trap_cost(&findings.emulated, &findings.single_stepped));
    checks.push(go_processes(system, &findings.go));
    checks.extend(samplers(&findings.samplers));
    checks
}

/// What recording needs and the kernel does not have, where that is so, in one line.
pub(super) fn lacks_of_kernel(
    system: &System,
    features: &[(Feature, Result<(), Refused>)],
) -> Option<String> {
    let has_links = has_links(features);
    let checks = features.iter().map(|(tried, result)| feature(system, *tried, result, has_links));
    let missing = checks.filter(|check| check.state == State::Missing && !check.by_privilege);
    let told: Vec<String> =
        missing.map(|check| format!("{}: {}", check.name, check.text)).collect();
    (!told.is_empty()).then(|| format!("recording can't work on this kernel: {}", told.join("; ")))
}

/// Nothing when no sampler was left on.
fn samplers(pids: &[u32]) -> Option<Check> {
    let named: Vec<String> = pids.iter().map(u32::to_string).collect();
    let text = format!(
        "left on in {} by a heaptap that was killed: {}; the next `heaptap heap` or `heaptap record` \
         turns it off",
        counted(pids.len(), "process"),
        named.join(", ")
    );
    (!pids.is_empty()).then(|| Check::limited("samplers", text))
}

fn capabilities(system: &System, has_links: bool) -> Vec<Check> {
    let held = Capability::ALL.into_iter().filter(|c| system.capabilities.has(*c));
    let held: Vec<_> = held.map(Capability::name).collect();
    let mut checks = Vec::new();
    if !held.is_empty() {
        checks.push(Check::ok("capabilities", format!("held: {}", held.join(", "))));
    }
    for missing in system.capabilities.missing() {
        // Whether recording can do without is found by trying.
        checks.push(match missing {
            // Recording does with less, or later; no kernel that wants the last one has attach cookies.
            Capability::CheckpointRestore | Capability::SysNice | Capability::SysResource => {
                Check::ok(missing.name(), format!("not held, not needed; {}", missing.without()))
            }
            Capability::SysAdmin if has_links => {
                Check::ok(missing.name(), format!("not held, not needed; {}", missing.without()))
            }
            _ => Check::limited(
                missing.name(),
                format!("not held; {}; run as root or grant it", missing.without()),
            ),
        });
    }
    checks
}

fn namespaces(system: &System) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(match system.initial_pid_namespace {
        Some(true) => Check::ok("pid namespace", "the kernel's own"),
        Some(false) => Check::missing(
            "pid namespace",
            true,
            "heaptap runs in a pid namespace of its own, where pids are not the kernel's, so \
             nothing would be counted; start its container with --pid=host",
        ),
        None => Check::limited("pid namespace", "can't be told; /proc/self/ns is not readable"),
    });
    if system.initial_user_namespace == Some(false) {
        checks.push(Check::limited(
            "user namespace",
            "not the kernel's own, so capabilities held in it do not count for BPF; run heaptap as \
             the host's root (not in a rootless container)",
        ));
    }
    checks
}

/// Whether a filter of system calls is in the way.
fn seccomp(system: &System, is_refused: bool) -> Option<Check> {
    let check = match is_refused {
        true => Check::limited("seccomp", format!("a filter is in force; {FILTER}")),
        false => Check::ok("seccomp", "a filter is in force, and lets through what is needed"),
    };
    system.seccomp.then_some(check)
}

/// What filters do, and what helps.
const FILTER: &str = "containerd's (since 1.7) and docker's (since 23) default filters let bpf through for a holder of \
     CAP_BPF, podman's and CRI-O's mostly for CAP_SYS_ADMIN alone: use a profile that allows it, or \
     --security-opt seccomp=unconfined";

/// Name, what it is for, and which kernels have it.
fn describe(feature: Feature) -> (&'static str, &'static str, &'static str) {
    match feature {
        Feature::Programs => {
            ("BPF programs", "the kernel takes programs", "it needs CONFIG_BPF_SYSCALL")
        }
        Feature::HashMaps => {
            ("BPF maps", "stacks are counted in the kernel", "it needs CONFIG_BPF_SYSCALL")
        }
        Feature::RingBuffers => {
            ("ring buffers", "execs and exits reach heaptap", "it needs kernel 5.8 or later")
        }
        Feature::RawTracepoints => (
            "raw tracepoints",
            "execs and exits are seen",
            "it needs kernel 4.17 or later with CONFIG_BPF_EVENTS",
        ),
        Feature::Uprobes => {
            ("uprobes", "functions of programs can be tapped", "it needs CONFIG_UPROBE_EVENTS")
        }
        Feature::AttachCookies => {
            ("attach cookies", "each tap knows its binary", "it needs kernel 5.15 or later")
        }
        Feature::UprobeMulti => (
            "uprobe_multi",
            "all taps of a program are put in and taken off in one call",
            "kernels since 6.6 have it; without it a recording ends 0.1 s later for each tap",
        ),
    }
}

fn feature(
    system: &System,
    tried: Feature,
    result: &Result<(), Refused>,
    has_links: bool,
) -> Check {
    let (name, purpose, needs) = describe(tried);
    match result {
        Ok(()) => Check::ok(name, purpose),
        Err(refused) if tried != Feature::UprobeMulti && !tried.is_required(has_links) => {
            Check::ok(name, format!("not here ({refused}), not needed beside uprobe_multi"))
        }
        Err(refused) if is_permission(system, refused) => {
            let perf = matches!(tried, Feature::Uprobes | Feature::AttachCookies);
            let text = format!("refused ({refused}); {}", advice(system, perf));
            if tried.is_required(has_links) {
                Check::missing(name, true, text)
            } else {
                Check::limited(name, text)
            }
        }
        Err(refused) if tried.is_required(has_links) => {
            Check::missing(name, false, format!("not there ({refused}); {needs}"))
        }
        Err(refused) => Check::limited(name, format!("not there ({refused}); {needs}")),
    }
}

/// What gives the privilege that a call was refused for, also through perf events.
fn advice(system: &System, perf: bool) -> String {
    let admin = perf.then_some(Capability::SysAdmin);
    let needed = [Capability::Bpf, Capability::Perfmon].into_iter().chain(admin);
    let missing: Vec<_> =
        needed.filter(|c| !system.capabilities.has(*c)).map(Capability::name).collect();
    if system.initial_user_namespace == Some(false) {
        "run heaptap as the host's root: capabilities of a user namespace do not count".to_owned()
    } else if !missing.is_empty() {
        format!("run as root or with {}", missing.join(", "))
    } else if system.seccomp {
        "the seccomp filter may be why".to_owned()
    } else {
        "all capabilities are held, so a security module or the kernel's lockdown forbids it"
            .to_owned()
    }
}

fn own_programs(system: &System, result: &Result<(), Problem>) -> Check {
    let name = "heaptap's programs";
    match result {
        Ok(()) => Check::ok(name, "the kernel verified and attached all of them"),
        Err(problem) => {
            let refused = problem.text.starts_with("not tried");
            let text = if problem.is_permission && !refused {
                format!("{}; {}", problem.text, advice(system, false))
            } else {
                problem.text.clone()
            };
            Check::missing(name, problem.is_permission, text)
        }
    }
}

/// Names of the lines about probes that a kernel may not be made for.
pub(super) const OS: &str = "probe os";
pub(super) const OS_ALLOC: &str = "probe os-alloc";

/// Whether the probes `os` and `os-alloc` can be used; recording does without them.
fn os_probes(system: &System, tried: &Result<Vec<Tracepoint>, Problem>) -> [Check; 2] {
    let names = [OS, OS_ALLOC];
    let refused = |text: &str, by_privilege: bool| match by_privilege {
        true if !text.starts_with("not tried") => format!("{text}; {}", advice(system, false)),
        _ => text.to_owned(),
    };
    let tracepoints = match tried {
        Ok(tracepoints) => tracepoints,
        Err(problem) => {
            let text = refused(&problem.text, problem.is_permission);
            return names.map(|name| Check::limited(name, text.clone()));
        }
    };
    let of = |of_slow| tracepoints.iter().filter(move |tracepoint| tracepoint.of_slow == of_slow);
    let check = |name, of_slow| {
        let failed: Vec<String> = of(of_slow)
            .filter_map(|of| Some((of.name, of.tried.as_ref().err()?)))
            .map(|(at, problem)| {
                let text = refused(&problem.text, problem.is_permission);
                format!("its program can't be attached at the tracepoint {at} ({text})")
            })
            .collect();
        let attached: Vec<&str> = of(of_slow).map(|tracepoint| tracepoint.name).collect();
        match &failed[..] {
            [] => Ok(attached.join(", ")),
            failed => Err(Check::limited(name, failed.join("; "))),
        }
    };
    let os = match check(OS, false) {
        Ok(at) => Check::ok(
            OS,
            format!("the kernel tells where its counts lie, and took the programs at {at}"),
        ),
        Err(limited) => limited,
    };
    let os_alloc = match check(OS_ALLOC, true) {
        Ok(_) if os.state != State::Ok => Check::limited(OS_ALLOC, "it needs what probe os needs"),
        Ok(at) => Check::ok(OS_ALLOC, format!("the same, and at {at}")),
        Err(limited) => limited,
    };
    [os, os_alloc]
}

/// What files tell, and what it means for heaptap.
fn settings(system: &System) -> Vec<Check> {
    let mut checks = vec![
        Check::ok(
            "BTF",
            match system.btf {
                true => "there; the probe os alone needs it",
                false => "not there; heaptap works without, but for the probe os",
            },
        ),
        match &system.tracefs {
            Tracefs::Mounted(path) => {
                Check::ok("tracefs", format!("at {}; not needed", path.display()))
            }
            Tracefs::NotMounted => Check::ok("tracefs", "not mounted; heaptap works without"),
            Tracefs::Denied(path) => Check::ok(
                "tracefs",
                format!("at {}, not readable; heaptap works without", path.display()),
            ),
        },
    ];
    if let Some(level) = system.perf_event_paranoid {
        let text = format!("{level}; no matter to a holder of CAP_PERFMON or CAP_SYS_ADMIN");
        checks.push(Check::ok("perf_event_paranoid", text));
    }
    if let Some(level) = system.unprivileged_bpf_disabled {
        let text = format!("{level}; no matter to a holder of CAP_BPF");
        checks.push(Check::ok("unprivileged_bpf_disabled", text));
    }
    if let Some(level) = system.kptr_restrict {
        let text = format!("{level}; heaptap needs no kernel symbols");
        checks.push(Check::ok("kptr_restrict", text));
    }
    let lockdown = system.lockdown.as_deref().unwrap_or("none, or not told");
    checks.push(match lockdown {
        "confidentiality" => Check::limited(
            "lockdown",
            "confidentiality; kernel programs may not read kernel memory; boot with \
             lockdown=integrity or none if recording is refused",
        ),
        mode => Check::ok("lockdown", mode),
    });
    checks.push(Check::ok("cgroups", format!("{}; containers are told by them", system.cgroups)));
    checks.push(Check::ok(
        "locked memory",
        match system.memlock {
            Some(bytes) => format!("{} bytes; matters to kernels before 5.11 only", grouped(bytes)),
            None => "no limit".to_owned(),
        },
    ));
    checks
}

/// Where heaptap has the kernel single-step; on arm64 it emulates returns, too.
const SINGLE_STEPPED: &str = if cfg!(target_arch = "x86_64") {
    "at a function's return"
} else {
    "where the kernel single-steps"
};

fn trap_cost(emulated: &Result<Duration, Problem>, stepped: &Result<Duration, Problem>) -> Check {
    let name = "cost of one trap";
    match (emulated, stepped) {
        (Ok(emulated), Ok(stepped)) => Check::ok(
            name,
            format!(
                "{} µs, {SINGLE_STEPPED} {} µs; at 100,000 allocations a second, exact mode \
                 takes {:.1} % of a CPU, and the walk of the stack comes on top",
                micros(*emulated),
                micros(*stepped),
                percent_at_100k(*emulated),
            ),
        ),
        (Err(problem), _) | (_, Err(problem)) => {
            let why = problem.text.strip_prefix("not tried, ");
            Check::limited(
                name,
                match why {
                    Some(why) => format!("not measured, {why}"),
                    None => format!("not measured: {}", problem.text),
                },
            )
        }
    }
}

fn micros(cost: Duration) -> String {
    format!("{:.2}", cost.as_secs_f64() * 1e6)
}

/// Share of one CPU that 100,000 traps a second take.
fn percent_at_100k(cost: Duration) -> f64 {
    cost.as_secs_f64() * 100_000.0 * 100.0
}

fn go_processes(system: &System, found: &Result<GoProcesses, Problem>) -> Check {
    let name = "Go processes";
    let found = match found {
        Ok(found) => found,
        Err(problem) => return Check::missing(name, problem.is_permission, problem.text.clone()),
    };
    let mut text = format!("{} seen; heaptap ps lists them", found.seen);
    if found.not_readable > 0 {
        let (count, say) = (counted(found.not_readable, "process"), "heaptap ps says why");
        text += &format!("; {count} could not be read, {say}");
    }
    if found.not_permitted == 0 {
        return Check::ok(name, text);
    }
    text += &format!("; {}", not_permitted(system, found.not_permitted));
    let opens = [Capability::SysPtrace, Capability::DacReadSearch];
    if opens.into_iter().all(|capability| system.capabilities.has(capability)) {
        Check::ok(name, text)
    } else {
        Check::limited(name, text)
    }
}

#[cfg(test)]
mod tests;
