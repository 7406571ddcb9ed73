//! Frames that no address stands behind: markers and Go types. In and out: a [`Profile`].

use super::{Frame, FrameKind, LabelValue, Location, LocationId, Name, Profile};
use crate::address::VAddr;

/// The outermost frame of a stack that went on beyond what was kept.
pub const TRUNCATED: &str = "[truncated]";

impl Profile {
    /// The location of a frame without an address; the same one for the same text and kind.
    pub fn made_up(&mut self, text: &str, kind: FrameKind) -> LocationId {
        let function = self.names.intern(text);
        self.made_up_name(function, kind)
    }

    /// What to push at the end of a [`super::Sample::stack`] whose outermost frames are missing.
    pub fn truncated(&mut self) -> LocationId {
        self.made_up(TRUNCATED, FrameKind::Marker)
    }

    /// Puts what came of each stack on top of it: [`super::Sample::leaf`], or what was allocated, as a leaf
    /// frame of kind [`FrameKind::Type`].
    ///
    /// Samples without either stay as they are, and so do those that have such a leaf already. Fold
    /// runtime frames before: what is on top of them keeps them from being folded.
    pub fn add_leaves(&mut self) {
        for at in 0..self.samples.len() {
            let sample = &mut self.samples[at];
            if let Some(leaf) = sample.leaf.take() {
                sample.stack.insert(0, leaf);
                continue;
            }
            let sample = &self.samples[at];
            let leaf = self.frames(sample).next().map(|f| f.kind);
            let Some(name) = sample.go_type.filter(|_| leaf != Some(FrameKind::Type)) else {
                continue;
            };
            let leaf = self.made_up_name(name, FrameKind::Type);
            self.samples[at].stack.insert(0, leaf);
        }
    }

    /// Puts the texts that set samples apart below their stacks, `key=value`, the first key outermost.
    pub fn add_label_roots(&mut self) {
        for at in 0..self.samples.len() {
            let labels = self.samples[at].labels.iter().filter_map(|label| match label.value {
                LabelValue::Text(value) => {
                    Some((self.names.text(label.key), self.names.text(value)))
                }
                LabelValue::Number(_) => None,
            });
            let mut labels: Vec<_> = labels.collect();
            labels.sort_unstable();
            let texts: Vec<String> =
                labels.into_iter().rev().map(|(key, value)| format!("{key}={value}")).collect();
            for text in texts {
                let root = self.made_up(&text, FrameKind::Group);
                self.samples[at].stack.push(root);
            }
        }
    }

    fn made_up_name(&mut self, function: Name, kind: FrameKind) -> LocationId {
        let locations = &mut self.locations;
        *self.made.entry((function, kind)).or_insert_with(|| {
            let frame = Frame { function, file: Name(0), line: 0, start_line: 0, kind };
            locations.push(Location {
                binary: None,
                address: VAddr(0),
                frames: vec![frame],
                raw: None,
            });
            LocationId(locations.len() as u32 - 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::build::Build;
    use crate::profile::{FrameKind, Source};

    #[test]
    fn a_type_becomes_the_leaf_once_and_shares_its_location() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, &["main.a main.go:1"], 1, 8).go_type("*main.T");
        build.stack(process, &["main.b main.go:2"], 1, 8).go_type("*main.T");
        build.stack(process, &["main.c main.go:3"], 1, 8);
        let mut profile = build.done();
        profile.add_leaves();
        profile.add_leaves();
        let leaves: Vec<_> = profile.samples.iter().map(|s| s.stack[0]).collect();
        assert_eq!(leaves[0], leaves[1]);
        assert_eq!(profile.samples[0].stack.len(), 2);
        assert_eq!(profile.samples[2].stack.len(), 1);
        let leaf = profile.frames(&profile.samples[0]).next().unwrap();
        assert_eq!((profile.names.text(leaf.function), leaf.kind), ("*main.T", FrameKind::Type));
    }

    #[test]
    fn what_came_of_a_stack_becomes_its_leaf_once() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, &["main.a main.go:1"], 1, 8);
        let mut profile = build.done();
        profile.samples[0].leaf = Some(profile.made_up("go main.f", FrameKind::Program));
        profile.add_leaves();
        profile.add_leaves();
        let names: Vec<_> =
            profile.frames(&profile.samples[0]).map(|f| profile.names.text(f.function)).collect();
        assert_eq!(names, ["go main.f", "main.a"]);
    }

    #[test]
    fn labels_become_the_outermost_frames_in_the_order_of_their_keys() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(1, "server", "go1.26.6");
        build.stack(process, &["main.a main.go:1"], 1, 8).text("user", "7").text("path", "/x");
        build.stack(process, &["main.a main.go:1"], 1, 8).label("bytes", 16);
        let mut profile = build.done();
        profile.add_label_roots();
        let frames = |at: usize| {
            let frames = profile.frames(&profile.samples[at]);
            frames.map(|f| (profile.names.text(f.function), f.kind)).collect::<Vec<_>>()
        };
        let program = ("main.a", FrameKind::Program);
        let expected = [program, ("user=7", FrameKind::Group), ("path=/x", FrameKind::Group)];
        assert_eq!(frames(0), expected);
        assert_eq!(frames(1), [program]);
    }

    #[test]
    fn a_marker_and_a_type_of_the_same_text_are_two_locations() {
        let mut profile = Build::new(Source::Exact).done();
        let marker = profile.truncated();
        assert_eq!(profile.truncated(), marker);
        assert_ne!(profile.made_up("[truncated]", FrameKind::Type), marker);
    }
}
