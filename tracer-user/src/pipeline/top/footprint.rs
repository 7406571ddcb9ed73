//! What heaptap itself takes, from round to round.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::host;
use crate::tui::model::Footprint;

/// When it was measured last, and how much CPU time it had taken.
#[derive(Default)]
pub struct Own {
    last: Option<(Instant, Duration)>,
}

impl Own {
    pub fn measure(&mut self) -> Footprint {
        let resident = host::memory_use(std::process::id()).ok().and_then(|memory| memory.resident);
        let now = Instant::now();
        let Some(used) = cpu_time() else { return Footprint { resident, cpu: None } };
        let cpu = self.last.replace((now, used)).and_then(|(then, before)| {
            let elapsed = now.duration_since(then).as_secs_f64();
            (elapsed > 0.0).then(|| used.saturating_sub(before).as_secs_f64() / elapsed)
        });
        Footprint { resident, cpu }
    }
}

/// CPU time that heaptap has taken since its start.
pub fn cpu_time() -> Option<Duration> {
    used_by(UsageWho::RUSAGE_SELF)
}

/// CPU time of those that it has started and that have ended.
pub fn cpu_time_of_children() -> Option<Duration> {
    used_by(UsageWho::RUSAGE_CHILDREN)
}

fn used_by(who: UsageWho) -> Option<Duration> {
    let usage = getrusage(who).ok()?;
    let length = |time: TimeVal| {
        let seconds = u64::try_from(time.tv_sec()).ok()?;
        let micros = u64::try_from(time.tv_usec()).ok()?;
        Some(Duration::from_secs(seconds) + Duration::from_micros(micros))
    };
    Some(length(usage.user_time())? + length(usage.system_time())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_memory_at_once_and_a_share_from_the_second_time_on() {
        let mut own = Own::default();
        let first = own.measure();
        assert!(first.resident.unwrap() > 1 << 20);
        assert_eq!(first.cpu, None);
        let until = cpu_time().unwrap() + Duration::from_millis(20);
        while cpu_time().unwrap() < until {
            std::hint::black_box(());
        }
        let share = own.measure().cpu.unwrap();
        assert!(share > 0.0, "{share}");
    }
}
