//! What is made of the flags' definitions beside help: completions for shells, and manual pages.
//!
//! In: the commands as clap has them. Out: text. Nothing is written anywhere here.

use std::io;

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::Cli;

/// A manual page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The command that it is about; nothing: heaptap itself.
    pub command: Option<String>,
    /// Name of its file.
    pub file: String,
    /// roff, for man(7).
    pub text: String,
}

/// Administration commands.
const SECTION: &str = "8";

/// What a shell must read to complete heaptap's command lines.
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "heaptap", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// All manual pages: heaptap's, then those of its commands.
///
/// # Errors
/// None that a text in memory gives.
pub fn pages() -> io::Result<Vec<Page>> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let of = |command: &clap::Command, name| page(command.clone(), name);
    let mut pages = vec![of(&all, None)?];
    for command in all.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(of(command, Some(command.get_name().to_owned()))?);
    }
    let names: Vec<String> = pages.iter().map(|page| page.file.replace('.', "(") + ")").collect();
    for page in &mut pages {
        page.text += &see_also(&names, &page.file)?;
    }
    Ok(pages)
}

fn page(command: clap::Command, name: Option<String>) -> io::Result<Page> {
    let epilogue = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let is_main = command.has_subcommands();
    let man = Man::new(command)
        .section(SECTION)
        .source(concat!("heaptap ", env!("CARGO_PKG_VERSION")))
        .manual("heaptap");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    let sections: Vec<Section<'_>> = epilogue.split("\n\n").map(Section::of).collect();
    for section in sections.iter().filter(|section| section.title.is_none()) {
        section.render(&mut text)?;
    }
    if is_main {
        man.render_subcommands_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    for section in sections.iter().filter(|section| section.title.is_some()) {
        section.render(&mut text)?;
    }
    let file = man.get_filename();
    Ok(Page { command: name, file, text: String::from_utf8_lossy(&text).into_owned() })
}

/// A part of what help ends with.
struct Section<'a> {
    /// Nothing: more of the description.
    title: Option<&'static str>,
    body: &'a str,
}

impl<'a> Section<'a> {
    fn of(text: &'a str) -> Self {
        let titles = [("Examples:\n", "EXAMPLES"), ("Exit codes:\n", "EXIT STATUS")];
        let found = titles.iter().find_map(|(begins, title)| {
            Some(Self { title: Some(title), body: text.strip_prefix(begins)? })
        });
        found.unwrap_or(Self { title: None, body: text })
    }

    /// Lines of a section with a title stay as they are.
    fn render(&self, into: &mut Vec<u8>) -> io::Result<()> {
        let mut roff = Roff::new();
        match self.title {
            Some(title) => {
                roff.control("SH", [title]).control("nf", []);
                for line in self.body.lines() {
                    roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
                }
                roff.control("fi", []);
            }
            None => {
                roff.control("PP", []);
                for line in self.body.lines() {
                    roff.text([roman(line)]);
                }
            }
        }
        roff.to_writer(into)
    }
}

fn see_also(names: &[String], file: &str) -> io::Result<String> {
    let own = file.replace('.', "(") + ")";
    let others: Vec<&str> = names.iter().filter(|name| **name != own).map(String::as_str).collect();
    let mut text = Vec::new();
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
    roff.to_writer(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    /// Long flags of a command.
    fn flags(command: &clap::Command) -> Vec<&str> {
        let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
        shown.filter_map(clap::Arg::get_long).collect()
    }

    #[test]
    fn every_flag_of_every_command_is_in_its_page() {
        let mut all = Cli::command().disable_help_subcommand(true);
        all.build();
        let pages = pages().unwrap();
        assert_eq!(pages.len(), 1 + all.get_subcommands().count());
        for page in &pages {
            let command = match &page.command {
                Some(name) => all.find_subcommand(name).unwrap(),
                None => &all,
            };
            let text = page.text.replace("\\-", "-");
            for flag in flags(command) {
                assert!(text.contains(&format!("--{flag}")), "{}: --{flag}", page.file);
            }
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"]
            {
                let title = format!(".SH {section}");
                let quoted = format!(".SH \"{section}\"");
                assert!(
                    text.contains(&title) || text.contains(&quoted),
                    "{}: {section}",
                    page.file
                );
            }
        }
        let files: Vec<_> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files[..3], ["heaptap.8", "heaptap-ps.8", "heaptap-record.8"]);
    }

    #[test]
    fn examples_keep_their_lines() {
        let pages = pages().unwrap();
        let record = pages.iter().find(|page| page.command.as_deref() == Some("record")).unwrap();
        let (_, examples) = record.text.split_once(".SH EXAMPLES\n.nf\n").unwrap();
        let first = examples.lines().next().unwrap().replace("\\-", "-");
        assert!(first.starts_with("sudo heaptap record -p 4242 "), "{first}");
    }

    #[test]
    fn every_shell_completes_every_flag() {
        for shell in Shell::value_variants() {
            let text = completions(*shell);
            for command in Cli::command().get_subcommands() {
                for flag in flags(command) {
                    assert!(text.contains(flag), "{shell}: {flag}");
                }
            }
        }
    }
}
