//! `heaptap doctor`: what this host can do, what is missing and what that costs.
//!
//! In: what `host` reads and what `probe` tries. Out: one line for each check, or the document
//! `heaptap.doctor/1` (docs/host-json.md), and a verdict: recording can work, a privilege is
//! missing, or the kernel can't. Gathering and judging are apart, so that judging is tested without
//! a kernel.

mod checks;
mod findings;
mod json;

use checks::{Check, State, Verdict, checks};
use findings::Findings;
pub use findings::{own_function, trap_cost};
use json::{Document, SCHEMA};

use super::{json, print, terminal};
use crate::cli::DoctorConfig;
use crate::exit::Failure;
use crate::host::{self, Capability, System};
use crate::output::text::{printable, wrap};

/// What is missing to record, also through perf events.
pub fn lacks_to_record(system: &System, perf_events: bool) -> Vec<Capability> {
    let is_missing = |one: &Capability| !system.capabilities.has(*one);
    let needed = [Capability::Bpf, Capability::Perfmon];
    let mut missing: Vec<Capability> = needed.into_iter().filter(is_missing).collect();
    // What a newer kernel does without is tried only where it matters.
    let takes_perf = || perf_events || missing.is_empty() && takes_perf_events();
    if is_missing(&Capability::SysAdmin) && takes_perf() {
        missing.push(Capability::SysAdmin);
    }
    missing
}

/// Whether this kernel attaches through perf events alone, which take CAP_SYS_ADMIN.
pub fn takes_perf_events() -> bool {
    !findings::attaches_without_perf()
}

/// What recording needs and this kernel does not have, where that is so: asked once something was refused.
pub fn lacks_of_kernel() -> Option<String> {
    checks::lacks_of_kernel(&host::system(), &findings::features())
}

/// Examines this host.
///
/// # Errors
/// [`crate::exit::Exit::Permission`] or `Unsupported` when recording can't work here, after everything
/// was printed.
pub fn run(config: &DoctorConfig) -> Result<(), Failure> {
    let findings = Findings::gather();
    let checks = checks(&findings);
    let verdict = Verdict::of(&checks);
    if config.json {
        print(&json(SCHEMA, &Document::new(&findings, &checks, verdict), true)?)?;
    } else {
        print(&lines(&checks, terminal::width()))?;
    }
    match verdict {
        Verdict::Works => Ok(()),
        Verdict::Privilege => Err(Failure::new(
            verdict.exit(),
            "recording can't work here: a privilege is missing; see the lines that say missing",
        )),
        Verdict::Kernel => Err(Failure::new(
            verdict.exit(),
            "recording can't work here: this kernel lacks something; see the lines that say missing",
        )),
    }
}

/// Columns of state and name, and of the space between.
const STATE: usize = 7;
const NAME: usize = 25;
const GAP: usize = 2;

/// One line for each check, folded to `width` columns.
fn lines(checks: &[Check], width: Option<usize>) -> String {
    let indent = STATE + GAP + NAME + GAP;
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(24));
    let mut text = String::new();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        let mut head = format!("{state:<STATE$}  {:<NAME$}  ", check.name);
        for line in wrap(&printable(&check.text), room) {
            text.push_str(&head);
            text.push_str(&line);
            text.push('\n');
            head = " ".repeat(indent);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use findings::sample::{all_well, refused};
    use nix::errno::Errno;

    #[test]
    fn lines_keep_to_the_terminal_and_are_one_each_without_one() {
        let findings = refused(all_well(), Errno::ENOSYS);
        let checks = checks(&findings);
        assert_eq!(lines(&checks, None).lines().count(), checks.len());
        let folded = lines(&checks, Some(80));
        assert!(folded.lines().count() > checks.len());
        for line in folded.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for check in &checks {
            assert!(check.name.len() <= NAME, "{}", check.name);
        }
    }
}
