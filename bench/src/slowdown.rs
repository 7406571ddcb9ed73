//! What real programs feel of heaptap: each does the same work alone, beside each way to watch the whole
//! host, and, in a second table, with every allocation traced by heaptap and by bpftrace.
//!
//! In each round a program works alone before and after it works beside each watcher, and what it takes
//! there is compared with the mean of the two: a machine's speed drifts. The noise is how far each time
//! alone is from the mean of the times alone before and after it, which are farther apart. heaptap is started before the program, so that all of it is seen. A program that serves is
//! asked the same questions.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufReader, Read as _},
    path::PathBuf,
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use heaptap::gobin::{GoBinary, sites};
use object::{Object as _, read::ReadCache};
use tempfile::TempDir;

use crate::{
    recorded::Frames,
    report,
    stats::Series,
    target::{self, Target},
    tracer::Tracer,
    work::{Named, Size, Took, Work, cpu_seconds},
};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Rounds of the second table
    #[arg(long, default_value_t = 3)]
    exact_rounds: usize,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
    /// Ways to watch the host, of those that are known
    #[arg(long, value_delimiter = ',', default_values_t = WATCHERS.map(|w| w.name.to_owned()))]
    watchers: Vec<String>,
    /// Programs
    #[arg(default_values_t = PROGRAMS.map(String::from))]
    programs: Vec<String>,
}

const PROGRAMS: [&str; 5] = ["hugo", "esbuild", "compile", "prometheus", "churn"];

/// A way to watch.
struct Watcher {
    name: &'static str,
    arguments: &'static [&'static str],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Prints as long as it runs.
    Prints,
    /// The same, on a terminal.
    Shows,
    /// Says when it begins, and writes a profile at the end.
    Records,
}

const WATCHERS: [Watcher; 4] = [
    Watcher { name: "top", arguments: &["top"], kind: Kind::Shows },
    Watcher { name: "stats", arguments: &["stats", "--all", "--watch", "1"], kind: Kind::Prints },
    Watcher { name: "heap", arguments: &["heap", "--all", "--watch", "1"], kind: Kind::Prints },
    Watcher { name: "record", arguments: &["record", "--all"], kind: Kind::Records },
];

const EXACT: Watcher = Watcher {
    name: "exact",
    arguments: &["record", "--all", "--mode", "exact", "--budget", "none"],
    kind: Kind::Records,
};

/// Measurements of one program under one watcher.
#[derive(Default)]
struct Times {
    wall: Series,
    cpu: Series,
    /// What heaptap itself used of a CPU meanwhile, in percent of what the program used.
    own: Series,
    /// Events that were counted, and lost ones.
    events: Series,
    lost: Series,
}

impl Times {
    fn push(&mut self, took: Took) {
        self.wall.push(took.wall);
        self.cpu.push(took.cpu);
    }

    /// The work beside a heaptap.
    fn push_beside(&mut self, work: &Work, heaptap: u32) -> Result<()> {
        let before = cpu_seconds(heaptap)?;
        let took = by_itself(work)?;
        self.push(took);
        self.own.push(100.0 * (cpu_seconds(heaptap)? - before) / took.cpu.max(0.01));
        Ok(())
    }
}

