//! Words and numbers for people. In: names of any content, numbers with units. Out: text that is
//! safe to show and reads at a glance. Knows no profile and no format.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Replaces what must not reach a terminal or an XML file: control characters, invisible ones and
/// those that turn the direction of text. `\n` and the like are spelled out; a backslash is kept.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if is_hidden(c) && u32::from(c) < 0x100 => {
                let _ = write!(shown, "\\x{:02x}", u32::from(c));
            }
            c if is_hidden(c) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Controls (C0, C1), zero-width and direction marks, separators, private use, non-characters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// At most `max` characters of `text`; what is cut off at its front shows as `…`.
pub fn keep_end(text: &str, max: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= max {
        return Cow::Borrowed(text);
    }
    let from = length - max.saturating_sub(1);
    Cow::Owned(std::iter::once('…').chain(text.chars().skip(from)).take(max).collect())
}

/// At most `max` characters of `text`; what is cut off at its end shows as `…`.
pub fn keep_start(text: &str, max: usize) -> Cow<'_, str> {
    if text.chars().count() <= max {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(max.saturating_sub(1)).chain(['…']).take(max).collect())
}

/// `1.5 KiB`, `512 B`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.96 KiB would be rounded to 1024.0 KiB.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `42.1 %` of the whole; `0.0 %` of nothing.
pub fn share(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    if share > 0.0 && share < 0.05 { "<0.1 %".to_owned() } else { format!("{share:.1} %") }
}

/// `250 ms`, `10.0 s`, `2 min 5 s`, `3 h 20 min`.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..120 => format!("{:.1} s", length.as_secs_f64()),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `850 ns`, `12.5 µs`, `3.1 ms`, and from a second on as [`duration`] has it.
pub fn nanoseconds(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} ns"),
        1_000..999_950 => format!("{:.1} µs", count as f64 / 1e3),
        999_950..999_950_000 => format!("{:.1} ms", count as f64 / 1e6),
        _ => duration(Duration::from_nanos(count.max(1_000_000_000))),
    }
}

/// `2026-01-02 03:04:05 UTC`; times before 1970 show as 1970.
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // Days to year, month and day: the calendar starts in March, so that the leap day comes last
    // (Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days).
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The last two elements of a path: `json/decode.go`.
pub fn short_path(path: &str) -> &str {
    let cut = path.rmatch_indices('/').nth(1).map(|(at, _)| at + 1);
    cut.and_then(|at| path.get(at..)).filter(|p| !p.is_empty()).unwrap_or(path)
}

/// Words of `text` in lines of at most `width` characters; longer words have lines of their own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_spelled_out_and_names_kept() {
        let name = "github.com/ä/b.(*T[go.shape.int]).Do·f.func1.2";
        assert!(matches!(printable(name), Cow::Borrowed(same) if same == name));
        assert_eq!(printable("a\x1b[31m\n\t\r\0\u{9b}"), "a\\x1b[31m\\n\\t\\r\\x00\\x9b");
        assert_eq!(printable("x\u{202e}y\u{feff}\u{e000}"), "x\\u{202e}y\\u{feff}\\u{e000}");
    }

    #[test]
    fn bytes_never_show_four_digits_before_the_point_twice() {
        let shown = [0, 1023, 1024, 1536, 1_048_523, 1_048_575, 1 << 30, u64::MAX].map(bytes);
        let expected =
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "1.0 MiB", "1.0 GiB", "16.0 EiB"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn shares_of_nothing_and_of_little() {
        assert_eq!(share(0, 0), "0.0 %");
        assert_eq!(share(1, 1_000_000), "<0.1 %");
        assert_eq!(share(1, 3), "33.3 %");
    }

    #[test]
    fn durations_keep_their_two_largest_units() {
        let shown = [0.25, 10.04, 125.0, 12_000.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(shown, ["250 ms", "10.0 s", "2 min 5 s", "3 h 20 min"]);
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        let at = |s| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(1_709_251_200), "2024-03-01 00:00:00 UTC");
        assert_eq!(at(1_767_323_045), "2026-01-02 03:04:05 UTC");
        assert_eq!(utc(SystemTime::UNIX_EPOCH - Duration::from_secs(9)), at(0));
    }

    #[test]
    fn paths_keep_two_elements() {
        assert_eq!(short_path("/usr/lib/go/src/encoding/json/decode.go"), "json/decode.go");
        assert_eq!(short_path("main.go"), "main.go");
        assert_eq!(short_path("/main.go"), "/main.go");
        assert_eq!(short_path("a//"), "a//".get(2..).unwrap_or("a//"));
    }

    #[test]
    fn cutting_keeps_whole_characters() {
        assert_eq!(keep_end("äöüabc", 4), "…abc");
        assert_eq!(keep_start("äöüabc", 4), "äöü…");
        assert_eq!(keep_end("abc", 3), "abc");
        assert_eq!((keep_end("abc", 0).as_ref(), keep_start("abc", 1).as_ref()), ("", "…"));
    }

    #[test]
    fn lines_are_wrapped_at_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("enormous a", 3), ["enormous", "a"]);
        assert!(wrap("  ", 9).is_empty());
    }
}
