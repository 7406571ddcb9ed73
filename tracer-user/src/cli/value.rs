//! Values of flags: durations and process ids as people write them.

use std::time::Duration;

/// Longest recording that is taken for meant: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Highest process id that Linux gives out (`PID_MAX_LIMIT`, include/linux/threads.h).
const HIGHEST_PID: u32 = 4 << 20;

/// Reads `10`, `1.5`, `10s`, `500ms`, `2m`, `1h`; a bare number is in seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || "expected seconds, such as 10, 1.5, 10s, 500ms, 2m or 1h".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(refuse()),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(refuse());
    }
    let number: f64 = number.parse().map_err(|_| refuse())?;
    let duration = Duration::try_from_secs_f64(number * scale)
        .ok()
        .filter(|d| *d <= LONGEST)
        .ok_or("longer than a year; leave it out to record until Ctrl-C")?;
    if duration < Duration::from_millis(1) {
        return Err("shorter than a millisecond".to_owned());
    }
    Ok(duration)
}

/// A share of CPU time; nothing: no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Budget(pub Option<f64>);

/// Reads `1%`, `0.5%`, `none`.
pub(super) fn budget(text: &str) -> Result<Budget, String> {
    let refuse =
        || "expected a share of CPU time from 0.01% to 100%, such as 1%, or none".to_owned();
    if text == "none" {
        return Ok(Budget(None));
    }
    let number =
        text.strip_suffix('%').filter(|number| number.starts_with(|c: char| c.is_ascii_digit()));
    let percent: f64 = number.and_then(|number| number.parse().ok()).ok_or_else(refuse)?;
    if !(0.01..=100.0).contains(&percent) {
        return Err(refuse());
    }
    Ok(Budget(Some(percent / 100.0)))
}

/// Reads a process id.
pub(super) fn pid(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(pid @ 1..=HIGHEST_PID) => Ok(pid),
        _ => Err(format!("expected a process id from 1 to {HIGHEST_PID}; heaptap ps lists them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [
            ("10", 10_000),
            ("1.5", 1_500),
            ("10s", 10_000),
            ("0.25s", 250),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1.", 1_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn durations_that_mean_nothing_are_refused() {
        for text in [
            "",
            "s",
            "-1",
            "+1",
            "0",
            "0ms",
            "0.0001",
            "1e3",
            "inf",
            "nan",
            "1.2.3",
            ".5",
            "10 s",
            "10S",
            "2d",
            "99999999999",
            "9999999999999999999999999999999h",
            "1m30s",
            "١",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pids() {
        assert_eq!(pid("1"), Ok(1));
        assert_eq!(pid("4194304"), Ok(4_194_304));
        for text in ["0", "-1", "4194305", "99999999999999999999", "init", "", "1.0", "0x10"] {
            assert!(pid(text).is_err(), "{text}");
        }
    }
}
