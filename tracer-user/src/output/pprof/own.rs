//! How a profile was measured, as heaptap itself has written it into a pprof file.
//!
//! In: a file's comments (`super::comments`). Out: what the format has no field for, as it was. Of files that others have
//! written nothing is known.

use crate::profile::{CounterValue, Meta, Source};

const SOURCES: [Source; 4] = [Source::Exact, Source::Span, Source::Sample, Source::Records];

/// Takes over what comments say; nothing where they are not heaptap's.
pub fn restore(comments: &[String], meta: &mut Meta) {
    let [source, method, _totals, verdict, others @ ..] = comments else { return };
    let word = source.strip_prefix("heaptap source=");
    let Some(source) = SOURCES.into_iter().find(|source| Some(source.word()) == word) else {
        return;
    };
    meta.source = source;
    // What follows is told again, from the file's own time and length.
    let end = method.rfind("; read at ").or_else(|| method.rfind(", for "));
    meta.method = Some(method.get(..end.unwrap_or(method.len())).unwrap_or(method).to_owned());
    meta.in_windows = source == Source::Exact && verdict.starts_with("estimate");
    for line in others {
        match (line.strip_prefix("note: "), counter(line)) {
            (Some(note), _) => meta.notes.push(note.to_owned()),
            (None, Some(counter)) => meta.counters.push(counter),
            (None, None) => meta.notes.push(line.clone()),
        }
    }
}

/// `lost_events=5 (loss): why`
fn counter(line: &str) -> Option<CounterValue> {
    let (name, rest) = line.split_once('=')?;
    if name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        return None;
    }
    let (count, help) = rest.split_once(": ")?;
    let (count, is_loss) = match count.strip_suffix(" (loss)") {
        Some(count) => (count, true),
        None => (count, false),
    };
    let (name, help) = (name.to_owned().into(), help.to_owned().into());
    Some(CounterValue { name, help, is_loss, count: count.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use crate::output::pprof::{read::read, write};
    use crate::output::{describe, sample};
    use crate::profile::{FrameKind, Period};

    #[test]
    fn what_was_said_of_a_profile_is_said_again() {
        for profile in [sample::server(), sample::fleet(), sample::heap(), sample::maps()] {
            let mut file = Vec::new();
            write(&profile, 0, &mut file).unwrap();
            let found = read("x".into(), &file[..], 64 << 20, |_| FrameKind::Program).unwrap();
            let mut read = found.profile;
            assert_eq!(
                describe::method(&read).split(&[',', ';']).next(),
                Some("as a pprof file has it")
            );
            super::restore(&found.comments, &mut read.meta);
            read.meta.period =
                found.period.and_then(|(of, length)| Some(Period { of: of.known()?, length }));
            assert_eq!(describe::method(&read), describe::method(&profile));
            assert_eq!(describe::verdict(&read), describe::verdict(&profile));
            assert_eq!(read.meta.lost(), profile.meta.lost());
            assert!(profile.meta.notes.iter().all(|note| read.meta.notes.contains(note)));
        }
    }

    #[test]
    fn what_others_say_is_not_taken_over() {
        let mut meta = sample::server().meta;
        let before = format!("{meta:?}");
        for comments in
            [&[][..], &["heaptap source=guess", "a", "b", "c"], &["heaptap source=exact"]]
        {
            let comments: Vec<String> = comments.iter().map(|text| (*text).to_owned()).collect();
            super::restore(&comments, &mut meta);
        }
        assert_eq!(format!("{meta:?}"), before);
    }
}
