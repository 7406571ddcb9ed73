//! One page of HTML, complete by itself: a flame graph, a table, a tree and a timeline of profiles over time.
//!
//! In: profiles, the earlier ones first, and what runtimes say of their memory meanwhile. Out: a page that opens from a disk, without a network: it holds a script, its
//! style, and the document of [`book`] as compressed JSON. Its own policy forbids it to load anything.

mod book;
mod levels;

use std::io::{self, Write};

use base64::write::EncoderWriter;
use base64::{engine::GeneralPurpose, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};

use super::Options;
use super::svg::escape;
use crate::profile::Profile;
use book::Book;
pub use book::Refused;
pub use levels::Level;

const HEAD: &str = include_str!("head.html");
const BODY: &str = include_str!("body.html");
const STYLE: &str = include_str!("page.css");
/// One after the other: what there is to show, how it is drawn, what users do.
const SCRIPTS: [&str; 4] = [
    include_str!("model.js"),
    include_str!("views.js"),
    include_str!("levels.js"),
    include_str!("page.js"),
];

/// A page in the making.
#[derive(Default)]
pub struct Page {
    book: Book,
}

impl Page {
    /// Adds a later profile.
    ///
    /// # Errors
    /// The page can't have it.
    pub fn add(&mut self, profile: &Profile, options: &Options) -> Result<(), Refused> {
        match options.label_roots {
            true => {
                let mut profile = profile.clone();
                profile.add_label_roots();
                self.book.add(&profile)?;
            }
            false => self.book.add(profile)?,
        }
        if let Some(value) = options.value {
            self.book.document.value = value;
        }
        Ok(())
    }

    /// Statistics of a later time follow, in nanoseconds since 1970.
    pub fn time(&mut self, nanos: u64) {
        self.book.document.levels.at(nanos / 1_000_000);
    }

    /// What is known then of a process, told by number, start and name; whether it has stacks in the page, and there was
    /// room.
    pub fn level(&mut self, (pid, start, comm): (u32, u64, &str), level: Level) -> bool {
        let known = self.book.known(pid, start, comm);
        known.is_some_and(|process| self.book.document.levels.add(process, level))
    }

    /// All statistics were told.
    pub fn complete(&mut self) {
        self.book.document.levels.complete();
    }

    /// Has the page say something about itself.
    pub fn note(&mut self, note: String) {
        self.book.document.notes.push(note);
    }

    /// Writes the page.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let document = &self.book.document;
        let title = escape(&document.title);
        write!(out, "{HEAD}<title>{title}</title>\n<style>\n{STYLE}</style>\n{BODY}")?;
        write!(out, "<script type=\"application/gzip\" id=\"document\">")?;
        let mut text: EncoderWriter<GeneralPurpose, _> =
            EncoderWriter::new(&mut *out, &BASE64_STANDARD);
        let mut packed = GzEncoder::new(&mut text, Compression::default());
        serde_json::to_writer(&mut packed, document).map_err(io::Error::from)?;
        packed.finish()?;
        text.finish()?;
        drop(text);
        writeln!(out, "</script>")?;
        for script in SCRIPTS {
            writeln!(out, "<script>\n{script}</script>")?;
        }
        writeln!(out, "</body>\n</html>")
    }
}

