//! What the runtimes of a page's processes say of their memory over time.
//!
//! In: levels of one process after the other, the earlier times first. Out: a part of the page's document.

use serde::Serialize;

/// Levels of a page: more are left out, and that is said.
const MAX_LEVELS: usize = 1_000_000;

/// Levels of one process at one time. Bytes, but for goroutines; nothing: not known, or there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// What survived the last collection.
    pub live: Option<u64>,
    pub goal: Option<u64>,
    pub resident: Option<u64>,
    /// What the program is told to keep, and what its control group may use.
    pub memory_limit: Option<u64>,
    pub cgroup_limit: Option<u64>,
    pub goroutines: Option<u64>,
}

/// As the page's script reads it.
#[derive(Default, Serialize)]
pub struct Levels {
    /// Milliseconds since 1970.
    times: Vec<u64>,
    of: Vec<Of>,
    #[serde(skip)]
    count: usize,
}

/// One process; a level for each time.
#[derive(Serialize)]
struct Of {
    process: u32,
    live: Vec<Option<u64>>,
    goal: Vec<Option<u64>>,
    resident: Vec<Option<u64>>,
    memory_limit: Vec<Option<u64>>,
    cgroup_limit: Vec<Option<u64>>,
    goroutines: Vec<Option<u64>>,
}

impl Levels {
    /// A later time; what comes is of it.
    pub fn at(&mut self, millis: u64) {
        self.times.push(millis);
    }

    /// Adds what is known of a process; whether there was room for it.
    pub fn add(&mut self, process: u32, level: Level) -> bool {
        if self.count >= MAX_LEVELS {
            return false;
        }
        let known = self.of.iter().position(|of| of.process == process);
        let number = known.unwrap_or_else(|| {
            self.of.push(Of::new(process));
            self.of.len() - 1
        });
        let now = self.times.len();
        let of = &mut self.of[number];
        let before = of.live.len();
        // Nothing of the times at which it was not there, and one of several at the same.
        for (list, level) in of.lists(level) {
            list.resize(now.saturating_sub(1), None);
            list.push(level);
        }
        self.count += 6 * (now - before.min(now));
        true
    }

    /// There are no more times.
    pub fn complete(&mut self) {
        let all = self.times.len();
        for of in &mut self.of {
            of.lists(Level::default()).into_iter().for_each(|(list, _)| list.resize(all, None));
        }
    }
}

impl Of {
    fn new(process: u32) -> Self {
        Self {
            process,
            live: Vec::new(),
            goal: Vec::new(),
            resident: Vec::new(),
            memory_limit: Vec::new(),
            cgroup_limit: Vec::new(),
            goroutines: Vec::new(),
        }
    }

    /// Each list, with the level that belongs to it.
    fn lists(&mut self, level: Level) -> [(&mut Vec<Option<u64>>, Option<u64>); 6] {
        [
            (&mut self.live, level.live),
            (&mut self.goal, level.goal),
            (&mut self.resident, level.resident),
            (&mut self.memory_limit, level.memory_limit),
            (&mut self.cgroup_limit, level.cgroup_limit),
            (&mut self.goroutines, level.goroutines),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_there_at_a_time_has_nothing_then() {
        let mut levels = Levels::default();
        let level = |live| Level { live: Some(live), ..Level::default() };
        levels.at(10);
        assert!(levels.add(3, level(1)));
        levels.at(20);
        assert!(levels.add(5, level(2)));
        levels.at(30);
        assert!(levels.add(3, level(4)));
        levels.complete();
        let document = serde_json::to_value(&levels).unwrap();
        assert_eq!(document["times"], serde_json::json!([10, 20, 30]));
        assert_eq!(document["of"][0]["live"], serde_json::json!([1, null, 4]));
        assert_eq!(document["of"][1]["live"], serde_json::json!([null, 2, null]));
        assert_eq!(document["of"][1]["goal"], serde_json::json!([null, null, null]));
        levels.count = MAX_LEVELS;
        assert!(!levels.add(3, level(1)));
    }
}
