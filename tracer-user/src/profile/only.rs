//! A part of a profile: some of its processes. In and out: a [`Profile`].

use super::{BinaryId, Process, ProcessId, Profile};

impl Profile {
    /// Leaves the processes that `is_kept` and their stacks.
    pub fn keep_processes(&mut self, is_kept: impl Fn(&Process) -> bool) {
        let mut processes = Vec::new();
        let mut numbers = Vec::new();
        for process in std::mem::take(&mut self.processes) {
            let kept = is_kept(&process);
            numbers.push(kept.then_some(ProcessId(processes.len() as u32)));
            processes.extend(kept.then_some(process));
        }
        self.samples.retain_mut(|sample| {
            let number = numbers[sample.process.0 as usize];
            sample.process = number.unwrap_or(sample.process);
            number.is_some()
        });
        let mut used = vec![false; self.binaries.len()];
        let places = self.samples.iter().flat_map(|sample| &sample.stack);
        let of_places = places.filter_map(|id| self.locations[id.0 as usize].binary);
        for binary in of_places.chain(processes.iter().map(|process| process.binary)) {
            used[binary.0 as usize] = true;
        }
        let mut binaries = Vec::new();
        let mut numbers = Vec::new();
        for (binary, used) in std::mem::take(&mut self.binaries).into_iter().zip(used) {
            numbers.push(used.then_some(BinaryId(binaries.len() as u32)));
            binaries.extend(used.then_some(binary));
        }
        for process in &mut processes {
            process.binary = numbers[process.binary.0 as usize].unwrap_or(process.binary);
        }
        for place in &mut self.locations {
            place.binary = place.binary.and_then(|binary| numbers[binary.0 as usize]);
        }
        (self.processes, self.binaries) = (processes, binaries);
    }
}

#[cfg(test)]
mod tests {
    use crate::output::{Format, Options, render, sample};

    #[test]
    fn what_is_left_is_complete() {
        let mut profile = sample::fleet();
        profile.keep_processes(|process| process.pid == 77);
        assert_eq!((profile.processes.len(), profile.binaries.len()), (1, 1));
        assert_eq!((profile.samples.len(), profile.total(1)), (1, 3 << 20));
        for format in [Format::Json, Format::Pprof, Format::Svg, Format::Table, Format::Folded] {
            render(&profile, format, &Options::default(), &mut Vec::new()).unwrap();
        }
        profile.keep_processes(|_| false);
        assert!(profile.samples.is_empty() && profile.binaries.is_empty());
    }
}
