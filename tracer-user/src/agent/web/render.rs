//! Profiles in the formats that heaptap has.
//!
//! In: profiles, or kept ones as pprof. Out: bytes, or why not in one line. One at a time: that takes a CPU for a while.

use std::io::{self, Read, Write};

use tokio::sync::Semaphore;

use crate::output::pprof::{own::restore, read::read};
use crate::output::{self, Format, Options, functions};
use crate::profile::diff::{Asked, Diff, Kind, Measured};
use crate::profile::{Period, Profile};
use crate::symbolize::kind::Kinds;

/// Bytes of one answer; larger ones are made by heaptap itself, of the pprof file.
const LARGEST: usize = 48 << 20;
/// Memory that reading a kept profile may take.
const MOST_MEMORY: usize = 64 << 20;

/// What it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Svg,
    Html,
    Pprof,
    Folded,
    Json,
    /// What each function has, for the page's tables.
    Functions,
}

impl Form {
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "svg" => Form::Svg,
            "html" => Form::Html,
            "pprof" => Form::Pprof,
            "folded" => Form::Folded,
            "json" => Form::Json,
            "functions" => Form::Functions,
            _ => return None,
        })
    }

    /// Nothing for what only the agent tells.
    fn format(self) -> Option<Format> {
        Some(match self {
            Form::Svg => Format::Svg,
            Form::Html => Format::Html,
            Form::Pprof => Format::Pprof,
            Form::Folded => Format::Folded,
            Form::Json => Format::Json,
            Form::Functions => return None,
        })
    }

    pub fn suffix(self) -> &'static str {
        match self {
            Form::Svg => ".svg",
            Form::Html => ".html",
            Form::Pprof => ".pb.gz",
            Form::Folded => ".folded",
            Form::Json => ".json",
            Form::Functions => ".functions.json",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Form::Svg => "image/svg+xml",
            Form::Html => "text/html; charset=utf-8",
            Form::Pprof => "application/octet-stream",
            Form::Folded => "text/plain; charset=utf-8",
            Form::Json | Form::Functions => "application/json",
        }
    }
}

/// Bytes, as many as an answer may have.
#[derive(Default)]
struct Answer(Vec<u8>);

impl Write for Answer {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.0.len() + more.len() > LARGEST {
            let why = format!(
                "this would be larger than {} MiB: fetch pprof, or functions",
                LARGEST >> 20
            );
            return Err(io::Error::other(why));
        }
        self.0.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs something beside the thread that answers, when nothing else of that kind runs.
pub async fn alone<T: Send + 'static>(
    place: &Semaphore,
    make: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let Ok(_place) = place.acquire().await else { return Err("it is ending".to_owned()) };
    tokio::task::spawn_blocking(make).await.map_err(|err| err.to_string())?
}

/// A profile; `value` is what a flame graph shows.
///
/// # Errors
/// It has no such value.
pub fn profile(profile: &Profile, form: Form, value: Option<&str>) -> Result<Vec<u8>, String> {
    let value = value.map(|word| {
        let types = &profile.meta.value_types;
        let found = types.iter().position(|of| of.kind == word);
        found.ok_or_else(|| {
            let has: Vec<&str> = types.iter().map(|of| of.kind).collect();
            format!("value is {}", has.join(", "))
        })
    });
    let options = Options { value: value.transpose()?, ..Options::default() };
    let mut bytes = Answer::default();
    let written = match form.format() {
        Some(format) => output::render(profile, format, &options, &mut bytes),
        None => {
            let value = options.value.unwrap_or(profile.meta.default_value);
            functions::write(profile, value, &mut bytes)
        }
    };
    written.map_err(|err| err.to_string())?;
    Ok(bytes.0)
}

/// A file that was captured.
///
/// # Errors
/// It is no pprof file, has no such value, or takes too much memory.
pub fn captured(file: impl Read, form: Form, value: Option<&str>) -> Result<Vec<u8>, String> {
    let kinds = Kinds::new(None);
    let found = read("the capture".to_owned(), file, MOST_MEMORY, |function| kinds.of(function));
    let Measured { types, default, period, comments, profile: mut found, .. } =
        found.map_err(|err| format!("it {err}"))?;
    let known: Option<Vec<_>> = types.iter().map(Kind::known).collect();
    let known = known.ok_or("it has values that heaptap does not measure")?;
    (found.meta.value_types, found.meta.default_value) = (known, default);
    restore(&comments, &mut found.meta);
    found.meta.period = period.and_then(|(of, length)| Some(Period { of: of.known()?, length }));
    profile(&found, form, value)
}

/// What changed between two.
///
/// # Errors
/// They can't be compared by this value.
pub fn diff(
    before: &[u8],
    after: &[u8],
    form: Form,
    value: Option<String>,
) -> Result<Vec<u8>, String> {
    let kinds = Kinds::new(None);
    let measured = |name: &str, bytes: &[u8]| -> Result<Measured, String> {
        let found = read(name.to_owned(), bytes, MOST_MEMORY, |function| kinds.of(function));
        found.map_err(|err| format!("{name}: {err}"))
    };
    let (before, after) = (measured("before", before)?, measured("after", after)?);
    let asked = Asked { value, ..Asked::default() };
    let diff = Diff::new(&before, &after, &asked).map_err(|unlike| unlike.to_string())?;
    let mut bytes = Answer::default();
    let written = match form.format() {
        Some(format) => output::diff::render(&diff, format, &Options::default(), &mut bytes),
        None => functions::write_diff(&diff, &mut bytes),
    };
    written.map_err(|err| err.to_string())?;
    Ok(bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_bounded() {
        let mut answer = Answer::default();
        let part = vec![0; LARGEST / 4];
        for _ in 0..4 {
            answer.write_all(&part).unwrap();
        }
        let why = answer.write_all(b"x").unwrap_err().to_string();
        assert!(why.starts_with("this would be larger than 48 MiB"), "{why}");
    }
}