pub fn run(options: &Options) -> Result<()> {
    // Somebody to watch before and after the program.
    let _bystander = Target::start_with(&target::build("parked", "1.27")?, &["10"])?;
    let mut about = String::new();
    let mut defaults = String::from(
        "\n## Watching the whole host, as it is by default\n\n\
         | program | beside | time, s | slower, % | CPU, s | more CPU, % | heaptap's own CPU, % of the program's | \
         events | lost |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut exact = String::from(
        "\n## Every allocation, without a budget\n\n\
         Cost is the CPU time that the program took beyond what it takes alone in the same round, traps \
         included. bpftrace sums bytes by process and stack (`@[pid, ustack(64)] = sum(reg(\"ax\"))`) at the \
         same functions.\n\n\
         | program | CPU alone, s | heaptap: events | lost | cost, s | bpftrace: cost, s | bpftrace / heaptap |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut remarks = String::new();
    for name in &options.programs {
        if !Work::is_there(name)? {
            writeln!(remarks, "- {name} can't be had on this machine: left out")?;
            continue;
        }
        let work = Work::prepare(name, Size::Long)?;
        writeln!(about, "- {name} ({}): {}", work.version(), work.about)?;
        watched(options, &work, &mut defaults).with_context(|| name.clone())?;
        if options.exact_rounds > 0 {
            // A work that is traced wholly takes up to fifty times as long.
            let work = Work::prepare(name, Size::Short)?;
            writeln!(about, "  - traced wholly: {}", work.about)?;
            traced_wholly(options, work, &mut exact).with_context(|| name.clone())?;
        }
    }
    let mut body = format!(
        "{} rounds, {} of the second table; medians (smallest to largest). Slower and more CPU are percent \
         of the mean of the program alone right before and right after; the row *alone* is the same of its \
         times alone and the ones before and after those: the noise.\n\n{about}",
        options.rounds, options.exact_rounds
    );
    body += &defaults;
    if options.exact_rounds > 0 {
        body += &exact;
    }
    if !remarks.is_empty() {
        write!(body, "\n## Remarks\n\n{remarks}")?;
    }
    body += "\nBars: within the noise and at most 1.5 % slower by default; exact at most a fifth of bpftrace's \
             cost.\n";
    let versions = [
        format!("heaptap {}", env!("CARGO_PKG_VERSION")),
        report::first_line("bpftrace", &["--version"]),
    ];
    report::keep("slowdown", "What programs feel", &versions, &body)
}

/// The first table's rows of one program.
fn watched(options: &Options, work: &Work, table: &mut String) -> Result<()> {
    let watchers = options.watchers.iter().map(|name| {
        let known = WATCHERS.iter().find(|watcher| watcher.name == name);
        known.with_context(|| format!("no watcher called {name}"))
    });
    let watchers = watchers.collect::<Result<Vec<_>>>()?;
    // What each is compared with; first of all, the times alone among themselves.
    let (mut alone, mut mean_alone) = (Times::default(), Times::default());
    let mut mean_beside: Vec<Times> = watchers.iter().map(|_| Times::default()).collect();
    let mut beside: Vec<Times> = watchers.iter().map(|_| Times::default()).collect();
    for round in 0..options.rounds {
        eprint!("\rslowdown: {}, round {} of {} ", work.name, round + 1, options.rounds);
        let mut by_itself_then = vec![by_itself(work)?];
        for (watcher, (times, mean)) in watchers.iter().zip(beside.iter_mut().zip(&mut mean_beside))
        {
            let before = by_itself_then[by_itself_then.len() - 1];
            watch(options, watcher, work, times).context(watcher.name)?;
            let after = by_itself(work)?;
            mean.push(before.mean(after));
            by_itself_then.push(after);
        }
        for near in by_itself_then.windows(3) {
            alone.push(near[1]);
            mean_alone.push(near[0].mean(near[2]));
        }
    }
    eprintln!();
    let rows = watchers
        .iter()
        .zip(beside.iter().zip(&mean_beside))
        .map(|(watcher, times)| (format!("`{}`", watcher.arguments.join(" ")), times));
    let noise = ("alone".to_owned(), (&alone, &mean_alone));
    for (name, (times, mean)) in std::iter::once(noise).chain(rows) {
        writeln!(
            table,
            "| {} | {name} | {} | {} | {} | {} | {} | {} | {} |",
            work.name,
            times.wall.text(2),
            times.wall.percent_over(&mean.wall).text(1),
            times.cpu.text(2),
            times.cpu.percent_over(&mean.cpu).text(1),
            times.own.text(2),
            times.events.text(0),
            times.lost.text(0),
        )?;
    }
    Ok(())
}

/// The second table's row of one program.
fn traced_wholly(options: &Options, mut work: Work, table: &mut String) -> Result<()> {
    let functions = allocators(&work)?;
    if !has_symbols(&work)? {
        work.name_functions(&functions)?;
    }
    let (mut alone, mut heaptap, mut peer) = (Times::default(), Times::default(), Times::default());
    for round in 0..options.exact_rounds {
        eprint!(
            "\rslowdown: {}, all traced, round {} of {} ",
            work.name,
            round + 1,
            options.exact_rounds
        );
        alone.push(by_itself(&work)?);
        watch(options, &EXACT, &work, &mut heaptap)?;
        let mut bpftrace = Tracer::bpftrace(&script(&work, &functions), None)?;
        peer.push(by_itself(&work)?);
        bpftrace.stop()?;
    }
    eprintln!();
    let (cost, peers) = (heaptap.cpu.minus(&alone.cpu), peer.cpu.minus(&alone.cpu));
    writeln!(
        table,
        "| {} | {} | {} | {} | {} | {} | {} |",
        work.name,
        alone.cpu.text(2),
        heaptap.events.text(0),
        heaptap.lost.text(0),
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

/// The work beside a watcher.
fn watch(options: &Options, watcher: &Watcher, work: &Work, times: &mut Times) -> Result<()> {
    let dir = TempDir::new()?;
    let json = dir.path().join("recorded.json");
    let mut arguments = watcher.arguments.to_vec();
    match watcher.kind {
        Kind::Prints | Kind::Shows => {
            let (mut tracer, mut shown) = match watcher.kind {
                Kind::Shows => Tracer::spawn_on_terminal(&options.heaptap, &arguments)?,
                _ => Tracer::spawn_printing(&options.heaptap, &arguments)?,
            };
            ensure!(shown.read(&mut [0])? > 0, "nothing was printed");
            // A terminal ends in an error when nobody is left on it.
            let rest = thread::spawn(move || {
                BufReader::new(shown).bytes().map_while(io::Result::ok).count()
            });
            times.push_beside(work, tracer.pid())?;
            tracer.stop()?;
            let Ok(printed) = rest.join() else { bail!("the thread that reads has failed") };
            ensure!(printed > 0, "it has not read while the program worked");
        }
        Kind::Records => {
            let output = format!("--output={}", json.display());
            arguments.remove(0);
            arguments.extend(["--quiet", &output]);
            let mut tracer = Tracer::spawn_heaptap(&options.heaptap, arguments)?;
            tracer.until_recording()?;
            times.push_beside(work, tracer.pid())?;
            tracer.stop()?;
            let mut recorded = Frames::default();
            recorded.add(&json)?;
            times.events.push(recorded.events as f64);
            times.lost.push(recorded.lost as f64);
        }
    }
    Ok(())
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
