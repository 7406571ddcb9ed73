//! The agent on a node with many Go programs: what it takes, and how soon it answers.
//!
//! 100 processes: of 20 binaries (four fixtures built by five Go releases) four each, which have worked once, and 20 of
//! a program that allocates all the time. Metrics are scraped each second over one connection, as Prometheus does, and
//! what an open page shows is asked for each second, as it does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use heaptap_tests::agent::Agent;
use heaptap_tests::holding::resident;
use heaptap_tests::leaks::cases;
use heaptap_tests::{Fixture, Running, Variant};

use crate::{binaries, report, stats::Series, work::cpu_seconds};

#[derive(clap::Args)]
pub struct Options {
    /// Processes of each of the 20 binaries
    #[arg(long, default_value_t = 4)]
    each: usize,
    /// Processes that allocate all the time
    #[arg(long, default_value_t = 20)]
    busy: usize,
    /// Seconds that are watched
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Seconds before that, in which caches fill
    #[arg(long, default_value_t = 30)]
    before: u64,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let running = programs(options, dir.path())?;
    let mut command = Command::new(&options.heaptap);
    command.args(["agent", "--listen", "127.0.0.1:0"]);
    let agent = Agent::of(&mut command)?;
    let pid = agent.running.pid();
    let mut scraper = Connection::open(agent.address)?;
    let mut page = Connection::open(agent.address)?;
    let (mut metrics, mut list) = (Series::default(), Series::default());
    let (mut bytes, mut most) = (0, 0.0_f64);
    let began = Instant::now();
    let watched = Duration::from_secs(options.before);
    let end = watched + Duration::from_secs(options.seconds);
    let mut from = None;
    for second in 1.. {
        let at = Duration::from_secs(second);
        if at > end {
            break;
        }
        thread::sleep((began + at).saturating_duration_since(Instant::now()));
        let (took, size) = scraper.get("/metrics")?;
        let (listed, _) = page.get("/api/v1/overview")?;
        if at <= watched {
            from = Some((Instant::now(), cpu_seconds(pid)?));
            continue;
        }
        metrics.push(took.as_secs_f64() * 1e3);
        list.push(listed.as_secs_f64() * 1e3);
        bytes = size;
        most = most.max(resident(pid)? * 1.048_576);
    }
    let (from, used) = from.context("no time before")?;
    let cpu = 100.0 * (cpu_seconds(pid)? - used) / from.elapsed().as_secs_f64();
    let told = agent.metrics()?;
    let number = |name: &str| told.number(name, &[]).unwrap_or(f64::NAN);
    let seen = number("heaptap_processes");
    ensure!(seen >= running.len() as f64, "{seen} processes are watched");
    let rounds = number("heaptap_rounds_total");
    let ages: Vec<f64> = told.series("heaptap_look_age_seconds", &["look=\"heap\""]).collect();
    let body = format!(
        "{} processes, of which {} allocate all the time; scraped, and looked at in an open page, each second for {} s, after {} s.\n\n\
         | what | | bar |\n| --- | ---: | ---: |\n\
         | CPU, % of one | {cpu:.2} | 2 |\n\
         | resident, MB, most | {most:.1} | 100 |\n\
         | `/metrics`, ms, median | {:.2} | |\n\
         | `/metrics`, ms, p99 | {:.2} | 50 |\n\
         | `/metrics`, KB | {:.0} | |\n\
         | `/api/v1/overview`, ms, p99 | {:.2} | |\n\
         | series | {} | |\n\
         | a round, ms, the last | {:.2} | |\n\
         | looks in turns, ms of CPU a round | {:.2} | |\n\
         | rounds late | {} of {rounds} | |\n\
         | age of heap profiles, s, oldest of {} | {:.0} | |\n",
        running.len(),
        options.busy,
        options.seconds,
        options.before,
        metrics.median(),
        metrics.quantile(0.99),
        bytes as f64 / 1e3,
        list.quantile(0.99),
        told.0.lines().filter(|line| !line.starts_with('#')).count(),
        number("heaptap_round_seconds") * 1e3,
        number("heaptap_turns_duration_seconds_total") * 1e3 / rounds,
        number("heaptap_rounds_late_total"),
        ages.len(),
        ages.iter().copied().fold(0.0, f64::max),
    );
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("agent", "The agent on a node with many Go programs", &versions, &body)
}

fn programs(options: &Options, dir: &std::path::Path) -> Result<Vec<Running>> {
    let mut running = Vec::new();
    for (fixture, copy) in binaries::twenty(dir, "node")? {
        for _ in 0..options.each {
            let mut command = Command::new(&copy);
            command.env("HEAP_RATE", "65536");
            let mut program = Running::start(command)?;
            match fixture {
                "stats" => drop(program.ask("work")?),
                "heap" => {
                    program.ask("work 60")?;
                    program.ask("gc")?;
                }
                _ => {}
            }
            running.push(program);
        }
    }
    let fixture = Fixture::build("leaks", "1.27", Variant::Stripped)?;
    let case = cases(&fixture)?.into_iter().find(|case| case.name == "big-and-steady");
    let case = case.context("no such case")?;
    for _ in 0..options.busy {
        running.push(case.start(&fixture, None)?);
    }
    Ok(running)
}

/// A connection that is kept.
struct Connection {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let to = TcpStream::connect(address)?;
        to.set_nodelay(true)?;
        let from = BufReader::new(to.try_clone()?);
        Ok(Self { to, from })
    }

    /// How long an answer took, and its bytes.
    fn get(&mut self, path: &str) -> Result<(Duration, usize)> {
        let began = Instant::now();
        let accept = "application/openmetrics-text";
        write!(self.to, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n")?;
        let mut length = None;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        ensure!(line.contains(" 200 "), "{path}: {line}");
        loop {
            line.clear();
            self.from.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let mut body = vec![0; length.context("no length")?];
        self.from.read_exact(&mut body)?;
        Ok((began.elapsed(), body.len()))
    }
}
