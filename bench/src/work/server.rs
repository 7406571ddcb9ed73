//! A prometheus that scrapes itself, and requests for it, on loopback.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::write;

/// How long it may take to start or to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for, in turn.
pub const PATHS: [&str; 3] = [
    "/metrics",
    "/api/v1/query?query=sum%20by(handler)(rate(prometheus_http_requests_total%5B1m%5D))",
    "/api/v1/query?query=%7Bjob%3D%22self%22%7D",
];

const RULES: &str =
    "groups: [{name: all, rules: [{record: series, expr: 'count by (job) ({job=\"self\"})'}]}]\n";

/// Where it listens.
pub struct Server {
    port: u16,
    /// Of one round of work, one after the other.
    requests: usize,
}

impl Server {
    /// Writes its configuration and completes its command line.
    pub fn configure(dir: &Path, command: &mut Command, requests: usize) -> Result<Self> {
        let port = free_port()?;
        configure(dir, command, port)?;
        Ok(Self { port, requests })
    }

    /// Waits until it answers.
    pub fn until_ready(&self) -> Result<()> {
        until_ready(self.port, "/-/ready")
    }

    /// Makes all requests.
    pub fn load(&self) -> Result<()> {
        PATHS.iter().cycle().take(self.requests).try_for_each(|path| ask(self.port, path))
    }
}

/// A port that was free a moment ago; nothing else here takes ports at random.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until somebody answers a request.
pub fn until_ready(port: u16, path: &str) -> Result<()> {
    let began = Instant::now();
    while ask(port, path).is_err() {
        ensure!(began.elapsed() < PATIENCE, "the server is not ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Writes a prometheus' configuration and completes its command line.
pub fn configure(dir: &Path, command: &mut Command, port: u16) -> Result<()> {
    let config = dir.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
         scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    );
    write(&config, &text)?;
    write(&dir.join("rules.yml"), RULES)?;
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg("--log.level=error");
    Ok(())
}

/// A request with a connection of its own; what is said is read and dropped.
pub fn ask(port: u16, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let first = answer.split(|byte| *byte == b'\r').next().context("no answer")?;
    if !first.ends_with(b"200 OK") {
        bail!("{path} was answered with {}", String::from_utf8_lossy(first));
    }
    Ok(())
}

/// So many requests in a row over one connection, without a wait for answers, which are read and dropped: whoever asks
/// so has less to do than whoever answers.
pub fn ask_in_a_row(port: u16, path: &str, requests: usize) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    let mut text = format!("{request}\r\n").repeat(requests.saturating_sub(1));
    write!(text, "{request}Connection: close\r\n\r\n")?;
    stream.write_all(text.as_bytes())?;
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers)?;
    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let good = answers.windows(GOOD.len()).filter(|bytes| *bytes == GOOD).count();
    ensure!(good == requests, "{path}: {good} good answers to {requests} requests");
    Ok(())
}
