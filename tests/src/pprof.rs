//! pprof files, Go's own and heaptap's, read alike: only what tests compare.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use prost::Message;

use crate::report::Frame;

/// A profile with everything named.
#[derive(Clone, Debug)]
pub struct Pprof {
    /// `goroutine/count`.
    pub types: Vec<String>,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
pub struct Sample {
    pub values: Vec<i64>,
    /// Innermost first, inlined calls included.
    pub stack: Vec<Frame>,
    /// Labels that are texts.
    pub labels: BTreeMap<String, String>,
    /// Labels that are numbers.
    pub numbers: BTreeMap<String, i64>,
}

impl Pprof {
    pub fn read(path: &Path) -> Result<Pprof> {
        let file = File::open(path).with_context(|| format!("no {}", path.display()))?;
        let mut bytes = Vec::new();
        GzDecoder::new(file).read_to_end(&mut bytes).context("no gzip")?;
        let profile = proto::Profile::decode(&*bytes).context("no profile.proto")?;
        let text = |at: i64| -> Result<String> {
            let text = usize::try_from(at).ok().and_then(|at| profile.string_table.get(at));
            text.cloned().context("no such string")
        };
        let types = profile.sample_type.iter();
        let types = types.map(|t| Ok(format!("{}/{}", text(t.kind)?, text(t.unit)?)));
        let samples = profile.sample.iter().map(|sample| {
            let mut stack = Vec::new();
            for id in &sample.location_id {
                let location = profile.location.iter().find(|location| location.id == *id);
                for line in &location.context("no such location")?.line {
                    let function = profile.function.iter().find(|f| f.id == line.function_id);
                    let function = function.context("no such function")?;
                    stack.push(Frame {
                        function: text(function.name)?,
                        file: text(function.filename)?,
                        line: u32::try_from(line.line)?,
                    });
                }
            }
            let (mut labels, mut numbers) = (BTreeMap::new(), BTreeMap::new());
            for label in &sample.label {
                match label.num {
                    0 => drop(labels.insert(text(label.key)?, text(label.text)?)),
                    number => drop(numbers.insert(text(label.key)?, number)),
                }
            }
            Ok(Sample { values: sample.value.clone(), stack, labels, numbers })
        });
        Ok(Pprof { types: types.collect::<Result<_>>()?, samples: samples.collect::<Result<_>>()? })
    }
}

/// The messages of `profile.proto` (google/pprof), as far as they are looked at.
mod proto {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub sample: Vec<Sample>,
        #[prost(message, repeated, tag = "4")]
        pub location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub string_table: Vec<String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct ValueType {
        #[prost(int64, tag = "1")]
        pub kind: i64,
        #[prost(int64, tag = "2")]
        pub unit: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub label: Vec<Label>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Label {
        #[prost(int64, tag = "1")]
        pub key: i64,
        #[prost(int64, tag = "2")]
        pub text: i64,
        #[prost(int64, tag = "3")]
        pub num: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Location {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(message, repeated, tag = "4")]
        pub line: Vec<Line>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Line {
        #[prost(uint64, tag = "1")]
        pub function_id: u64,
        #[prost(int64, tag = "2")]
        pub line: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Function {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(int64, tag = "2")]
        pub name: i64,
        #[prost(int64, tag = "4")]
        pub filename: i64,
    }
}
