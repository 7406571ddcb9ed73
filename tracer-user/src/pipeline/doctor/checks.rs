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
            // No kernel that old has attach cookies.
            Capability::SysResource => {
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

fn trap_cost(emulated: &Result<Duration, Problem>, stepped: &Result<Duration, Problem>) -> Check {
    let name = "cost of one trap";
    match (emulated, stepped) {
        (Ok(emulated), Ok(stepped)) => Check::ok(
            name,
            format!(
                "{} µs, at a function's return {} µs; at 100,000 allocations a second, exact mode \
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
mod tests {
    use super::super::findings::sample::{all_well, refused};
    use super::*;
    use crate::host::Capabilities;
    use nix::errno::Errno;

    fn verdict(findings: &Findings) -> Verdict {
        Verdict::of(&checks(findings))
    }

    fn text(findings: &Findings, name: &str) -> String {
        checks(findings).into_iter().find(|check| check.name == name).unwrap().text
    }

    #[test]
    fn a_host_with_everything_works() {
        let findings = all_well();
        assert_eq!(verdict(&findings), Verdict::Works);
        assert!(checks(&findings).iter().all(|check| check.state == State::Ok));
        let cost = text(&findings, "cost of one trap");
        assert!(cost.contains("0.87 µs") && cost.contains("return 9.40 µs"), "{cost}");
        assert!(cost.contains("takes 8.7 % of a CPU"), "{cost}");
    }

    #[test]
    fn without_privileges_the_verdict_is_3_and_the_capabilities_are_named() {
        let mut findings = refused(all_well(), Errno::EPERM);
        findings.system.capabilities = Capabilities(0);
        assert_eq!(verdict(&findings).exit(), Exit::Permission);
        let line = text(&findings, "BPF programs");
        assert!(line.contains("EPERM"), "{line}");
        assert!(line.ends_with("run as root or with CAP_BPF, CAP_PERFMON"), "{line}");
        let line = text(&findings, "uprobes");
        assert!(line.ends_with("or with CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN"), "{line}");
    }

    #[test]
    fn what_refuses_a_holder_of_all_capabilities_is_named() {
        let mut findings = refused(all_well(), Errno::EPERM);
        assert!(text(&findings, "uprobes").contains("security module"));
        findings.system.seccomp = true;
        assert!(text(&findings, "uprobes").ends_with("the seccomp filter may be why"));
        assert!(text(&findings, "seccomp").contains("--security-opt seccomp=unconfined"));
        findings.system.initial_user_namespace = Some(false);
        assert!(text(&findings, "uprobes").contains("host's root"));
        assert_eq!(verdict(&findings).exit(), Exit::Permission);
    }

    #[test]
    fn an_old_kernel_is_5_and_told_what_is_needed() {
        let mut findings = all_well();
        let errno = Errno::EINVAL;
        for (feature, tried) in &mut findings.features {
            if matches!(feature, Feature::AttachCookies | Feature::UprobeMulti) {
                *tried = Err(Refused { call: "bpf(BPF_LINK_CREATE)", errno });
            }
        }
        assert_eq!(verdict(&findings).exit(), Exit::Unsupported);
        assert!(text(&findings, "attach cookies").ends_with("it needs kernel 5.15 or later"));
        // A privilege that is missing too does not help.
        findings.features[0].1 = Err(Refused { call: "x", errno: Errno::EPERM });
        assert_eq!(verdict(&findings).exit(), Exit::Unsupported);
    }

    #[test]
    fn what_is_not_used_is_not_missed() {
        let mut findings = all_well();
        for (feature, tried) in &mut findings.features {
            if !feature.is_required(false) {
                *tried = Err(Refused { call: "x", errno: Errno::EINVAL });
            }
        }
        findings.system.btf = false;
        findings.system.capabilities = Capabilities(1 << 38 | 1 << 39);
        assert_eq!(verdict(&findings), Verdict::Works);
    }

    #[test]
    fn links_of_many_uprobes_take_no_perf_events_and_no_cap_sys_admin() {
        let mut findings = all_well();
        let refused = |call, errno| Err(Refused { call, errno });
        for (feature, tried) in &mut findings.features {
            if matches!(feature, Feature::Uprobes | Feature::AttachCookies) {
                *tried = refused("perf_event_open(uprobe)", Errno::EACCES);
            }
        }
        findings.system.capabilities = Capabilities(1 << 2 | 1 << 19 | 1 << 38 | 1 << 39);
        findings.system.seccomp = true;
        assert_eq!(verdict(&findings), Verdict::Works);
        assert!(checks(&findings).iter().all(|check| check.state == State::Ok));
        for (feature, tried) in &mut findings.features {
            if *feature == Feature::UprobeMulti {
                *tried = refused("bpf(BPF_LINK_CREATE)", Errno::EINVAL);
            }
        }
        assert_eq!(verdict(&findings).exit(), Exit::Permission);
        assert!(text(&findings, "CAP_SYS_ADMIN").contains("kernels before 6.6"));
    }

    #[test]
    fn a_filter_that_says_that_there_is_no_such_call_is_told_as_one() {
        let mut findings = refused(all_well(), Errno::ENOSYS);
        assert_eq!(verdict(&findings).exit(), Exit::Unsupported);
        findings.system.seccomp = true;
        findings.own_programs = Ok(());
        findings.system.capabilities = Capabilities(!(1 << 39 | 1 << 21));
        assert_eq!(verdict(&findings).exit(), Exit::Permission);
        assert!(text(&findings, "BPF maps").ends_with("run as root or with CAP_BPF"));
    }

    #[test]
    fn what_the_probe_os_lacks_is_named_and_recording_works() {
        let mut findings = all_well();
        let line = text(&findings, "probe os");
        assert!(line.ends_with("took the programs at sys_enter, rss_stat"), "{line}");
        assert_eq!(text(&findings, "probe os-alloc"), "the same, and at page_fault_user");
        let refusal = Problem { text: "no such tracepoint".into(), is_permission: false };
        let all = findings.os.clone().unwrap();
        let fails = |name| {
            let tried = |t: Tracepoint| match t.name == name {
                true => Tracepoint { tried: Err(refusal.clone()), ..t },
                false => t,
            };
            Ok(all.clone().into_iter().map(tried).collect())
        };
        findings.os = fails("page_fault_user");
        let line = text(&findings, "probe os-alloc");
        assert!(line.contains("tracepoint page_fault_user (no such tracepoint)"), "{line}");
        assert!(text(&findings, "probe os").contains("took the programs"));
        findings.os = fails("rss_stat");
        let line = text(&findings, "probe os");
        assert!(line.contains("tracepoint rss_stat (no such tracepoint)"), "{line}");
        assert_eq!(text(&findings, "probe os-alloc"), "it needs what probe os needs");
        let text_of = "it has no exact count (mm_struct.rss_stat, since Linux 6.2)";
        findings.os = Err(Problem { text: text_of.into(), is_permission: false });
        assert_eq!(text(&findings, "probe os"), text_of);
        assert_eq!(text(&findings, "probe os-alloc"), text_of);
        let states =
            checks(&findings).into_iter().filter(|check| check.name.starts_with("probe os"));
        assert!(states.map(|check| check.state).eq([State::Limited; 2]));
        assert_eq!(verdict(&findings), Verdict::Works);
        findings.os = Err(Problem { text: "denied".into(), is_permission: true });
        findings.system.capabilities = Capabilities(0);
        assert!(text(&findings, "probe os").starts_with("denied; run as root or with CAP_BPF"));
    }

    #[test]
    fn a_pid_namespace_of_its_own_can_not_work() {
        let mut findings = all_well();
        findings.system.initial_pid_namespace = Some(false);
        assert_eq!(verdict(&findings).exit(), Exit::Permission);
        assert!(text(&findings, "pid namespace").contains("--pid=host"));
    }

    #[test]
    fn samplers_that_were_left_on_are_told() {
        let mut findings = all_well();
        findings.samplers = vec![7, 9];
        assert!(text(&findings, "samplers").starts_with("left on in 2 processes"));
        assert!(text(&findings, "samplers").contains("killed: 7, 9;"));
        assert_eq!(verdict(&findings), Verdict::Works);
    }

    #[test]
    fn processes_that_could_not_be_seen_are_counted() {
        let mut findings = all_well();
        findings.go = Ok(GoProcesses { seen: 2, not_permitted: 1, not_readable: 2 });
        let all = "2 seen; heaptap ps lists them; 2 processes could not be read, heaptap ps says \
                   why; 1 process could not be looked at: the kernel protects more than \
                   CAP_SYS_PTRACE opens";
        assert_eq!(text(&findings, "Go processes"), all);
        findings.system.capabilities = Capabilities(0);
        let line = text(&findings, "Go processes");
        let all = "run as root or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH to see all";
        assert!(line.ends_with(all), "{line}");
        findings.system.capabilities = Capabilities(!(1 << 2));
        let line = text(&findings, "Go processes");
        assert!(line.ends_with("run as root or with CAP_DAC_READ_SEARCH to see all"), "{line}");
    }
}
