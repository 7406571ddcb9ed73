//! What happened between two moments, from the profiles of both.
//!
//! In: a profile, and an earlier one of the same. Out: the later one less the earlier: sums of what happened
//! in between; what says how much there is at a moment stays as of the end. Samples are the same when their
//! processes, stacks, types and labels say the same, whatever numbers they have in either.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Cost, LabelValue, Location, Name, Process, Profile, Sample, Source, ValueType};

/// What a process is told by.
type Who<'a> = (u32, u64, &'a str, Option<&'a str>, &'a str, &'a str);

impl Profile {
    /// Leaves what happened since `earlier`, which is of the same recording. Says what can't be told.
    pub fn since(&mut self, earlier: &Profile) {
        let known = Known::of(self, earlier);
        let mut gone = known.samples.len();
        let kinds = self.meta.value_types.clone();
        let same_kinds = kinds == earlier.meta.value_types;
        let (mut shrunk, mut left_out) = (0, false);
        let mut seen: HashMap<usize, usize> = HashMap::new();
        for (at, before) in known.of_samples.iter().enumerate() {
            let sample = &mut self.samples[at];
            // Objects that are freed in between may be older than that, and so may those that are not.
            left_out |= sample.ages.take().is_some() | sample.iterations.take().is_some();
            // Of several that are equal each is taken from once.
            let all = before.and_then(|key| Some((key, known.samples.get(key)?)));
            let Some((key, all)) = all.filter(|_| same_kinds) else { continue };
            let used = seen.entry(key).or_default();
            let Some(before) = all.get(*used) else { continue };
            *used += 1;
            gone -= usize::from(*used == 1);
            shrunk += u64::from(less(sample, &earlier.samples[*before], &kinds));
        }
        self.costs(earlier);
        for counter in &mut self.meta.counters {
            let before = earlier.meta.counters.iter().find(|before| before.name == counter.name);
            counter.count = counter.count.saturating_sub(before.map_or(0, |before| before.count));
        }
        self.meta.counters.retain(|counter| counter.count > 0);
        let end = self.meta.started + self.meta.duration;
        self.meta.started = earlier.meta.started + earlier.meta.duration;
        self.meta.duration = end.duration_since(self.meta.started).unwrap_or_default();
        let levels: Vec<&str> = kinds.iter().filter(|of| of.is_level()).map(|of| of.kind).collect();
        let mut notes = vec!["what happened between two snapshots of a recording".to_owned()];
        if !levels.is_empty() {
            notes[0] += &format!("; {} as of the second", levels.join(" and "));
        }
        if shrunk > 0 {
            notes.push(format!(
                "of {} there is less than before, which is shown as 0: their values are estimates",
                stacks(shrunk)
            ));
        }
        if gone > 0 {
            notes.push(format!(
                "not in the second snapshot any more: {}; what they did since the first is not told",
                stacks(gone as u64)
            ));
        }
        if left_out {
            notes.push(
                "ages, and how iterations were distributed, are told of whole recordings only"
                    .to_owned(),
            );
        }
        if self.meta.source == Source::Records {
            notes.extend(self.newcomers(earlier));
        }
        self.meta.notes.splice(0..0, notes);
        self.samples.retain(|sample| sample.values.iter().any(|value| *value > 0));
    }

    /// Processes of which nothing is known of before, in sentences.
    fn newcomers(&self, earlier: &Profile) -> Vec<String> {
        let known: HashSet<Who> = earlier.processes.iter().map(|one| who(earlier, one)).collect();
        let new = self.processes.iter().filter(|process| !known.contains(&who(self, process)));
        let told = |process: &Process| {
            format!(
                "process {} ({}) is not in the first snapshot; what it did is told since it began",
                process.pid, process.comm
            )
        };
        new.map(told).collect()
    }

    fn costs(&mut self, earlier: &Profile) {
        let costs: HashMap<Who, Cost> = (earlier.processes.iter())
            .filter_map(|process| Some((who(earlier, process), process.cost?)))
            .collect();
        let before: Vec<Option<Cost>> =
            self.processes.iter().map(|process| costs.get(&who(self, process)).copied()).collect();
        for (process, before) in self.processes.iter_mut().zip(before) {
            let (Some(cost), Some(before)) = (&mut process.cost, before) else { continue };
            let less = |now: Duration, before| now.saturating_sub(before);
            *cost = Cost {
                traps: cost.traps.saturating_sub(before.traps),
                caused: less(cost.caused, before.caused),
                own: less(cost.own, before.own),
                cpu: less(cost.cpu, before.cpu),
                windows: cost.windows.saturating_sub(before.windows),
                observed: less(cost.observed, before.observed),
                traced: less(cost.traced, before.traced),
                rest: cost.rest,
            };
        }
    }
}

