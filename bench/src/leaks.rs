//! The labelled set of leaks and innocents, side by side, under `heaptap leaks`.
//!
//! In: the cases of the fixture `leaks`, all running at once. Out: which leaks are named at their line within a
//! minute, who is accused, and what looking at all of them takes.

use std::{fmt::Write as _, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use heaptap_tests::{
    Fixture, Running, Variant,
    leaks::{Case, Kind, Told, cases},
};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use crate::{heaptap, report};

#[derive(clap::Args)]
pub struct Options {
    /// Go release
    #[arg(long, default_value = "1.27")]
    go: String,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Of one case: what was told of it in each round.
struct Row {
    case: Case,
    told: Vec<Told>,
}

pub fn run(options: &Options) -> Result<()> {
    let fixture = Fixture::build("leaks", &options.go, Variant::Stripped)?;
    let mut rows: Vec<Row> =
        cases(&fixture)?.into_iter().map(|case| Row { case, told: Vec::new() }).collect();
    rows.sort_by(|a, b| (a.case.kind, &a.case.name).cmp(&(b.case.kind, &b.case.name)));
    let mut took = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        took.push(one(&mut rows, &fixture, options.seconds)?);
    }
    let version = fixture.release.version;
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION")), format!("Go {version}")];
    let title = "Leaks and innocents under heaptap leaks";
    report::keep("leaks", title, &versions, &body(options, &rows, &took))?;
    let accused = rows.iter().filter(|row| row.case.kind == Kind::Innocent && row.accused() > 0);
    ensure!(accused.count() == 0, "an innocent is accused");
    Ok(())
}

/// Starts all, looks once, ends all. The CPU time that looking took.
fn one(rows: &mut [Row], fixture: &Fixture, seconds: u64) -> Result<Duration> {
    let running =
        rows.iter().map(|row| row.case.start(fixture, None)).collect::<Result<Vec<Running>>>()?;
    let mut command = Command::new(heaptap());
    command.args(["leaks", "--json", "-q", "--for", &format!("{seconds}s")]);
    for process in &running {
        command.args(["-p", &process.pid().to_string()]);
    }
    let before = spent()?;
    let output = command.output().context("can't start heaptap")?;
    let took = spent()?.saturating_sub(before);
    if !matches!(output.status.code(), Some(0 | 7)) {
        bail!("heaptap: {}", String::from_utf8_lossy(&output.stderr));
    }
    let document: Value = serde_json::from_slice(&output.stdout)?;
    for (row, process) in rows.iter_mut().zip(&running) {
        row.told.push(row.case.told(&document, process.pid())?);
    }
    Ok(took)
}

/// CPU time of children that have ended.
fn spent() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000)
    };
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

impl Row {
    fn named(&self) -> usize {
        self.told.iter().filter(|told| told.is_named).count()
    }

    /// In how many rounds something is called a leak.
    fn accused(&self) -> usize {
        let leak = |told: &&Told| told.verdict.as_deref() == Some("leak");
        self.told.iter().filter(leak).count()
    }
}

fn body(options: &Options, rows: &[Row], took: &[Duration]) -> String {
    let (rounds, seconds) = (options.rounds, options.seconds);
    let of = |kind: Kind| rows.iter().filter(move |row| row.case.kind == kind);
    let leaks = of(Kind::Leak).count();
    let named: Vec<String> = (0..rounds)
        .map(|round| of(Kind::Leak).filter(|row| row.told[round].is_named).count().to_string())
        .collect();
    let innocents = of(Kind::Innocent).count();
    let accused: usize = of(Kind::Innocent).map(Row::accused).sum();
    let took: Vec<String> =
        took.iter().map(|took| format!("{:.1} s", took.as_secs_f64())).collect();
    let mut body = format!(
        "All {} cases of `tests/fixtures/leaks` at once, each beside 8 MiB/s of other requests; heaptap is \
         started when they are and looks for {seconds} s. {rounds} rounds.\n\n\
         - leaks named at their line: {} of {leaks}\n\
         - innocents accused: {accused} of {innocents}, in all rounds together\n\
         - CPU time of heaptap for all {} processes: {}\n\n",
        rows.len(),
        named.join(", "),
        rows.len(),
        took.join(", "),
    );
    body += "`named` is in how many rounds a leak is found at a line that leaks, `accused` in how many \
             anything is called a leak; then what was told last.\n";
    for (kind, title) in [
        (Kind::Leak, "Leaks"),
        (Kind::Hard, "Leaks that are told late, or not at all"),
        (Kind::Innocent, "Innocents"),
        (Kind::Alike, "No leak, and for longer than a minute the same as one"),
    ] {
        let _ = write!(
            body,
            "\n## {title}\n\n| case | named | accused | heap profiles | told |\n\
             | --- | ---: | ---: | ---: | --- |\n"
        );
        for row in of(kind) {
            let last = row.told.last();
            let told = last.map_or_else(String::new, |told| match &told.findings[..] {
                [] => "nothing".to_owned(),
                findings => findings[..findings.len().min(3)].join("; "),
            });
            let profiles = last.map_or(0, |told| told.profiles);
            let _ = writeln!(
                body,
                "| {} | {} of {rounds} | {} of {rounds} | {profiles} | {told} |",
                row.case.name,
                row.named(),
                row.accused()
            );
        }
    }
    body += "\nBar: no innocent accused, 18 of 20 leaks named.\n";
    body
}
