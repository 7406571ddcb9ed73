//! A running `heaptap agent`, and asking it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::heaptap::{self, Recording};

/// What the agent says when it answers.
const BEGUN: &str = "heaptap: watching this node";
/// What should happen within a round or two has this long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that answers; killed when dropped.
pub struct Agent {
    pub running: Recording,
    pub address: SocketAddr,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    pub body: Vec<u8>,
}

/// Numbers of /metrics by name and labels, as they stand there.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Agent {
    /// Starts one on a port that is free.
    pub fn start(args: &[&str]) -> Result<Self> {
        let mut command = Command::new(heaptap::program()?);
        command.args(["agent", "--listen", "127.0.0.1:0"]).args(args).stdin(Stdio::null());
        Self::of(&mut command)
    }

    /// The same of a prepared command.
    pub fn of(command: &mut Command) -> Result<Self> {
        let running = Recording::says(command, BEGUN)?;
        let line = running.said.lines().last().unwrap_or_default();
        let address = line.split("://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.context("no address")?.parse()?;
        Ok(Self { running, address })
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// Sends these bytes and takes everything that comes.
    pub fn ask(&self, request: &str) -> Result<Answer> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        Answer::of(&all)
    }

    pub fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?;
        ensure!(answer.status == 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).with_context(|| format!("{path}: {}", answer.text()))
    }

    /// Asks for a second of something of a process to be captured.
    pub fn capture(&self, pid: u32, what: &str) -> Result<Answer> {
        self.ask(&format!(
            "POST /api/v1/processes/{pid}/captures?what={what}&seconds=1 HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    }

    pub fn metrics(&self) -> Result<Metrics> {
        let answer = self.get("/metrics")?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(Metrics(answer.text()))
    }

    /// Asks for metrics until they are as they should be.
    pub fn wait(&self, what: &str, is_so: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        self.until(what, is_so, Err)
    }

    /// The same of one that may refuse at first.
    pub fn patient(&self, what: &str, is_so: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        self.until(what, is_so, |_| Ok(()))
    }

    fn until(
        &self,
        what: &str,
        is_so: impl Fn(&Metrics) -> bool,
        refused: impl Fn(anyhow::Error) -> Result<()>,
    ) -> Result<Metrics> {
        let until = Instant::now() + PATIENCE;
        let mut metrics = Metrics(String::new());
        loop {
            match self.metrics() {
                Ok(now) if is_so(&now) => return Ok(now),
                Ok(now) => metrics = now,
                Err(error) => refused(error)?,
            }
            if Instant::now() > until {
                bail!("{what}: not within {PATIENCE:?}:\n{}", metrics.0);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Answer {
    pub fn of(all: &[u8]) -> Result<Self> {
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").context("no answer")?;
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Self { status, head, body: all[end + 4..].to_vec() })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Metrics {
    /// The number of the only series that has this name and these labels.
    pub fn number(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let mut found = self.series(name, labels);
        let one = found.next()?;
        found.next().is_none().then_some(one)
    }

    /// The numbers of all such series.
    pub fn series(&self, name: &str, labels: &[&str]) -> impl Iterator<Item = f64> {
        let of_name = move |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        self.0
            .lines()
            .filter(of_name)
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
    }

    /// The same of one process.
    pub fn of(&self, pid: u32, name: &str, labels: &[&str]) -> Option<f64> {
        let pid = format!("pid=\"{pid}\"");
        let labels: Vec<&str> = labels.iter().copied().chain([&*pid]).collect();
        self.number(name, &labels)
    }
}
