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

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after its first snapshot.
    After(Duration),
    /// Nanoseconds since 1970.
    Unix(u64),
}

/// Reads what [`duration`] reads, `0`, and times as RFC 3339 has them: `2026-11-21T18:30:00Z`,
/// `2026-11-21 18:30:00.5+01:00`.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if matches!(text, "0" | "0s") {
        return Ok(Moment::After(Duration::ZERO));
    }
    if !text.contains(['-', ':']) {
        return duration(text).map(Moment::After);
    }
    rfc3339(text).map(Moment::Unix).ok_or_else(|| {
        "expected a time since the beginning, such as 90s, or one such as 2026-11-21T18:30:00Z"
            .to_owned()
    })
}

/// Three parts of a text.
fn three(text: &str, separator: char) -> Option<[&str; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    parts.try_into().ok()
}

fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' ', '_'])?;
    let zone_at = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    let digits = |text: &str, len: usize, most: u64| {
        let is_number = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| is_number && *number <= most)
    };
    let [year, month, day] = three(date, '-')?;
    let (year, month, day) = (digits(year, 4, 2500)?, digits(month, 2, 12)?, digits(day, 2, 31)?);
    if year < 1970 || month == 0 || day == 0 {
        return None;
    }
    let (time, part) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = three(time, ':')?;
    let (hour, minute) = (digits(hour, 2, 23)?, digits(minute, 2, 59)?);
    let second = digits(second, 2, 60)?;
    let nanos =
        digits(part, part.len().clamp(1, 9), 999_999_999)? * 10u64.pow(9 - part.len() as u32);
    // The other way of `output::text::utc`: years begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = i64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()?;
    let east = match zone.trim_start() {
        "Z" | "z" | "UTC" => 0,
        offset => {
            let sign = if offset.starts_with('+') { 1 } else { -1 };
            let (hours, minutes) = offset.strip_prefix(['+', '-'])?.split_once(':')?;
            sign * (digits(hours, 2, 23)? * 3_600 + digits(minutes, 2, 59)? * 60) as i64
        }
    };
    u64::try_from(seconds - east).ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
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

/// Reads `500K`, `100M`, `2G`; of bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let refuse = || "expected a size of 64K or more, such as 500K, 100M or 2G".to_owned();
    let text = text.strip_suffix("iB").unwrap_or(text);
    let power = match text.chars().next_back() {
        Some('K' | 'k') => 10,
        Some('M' | 'm') => 20,
        Some('G' | 'g') => 30,
        Some('T' | 't') => 40,
        _ => return Err(refuse()),
    };
    let number = &text[..text.len() - 1];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse());
    }
    let number: u64 = number.parse().map_err(|_| refuse())?;
    number.checked_mul(1 << power).filter(|bytes| *bytes >= 64 << 10).ok_or_else(refuse)
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
    fn sizes() {
        assert_eq!(size("64K"), Ok(64 << 10));
        assert_eq!(size("100M"), Ok(100 << 20));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        for text in ["", "K", "63K", "1", "1.5M", "-1M", "+1M", "99999999T", "1Mb", "\u{661}M"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_as_people_and_logs_write_them() {
        assert_eq!(moment("90s"), Ok(Moment::After(Duration::from_secs(90))));
        assert_eq!(moment("0"), Ok(Moment::After(Duration::ZERO)));
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-02T03:04:05Z", 1_767_323_045_000_000_000),
            ("2026-01-02 03:04:05 UTC", 1_767_323_045_000_000_000),
            ("2026-01-02T04:34:05.25+01:30", 1_767_323_045_250_000_000),
            ("2026-01-01t22:04:05-05:00", 1_767_323_045_000_000_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000_000),
            ("2024-03-01T00:00:00z", 1_709_251_200_000_000_000),
        ] {
            assert_eq!(moment(text), Ok(Moment::Unix(nanos)), "{text}");
        }
        for text in [
            "",
            "-1",
            "18:30",
            "2026-11-21",
            "2026-11-21T18:30Z",
            "2026-11-21T18:30:00",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2026-11-21T18:30:00.Z",
            "2026-11-21T18:30:00.1234567890Z",
            "2026-11-21T18:30:00+1:00",
            "2026-11-21T18:30:00ZZ",
            "2026-1١-21T18:30:00Z",
        ] {
            assert!(moment(text).is_err(), "{text}");
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
