//! When an upload is tried again, and when it is not.
//!
//! In: what a receiver answered. Out: whether the upload is done with, or how long to wait: twice as long each
//! time, up to a bound, less a part by chance so that many agents don't come back at once, and never less than the
//! receiver asked for. Knows no clock and no network.

use std::time::{Duration, SystemTime};

/// What became of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// But for so many of its points; and why.
    Partly(u64, String),
    /// It never will be: it is dropped.
    Refused(String),
    /// It may be taken another time, not before the receiver's own word, if there was one.
    Later(String, Option<Duration>),
}

/// The first wait, and the longest one.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);
/// A receiver is not left alone for longer than this, whatever it asks for.
const MOST_ASKED: Duration = Duration::from_secs(600);

/// How long waits have become.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    tries: u32,
}

impl Backoff {
    /// `least` is the first wait.
    pub fn new(least: Duration, most: Duration) -> Self {
        Self { least, most: most.max(least), tries: 0 }
    }

    /// How long to wait now. `chance` is from 0 to 1.
    pub fn next(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let times = 1u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        let wait = self.least.saturating_mul(times).min(self.most);
        self.tries = (self.tries + 1).min(31);
        let wait = wait.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0);
        wait.max(asked.unwrap_or_default().min(MOST_ASKED))
    }

    /// It answered.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(LEAST, MOST)
    }
}

/// What an answer in HTTP means; `said` is what came with it.
pub fn of_http(status: u16, said: &str, after: Option<&str>, now: SystemTime) -> Answer {
    let after = after.and_then(|after| retry_after(after, now));
    let told = match said {
        "" => format!("it answered {status}"),
        said => format!("it answered {status}: {said}"),
    };
    match status {
        200..300 => Answer::Taken,
        // Redirects are not followed: a token must not go elsewhere.
        300..400 => Answer::Refused(format!("{told} (redirects are not followed)")),
        408 | 429 | 500.. => Answer::Later(told, after),
        _ => Answer::Refused(told),
    }
}

/// What an answer of gRPC means, by number (grpc/grpc, doc/statuscodes.md): those that OpenTelemetry's protocol names
/// as worth another try, and those of a receiver with troubles of its own.
pub fn of_grpc(code: i32, name: &str, said: &str) -> Answer {
    const OK: i32 = 0;
    const CANCELLED: i32 = 1;
    const UNKNOWN: i32 = 2;
    const DEADLINE_EXCEEDED: i32 = 4;
    const RESOURCE_EXHAUSTED: i32 = 8;
    const ABORTED: i32 = 10;
    const OUT_OF_RANGE: i32 = 11;
    const INTERNAL: i32 = 13;
    const UNAVAILABLE: i32 = 14;
    const DATA_LOSS: i32 = 15;
    let told = match said {
        "" => format!("it answered {name}"),
        said => format!("it answered {name}: {said}"),
    };
    match code {
        OK => Answer::Taken,
        CANCELLED | UNKNOWN | DEADLINE_EXCEEDED | RESOURCE_EXHAUSTED | ABORTED | OUT_OF_RANGE
        | INTERNAL | UNAVAILABLE | DATA_LOSS => Answer::Later(told, None),
        _ => Answer::Refused(told),
    }
}

/// `Retry-After`: seconds or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(from: f64) -> Duration {
        Duration::from_secs_f64(from)
    }

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::new(seconds(1.0), seconds(60.0));
        let waits: Vec<_> = (0..9).map(|_| backoff.next(None, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for _ in 0..100 {
            assert_eq!(backoff.next(None, 0.0), seconds(60.0));
        }
        assert_eq!(backoff.next(None, 1.0), seconds(30.0), "by chance, down to a half");
        backoff.reset();
        assert_eq!(backoff.next(None, 0.0), seconds(1.0));
    }

    /// A day of a receiver that is away, by a clock of the test's own: never more than about one try a minute.
    #[test]
    fn a_receiver_that_is_away_is_not_stormed() {
        let mut backoff = Backoff::default();
        let (mut clock, mut tries) = (Duration::ZERO, 0);
        while clock < seconds(86_400.0) {
            clock += backoff.next(None, f64::from(tries % 10) / 10.0);
            tries += 1;
        }
        assert!((1440..2900).contains(&tries), "{tries}");
    }

    #[test]
    fn the_receivers_word_counts_within_bounds() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(seconds(30.0)), 0.5), seconds(30.0));
        assert_eq!(backoff.next(Some(seconds(0.0)), 0.0), seconds(2.0));
        assert_eq!(backoff.next(Some(seconds(1e6)), 0.0), MOST_ASKED);
    }

    #[test]
    fn what_is_final_and_what_is_not() {
        let now = SystemTime::UNIX_EPOCH + seconds(784_111_777.0);
        let of = |status| of_http(status, "", None, now);
        for status in [200, 202, 204] {
            assert_eq!(of(status), Answer::Taken);
        }
        for status in [301, 307, 400, 401, 403, 404, 413, 415, 422, 499] {
            assert!(matches!(of(status), Answer::Refused(_)), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(of(status), Answer::Later(_, None)), "{status}");
        }
        let asked = |after| of_http(503, "busy", Some(after), now);
        let later = |after: Option<f64>| {
            Answer::Later("it answered 503: busy".to_owned(), after.map(seconds))
        };
        assert_eq!(asked("7"), later(Some(7.0)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), later(Some(0.0)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), later(Some(60.0)));
        assert_eq!(asked("soon"), later(None));
        for (code, is_later) in [(3, false), (5, false), (7, false), (12, false), (16, false)]
            .into_iter()
            .chain([1, 2, 4, 8, 10, 11, 13, 14, 15].map(|code| (code, true)))
        {
            let answer = of_grpc(code, "", "");
            assert_eq!(matches!(answer, Answer::Later(..)), is_later, "{code}");
        }
        assert_eq!(of_grpc(0, "", ""), Answer::Taken);
    }
}
