//! When the next collection begins, as the runtime's pacer decides it.
//!
//! In: numbers of a `gcControllerState`. Out: heap goal and trigger, by the rules of runtime/mgcpacer.go
//! (`heapGoalInternal`, `memoryLimitHeapGoal`, `trigger`), which are the same in Go 1.19 to 1.27 but for
//! the headroom under a memory limit.

use super::live::Record;
use crate::gobin::layout::GcController;

/// Room that is kept between the goal and a memory limit at least.
const MIN_HEADROOM: u64 = 1 << 20;
/// The same in percent of the goal; since Go 1.20.
const HEADROOM_PERCENT: u64 = 3;
/// How much may still be allocated after a collection began.
const MIN_RUNWAY: u64 = 64 << 10;
/// `triggerRatioDen`, `minTriggerRatioNum`, `maxTriggerRatioNum`.
const RATIO: (u64, u64, u64) = (64, 45, 61);
/// What stands for no memory limit (`math.MaxInt64`).
pub const NO_LIMIT: u64 = i64::MAX as u64;
/// `defaultHeapMinimum`.
const HEAP_MINIMUM: u64 = 4 << 20;

/// Numbers that the pacer keeps; bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacer {
    /// What GOGC alone makes the goal.
    pub percent_goal: u64,
    /// [`NO_LIMIT`] when there is none.
    pub memory_limit: u64,
    /// Survived the last collection.
    pub marked: u64,
    /// Where the running collection began; all ones when none runs.
    pub triggered: u64,
    pub sweep_trigger: u64,
    pub runway: u64,
    pub heap_free: u64,
    pub total_alloc: u64,
    pub total_free: u64,
    /// Mapped and not given back.
    pub mapped: u64,
}

impl Pacer {
    /// Out of a `gcControllerState` that was read whole.
    pub fn read(controller: Record, fields: &GcController) -> Self {
        Self {
            percent_goal: controller.u64(fields.gc_percent_heap_goal),
            memory_limit: controller.u64(fields.memory_limit),
            marked: controller.u64(fields.heap_marked),
            triggered: controller.u64(fields.triggered),
            sweep_trigger: controller.u64(fields.sweep_dist_min_trigger),
            runway: controller.u64(fields.runway),
            heap_free: controller.u64(fields.heap_free),
            total_alloc: controller.u64(fields.total_alloc),
            total_free: controller.u64(fields.total_free),
            mapped: controller.u64(fields.mapped_ready),
        }
    }

    /// The heap's goal, as `runtime.MemStats.NextGC` has it, and the least trigger.
    fn goal_and_floor(&self, minor: u32) -> (u64, u64) {
        let limited = self.limit_goal(minor);
        if limited < self.percent_goal {
            return (limited, 0);
        }
        let mut goal = self.percent_goal.max(self.sweep_trigger);
        let least = self.triggered.wrapping_add(MIN_RUNWAY);
        if self.triggered != u64::MAX && goal < least {
            goal = least;
        }
        (goal, self.sweep_trigger)
    }

    /// The heap's goal: how large it may be when the next collection ends.
    pub fn goal(&self, minor: u32) -> u64 {
        self.goal_and_floor(minor).0
    }

    /// Whether the memory limit, and not GOGC, makes the goal.
    pub fn limit_binds(&self, minor: u32) -> bool {
        self.memory_limit < NO_LIMIT && self.limit_goal(minor) < self.percent_goal
    }

    /// The size of the heap at which the next collection begins.
    pub fn trigger(&self, minor: u32) -> u64 {
        let (goal, floor) = self.goal_and_floor(minor);
        if self.marked >= goal {
            return goal;
        }
        let (all, least, most) = RATIO;
        let step = (goal - self.marked) / all;
        let lowest = floor.max(self.marked).max(step * least + self.marked);
        let mut highest = step * most + self.marked;
        if goal > HEAP_MINIMUM {
            highest = highest.max(goal - HEAP_MINIMUM);
        }
        let highest = highest.max(lowest);
        let wanted = if self.runway > goal { lowest } else { goal - self.runway };
        wanted.max(lowest).min(highest)
    }

    fn limit_goal(&self, minor: u32) -> u64 {
        let heap = self.heap_free.wrapping_add(self.total_alloc.wrapping_sub(self.total_free));
        let other = self.mapped.saturating_sub(heap);
        let over = self.mapped.saturating_sub(self.memory_limit);
        let taken = other.saturating_add(over);
        if taken >= self.memory_limit {
            return self.marked;
        }
        let goal = self.memory_limit - taken;
        let headroom = match minor {
            ..20 => MIN_HEADROOM,
            _ => (goal / 100 * HEADROOM_PERCENT).max(MIN_HEADROOM),
        };
        let goal = match goal.checked_sub(headroom) {
            Some(rest) if rest >= headroom => rest,
            _ => headroom,
        };
        goal.max(self.marked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer() -> Pacer {
        Pacer {
            percent_goal: 40 << 20,
            memory_limit: NO_LIMIT,
            marked: 20 << 20,
            triggered: u64::MAX,
            runway: 1 << 20,
            heap_free: 1 << 20,
            total_alloc: 100 << 20,
            total_free: 75 << 20,
            mapped: 40 << 20,
            ..Pacer::default()
        }
    }

    #[test]
    fn gogc_makes_the_goal_where_there_is_no_limit() {
        assert_eq!(pacer().goal(27), 40 << 20);
        assert!(!pacer().limit_binds(27));
        let off = Pacer { percent_goal: u64::MAX, ..pacer() };
        assert!(!off.limit_binds(27));
        // Runway below the goal, and no later than the goal without the least heap.
        assert_eq!(pacer().trigger(27), (40 << 20) - (1 << 20));
        let far = Pacer { runway: 1 << 40, ..pacer() };
        assert_eq!(far.trigger(27), ((20 << 20) / 64) * 45 + (20 << 20));
    }

    #[test]
    fn a_collection_under_way_moves_the_goal_on() {
        let late = Pacer { triggered: 41 << 20, ..pacer() };
        assert_eq!(late.goal(27), (41 << 20) + (64 << 10));
        let sweeping = Pacer { sweep_trigger: 50 << 20, ..pacer() };
        assert_eq!(sweeping.goal(27), 50 << 20);
    }

    #[test]
    fn a_memory_limit_makes_it_smaller() {
        // 14 MiB are not heap: 16 are left of 30, less headroom.
        let limited = Pacer { memory_limit: 50 << 20, marked: 5 << 20, ..pacer() };
        assert!(limited.limit_binds(27));
        assert_eq!(limited.goal(19), (36 << 20) - (1 << 20));
        assert_eq!(limited.goal(21), (36 << 20) - (36 << 20) / 100 * 3);
        let hopeless = Pacer { memory_limit: 1 << 20, ..pacer() };
        assert_eq!(hopeless.goal(27), hopeless.marked);
        assert_eq!(hopeless.trigger(27), hopeless.marked);
    }

    #[test]
    fn nonsense_is_harmless() {
        let all = Pacer {
            percent_goal: u64::MAX,
            memory_limit: u64::MAX,
            marked: u64::MAX,
            triggered: u64::MAX - 1,
            sweep_trigger: u64::MAX,
            runway: u64::MAX,
            heap_free: u64::MAX,
            total_alloc: 0,
            total_free: u64::MAX,
            mapped: u64::MAX,
        };
        for pacer in [all, Pacer::default(), Pacer { marked: 0, ..all }] {
            pacer.trigger(19);
            pacer.trigger(27);
        }
    }
}
