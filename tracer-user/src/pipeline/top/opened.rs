//! The opened process: its profiles, read while a pane shows them, and saved.
//!
//! In: a process, and the pane that is shown. Out: what the pane shows, files. Reading stacks costs more
//! than reading counters: it is done for one process and one pane, and rests twenty times as long as it
//! took.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::cli::heap as flags;

use crate::exit::Failure;
use crate::output::goroutines::By;
use crate::output::text::{printable, utc};
use crate::output::{self, Options, Sink};
use crate::pipeline::opened::LiveProcess;
use crate::pipeline::{goroutines, heap};
use crate::profile::{ALLOC_SPACE, INUSE_SPACE, Profile};
use crate::tui::model::detail::{Detail, Pane};
use crate::tui::model::shape::Shape;

/// How long it rests, in the time that the last reading took: it takes a twentieth of a CPU at most.
const REST: u32 = 20;

/// What kinds of profiles are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Heap,
    Goroutines,
}

/// Profiles of one process.
pub struct Opened<'a> {
    process: Rc<LiveProcess>,
    heap: heap::Watched<'a>,
    goroutines: goroutines::Watched,
    /// The pane that was shown last, and when what it shows is to be read again.
    shown: Option<Pane>,
    due: Instant,
}

impl<'a> Opened<'a> {
    pub fn new(process: &Rc<LiveProcess>, config: &'a flags::Config) -> Self {
        Self {
            process: Rc::clone(process),
            heap: heap::Watched::new(config),
            goroutines: goroutines::Watched::new(process),
            shown: None,
            due: Instant::now(),
        }
    }

    /// Whether its profiles are of this program of this process.
    pub fn is_of(&self, process: &Rc<LiveProcess>) -> bool {
        Rc::ptr_eq(&self.process, process)
    }

    /// Reads what the shown pane wants, when it is time.
    pub fn sync(&mut self, detail: &mut Detail, period: Duration, paused: bool) {
        let Some(pane) = detail.wants() else { return };
        let is_other = self.shown.replace(pane) != Some(pane);
        let has_none = detail.view().content.is_none();
        if !has_none && (paused || !is_other && Instant::now() < self.due) {
            return;
        }
        let began = Instant::now();
        let read = match kind(pane) {
            Kind::Heap => self.heap.look(&self.process),
            Kind::Goroutines => self.goroutines.look(),
        };
        let shape = read.map(|()| self.shape(pane)).map_err(|failure| failure.message);
        // One that ends is told by the next round.
        if shape.is_ok() || self.process.is_there() {
            detail.load(pane, shape);
        }
        // A little before the next round, which asks again.
        self.due = began + (period / 2).max(began.elapsed() * REST);
    }

    fn shape(&self, pane: Pane) -> Shape {
        match kind(pane) {
            Kind::Heap => {
                let profile = self.heap.profile();
                Shape::new(profile, heap_value(profile, pane))
            }
            Kind::Goroutines => Shape::new(&self.grouped(), 0),
        }
    }

    fn grouped(&self) -> Profile {
        self.goroutines.goroutines().profile(false, Some(By::Creator))
    }

    /// Writes what the pane shows into the working directory, as a flame graph and for pprof. Returns
    /// what there is to say about it.
    ///
    /// # Errors
    /// One of the two could not be written.
    pub fn save(&self, detail: &Detail, now: SystemTime) -> Result<String, Failure> {
        let pane = detail.pane;
        if !matches!(detail.view().content, Some(Ok(_))) {
            return Ok("nothing to save here: choose a pane with stacks".to_owned());
        }
        let look = &detail.process.look;
        let names = ["svg", "pb.gz"]
            .map(|suffix| file_name(&look.comm, look.id.pid, pane.word(), now, suffix));
        let failed = |err: output::Error| Failure::new(err.exit(), err.to_string());
        let sinks: Vec<Sink> = names
            .iter()
            .map(|name| Sink::open(&PathBuf::from(name)))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let (svg, pprof);
        let (svg, pprof): (&Profile, &Profile) = match kind(pane) {
            Kind::Heap => (self.heap.profile(), self.heap.profile()),
            Kind::Goroutines => {
                svg = self.grouped();
                // As the program's own.
                pprof = self.goroutines.goroutines().profile(false, None);
                (&svg, &pprof)
            }
        };
        let options = Options { value: Some(heap_value(svg, pane)), ..Options::default() };
        let errors = output::write_all(sinks, &|format, out| {
            let profile = if format == output::Format::Svg { svg } else { pprof };
            output::render(profile, format, &options, out)
        });
        match errors.into_iter().next() {
            Some(err) => Err(failed(err)),
            None => Ok(format!("saved {}", printable(&names.join(" and ")))),
        }
    }
}

fn kind(pane: Pane) -> Kind {
    match pane {
        Pane::Goroutines => Kind::Goroutines,
        Pane::Live | Pane::Allocated | Pane::Sizes => Kind::Heap,
    }
}

/// Which of a profile's values a pane shows.
fn heap_value(profile: &Profile, pane: Pane) -> usize {
    let wanted = match pane {
        Pane::Allocated => ALLOC_SPACE,
        _ => INUSE_SPACE,
    };
    profile.value_of_kind(wanted).unwrap_or(profile.meta.default_value)
}

/// `heaptap-orders-4242-inuse-20260102-030405.svg`: no name of a process leads anywhere else.
fn file_name(comm: &str, pid: u32, what: &str, now: SystemTime, suffix: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let comm: String = comm.chars().map(safe).collect();
    let time: String = utc(now)
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == ' ')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect();
    let time = time.trim_matches('-');
    format!("heaptap-{comm}-{pid}-{what}-{time}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_stay_where_they_are() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        assert_eq!(
            file_name("orders", 4242, "inuse", now, "svg"),
            "heaptap-orders-4242-inuse-20260102-030405.svg"
        );
        assert_eq!(
            file_name("../a b\n", 1, "alloc", now, "pb.gz"),
            "heaptap-.._a_b_-1-alloc-20260102-030405.pb.gz"
        );
    }
}
