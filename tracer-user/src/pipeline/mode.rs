//! Which way of seeing allocations a recording takes when it is left to heaptap.
//!
//! In: the processes that are selected. Out: the cheapest source that sees all of them, and why it is
//! not a cheaper one. A process that can't be looked at has no say: adding it will tell why.

use crate::{exit::Exit, gobin::sites, profile::Source};

use super::opened::Opener;

/// The cheapest source, and why not a cheaper one (half a sentence).
pub fn cheapest(opener: &mut Opener, pids: impl Iterator<Item = u32>) -> (Source, Option<String>) {
    let mut chosen = (Source::Sample, None);
    for pid in pids {
        let (source, why) = of_one(opener, pid);
        if cost(source) > cost(chosen.0) {
            chosen = (source, why);
        }
    }
    chosen
}

/// The same where others will come: of them nothing is known, so that nothing is taken that a program
/// must have turned on; and one that can't be seen so does not decide for all.
pub fn cheapest_for_all(
    opener: &mut Opener,
    pids: impl Iterator<Item = u32>,
) -> (Source, Option<String>) {
    let (mut seen, mut dearest) = (0, (Source::Span, None));
    for pid in pids {
        let spans = opener.open(pid).map(|process| sites::span_sites(&process.live.program.go));
        match spans {
            Ok(Ok(_)) => return (Source::Span, None),
            Ok(Err(_)) => seen += 1,
            Err(failure) if failure.exit == Exit::Unsupported => seen += 1,
            Err(_) => continue,
        }
        if seen == 1 {
            dearest = of_one(opener, pid);
        }
    }
    dearest
}

fn cost(source: Source) -> u8 {
    match source {
        Source::Records => 0,
        Source::Sample => 1,
        Source::Span => 2,
        Source::Exact => 3,
    }
}

fn of_one(opener: &mut Opener, pid: u32) -> (Source, Option<String>) {
    let process = match opener.open(pid) {
        Ok(process) => process,
        // Of a program whose records are not known something can be seen all the same.
        Err(failure) if failure.exit == Exit::Unsupported => {
            return (Source::Exact, Some(failure.to_string()));
        }
        Err(_) => return (Source::Sample, None),
    };
    let go = &process.live.program.go;
    let no_sample = match (process.live.sampler_rate(), sites::sample_sites(go)) {
        (Ok(0), _) => format!("the runtime's sampler of process {pid} is off"),
        (Ok(_), Ok(_)) => return (Source::Sample, None),
        (Err(err), _) => format!("process {pid}: {err}"),
        (_, Err(err)) => format!("process {pid}: {err}"),
    };
    match sites::span_sites(go) {
        Ok(_) => (Source::Span, Some(no_sample)),
        Err(err) => (Source::Exact, Some(format!("{no_sample}, and {err}"))),
    }
}
