//! etcd: values that only their client changes, each with the number of its writes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Client, Http, Kind, Process, Server, look};
use crate::{random::Random, work::server::free_port};

/// Of each client.
const KEYS: u64 = 64;
/// Bytes of a value.
const LENGTH: usize = 512;

pub struct Etcd(Process);

struct Keys {
    number: usize,
    random: Random,
    /// Value and writes of each key.
    known: BTreeMap<String, (String, u64)>,
    writes: u64,
}

impl Etcd {
    pub fn start(role: &str) -> Result<Etcd> {
        let process = Process::start(Kind::Etcd, role, "/health", |dir, port| {
            let clients = format!("http://127.0.0.1:{port}");
            let peers = format!("http://127.0.0.1:{}", free_port()?);
            let words = [
                ("--name", "soaked".to_string()),
                ("--data-dir", dir.join("data").display().to_string()),
                ("--listen-client-urls", clients.clone()),
                ("--advertise-client-urls", clients),
                ("--listen-peer-urls", peers.clone()),
                ("--initial-advertise-peer-urls", peers.clone()),
                ("--initial-cluster", format!("soaked={peers}")),
                // How fast a disk is, is not what is asked.
                ("--unsafe-no-fsync", "true".to_string()),
                ("--auto-compaction-mode", "revision".to_string()),
                ("--auto-compaction-retention", "1000".to_string()),
                ("--log-level", "error".to_string()),
            ];
            Ok(words.into_iter().map(|(name, value)| format!("{name}={value}").into()).collect())
        })?;
        Ok(Etcd(process))
    }

    /// The hash that it makes of all keys, and the number of changes that there were.
    fn hash(&self) -> Result<(Value, u64)> {
        let answer = self.0.http().ask("/v3/maintenance/hashkv", &json!({}))?;
        Ok((answer["hash"].clone(), number(&answer["header"]["revision"])?))
    }
}

impl Server for Etcd {
    fn process(&self) -> &Process {
        &self.0
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.0
    }

    fn client(&self, number: usize) -> Result<Box<dyn Client>> {
        let random = Random(number as u64);
        Ok(Box::new(Keys { number, random, known: BTreeMap::new(), writes: 0 }))
    }

    fn verify(&mut self, clients: &mut [Box<dyn Client>]) -> Result<String> {
        self.0.has_not_logged("\"level\":")?;
        let writes: u64 = clients.iter().map(|client| client.writes()).sum();
        let keys = look(clients, self.0.http())?;
        let before = self.hash()?;
        // The first revision is that of the empty store.
        ensure!(before.1 == writes + 1, "{writes} writes and revision {}", before.1);
        self.0.restart()?;
        look(clients, self.0.http())?;
        let after = self.hash()?;
        ensure!(before == after, "hash and revision {before:?}, after a restart {after:?}");
        self.0.end()?;
        Ok(format!(
            "{keys} values with the number of their writes, revision {} after {writes} writes, the same hash of all \
             keys after a restart, no error in its log",
            before.1
        ))
    }
}

impl Keys {
    fn put(&mut self, http: &Http, key: String) -> Result<()> {
        let (old, writes) = self.known.get(&key).cloned().unwrap_or_default();
        let new = value(&mut self.random);
        let compare = match writes {
            0 => json!({"key": key, "target": "VERSION", "result": "EQUAL", "version": "0"}),
            _ => json!({"key": key, "target": "VALUE", "result": "EQUAL", "value": old}),
        };
        let put = json!({"requestPut": {"key": key, "value": new}});
        let answer = http.ask("/v3/kv/txn", &json!({"compare": [compare], "success": [put]}))?;
        ensure!(answer["succeeded"] == true, "a value was not what was written last: {answer}");
        self.known.insert(key, (new, writes + 1));
        self.writes += 1;
        Ok(())
    }

    fn read(&self, http: &Http, key: &str) -> Result<()> {
        let (value, writes) = self.known.get(key).context("a key that was not written")?;
        let answer = http.ask("/v3/kv/range", &json!({"key": key}))?;
        let found = &answer["kvs"][0];
        let is_right = found["value"] == value.as_str() && number(&found["version"])? == *writes;
        ensure!(is_right, "{writes} writes, the last of {value}: {answer}");
        Ok(())
    }
}

impl Client for Keys {
    fn operate(&mut self, http: &Http) -> Result<()> {
        // Four characters are three bytes, whatever they are.
        let key = format!("k{:03}{:04}", self.number, self.random.below(KEYS));
        if self.random.below(2) == 0 || !self.known.contains_key(&key) {
            return self.put(http, key);
        }
        self.read(http, &key)
    }

    fn look(&mut self, http: &Http) -> Result<u64> {
        self.known.keys().try_for_each(|key| self.read(http, key))?;
        Ok(self.known.len() as u64)
    }

    fn writes(&self) -> u64 {
        self.writes
    }
}

/// Text that is base64 of something, as the gateway wants it.
fn value(random: &mut Random) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..LENGTH).map(|_| char::from(digits[random.below(64) as usize])).collect()
}

/// The gateway writes numbers as text.
fn number(value: &Value) -> Result<u64> {
    value.as_str().context("no number")?.parse().context("no number")
}
