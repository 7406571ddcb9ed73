//! A registry of containers' images: contents by their hash, and a tag that moves.

use anyhow::{Context as _, Result, ensure};

use super::{Client, Http, Kind, Process, Server, look};
use crate::random::Random;

/// Contents of each client, and bytes of each.
const CONTENTS: u64 = 128;
const LENGTH: usize = 16 << 10;

pub struct Registry(Process);

struct Contents {
    /// Its repository.
    name: String,
    random: Random,
    /// Bytes and hash of what is there, in the order in which it came.
    there: Vec<(Vec<u8>, String)>,
    writes: u64,
}

impl Registry {
    pub fn start(role: &str) -> Result<Registry> {
        let process = Process::start(Kind::Registry, role, "/v2/", |dir, port| {
            let config = dir.join("config.yml");
            let text = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
                dir.join("data").display()
            );
            std::fs::write(&config, text)?;
            Ok(vec!["serve".into(), config.into()])
        })?;
        Ok(Registry(process))
    }
}

impl Server for Registry {
    fn process(&self) -> &Process {
        &self.0
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.0
    }

    fn client(&self, number: usize) -> Result<Box<dyn Client>> {
        let (name, random) = (format!("soaked/{number}"), Random(number as u64));
        Ok(Box::new(Contents { name, random, there: Vec::new(), writes: 0 }))
    }

    fn verify(&mut self, clients: &mut [Box<dyn Client>]) -> Result<String> {
        self.0.has_not_logged("level=error")?;
        let writes: u64 = clients.iter().map(|client| client.writes()).sum();
        let contents = look(clients, self.0.http())?;
        self.0.restart()?;
        look(clients, self.0.http())?;
        // That it looks at what it is sent shows when that is wrong.
        let wrong = Contents::upload(self.0.http(), "soaked/0", b"these", &digest(b"others"))?;
        ensure!(wrong.status == 400, "wrong contents were answered with {}", wrong.status);
        self.0.end()?;
        Ok(format!(
            "{writes} uploads that had the hash they came with, {contents} contents with it before and after a \
             restart, wrong ones refused, no error in its log"
        ))
    }
}

impl Contents {
    fn upload(
        http: &Http,
        name: &str,
        bytes: &[u8],
        digest: &str,
    ) -> Result<super::super::http::Answer> {
        let path = format!("/v2/{name}/blobs/uploads/");
        let begun = http.send("POST", &path, b"")?.is(202, &path)?;
        let place = begun.location.context("an upload without a place")?;
        let joint = if place.contains('?') { '&' } else { '?' };
        http.send("PUT", &format!("{place}{joint}digest={digest}"), bytes)
    }

    fn write(&mut self, http: &Http) -> Result<()> {
        let number = self.writes % CONTENTS;
        let mut of_it = Random(number ^ self.name.len() as u64);
        let bytes: Vec<u8> = (0..LENGTH / 8).flat_map(|_| of_it.next().to_le_bytes()).collect();
        let digest = digest(&bytes);
        Self::upload(http, &self.name, &bytes, &digest)?.is(201, "an upload")?;
        if self.there.len() as u64 == number {
            self.there.push((bytes, digest));
        }
        self.writes += 1;
        Ok(())
    }

    fn read(&self, http: &Http, at: usize) -> Result<()> {
        let (bytes, digest) = &self.there[at];
        let path = format!("/v2/{}/blobs/{digest}", self.name);
        let answer = http.get(&path)?.is(200, &path)?;
        ensure!(answer.body == *bytes, "{path} has other bytes, {} of them", answer.body.len());
        Ok(())
    }
}

impl Client for Contents {
    fn operate(&mut self, http: &Http) -> Result<()> {
        if self.random.below(2) == 0 || self.there.is_empty() {
            return self.write(http);
        }
        let at = self.random.below(self.there.len() as u64) as usize;
        self.read(http, at)
    }

    fn look(&mut self, http: &Http) -> Result<u64> {
        (0..self.there.len()).try_for_each(|at| self.read(http, at))?;
        Ok(self.there.len() as u64)
    }

    fn writes(&self) -> u64 {
        self.writes
    }
}

/// `sha256:…`, as registries name contents.
fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = "sha256:".to_string();
    for byte in ring::digest::digest(&ring::digest::SHA256, bytes).as_ref() {
        // Writing to text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