/// Takes what was there before from a sample; whether there was more than there is.
fn less(sample: &mut Sample, before: &Sample, kinds: &[ValueType]) -> bool {
    let mut shrunk = false;
    for (at, _) in kinds.iter().enumerate().filter(|(_, kind)| !kind.is_level()) {
        let Some(value) = sample.values.get_mut(at) else { continue };
        shrunk |= *value < before.value(at);
        *value = value.saturating_sub(before.value(at));
        if let Some(error) = sample.error.get_mut(at) {
            // Never too narrow: the two are not independent.
            *error = error.hypot(before.error(at));
        }
    }
    shrunk
}

fn stacks(count: u64) -> String {
    if count == 1 { "1 stack".to_owned() } else { format!("{count} stacks") }
}

fn who<'a>(profile: &'a Profile, process: &'a Process) -> Who<'a> {
    let binary = &profile.binaries[process.binary.0 as usize];
    (
        process.pid,
        process.start_ticks,
        &process.comm,
        process.container.as_deref(),
        &binary.path,
        &binary.build_id,
    )
}

/// Samples of two profiles by what they say.
struct Known {
    /// Those of the earlier one that say the same.
    samples: Vec<Vec<usize>>,
    /// Which of them a sample of the later one is among.
    of_samples: Vec<Option<usize>>,
}

/// Numbers for what two profiles have in common.
#[derive(Default)]
struct Common<'a> {
    texts: HashMap<&'a str, u32>,
    processes: HashMap<Who<'a>, u32>,
    places: HashMap<Vec<u64>, u32>,
}

impl Known {
    fn of(later: &Profile, earlier: &Profile) -> Self {
        let mut common = Common::default();
        let mut keys: HashMap<Vec<u64>, usize> = HashMap::new();
        let mut samples: Vec<Vec<usize>> = Vec::new();
        for (at, key) in common.keys(earlier).into_iter().enumerate() {
            let number = *keys.entry(key).or_insert(samples.len());
            if number == samples.len() {
                samples.push(Vec::new());
            }
            samples[number].push(at);
        }
        let of_samples = common.keys(later).iter().map(|key| keys.get(key).copied()).collect();
        Self { samples, of_samples }
    }
}

impl<'a> Common<'a> {
    /// What each sample of a profile is told by.
    fn keys(&mut self, profile: &'a Profile) -> Vec<Vec<u64>> {
        let processes: Vec<u32> = (profile.processes.iter())
            .map(|process| number(&mut self.processes, who(profile, process)))
            .collect();
        let places: Vec<u32> =
            profile.locations.iter().map(|place| self.place(profile, place)).collect();
        let key = |sample: &Sample| {
            let mut key =
                vec![processes[sample.process.0 as usize].into(), sample.stack.len() as u64];
            key.extend(sample.stack.iter().map(|id| u64::from(places[id.0 as usize])));
            key.push(sample.go_type.map_or(0, |name| u64::from(self.text(profile, name)) + 1));
            for label in &sample.labels {
                let value = match label.value {
                    LabelValue::Number(number) => [0, number],
                    LabelValue::Text(name) => [1, self.text(profile, name).into()],
                };
                key.push(self.text(profile, label.key).into());
                key.extend(value);
            }
            key
        };
        profile.samples.iter().map(key).collect()
    }

    fn text(&mut self, profile: &'a Profile, name: Name) -> u32 {
        number(&mut self.texts, profile.names.text(name))
    }

    fn place(&mut self, profile: &'a Profile, place: &'a Location) -> u32 {
        let mut key = vec![place.address.0];
        let binary = place.binary.map(|binary| &profile.binaries[binary.0 as usize]);
        let file = binary.map_or(["", ""], |binary| [&binary.path, &binary.build_id]);
        key.extend(file.map(|text| u64::from(number(&mut self.texts, text))));
        for frame in &place.frames {
            let texts = [frame.function, frame.file].map(|name| self.text(profile, name));
            key.extend(texts.map(u64::from));
            key.extend([frame.line.into(), frame.start_line.into(), frame.kind as u64]);
        }
        number(&mut self.places, key)
    }
}

