//! What is printed instead of running a command: help, a version, or why the words make no sense.

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::Cli;
use crate::exit::Exit;

/// Those that look at no process.
const OF_NO_PROCESS: [&str; 6] = ["ps", "export", "diff", "doctor", "completions", "man"];

/// The end of heaptap before it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// [`Exit::Ok`] for help and version, which belong on standard output; else [`Exit::Usage`].
    pub exit: Exit,
    /// Without a final newline. One line, except for help.
    pub text: String,
    /// Whether `text` is complete as it stands (help, version) or a message that wants the
    /// program's name in front.
    pub is_message: bool,
}

impl Refusal {
    /// A usage error found after clap was content.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, text: message.into(), is_message: true }
    }

    /// Takes clap's verdict. Its errors span paragraphs (error, tip, usage, hint); users of heaptap
    /// get one line with what is wrong, the tip, and where help is.
    ///
    /// `command` is the first word after the program's name, to point at the right help.
    pub(super) fn from_clap(error: &clap::Error, command: Option<&str>) -> Self {
        let text = error.render().to_string();
        let text = text.trim_end();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Self { exit: Exit::Ok, text: text.to_owned(), is_message: false }
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Self { exit: Exit::Usage, text: text.to_owned(), is_message: false }
            }
            _ => Self::usage(one_line(text, command)),
        }
    }
}

/// The number that stands where no argument is expected, if that is what clap complains about.
fn stray_number(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("unexpected argument '")?;
    rest.split_once('\'')?.0.parse().ok()
}

/// Whether there is a command of that name, which has a help text of its own.
fn is_command(name: &str) -> bool {
    Cli::command().get_subcommands().any(|command| command.get_name() == name)
}

/// Joins the paragraphs of a clap error that carry something, and leaves the usage out.
fn one_line(text: &str, command: Option<&str>) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let help = match command {
        Some(command) if is_command(command) => format!("heaptap {command} --help"),
        _ => "heaptap --help".to_owned(),
    };
    let mut parts = Vec::new();
    for paragraph in text.split("\n\n") {
        let joined = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(tip) = joined.strip_prefix("tip: ") {
            parts.push(tip.to_owned());
        } else if !joined.is_empty()
            && !joined.starts_with("Usage: ")
            && !joined.starts_with("For more information")
        {
            parts.push(joined);
        }
    }
    if let Some(number) = stray_number(text)
        .filter(|_| command.is_some_and(|c| is_command(c) && !OF_NO_PROCESS.contains(&c)))
    {
        parts.push(format!("a process is given as -p {number}"));
    }
    format!("{} (see {help})", parts.join("; "))
}
