//! Folded stacks: `root;…;leaf value`, one line for each stack, sorted.
//!
//! In: a [`Profile`]. Out: lines that `flamegraph.pl`, inferno, speedscope and `awk` all split
//! alike. What a name holds of the format's own separators is replaced, see [`frame`].

use std::io::{self, Write};

use super::stacks::{Label, Stacks};
use super::text::printable;
use crate::profile::Profile;

/// Writes one line for each stack of function names that has any of `value`.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    let Stacks { labels, stacks } = Stacks::new(profile, value, frame);
    for (stack, count) in stacks {
        self::stack(&stack, &labels, out)?;
        writeln!(out, " {count}")?;
    }
    Ok(())
}

/// Writes the names of a stack.
pub(super) fn stack(stack: &[u32], labels: &[Label], out: &mut dyn Write) -> io::Result<()> {
    for (at, label) in stack.iter().enumerate() {
        let separator = if at > 0 { ";" } else { "" };
        write!(out, "{separator}{}", labels[*label as usize].text)?;
    }
    Ok(())
}

/// A name as it stands in a line: `;` becomes `:`, a space `_`, hidden characters are spelled out,
/// a leading `#` (a comment to inferno) becomes `\x23`, and a blank name becomes `[unnamed]`.
pub(super) fn frame(name: &str) -> String {
    let shown = printable(name);
    let text: String = shown
        .chars()
        .map(|c| match c {
            ';' => ':',
            c if c.is_whitespace() => '_',
            c => c,
        })
        .collect();
    match text.strip_prefix('#') {
        Some(rest) => format!("\\x23{rest}"),
        None if shown.trim().is_empty() => "[unnamed]".to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use crate::output::golden::{check, rendered};
    use crate::output::{Format, sample};
    use crate::profile::Source;
    use crate::profile::build::Build;

    #[test]
    fn matches_the_golden_files() {
        check("server.folded", &rendered(&sample::server(), Format::Folded));
        check("fleet.folded", &rendered(&sample::fleet(), Format::Folded));
        check("hostile.folded", &rendered(&sample::hostile(), Format::Folded));
    }

    #[test]
    fn every_line_splits_at_its_only_space() {
        for profile in [sample::server(), sample::fleet(), sample::hostile()] {
            let text = rendered(&profile, Format::Folded);
            let mut sum = 0;
            for line in text.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                assert_eq!(words.len(), 2, "{line}");
                assert!(words[0].split(';').all(|f| !f.is_empty()), "{line}");
                sum += words[1].parse::<u64>().unwrap();
            }
            assert_eq!(sum, profile.total(1));
            let stacks = text.lines().map(|l| l.split(' ').next().unwrap().split(';'));
            let stacks: Vec<Vec<&str>> = stacks.map(Iterator::collect).collect();
            assert!(stacks.is_sorted());
        }
    }

    #[test]
    fn nothing_recorded_is_no_line() {
        assert_eq!(rendered(&sample::empty(), Format::Folded), "");
    }

    #[test]
    fn stacks_that_differ_in_lines_only_are_one() {
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        build.stack(p, &["main.a a.go:1"], 1, 10);
        build.stack(p, &["main.a a.go:2"], 1, 5);
        build.stack(p, &["main.zero a.go:3"], 1, 0);
        assert_eq!(rendered(&build.done(), Format::Folded), "main.a 15\n");
    }
}