fn number<K: std::hash::Hash + Eq>(numbers: &mut HashMap<K, u32>, key: K) -> u32 {
    let next = numbers.len() as u32;
    *numbers.entry(key).or_insert(next)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::profile::build::Build;
    use crate::profile::{
        ALLOC_OBJECTS, ALLOC_SPACE, CounterValue, INUSE_OBJECTS, INUSE_SPACE, Profile, SPACE,
        Source,
    };

    /// Two moments of a heap, the second with its stacks the other way round.
    fn heaps() -> [Profile; 2] {
        [false, true].map(|second| {
            let mut build = Build::new(Source::Records);
            let old = build.process(1, "old", "go1.26.6");
            let young = if second { build.process(2, "young", "go1.26.6") } else { old };
            build.values(&[ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE], 3);
            build.records("heap", SPACE, 1);
            let put = ["main.put a.go:1 0x1000", "main.main a.go:9 0x2000"];
            let get = ["main.get a.go:3 0x3000"];
            match second {
                false => {
                    build.stack(old, &put, 0, 0).valued(&[10, 160, 4, 64]).label("bytes", 16);
                    build.stack(old, &put, 0, 0).valued(&[1, 32, 1, 32]).label("bytes", 32);
                    build.stack(old, &get, 0, 0).valued(&[5, 40, 5, 40]).label("bytes", 8);
                }
                true => {
                    build.stack(young, &get, 0, 0).valued(&[2, 16, 2, 16]).label("bytes", 8);
                    build.stack(old, &put, 0, 0).valued(&[1, 32, 0, 0]).label("bytes", 32);
                    build.stack(old, &put, 0, 0).valued(&[30, 480, 2, 32]).label("bytes", 16);
                }
            }
            let count = if second { 7 } else { 3 };
            let (name, help) = ("lost".into(), "lost events".into());
            build.counter(CounterValue { name, help, is_loss: true, count });
            let mut profile = build.done();
            profile.meta.started += Duration::from_secs(if second { 30 } else { 10 });
            profile
        })
    }

    #[test]
    fn sums_are_of_the_time_between_and_levels_of_its_end() {
        let [first, mut second] = heaps();
        let started = first.meta.started;
        second.since(&first);
        let values: Vec<_> = second.samples.iter().map(|s| &s.values[..]).collect();
        // What allocated nothing and has nothing is not there; what is new is there as it is.
        assert_eq!(values, [[2, 16, 2, 16], [20, 320, 2, 32]]);
        assert_eq!((second.meta.started, second.meta.duration), (started, Duration::from_secs(20)));
        assert_eq!(second.meta.counters[0].count, 4);
        let notes = second.meta.notes.join("\n");
        assert!(notes.contains("inuse_objects and inuse_space as of the second"), "{notes}");
        assert!(notes.contains("not in the second snapshot any more: 1 stack;"), "{notes}");
        assert!(notes.contains("process 2 (young) is not in the first"), "{notes}");
    }

    #[test]
    fn nothing_happened_since_itself() {
        let [_, second] = heaps();
        let mut same = second.clone();
        same.since(&second);
        let allocated: u64 = same.samples.iter().map(|s| s.values[0]).sum();
        assert_eq!((allocated, same.meta.counters.len()), (0, 0));
        assert_eq!(same.total(3), second.total(3));
    }

    #[test]
    fn estimates_are_no_surer_than_their_difference_and_never_negative() {
        let estimate = |objects, bytes, error| {
            let mut build = Build::new(Source::Span);
            let process = build.process(1, "x", "");
            build.stack(process, &["main.a a.go:1"], objects, bytes).error(error, error);
            build.done()
        };
        let mut later = estimate(10, 50, 4.0);
        later.since(&estimate(4, 80, 3.0));
        assert_eq!((&later.samples[0].values[..], later.samples[0].error[0]), (&[6, 0][..], 5.0));
        assert!(later.meta.notes[1].starts_with("of 1 stack there is less"));
    }
}
