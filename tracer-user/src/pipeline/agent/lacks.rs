//! What the agent is not allowed to do here, told when it begins.
//!
//! In: what this process may do, and what the file asks for. Out: a line for each thing that is missing, with what it costs, in
//! the words of `heaptap doctor`. The agent goes on without.

use crate::agent::config::{Captures, Watch};
use crate::agent::rules::Rule;
use crate::host::{Capability, System};
use crate::pipeline::doctor;

/// What records, as its reader would call it; nothing: nothing does.
pub fn who_records(rules: &[Rule], watch: &Watch, captures: &Captures) -> Option<String> {
    let records = |rule: &&Rule| rule.capture.iter().any(|what| what.recorded().is_some());
    let of_rule = rules.iter().find(records).map(|rule| format!("rule \"{}\"", rule.name));
    let of_watch = || watch.maps.map(|_| "watch.maps".to_owned());
    let of_requests = || captures.on_request.then(|| "captures.on_request".to_owned());
    of_rule.or_else(of_watch).or_else(of_requests)
}

/// The lines; `gave_up`: what recordings take was given up when the agent began, because nothing was to be recorded.
pub fn lacks(system: &System, who_records: Option<&str>, gave_up: bool) -> Vec<String> {
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
    if let Some(who) = who_records
        && gave_up
    {
        lines.push(format!(
            "{who} can't record: what that takes was given up when the agent began, since nothing recorded then; \
             start it anew"
        ));
    } else if let Some(who) = who_records {
        let to_record = doctor::lacks_to_record(system, false).into_iter();
        lines.extend(to_record.map(|one| format!("{who} can't record: {}", told(one))));
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
        let rule = "[[rule]]\nname = \"r\"\nmetric = \"go_goroutine_count\"\nabove = 1\n";
        let who = |text: &str| {
            let config = config::parse(text).unwrap();
            who_records(&config.rules, &config.watch, &config.captures)
        };
        assert_eq!(who(&format!("{rule}capture = [\"heap\", \"goroutines\"]\n")), None);
        assert_eq!(who("[watch]\nmaps = \"2s\"\n").as_deref(), Some("watch.maps"));
        assert_eq!(who("[captures]\non_request = true\n").as_deref(), Some("captures.on_request"));
        let of_rule = who(&format!("{rule}capture = [\"heap\", \"record\"]\n"));
        let (plain, records) = (None, of_rule.as_deref());
        let mut system = host::system();
        system.initial_pid_namespace = Some(true);
        system.capabilities = Capabilities(u64::MAX);
        assert_eq!(lacks(&system, records, false), [""; 0]);
        system.capabilities = Capabilities(1 << 2 | 1 << 19 | 1 << 38);
        assert_eq!(lacks(&system, plain, true), [""; 0]);
        let told =
            "rule \"r\" can't record: CAP_BPF is not held; without it no kernel program is loaded";
        assert_eq!(lacks(&system, records, false), [told]);
        let told = lacks(&system, records, true);
        assert!(told[0].ends_with("start it anew") && told.len() == 1, "{told:?}");
        system.capabilities = Capabilities(1 << 2);
        system.initial_pid_namespace = Some(false);
        let told = lacks(&system, plain, true);
        assert!(told[0].contains("--pid=host"), "{told:?}");
        let ptrace =
            "CAP_SYS_PTRACE is not held; without it only programs of your own can be looked at";
        assert_eq!(told[1..], [ptrace]);
    }
}
