//! The document `heaptap.doctor/1`; its fields are told in docs/host-json.md.

use std::time::Duration;

use serde::Serialize;

use super::checks::{Check, OS, OS_ALLOC, State, Verdict};
use super::findings::{Findings, GoProcesses, Problem, Tracepoint};
use crate::host::{Capability, Tracefs};

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.doctor/1";

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    verdict: Verdict,
    exit_code: u8,
    kernel: &'a str,
    machine: &'a str,
    capabilities: JsonCapabilities,
    host: JsonHost<'a>,
    trap_ns: JsonTrap,
    os: JsonOs,
    go_processes: Option<GoProcesses>,
    checks: Vec<JsonCheck<'a>>,
}

#[derive(Serialize)]
struct JsonCapabilities {
    held: Vec<&'static str>,
    missing: Vec<&'static str>,
}

#[derive(Serialize)]
struct JsonHost<'a> {
    btf: bool,
    tracefs: Option<String>,
    perf_event_paranoid: Option<i64>,
    kptr_restrict: Option<i64>,
    unprivileged_bpf_disabled: Option<i64>,
    lockdown: Option<&'a str>,
    cgroups: String,
    memlock_bytes: Option<u64>,
    seccomp: bool,
    initial_pid_namespace: Option<bool>,
    initial_user_namespace: Option<bool>,
}

#[derive(Serialize)]
struct JsonTrap {
    emulated: Option<u64>,
    single_stepped: Option<u64>,
}

#[derive(Serialize)]
struct JsonOs {
    os: bool,
    os_alloc: bool,
    tracepoints: Option<Vec<JsonTracepoint>>,
}

#[derive(Serialize)]
struct JsonTracepoint {
    name: &'static str,
    attached: bool,
}

#[derive(Serialize)]
struct JsonCheck<'a> {
    name: &'a str,
    state: State,
    text: &'a str,
}

impl<'a> Document<'a> {
    pub fn new(findings: &'a Findings, checks: &'a [Check], verdict: Verdict) -> Self {
        let system = &findings.system;
        let names = |held: bool| {
            let wanted =
                Capability::ALL.into_iter().filter(|c| system.capabilities.has(*c) == held);
            wanted.map(Capability::name).collect()
        };
        let nanos = |cost: &Result<Duration, Problem>| {
            cost.as_ref().ok().and_then(|cost| u64::try_from(cost.as_nanos()).ok())
        };
        Self {
            schema: SCHEMA,
            verdict,
            exit_code: verdict.exit() as u8,
            kernel: &system.kernel,
            machine: &system.machine,
            capabilities: JsonCapabilities { held: names(true), missing: names(false) },
            host: JsonHost {
                btf: system.btf,
                tracefs: match &system.tracefs {
                    Tracefs::Mounted(path) => Some(path.display().to_string()),
                    Tracefs::NotMounted | Tracefs::Denied(_) => None,
                },
                perf_event_paranoid: system.perf_event_paranoid,
                kptr_restrict: system.kptr_restrict,
                unprivileged_bpf_disabled: system.unprivileged_bpf_disabled,
                lockdown: system.lockdown.as_deref(),
                cgroups: system.cgroups.to_string(),
                memlock_bytes: system.memlock,
                seccomp: system.seccomp,
                initial_pid_namespace: system.initial_pid_namespace,
                initial_user_namespace: system.initial_user_namespace,
            },
            trap_ns: JsonTrap {
                emulated: nanos(&findings.emulated),
                single_stepped: nanos(&findings.single_stepped),
            },
            os: {
                let can_be_used = |name| {
                    let check = checks.iter().find(|check| check.name == name);
                    check.is_some_and(|check| check.state == State::Ok)
                };
                let tracepoint =
                    |of: &Tracepoint| JsonTracepoint { name: of.name, attached: of.tried.is_ok() };
                let tried = findings.os.as_ref().ok();
                JsonOs {
                    os: can_be_used(OS),
                    os_alloc: can_be_used(OS_ALLOC),
                    tracepoints: tried.map(|all| all.iter().map(tracepoint).collect()),
                }
            },
            go_processes: findings.go.as_ref().ok().copied(),
            checks: checks
                .iter()
                .map(|check| JsonCheck { name: check.name, state: check.state, text: &check.text })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks::checks;
    use super::super::findings::sample::all_well;
    use super::*;

    #[test]
    fn the_document_and_its_description_have_the_same_fields() {
        let description = include_str!("../../../../docs/host-json.md");
        let findings = all_well();
        let checks = checks(&findings);
        let document = Document::new(&findings, &checks, Verdict::of(&checks));
        let document = serde_json::to_value(document).unwrap();
        crate::pipeline::assert_described(&document, description, SCHEMA);
        assert_eq!(document["verdict"], "works");
        assert_eq!(document["trap_ns"]["emulated"], 870);
        assert_eq!(
            (&document["os"]["os"], &document["os"]["os_alloc"]),
            (&true.into(), &true.into())
        );
        assert_eq!(document["exit_code"], 0);
    }
}
