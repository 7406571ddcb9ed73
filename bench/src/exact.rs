//! What it costs real programs when every allocation is traced: by heaptap, and by bpftrace at the same functions. Each
//! does the same work alone, beside the one and beside the other. Who traces is started before the program, so that all
//! of it is seen. A program that serves is asked the same questions.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use heaptap::gobin::{GoBinary, sites};
use object::{Object as _, read::ReadCache};

use crate::{
    report,
    stats::Series,
    target::{self, Target},
    tracer::Tracer,
    watchers::{Kind, Watched, Watcher},
    work::{Named, Took, Work},
};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
    /// Programs
    #[arg(default_values_t = PROGRAMS.map(String::from))]
    programs: Vec<String>,
}

const PROGRAMS: [&str; 5] = ["hugo", "esbuild", "compile", "prometheus", "churn"];

const EXACT: Watcher = Watcher {
    arguments: &["record", "--all", "--mode", "exact", "--budget", "none"],
    kind: Kind::Records,
};

pub fn run(options: &Options) -> Result<()> {
    // Somebody to watch before and after the program.
    let _bystander = Target::start_with(&target::build("parked", "1.27")?, &["10"])?;
    let (mut about, mut remarks) = (String::new(), String::new());
    let mut table = String::from(
        "| program | CPU alone, s | heaptap: events | lost | cost, s | bpftrace: cost, s | bpftrace / heaptap |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for name in &options.programs {
        let Some(work) = Work::known(name, &mut about, &mut remarks)? else { continue };
        traced_wholly(options, work, &mut table).with_context(|| name.clone())?;
    }
    let mut body = format!(
        "Rounds: {}; medians (smallest to largest). Cost is the CPU time that the program took beyond what it takes \
         alone in the same round, traps included. bpftrace sums bytes by process and stack \
         (`@[pid, ustack(64)] = sum(reg(\"ax\"))`) at the same functions.\n\n{about}\n{table}",
        options.rounds
    );
    if !remarks.is_empty() {
        write!(body, "\n## Remarks\n\n{remarks}")?;
    }
    body += "\nBar: at most a fifth of bpftrace's cost.\n";
    let versions = [
        format!("heaptap {}", env!("CARGO_PKG_VERSION")),
        report::first_line("bpftrace", &["--version"]),
    ];
    report::keep("exact", "Every allocation, without a budget", &versions, &body)
}

/// The row of one program.
fn traced_wholly(options: &Options, mut work: Work, table: &mut String) -> Result<()> {
    let functions = allocators(&work)?;
    if !has_symbols(&work)? {
        work.name_functions(&functions)?;
    }
    let [mut alone, mut heaptap, mut peer] = [(); 3].map(|()| Series::default());
    let (mut counted, mut lost) = (Series::default(), Series::default());
    for round in 0..options.rounds {
        eprint!("\rexact: {}, round {} of {} ", work.name, round + 1, options.rounds);
        alone.push(by_itself(&work)?.cpu);
        let watched = Watched::start(&options.heaptap, &EXACT, &[])?;
        heaptap.push(by_itself(&work)?.cpu);
        if let Some((events, missing)) = watched.end()? {
            counted.push(events);
            lost.push(missing);
        }
        let mut bpftrace = Tracer::bpftrace(&script(&work, &functions), None)?;
        peer.push(by_itself(&work)?.cpu);
        bpftrace.stop()?;
    }
    eprintln!();
    let (cost, peers) = (heaptap.minus(&alone), peer.minus(&alone));
    writeln!(
        table,
        "| {} | {} | {} | {} | {} | {} | {} |",
        work.name,
        alone.text(2),
        counted.text(0),
        lost.text(0),
        cost.text(2),
        peers.text(2),
        peers.over(&cost).text(1),
    )?;
    Ok(())
}

fn by_itself(work: &Work) -> Result<Took> {
    let mut running = work.start()?;
    let took = running.work()?;
    running.end()?;
    Ok(took)
}

/// The functions that heaptap attaches to in mode exact.
fn allocators(work: &Work) -> Result<Vec<Named>> {
    let go = GoBinary::open(fs::File::open(work.program())?)?;
    let found = sites::alloc_sites(&go)?;
    let mut functions: Vec<Named> = Vec::new();
    for alloc in found.sites {
        let Some(function) = go.function_at(alloc.site.vaddr) else { continue };
        if functions.iter().all(|known| known.start != function.entry) {
            let (name, start, end) = (function.name.to_owned(), function.entry, function.end);
            functions.push(Named { name, start, end });
        }
    }
    ensure!(!functions.is_empty(), "no allocation functions");
    Ok(functions)
}

fn has_symbols(work: &Work) -> Result<bool> {
    let cache = ReadCache::new(fs::File::open(work.program())?);
    Ok(object::File::parse(&cache)?.symbols().next().is_some())
}

/// What one would do with bpftrace: bytes by process and stack.
fn script(work: &Work, functions: &[Named]) -> String {
    let mut script = String::from("BEGIN { printf(\"begun\\n\"); }");
    let program = work.program().display();
    for Named { name, .. } in functions {
        let _ = write!(
            script,
            " uprobe:{program}:\"{name}\" {{ @[pid, ustack(64)] = sum(reg(\"ax\")); }}"
        );
    }
    script
}
