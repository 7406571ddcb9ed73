//! Folded stacks with two columns, before and after, as flame graph tools take them (`difffolded.pl`).

use std::io::{self, Write};

use crate::output::folded::{self, frame};
use crate::output::stacks::{Both, Stacks};
use crate::profile::diff::Diff;

/// Writes `root;…;leaf BEFORE AFTER`, one line for each stack of function names.
pub fn write(diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
    let Stacks { labels, stacks } = Stacks::of(&diff.all, |one| Both::new(diff.of(one)), frame);
    for (stack, Both { before, after, .. }) in stacks {
        folded::stack(&stack, &labels, out)?;
        writeln!(out, " {before} {after}")?;
    }
    Ok(())
}
