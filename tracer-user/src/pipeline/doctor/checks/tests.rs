//! What is told of hosts that lack this or that.

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
    let told = lacks_of_kernel(&findings.system, &findings.features).unwrap();
    assert!(told.ends_with(&text(&findings, "attach cookies")), "{told}");
    assert!(!told.contains("uprobe_multi"), "{told}");
    assert_eq!(lacks_of_kernel(&findings.system, &all_well().features), None);
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
    let states = checks(&findings).into_iter().filter(|check| check.name.starts_with("probe os"));
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
