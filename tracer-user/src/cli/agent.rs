//! Flags of `heaptap agent`, and the configuration that they make.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::groups::Processes;
use super::{Refusal, value};
use crate::agent::config;
use crate::host::Selection;

/// Whom to watch, and what is said of it beside the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub selection: Selection,
    /// `heaptap-agent.toml`; what is said here goes above it.
    pub file: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub token_file: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_client_ca: Option<PathBuf>,
    pub every: Option<Duration>,
    pub node: Option<String>,
    pub top_stacks: Option<usize>,
    pub max_processes: Option<usize>,
    pub max_series: Option<usize>,
    pub cpu: Option<f64>,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    processes: Processes,

    /// Read this file (heaptap-agent.toml; docs/agent.md); again at SIGHUP. Flags go above what it says
    #[arg(short, long = "config", value_name = "FILE", help_heading = WHERE)]
    config: Option<PathBuf>,

    /// Answer here; an address that others reach takes --token-file or --tls-client-ca
    /// [default: 127.0.0.1:9467]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = config::address)]
    #[arg(help_heading = WHERE)]
    listen: Option<SocketAddr>,

    /// Answer only who sends the token in this file (Authorization: Bearer TOKEN); nobody else may read it
    #[arg(long, value_name = "FILE", help_heading = WHERE)]
    token_file: Option<PathBuf>,

    /// Answer with TLS: the agent's certificate, in PEM
    #[arg(long, value_name = "FILE", help_heading = WHERE)]
    tls_cert: Option<PathBuf>,

    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", help_heading = WHERE)]
    tls_key: Option<PathBuf>,

    /// Answer only who has a certificate that one of these has signed, in PEM
    #[arg(long, value_name = "FILE", help_heading = WHERE)]
    tls_client_ca: Option<PathBuf>,

    /// What the node is called in labels [default: the host's name]
    #[arg(long, value_name = "NAME", help_heading = WHERE)]
    node: Option<String>,

    /// Look at each process this often: 1, 500ms, 1m [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = every)]
    #[arg(allow_hyphen_values = true, help_heading = HOW)]
    every: Option<Duration>,

    /// Stacks of live heap that metrics tell of each process, 100 at most [default: 5]
    #[arg(long, value_name = "N", help_heading = HOW)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=config::MOST_STACKS as i64))]
    top_stacks: Option<u32>,

    /// Processes that are watched; others are counted [default: 512]
    #[arg(long, value_name = "N", help_heading = HOW)]
    max_processes: Option<u32>,

    /// Series in one answer of /metrics; others are counted [default: 100000]
    #[arg(long, value_name = "N", help_heading = HOW)]
    max_series: Option<u32>,

    /// Share of one CPU for looks at heaps, goroutines and trends, all together [default: 0.5%]
    #[arg(long, value_name = "SHARE", value_parser = config::cpu, help_heading = HOW)]
    cpu: Option<f64>,
}

const WHERE: &str = "Where to";
const HOW: &str = "How to watch";

fn every(text: &str) -> Result<Duration, String> {
    value::duration(text).and_then(config::every)
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        let count = |number: Option<u32>| number.map(|number| number as usize);
        Ok(Config {
            selection: self.processes.or_all("watch")?,
            file: self.config,
            listen: self.listen,
            token_file: self.token_file,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            tls_client_ca: self.tls_client_ca,
            every: self.every,
            node: self.node,
            top_stacks: count(self.top_stacks),
            max_processes: count(self.max_processes),
            max_series: count(self.max_series),
            cpu: self.cpu,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn config(words: &str) -> Config {
        match parse(["heaptap", "agent"].into_iter().chain(words.split_whitespace())) {
            Ok(Command::Agent(config)) => config,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let plain = config("");
        assert_eq!((plain.selection, plain.file, plain.listen), (Selection::All, None, None));
        let words = "--comm api-* --config /a.toml --listen [::1]:80 --every 500ms --node n1 --token-file /t \
                     --tls-cert /c --tls-key /k --tls-client-ca /ca \
                     --top-stacks 3 --max-processes 9 --max-series 100 --cpu 2%";
        let expected = Config {
            selection: Selection::Comm("api-*".into()),
            file: Some("/a.toml".into()),
            listen: Some("[::1]:80".parse().unwrap()),
            token_file: Some("/t".into()),
            tls_cert: Some("/c".into()),
            tls_key: Some("/k".into()),
            tls_client_ca: Some("/ca".into()),
            every: Some(Duration::from_millis(500)),
            node: Some("n1".into()),
            top_stacks: Some(3),
            max_processes: Some(9),
            max_series: Some(100),
            cpu: Some(0.02),
        };
        assert_eq!(config(words), expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in
            ["--listen here", "--every 10ms", "--top-stacks 101", "--max-series -1", "--cpu 2"]
        {
            let words = ["heaptap", "agent"].into_iter().chain(words.split(' '));
            assert_eq!(parse(words).expect_err("refused").exit, Exit::Usage);
        }
    }
}
