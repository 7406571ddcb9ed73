//! Requests to a server on loopback, over connections that stay.
//!
//! In: a method, a path, bytes. Out: a status, bytes, and where an answer says that something is to be found.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// How long an answer may take; a server that is stopped by somebody else shows as an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer.
const LARGEST: u64 = 64 << 20;

pub struct Http {
    agent: ureq::Agent,
    base: String,
}

pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

impl Http {
    pub fn new(port: u16) -> Http {
        Http { agent: agent(), base: format!("http://127.0.0.1:{port}") }
    }

    /// Lets go of all connections.
    pub fn forget(&mut self) {
        self.agent = agent();
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        Answer::read(self.agent.get(self.at(path)).call()).with_context(|| path.to_string())
    }

    /// With a body, by POST or PUT.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let request = match method {
            "PUT" => self.agent.put(self.at(path)),
            _ => self.agent.post(self.at(path)),
        };
        let request = request.content_type("application/octet-stream");
        Answer::read(request.send(body)).with_context(|| path.to_string())
    }

    /// What is asked for with JSON and answered with it.
    pub fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", path, body.to_string().as_bytes())?.json(path)
    }

    /// A path of the server, or an address that it told.
    fn at(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_string() } else { format!("{}{path}", self.base) }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into()
}

impl Answer {
    fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer> {
        let mut answer = answer?;
        let location = answer.headers().get("location").and_then(|text| text.to_str().ok());
        let (status, location) = (answer.status().as_u16(), location.map(str::to_owned));
        let body = answer.body_mut().with_config().limit(LARGEST).read_to_vec()?;
        Ok(Answer { status, location, body })
    }

    /// Fails when the answer is another.
    pub fn is(self, status: u16, what: &str) -> Result<Answer> {
        let said = String::from_utf8_lossy(&self.body);
        let said: String = said.chars().take(200).collect();
        ensure!(self.status == status, "{what} was answered with {}: {said}", self.status);
        Ok(self)
    }

    pub fn json(self, what: &str) -> Result<Value> {
        let answer = self.is(200, what)?;
        serde_json::from_slice(&answer.body).with_context(|| format!("{what}: no JSON"))
    }
}
