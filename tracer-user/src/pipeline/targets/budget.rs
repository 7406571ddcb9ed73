//! Keeps what is traced within its budget: allows traps, takes groups off and puts them on.
//!
//! In: word of processes that have used up what they were allowed, and the time. Out: what was counted in
//! each window, in its image's [`Windows`]. When something is on or off is decided in [`Governor`].

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use super::{
    Image, Targets, failure,
    plan::Class,
    spans::{Meant, Span},
    windows::View,
};
use tracer_common::record::Closes;

use crate::{
    exit::Failure,
    probe::{
        GroupId, Kernel,
        budget::{Governor, TICK},
        wait_for_programs,
    },
};

/// How long a kernel program takes at most, where the kernel can't be asked.
const PROGRAM: Duration = Duration::from_millis(100);
/// How often it is looked whether probes are off.
const CLOSING: Duration = Duration::from_millis(30);

impl Targets {
    /// An image has taken its last trap, at a moment of the kernel's clock: its group is taken off.
    pub fn dry(&mut self, kernel: &mut Kernel, image: u32, at: Duration) {
        if let Some((span, group)) = self.seen_until(image, at) {
            span.cut();
            let at = self.meters.on_own_clock(at);
            self.take_group_off(kernel, group, at);
        }
    }

    /// An image was seen for as long as it was to be: it is looked whether that goes on.
    pub fn late(&mut self, image: u32, at: Duration) {
        let Some((_, group)) = self.seen_until(image, at) else { return };
        let now = self.meters.now();
        if let Some(governor) = self.meters.governors.get_mut(&group) {
            governor.is_over(now);
        }
        self.meters.wake(group, Instant::now());
    }

    /// An image is not seen any more; nothing when the word is of what has been over before.
    fn seen_until(&mut self, image: u32, at: Duration) -> Option<(&mut Span, GroupId)> {
        let at = self.meters.on_own_clock(at);
        let image = self.images.get_mut(image)?;
        let span = image.metered.as_mut()?.span.as_mut().filter(|span| !span.is_after(at))?;
        span.end(at);
        Some((span, image.group))
    }

    /// What a group may take it took at some moment.
    fn take_group_off(&mut self, kernel: &mut Kernel, group: GroupId, at: Duration) {
        let now = self.meters.now();
        let Some(governor) = self.meters.governors.get_mut(&group) else { return };
        // What is recorded once was recorded until then; a window is over when it is known to be.
        let is_once = governor.is_once();
        if !governor.dry(if is_once { at } else { now }) {
            return;
        }
        kernel.detach(group);
        // Who has something left is not seen any more either.
        for (_, image) in self.images.of_group(group) {
            if let Some(metered) = &mut image.metered {
                let _ = kernel.allow(metered.slot, 0);
                metered.end_span(now);
            }
        }
        if is_once {
            self.end_early(kernel, group);
        }
        self.meters.wake(group, Instant::now() + CLOSING);
        self.charge(group, Duration::ZERO);
    }

    /// Nobody of a group is seen any more, though its probes are on.
    fn shut(&mut self, kernel: &mut Kernel, group: GroupId, now: Duration) -> Result<(), Failure> {
        for (_, image) in self.images.of_group(group) {
            if let Some(metered) = &mut image.metered {
                kernel.allow(metered.slot, 0).map_err(failure)?;
                metered.end_span(now);
            }
        }
        Ok(())
    }

    /// What this thread did since it was last asked was a group's window, and what others did for it.
    fn charge(&mut self, group: GroupId, others: Duration) {
        let own = self.meters.worked() + others;
        if let Some(governor) = self.meters.governors.get_mut(&group) {
            governor.charge(own);
        }
    }

    /// What this thread did since it was last asked was a look at a group's accounts.
    fn charge_look(&mut self, group: GroupId) {
        let own = self.meters.worked();
        if let Some(governor) = self.meters.governors.get_mut(&group) {
            governor.charge_look(own);
        }
    }

    /// What this thread did since it was last asked was for everybody who is recorded.
    pub fn charged_to_all(&mut self) {
        self.meters.charge_all();
    }

    /// What this thread did since it was last asked was no window.
    pub fn uncharged(&mut self) {
        self.meters.worked();
    }

