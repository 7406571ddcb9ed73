//! What a recording's JSON says about its frames: how many have names, and why others have none.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Document {
    counters: Vec<Counter>,
    notes: Vec<String>,
    binaries: Vec<Binary>,
    stacks: Vec<Stack>,
}

#[derive(Deserialize)]
struct Counter {
    name: String,
    count: u64,
    is_loss: bool,
}

#[derive(Deserialize)]
struct Binary {
    path: String,
}

#[derive(Deserialize)]
struct Stack {
    /// Objects, bytes.
    values: Vec<u64>,
    frames: Vec<Frame>,
}

#[derive(Deserialize)]
struct Frame {
    function: String,
    kind: String,
    binary: Option<u32>,
    address: String,
}

/// Sums over recordings.
#[derive(Default)]
pub struct Frames {
    pub stacks: u64,
    /// Events counted under a stack.
    pub events: u64,
    /// Frames, each stack counted once.
    pub distinct: u64,
    /// Frames, each stack counted with its objects.
    pub weighted: u64,
    pub native: u64,
    pub unnamed_distinct: u64,
    pub unnamed_weighted: u64,
    pub lost: u64,
    pub truncated: u64,
    /// Reason and file: frames, frames by objects, some addresses.
    pub unnamed: BTreeMap<(String, String), (u64, u64, Vec<String>)>,
    /// Counters that are not zero.
    pub counters: BTreeMap<String, u64>,
    pub notes: Vec<String>,
}

impl Frames {
    /// Adds a recording's JSON file.
    pub fn add(&mut self, file: &Path) -> Result<()> {
        let text = fs::read(file).with_context(|| file.display().to_string())?;
        let document: Document = serde_json::from_slice(&text)?;
        for counter in document.counters {
            *self.counters.entry(counter.name.clone()).or_default() += counter.count;
            match counter.name.as_str() {
                "recorded" => self.events += counter.count,
                "stacks" => self.stacks += counter.count,
                "truncated_stacks" => self.truncated += counter.count,
                _ if counter.is_loss => self.lost += counter.count,
                _ => {}
            }
        }
        for note in document.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        for stack in &document.stacks {
            let weight = stack.values.first().copied().unwrap_or(0);
            for frame in &stack.frames {
                // What heaptap puts there itself is no frame of the program.
                if frame.kind == "marker" {
                    continue;
                }
                self.distinct += 1;
                self.weighted += weight;
                self.native += u64::from(frame.kind == "native");
                if frame.kind == "unknown" {
                    let path = frame.binary.and_then(|b| document.binaries.get(b as usize));
                    let path = path.map_or("no file", |binary| file_name(&binary.path));
                    self.unnamed(frame, path, weight);
                }
            }
        }
        Ok(())
    }

    fn unnamed(&mut self, frame: &Frame, path: &str, weight: u64) {
        self.unnamed_distinct += 1;
        self.unnamed_weighted += weight;
        let key = (frame.function.clone(), path.to_string());
        let (count, weighted, addresses) = self.unnamed.entry(key).or_default();
        *count += 1;
        *weighted += weight;
        if addresses.len() < 3 && !addresses.contains(&frame.address) {
            addresses.push(frame.address.clone());
        }
    }

    /// Percent of frames with a name: each stack once, and by objects.
    pub fn named(&self) -> (f64, f64) {
        let share = |unnamed: u64, all: u64| 100.0 * (1.0 - unnamed as f64 / all.max(1) as f64);
        (share(self.unnamed_distinct, self.distinct), share(self.unnamed_weighted, self.weighted))
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnamed_frames_are_counted_by_reason() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{"counters": [{"name": "recorded", "count": 5, "is_loss": false},
            {"name": "lost_x", "count": 2, "is_loss": true}], "notes": ["n"],
            "binaries": [{"path": "/a/lib.so"}], "stacks": [{"values": [5, 80], "frames": [
            {"function": "main.f", "kind": "program", "binary": 0, "address": "0x1"},
            {"function": "[no symbol]", "kind": "unknown", "binary": 0, "address": "0x2"},
            {"function": "[truncated]", "kind": "marker", "binary": null, "address": "0x0"}]}]}"#;
        fs::write(file.path(), text).unwrap();
        let mut frames = Frames::default();
        frames.add(file.path()).unwrap();
        assert_eq!((frames.distinct, frames.weighted, frames.events, frames.lost), (2, 10, 5, 2));
        assert_eq!(frames.named(), (50.0, 50.0));
        let key = ("[no symbol]".to_string(), "lib.so".to_string());
        assert_eq!(frames.unnamed[&key], (1, 5, vec!["0x2".to_string()]));
    }
}
