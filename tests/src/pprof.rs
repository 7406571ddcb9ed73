//! pprof files, Go's own and heaptap's, read alike: only what tests compare.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use heaptap::output::pprof::proto;
use prost::Message;

use crate::report::Frame;

/// A profile with everything named.
#[derive(Clone, Debug)]
pub struct Pprof {
    /// `goroutine/count`.
    pub types: Vec<String>,
    pub default_type: String,
    /// `space/bytes` and its length.
    pub period: (String, i64),
    pub samples: Vec<Sample>,
    pub comments: Vec<String>,
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
        let kind = |of: &proto::ValueType| -> Result<String> {
            Ok(format!("{}/{}", text(of.kind)?, text(of.unit)?))
        };
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
                    0 => drop(labels.insert(text(label.key)?, text(label.str)?)),
                    number => drop(numbers.insert(text(label.key)?, number)),
                }
            }
            Ok(Sample { values: sample.value.clone(), stack, labels, numbers })
        });
        Ok(Pprof {
            types: profile.sample_type.iter().map(kind).collect::<Result<_>>()?,
            default_type: text(profile.default_sample_type)?,
            period: (kind(&profile.period_type.unwrap_or_default())?, profile.period),
            samples: samples.collect::<Result<_>>()?,
            comments: profile.comment.iter().map(|at| text(*at)).collect::<Result<_>>()?,
        })
    }
}