/// Writes a page of one profile.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::default();
    let options = Options { value: Some(value), ..Options::default() };
    page.add(profile, &options).map_err(io::Error::other)?;
    page.write(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::Duration;

    use base64::Engine as _;
    use flate2::read::GzDecoder;
    use serde_json::Value;

    use super::*;
    use crate::output::golden::rendered;
    use crate::output::{Format, sample};
    use crate::profile::Source;
    use crate::profile::build::Build;

    fn page(profiles: &[Profile]) -> String {
        let mut page = Page::default();
        for profile in profiles {
            page.add(profile, &Options::default()).unwrap();
        }
        let mut out = Vec::new();
        page.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What the page's script reads, and the page without it.
    fn parts(page: &str) -> (Value, String) {
        let (before, rest) = page.split_once("id=\"document\">").unwrap();
        let (packed, after) = rest.split_once("</script>").unwrap();
        let packed = BASE64_STANDARD.decode(packed).unwrap();
        let mut text = String::new();
        GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
        (serde_json::from_str(&text).unwrap(), format!("{before}{after}"))
    }

    /// The sum of a value in each snapshot.
    fn sums(document: &Value, value: usize) -> Vec<i64> {
        let shots = document["shots"].as_array().unwrap().iter();
        let by = |shot: &Value| -> i64 {
            shot["by"][value].as_array().unwrap().iter().map(|by| by.as_i64().unwrap()).sum()
        };
        shots
            .scan(0, |sum, shot| {
                *sum += by(shot);
                Some(*sum)
            })
            .collect()
    }

    #[test]
    fn a_page_has_all_that_a_profile_has() {
        for profile in [sample::server(), sample::fleet(), sample::heap(), sample::maps()] {
            let (document, _) = parts(&rendered(&profile, Format::Html));
            for value in 0..profile.meta.value_types.len() {
                assert_eq!(sums(&document, value), [profile.total(value) as i64]);
            }
            let processes = document["processes"].as_array().unwrap();
            assert_eq!(processes.len(), profile.processes.len());
            let strings = document["strings"].as_array().unwrap();
            assert!(strings.iter().any(|text| text.as_str().unwrap().starts_with("main.")));
        }
        assert_eq!(
            rendered(&sample::fleet(), Format::Html),
            rendered(&sample::fleet(), Format::Html)
        );
    }

    #[test]
    fn stacks_come_and_go() {
        let at = |stacks: &[(&str, u64)], seconds| {
            let mut build = Build::new(Source::Exact);
            let p = build.process(1, "x", "");
            for (name, bytes) in stacks {
                build.stack(p, &[name, "main.main"], 1, *bytes);
            }
            let mut profile = build.done();
            profile.meta.started += Duration::from_secs(seconds);
            profile
        };
        let profiles = [
            at(&[("main.a", 10), ("main.b", 5)], 0),
            at(&[("main.b", 7)], 1),
            at(&[("main.c", 1), ("main.a", 20)], 2),
            at(&[], 3),
        ];
        let (document, _) = parts(&page(&profiles));
        assert_eq!(sums(&document, 1), [15, 7, 21, 0]);
        assert_eq!(document["series"]["node"].as_array().unwrap().len(), 3);
        assert_eq!(document["processes"].as_array().unwrap().len(), 1);
        // What has not changed is not told again.
        let (document, _) = parts(&page(&[profiles[0].clone(), profiles[0].clone()]));
        assert_eq!(document["shots"][1]["gaps"].as_array().unwrap().len(), 0);
    }

    #[test]
    fn names_are_texts_and_nothing_is_loaded() {
        let (document, rest) = parts(&rendered(&sample::hostile(), Format::Html));
        assert!(rest.contains("<title>heaptap: &lt;b&gt;\\x1b[31m;--x</title>"));
        assert!(!rest.contains("alert(1)") && !rest.contains('\x1b'));
        let text = document.to_string();
        assert!(!text.contains("\\u001b") && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("[unnamed]"));
        assert!(rest.contains("content=\"default-src 'none'; script-src 'unsafe-inline'"));
        for word in ["src=", "href=", "url(", "import ", "fetch(", "innerHTML", "eval("] {
            assert!(!rest.contains(word), "{word}");
        }
        let addresses: Vec<_> = rest.match_indices("http").map(|(at, _)| &rest[at..]).collect();
        let known = ["http-equiv=", "http://www.w3.org/2000/svg\""];
        assert!(addresses.iter().all(|at| known.iter().any(|known| at.starts_with(known))));
    }

    #[test]
    fn what_can_not_be_one_page_is_refused() {
        let mut page = Page::default();
        page.add(&sample::heap(), &Options::default()).unwrap();
        let refused = page.add(&sample::block(), &Options::default()).unwrap_err();
        assert_eq!(refused, Refused::Changes);
        let mut build = Build::new(Source::Exact);
        let p = build.process(1, "x", "");
        let names: Vec<String> = (0..5_000).map(|at| format!("main.f{at}")).collect();
        let frames: Vec<&str> = names.iter().map(String::as_str).collect();
        build.stack(p, &frames, 1, 1);
        let (document, _) = parts(&rendered(&build.done(), Format::Html));
        assert_eq!(document["nodes"]["frame"].as_array().unwrap().len(), 256);
        let strings = document["strings"].to_string();
        assert!(strings.contains("[… 4745 frames]") && strings.contains("\"main.f4999\""));
    }
}
