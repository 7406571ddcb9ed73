//! A comparison as pprof has them: what `go tool pprof -diff_base` makes of two files.
//!
//! In: a [`Diff`]. Out: samples with what was there after, and samples with what was there before, less than zero and
//! labelled as the base, so that the tool takes percentages of that and each stack's sum is its change. Stacks
//! are names: addresses of two builds have nothing in common.

use std::io::{self, Write};

use super::{Encoder, compress, proto, signed};
use crate::output::diff::about;
use crate::profile::diff::Diff;

/// The label of the base's samples (google/pprof, profile/profile.go, `DiffBaseSample`).
const BASE: &str = "pprof::base";

/// Writes the compressed message.
pub fn write(diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
    compress(&message(diff), out)
}

fn message(diff: &Diff) -> proto::Profile {
    let mut encoder = Encoder::new(&diff.all);
    for kind in &diff.types {
        let (kind, unit) = (encoder.string(&kind.kind), encoder.string(&kind.unit));
        encoder.made.sample_type.push(proto::ValueType { kind, unit });
    }
    encoder.made.default_sample_type = encoder.made.sample_type[diff.value].kind;
    if let Some((kind, length)) = &diff.period {
        let (kind, unit) = (encoder.string(&kind.kind), encoder.string(&kind.unit));
        encoder.made.period_type = Some(proto::ValueType { kind, unit });
        encoder.made.period = signed((*length).into());
    }
    encoder.times();
    let base = [encoder.string(BASE), encoder.string("true")];
    let width = diff.types.len();
    for sample in &diff.all.samples {
        let location_id: Vec<u64> = sample.stack.iter().map(|id| encoder.location(*id)).collect();
        let values = |from: usize, sign: i64| -> Vec<i64> {
            sample.values[from..from + width].iter().map(|v| sign * signed((*v).into())).collect()
        };
        let label = vec![proto::Label { key: base[0], str: base[1], ..Default::default() }];
        let sides = [(values(width, 1), Vec::new()), (values(0, -1), label)];
        for (value, label) in sides.into_iter().filter(|(value, _)| value.iter().any(|v| *v != 0)) {
            let location_id = location_id.clone();
            encoder.made.sample.push(proto::Sample { location_id, value, label });
        }
    }
    for line in about(diff) {
        let text = encoder.string(&line.text);
        encoder.made.comment.push(text);
    }
    encoder.made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::diff::sample;

    #[test]
    fn each_stack_has_after_and_less_than_nothing_before() {
        let made = message(&sample::grown());
        let text = |at: i64| made.string_table[at as usize].as_str();
        let types: Vec<_> = made.sample_type.iter().map(|of| text(of.kind)).collect();
        assert_eq!(types, ["alloc_objects", "alloc_space"]);
        let label =
            |one: &proto::Sample| one.label.first().map(|label| (text(label.key), text(label.str)));
        let base = Some((BASE, "true"));
        let found: Vec<_> = made.sample.iter().map(|one| (one.value[1], label(one))).collect();
        assert_eq!(found[..2], [(31 << 20, None), (-(1 << 20), base)]);
        let sum: i64 = found.iter().map(|(value, _)| value).sum();
        let [before, after] = sample::grown().totals().map(|total| total as i64);
        assert_eq!(sum, after - before);
        assert!(made.sample.iter().all(|one| one.value.iter().any(|v| *v != 0)));
    }
}
