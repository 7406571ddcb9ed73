//! prometheus: series that are known, and one that counts the scrapes.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Client, Http, Kind, Process, Server};
use crate::random::Random;

/// With the values 1, 2, and so on.
const SERIES: u64 = 200;
/// What it counts of what went wrong; each must be there, and 0.
const WRONG: [&str; 9] = [
    "prometheus_tsdb_wal_corruptions_total",
    "prometheus_tsdb_wal_writes_failed_total",
    "prometheus_tsdb_compactions_failed_total",
    "prometheus_tsdb_checkpoint_creations_failed_total",
    "prometheus_tsdb_head_truncations_failed_total",
    "prometheus_tsdb_reloads_failures_total",
    "prometheus_target_scrapes_sample_out_of_order_total",
    "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "prometheus_tsdb_mmap_chunk_corruptions_total",
];

pub struct Prometheus(Process);

struct Queries(Random);

impl Prometheus {
    pub fn start(role: &str) -> Result<Prometheus> {
        let target = serve()?;
        let process = Process::start(Kind::Prometheus, role, "/-/ready", |dir, port| {
            let config = dir.join("prometheus.yml");
            let text = format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{{job_name: soaked, \
                 static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
            );
            std::fs::write(&config, text)?;
            Ok(vec![
                format!("--config.file={}", config.display()).into(),
                format!("--storage.tsdb.path={}", dir.join("data").display()).into(),
                format!("--web.listen-address=127.0.0.1:{port}").into(),
                "--log.level=warn".into(),
            ])
        })?;
        let began = Instant::now();
        while value(process.http(), "count(soak_known)").ok() != Some(SERIES as f64) {
            ensure!(began.elapsed() < Duration::from_secs(30), "nothing was scraped");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Prometheus(process))
    }
}

impl Server for Prometheus {
    fn process(&self) -> &Process {
        &self.0
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.0
    }

    fn client(&self, number: usize) -> Result<Box<dyn Client>> {
        Ok(Box::new(Queries(Random(number as u64))))
    }

    fn verify(&mut self, _: &mut [Box<dyn Client>]) -> Result<String> {
        nothing_wrong(self.0.http())?;
        let before = scrapes(self.0.http(), "1d")?;
        ensure!(before.first == 1, "the first scrape is missing: {}", before.first);
        self.0.restart()?;
        nothing_wrong(self.0.http())?;
        // One that was under way at the end may be missing.
        let after = scrapes_but(self.0.http(), "1d", 1)?;
        let is_whole = after.first == 1 && after.last >= before.last;
        ensure!(is_whole, "{before:?} before a restart, {after:?} after it");
        self.0.has_not_logged("level=error")?;
        self.0.end()?;
        Ok(format!(
            "{} scrapes, each once, {} failed, before and after a restart; nothing in {} counters of what went wrong; no \
             error in its log",
            before.last,
            before.missing,
            WRONG.len()
        ))
    }
}

impl Client for Queries {
    fn operate(&mut self, http: &Http) -> Result<()> {
        let number = 1 + self.0.below(SERIES);
        let sum = (SERIES * (SERIES + 1) / 2) as f64;
        let (query, right) = match self.0.below(4) {
            0 => ("sum(soak_known)".to_string(), sum),
            1 => (format!("soak_known{{number=\"{number}\"}}"), number as f64),
            2 => (format!("count(soak_known > {number})"), (SERIES - number) as f64),
            _ => return scrapes(http, "10s").map(drop),
        };
        // Nothing is above the largest: no count.
        if right > 0.0 {
            let answer = value(http, &query)?;
            ensure!(answer == right, "{query} is {answer}, not {right}");
        }
        Ok(())
    }

    fn look(&mut self, http: &Http) -> Result<u64> {
        scrapes(http, "1d").map(|scrapes| scrapes.last)
    }
}

/// What is scraped, for as long as this program runs: its port.
fn serve() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let known: String =
        (1..=SERIES).map(|n| format!("soak_known{{number=\"{n}\"}} {n}\n")).collect();
    thread::spawn(move || {
        let mut scrapes = 0;
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            // To the empty line that ends a request; one connection is one scrape after the other.
            while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                if line.trim().is_empty() {
                    scrapes += 1;
                    let body = format!("{known}soak_scrapes {scrapes}\n");
                    let length = body.len();
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";
                    let answer = format!("{head}Content-Length: {length}\r\n\r\n{body}");
                    if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
                line.clear();
            }
        }
    });
    Ok(port)
}

/// The value that a query has.
fn value(http: &Http, query: &str) -> Result<f64> {
    let result = ask(http, query)?;
    let text = result[0]["value"][1].as_str();
    text.with_context(|| format!("{query}: {result}"))?.parse().context("no number")
}

/// Scrapes whose samples are there.
#[derive(Debug)]
struct Scrapes {
    first: u64,
    last: u64,
    /// Those that have failed.
    missing: u64,
}

/// Those of the last while; fails when one is there twice, or missing where prometheus does not say itself that it
/// has failed.
fn scrapes(http: &Http, length: &str) -> Result<Scrapes> {
    scrapes_but(http, length, 0)
}

/// The same, with so many that may be missing.
fn scrapes_but(http: &Http, length: &str, cut: u64) -> Result<Scrapes> {
    let query = format!("soak_scrapes[{length}]");
    let result = ask(http, &query)?;
    let samples = result[0]["values"].as_array().with_context(|| format!("{query}: {result}"))?;
    let numbers: Option<Vec<u64>> =
        samples.iter().map(|sample| sample[1].as_str()?.parse().ok()).collect();
    let numbers = numbers.context("a sample that is no number")?;
    let (first, last) = (numbers.first(), numbers.last());
    let (first, last) = (*first.context("no sample")?, *last.context("no sample")?);
    ensure!(
        numbers.is_sorted_by(|one, next| one < next),
        "{query}: not one after the other: {numbers:?}"
    );
    let missing = last + 1 - first - numbers.len() as u64;
    if missing > 0 {
        let failed = ask(http, &format!("up[{length}]"))?;
        let failed = failed[0]["values"].as_array().into_iter().flatten();
        let failed = failed.filter(|sample| sample[1] == "0").count() as u64;
        ensure!(
            missing <= failed + cut,
            "{missing} of the scrapes {first} to {last} are missing, {failed} have failed"
        );
    }
    Ok(Scrapes { first, last, missing })
}

fn ask(http: &Http, query: &str) -> Result<Value> {
    // What is in a query and means something in an address.
    let mut asked = String::new();
    for character in query.chars() {
        match character {
            ' ' => asked.push_str("%20"),
            '"' => asked.push_str("%22"),
            '>' => asked.push_str("%3E"),
            '{' => asked.push_str("%7B"),
            '}' => asked.push_str("%7D"),
            '[' => asked.push_str("%5B"),
            ']' => asked.push_str("%5D"),
            other => asked.push(other),
        }
    }
    let mut answer = http.get(&format!("/api/v1/query?query={asked}"))?.json(query)?;
    ensure!(answer["status"] == "success", "{query}: {answer}");
    Ok(answer["data"]["result"].take())
}

/// Fails when it has counted something that went wrong.
fn nothing_wrong(http: &Http) -> Result<()> {
    let text = http.get("/metrics")?.is(200, "/metrics")?.body;
    let text = String::from_utf8(text)?;
    for name in WRONG {
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.with_context(|| format!("no {name} among its metrics"))?;
        ensure!(line.ends_with(" 0"), "{line}");
    }
    Ok(())
}
