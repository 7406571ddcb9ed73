//! How many requests one address may make.
//!
//! In: who asks, and when. Out: whether it may. What is kept is bounded: of more addresses than are told apart, the rest
//! share what one may.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// Addresses that are told apart.
const MOST: usize = 1024;
/// Requests that may come at once, in times of what may come in a second.
const BURST: f64 = 4.0;

/// What each may still ask.
#[derive(Debug)]
pub struct Rates {
    per_second: f64,
    of: HashMap<IpAddr, Left>,
    of_others: Left,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    requests: f64,
    at: Instant,
}

impl Left {
    fn refill(&mut self, per_second: f64, now: Instant) {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * per_second;
        self.requests = (self.requests + earned).min(per_second * BURST);
        self.at = now;
    }

    fn take(&mut self, per_second: f64, now: Instant) -> bool {
        self.refill(per_second, now);
        let may = self.requests >= 1.0;
        self.requests -= f64::from(u8::from(may));
        may
    }
}

impl Rates {
    pub fn new(per_second: f64, now: Instant) -> Self {
        let full = Left { requests: per_second * BURST, at: now };
        Self { per_second, of: HashMap::new(), of_others: full }
    }

    /// Whether an address may ask now.
    pub fn allows(&mut self, who: IpAddr, now: Instant) -> bool {
        let rate = self.per_second;
        if self.of.len() >= MOST && !self.of.contains_key(&who) {
            // Who has not asked for a while has as much left as one that is new.
            self.of.retain(|_, left| {
                left.refill(rate, now);
                left.requests < rate * BURST
            });
        }
        if self.of.len() >= MOST && !self.of.contains_key(&who) {
            return self.of_others.take(rate, now);
        }
        let full = Left { requests: rate * BURST, at: now };
        self.of.entry(who).or_insert(full).take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn an_address_has_its_rate_and_others_have_theirs() {
        let now = Instant::now();
        let mut rates = Rates::new(10.0, now);
        let asked = (0..100).filter(|_| rates.allows(address(1), now)).count();
        assert_eq!(asked, 40);
        assert!(rates.allows(address(2), now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| rates.allows(address(1), later)).count(), 10);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let now = Instant::now();
        let mut rates = Rates::new(1.0, now);
        let asked = (0..5000).filter(|number| rates.allows(address(*number), now)).count();
        assert_eq!((asked, rates.of.len()), (MOST + 4, MOST));
        // Later they are forgotten.
        assert!(rates.allows(address(9999), now + Duration::from_secs(10)));
        assert_eq!(rates.of.len(), 1);
    }
}
