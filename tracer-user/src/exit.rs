//! Exit codes and the one-line failures behind them: the documented set, defined once.

use std::process::ExitCode;

/// Why heaptap ends. The numbers are part of the interface (README, `heaptap --help`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for was done.
    Ok = 0,
    /// A failure that has no code of its own.
    Failure = 1,
    /// The command line can't be understood.
    Usage = 2,
    /// A privilege is missing.
    Permission = 3,
    /// No such process, or not a Go program, or it went away before anything could be seen.
    Target = 4,
    /// This Go version, this binary or this kernel can't serve the request.
    Unsupported = 5,
    /// At least one output could not be written; the others were.
    Output = 6,
    /// `heaptap leaks`: at least one leak was found.
    Leaks = 7,
    /// `heaptap forecast`: a limit is reached, or will be soon.
    Limit = 8,
}

impl Exit {
    /// All codes, in order.
    pub const ALL: [Exit; 9] = [
        Exit::Ok,
        Exit::Failure,
        Exit::Usage,
        Exit::Permission,
        Exit::Target,
        Exit::Unsupported,
        Exit::Output,
        Exit::Leaks,
        Exit::Limit,
    ];

    /// The sentence that `--help` and docs/exit-codes.md print for it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "everything that was asked for was done",
            Exit::Failure => "a failure that has no code of its own",
            Exit::Usage => "the command line can't be understood",
            Exit::Permission => "a privilege is missing",
            Exit::Target => {
                "no such process, or not a Go program, or it went away before anything could be seen"
            }
            Exit::Unsupported => {
                "this Go version, this binary or this kernel can't serve the request"
            }
            Exit::Output => "at least one output could not be written; the others were",
            Exit::Leaks => "heaptap leaks: at least one leak was found",
            Exit::Limit => {
                "heaptap forecast: a program is at a memory limit, or will be within --within"
            }
        }
    }
}

/// A failure with its exit code: one line that says what happened and what can be done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// An error and its causes in one line, each said once.
pub fn one_line(err: &dyn std::error::Error) -> String {
    let mut line = err.to_string();
    let mut cause = err.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = inner.source();
    }
    line
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
