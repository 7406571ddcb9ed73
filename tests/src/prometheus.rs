//! A real Prometheus that scrapes agents, and asking it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::Answer;
use crate::real;

/// Ended and gone when dropped.
pub struct Prometheus {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one with this configuration; rules that it names lie below `deploy/prometheus`.
    pub fn start(config: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, config)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(real::prometheus()?)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("no prometheus: run `cargo xtask setup`")?;
        Ok(Self { child, port, _dir: dir })
    }

    /// What an expression gives now.
    pub fn query(&self, expr: &str) -> Result<Vec<Value>> {
        let data = self.get(&format!("/api/v1/query?query={}", escaped(expr)))?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// `data` of an answer of its API.
    pub fn get(&self, path: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        let answer: Value = serde_json::from_slice(&Answer::of(&all)?.body)?;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number of the first series of an answer.
pub fn number(found: &[Value]) -> Option<f64> {
    found.first().and_then(value)
}

/// The number of a series.
pub fn value(series: &Value) -> Option<f64> {
    series["value"][1].as_str()?.parse().ok()
}

fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    let escape = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
