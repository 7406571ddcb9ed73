//! Flags of `heaptap symbolize`, and the configuration that they make.

use std::path::PathBuf;

use clap::Args;

use super::Refusal;
use super::groups::MaxMemory;
use crate::recording;

/// Which recording to name, by which files, and where the result goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub file: PathBuf,
    /// Files, and directories that have them.
    pub binaries: Vec<PathBuf>,
    pub output: PathBuf,
    /// Keep the runtime's own allocation functions at the inner end of stacks.
    pub runtime_frames: bool,
    /// Only stacks that keep nothing of what they allocate.
    pub short_lived: bool,
    pub quiet: bool,
    /// Most bytes that reading may take.
    pub max_memory: usize,
}

/// As typed.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The recording, made with --raw
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// A binary that was recorded, or a directory where such are (all files in it, and below); may be repeated.
    /// They are told by their build ids, whatever they are called
    #[arg(short, long = "binary", value_name = "PATH", required = true)]
    binary: Vec<PathBuf>,

    /// Write the recording with names here: FILE.htap
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Keep the runtime's own allocation functions (newobject, mallocgc, ...) in stacks
    #[arg(long)]
    runtime_frames: bool,

    /// Only stacks of which every object seen was freed again (mode sample): the garbage makers
    #[arg(long)]
    short_lived: bool,

    /// No remarks: errors only
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    memory: MaxMemory,
}

impl Flags {
    /// Checks what spans several flags.
    pub(super) fn lower(self) -> Result<Config, Refusal> {
        if !self.output.to_string_lossy().ends_with(recording::SUFFIX) {
            let name = self.output.to_string_lossy();
            return Err(Refusal::usage(format!(
                "-o {}: must end in .htap; heaptap export makes everything else of it",
                name.escape_debug()
            )));
        }
        if self.output == self.file {
            return Err(Refusal::usage("-o: the recording that is read; name another file"));
        }
        Ok(Config {
            file: self.file,
            binaries: self.binary,
            output: self.output,
            runtime_frames: self.runtime_frames,
            short_lived: self.short_lived,
            quiet: self.quiet,
            max_memory: self.memory.bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::exit::Exit;

    fn parsed(words: &str) -> Result<Command, Refusal> {
        parse(["heaptap", "symbolize"].into_iter().chain(words.split_whitespace()))
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let expected = Config {
            file: "raw.htap".into(),
            binaries: vec!["orders".into(), "/srv/bin".into()],
            output: "run.htap".into(),
            runtime_frames: true,
            short_lived: true,
            quiet: true,
            max_memory: 64 << 20,
        };
        let words = "raw.htap -b orders --binary /srv/bin -o run.htap --runtime-frames --short-lived -q \
                     --max-memory 64";
        assert_eq!(parsed(words).unwrap(), Command::Symbolize(expected));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, why) in [
            ("raw.htap -o run.htap", "--binary"),
            ("raw.htap -b x -o run.svg", "must end in .htap"),
            ("raw.htap -b x -o raw.htap", "name another file"),
            ("-b x -o run.htap", "FILE"),
        ] {
            let refusal = parsed(words).expect_err("must be refused");
            assert_eq!(refusal.exit, Exit::Usage, "{words}");
            assert!(refusal.text.contains(why), "{words}: {}", refusal.text);
        }
    }
}
