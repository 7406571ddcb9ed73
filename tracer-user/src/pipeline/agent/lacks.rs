//! What the agent is not allowed to do here, told when it begins.
//!
//! In: what this process may do, and the rules. Out: a line for each thing that is missing, with what it costs, in
//! the words of `heaptap doctor`. The agent goes on without.

use crate::agent::rules::{Capture, Rule};
use crate::host::{Capability, System};
use crate::pipeline::doctor;

/// The lines.
pub fn lacks(system: &System, rules: &[Rule]) -> Vec<String> {
    let mut lines = Vec::new();
    if system.initial_pid_namespace == Some(false) {
        lines.push(
            "this pid namespace is not the host's: only programs in it are seen; start its container with \
             --pid=host (hostPID)"
                .to_owned(),
        );
    }
    let is_missing = |one: &Capability| !system.capabilities.has(*one);
    let told = |one: Capability| format!("{} is not held; {}", one.name(), one.without());
    let to_read = [Capability::SysPtrace, Capability::DacReadSearch];
    lines.extend(to_read.into_iter().filter(is_missing).map(told));
    let records = |rule: &Rule| rule.capture.iter().any(|what| matches!(what, Capture::Record(_)));
    if let Some(rule) = rules.iter().find(|rule| records(rule)) {
        let to_record = doctor::lacks_to_record(system, false).into_iter();
        let told = |one| format!("rule \"{}\" can't record: {}", rule.name, told(one));
        lines.extend(to_record.map(told));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config;
    use crate::host::{self, Capabilities};

    #[test]
    fn what_is_missing_is_told_with_what_it_costs() {
        let rules = "[[rule]]\nname = \"r\"\nmetric = \"go_goroutine_count\"\nabove = 1\n";
        let rules = |more: &str| config::parse(&format!("{rules}{more}")).unwrap().rules;
        let (plain, records) = (rules(""), rules("capture = [\"record\"]\n"));
        let mut system = host::system();
        system.initial_pid_namespace = Some(true);
        system.capabilities = Capabilities(u64::MAX);
        assert_eq!(lacks(&system, &records), [""; 0]);
        system.capabilities = Capabilities(1 << 2 | 1 << 19 | 1 << 38);
        assert_eq!(lacks(&system, &plain), [""; 0]);
        let told =
            "rule \"r\" can't record: CAP_BPF is not held; without it no kernel program is loaded";
        assert_eq!(lacks(&system, &records), [told]);
        system.capabilities = Capabilities(1 << 2);
        system.initial_pid_namespace = Some(false);
        let told = lacks(&system, &plain);
        assert!(told[0].contains("--pid=host"), "{told:?}");
        let ptrace =
            "CAP_SYS_PTRACE is not held; without it only programs of your own can be looked at";
        assert_eq!(told[1..], [ptrace]);
    }
}