    /// Does what is due: allows traps, and begins and ends windows.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn govern(&mut self, kernel: &mut Kernel) -> Result<(), Failure> {
        for group in self.meters.wanted() {
            if let Some(at) = self.govern_group(kernel, group)? {
                self.meters.wake(group, at);
            }
        }
        Ok(())
    }

    /// The same of one group; says when it is due again, unless nothing is to be done for it.
    fn govern_group(
        &mut self,
        kernel: &mut Kernel,
        group: GroupId,
    ) -> Result<Option<Instant>, Failure> {
        let Some(governor) = self.meters.governors.get(&group) else { return Ok(None) };
        if governor.is_closing() {
            if !kernel.is_off(group) {
                return Ok(Some(Instant::now() + CLOSING));
            }
            if !self.meters.governors.get(&group).is_some_and(Governor::is_once) {
                self.take_window(kernel, group)?;
            }
            self.charge(group, kernel.closing_took(group));
            self.read_group(kernel, group);
            let (now, random) = (self.meters.now(), self.meters.random());
            if let Some(governor) = self.meters.governors.get_mut(&group) {
                governor.off(now, random);
            }
        }
        match self.meters.governors.get(&group) {
            Some(governor) if governor.is_on() => self.govern_on(kernel, group),
            Some(governor) if governor.has_ended() => Ok(None),
            Some(_) => self.govern_off(kernel, group),
            None => Ok(None),
        }
    }

    /// A group that is on: what accounts pay for is allowed.
    fn govern_on(
        &mut self,
        kernel: &mut Kernel,
        group: GroupId,
    ) -> Result<Option<Instant>, Failure> {
        self.read_group(kernel, group);
        let (now, left) = (self.meters.now(), self.meters.left());
        let Some(governor) = self.meters.governors.get_mut(&group) else { return Ok(None) };
        if governor.is_empty() {
            // Nobody runs it now; it begins anew with the next process.
            self.meters.governors.remove(&group);
            return Ok(None);
        }
        if governor.is_dry(left) {
            // There was no word of it yet.
            self.take_group_off(kernel, group, now);
            return Ok(Some(Instant::now() + CLOSING));
        }
        if let Some(until) = governor.due() {
            if now < until {
                return Ok(Some(self.meters.at(until)));
            }
            if !governor.goes_on() {
                self.take_group_off(kernel, group, now);
                return Ok(Some(Instant::now() + CLOSING));
            }
            if governor.length().is_some() {
                // What it was when it had an end says something of other times. Its probes stay on: what passed the
                // gate may be under way still, and others may be passing it whose events put its end off.
                self.shut(kernel, group, now)?;
                if let Err(refused) = wait_for_programs() {
                    log::debug!("{refused}");
                    thread::sleep(PROGRAM);
                }
                self.take_window(kernel, group)?;
                self.charge(group, Duration::ZERO);
            }
            for (_, image) in self.images.of_group(group) {
                if let Some(metered) = &mut image.metered {
                    // From here on it is seen: that stands for itself.
                    metered.weight = Some(0.0);
                    metered.span = Some(Span::for_itself(self.meters.now()));
                    kernel.close_at(metered.slot, metered.never()).map_err(failure)?;
                }
            }
        }
        let Some(governor) = self.meters.governors.get_mut(&group) else { return Ok(None) };
        let is_once = governor.is_once();
        for (slot, allowed) in governor.allowances(left) {
            kernel.allow(slot, allowed).map_err(failure)?;
        }
        if is_once {
            self.charge(group, Duration::ZERO);
        } else {
            self.charge_look(group);
        }
        Ok(self.meters.governors.get(&group).map(|governor| self.meters.next_look(governor)))
    }

    /// A group that is off: looks what it has earned; when that is enough, its window begins.
    fn govern_off(
        &mut self,
        kernel: &mut Kernel,
        group: GroupId,
    ) -> Result<Option<Instant>, Failure> {
        let due = self.meters.governors.get(&group).and_then(Governor::due);
        if let Some(due) = due.filter(|due| self.meters.now() < *due) {
            return Ok(Some(self.meters.at(due)));
        }
        self.read_group(kernel, group);
        let (now, random) = (self.meters.now(), self.meters.random());
        let Some(governor) = self.meters.governors.get_mut(&group) else { return Ok(None) };
        if governor.is_looking() {
            let opened = self.open(kernel, group);
            self.charge(group, Duration::ZERO);
            return opened;
        }
        if governor.polls(now, random) {
            if let Some(ready) = &self.ready
                && let Err(refused) = ready.wait(kernel)
            {
                log::debug!("probes are attached late: {refused}");
            }
            self.look_at(group);
            let now = self.meters.now();
            if let Some(governor) = self.meters.governors.get_mut(&group) {
                governor.looked(now);
            }
            self.charge(group, Duration::ZERO);
        } else {
            self.charge_look(group);
        }
        let due = self.meters.governors.get(&group).and_then(Governor::due);
        Ok(due.map(|due| self.meters.at(due)))
    }

    /// Begins a window.
    fn open(&mut self, kernel: &mut Kernel, group: GroupId) -> Result<Option<Instant>, Failure> {
        self.look_at(group);
        let Some(governor) = self.meters.governors.get(&group) else { return Ok(None) };
        let gap = governor.gap();
        for (_, image) in self.images.of_group(group) {
            if let Some(metered) = &mut image.metered {
                // Without its runtime's counters all windows weigh the same, and scale nothing.
                metered.weight = Some(metered.rate(self.source).unwrap_or(1.0) * gap);
            }
        }
        match self.attach_again(kernel, group) {
            Ok(true) => {}
            Ok(false) => {
                self.meters.governors.remove(&group);
                return Ok(None);
            }
            // A process that has just ended, of which there will be word.
            Err(_) => return Ok(Some(Instant::now() + TICK)),
        }
        let now = self.meters.now();
        let Some(governor) = self.meters.governors.get_mut(&group) else { return Ok(None) };
        let (allowances, length) = (governor.opened(now), governor.length());
        for (_, image) in self.images.of_group(group) {
            let Some(metered) = &mut image.metered else { continue };
            let allowed = allowances.iter().find(|(slot, _)| *slot == metered.slot);
            let Some((slot, allowed)) = allowed else { continue };
            if length.is_some() {
                metered.spread.begin(kernel.timed_by_cpu(*slot).unwrap_or_default());
            }
            let each = metered.each();
            let traps = length.and_then(|_| kernel.traps(*slot).ok()).unwrap_or_default().tokens;
            let until = length.map(|length| self.meters.now() + length);
            let meant = length.zip(until).map(|(length, until)| Meant { length, until, each });
            if let Some(until) = until {
                let until = self.meters.on_kernels_clock(until).as_nanos() as u64;
                let closes = Closes { until, traps, each: each as u64, ..metered.never() };
                kernel.close_at(*slot, closes).map_err(failure)?;
            }
            let opening = self.meters.now();
            kernel.allow(*slot, *allowed).map_err(failure)?;
            metered.span = Some(Span::new((opening, self.meters.now()), meant, gap));
        }
        let until = self.meters.governors.get(&group).and_then(Governor::due);
        Ok(until.map(|until| self.meters.at(until)))
    }

    /// Reads what every process of a group has taken and used.
    fn read_group(&mut self, kernel: &Kernel, group: GroupId) {
        let costs = [self.meters.trap_if_known(false), self.meters.trap_if_known(true)];
        let now = self.meters.now();
        let Some(governor) = self.meters.governors.get_mut(&group) else { return };
        for (_, image) in self.images.of_group(group) {
            if let Some(metered) = &image.metered {
                if let Some(cost) = costs[usize::from(metered.is_emulated())] {
                    governor.trap(metered.slot, cost);
                }
                governor.read(metered.slot, metered.reading(kernel, now));
            }
        }
    }

    /// Looks at what the programs of a group have allocated.
    fn look_at(&mut self, group: GroupId) {
        for (_, image) in self.images.of_group(group) {
            let Image { metered, records, .. } = image;
            if let Some(metered) = metered {
                metered.glance(records.as_ref());
            }
        }
    }

    /// Takes what was counted in a window, of which no program is under way any more.
    fn take_window(&mut self, kernel: &mut Kernel, group: GroupId) -> Result<(), Failure> {
        let images: HashSet<u32> = self.images.of_group(group).map(|(number, _)| number).collect();
        if images.is_empty() {
            return Ok(());
        }
        let taken = kernel.take(&images).map_err(failure)?;
        let live = &self.images;
        let places = |number| live.get(number).map(|image| &image.places);
        let class = |number, site| {
            let tapped = live.get(number).and_then(|image| self.binaries.get(image.binary));
            tapped.map_or(Class::Number, |tapped| tapped.class_of(site, self.wanted.types))
        };
        let mut seen = self.held.sort_out(taken, class, places);
        let kept = |(_, image): (u32, &Image)| image.metered.as_ref().map(|m| m.windows.len());
        let mut room = self.held.room().saturating_sub(self.images.iter().filter_map(kept).sum());
        let now = self.meters.now();
        let mut lasted: Option<Duration> = None;
        for (number, image) in self.images.of_group(group) {
            let seen = seen.remove(&number).unwrap_or_default();
            let counted = self.binaries[image.binary].counted();
            let view =
                View { source: self.source, sampler_rate: image.sampler_rate, counted: &counted };
            if let Some(metered) = &mut image.metered {
                let before = metered.windows.len();
                metered.windows.labels.extend(seen.labels);
                let governor = self.meters.governors.get(&group);
                let account = governor.and_then(|governor| governor.account(metered.slot));
                metered.learn(kernel, account);
                if let Some(span) = metered.span
                    && let Some(own) = span.meant(now)
                {
                    lasted = Some(lasted.map_or(own, |lasted| lasted.min(own)));
                }
                let time = metered.take_time(now);
                metered.windows.add(view, metered.weight, time, seen.stacks, room);
                room -= metered.windows.len() - before;
            }
        }
        if let Some(lasted) = lasted
            && let Some(governor) = self.meters.governors.get_mut(&group)
        {
            governor.lasted(lasted);
        }
        Ok(())
    }
}
