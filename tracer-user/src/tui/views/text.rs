//! Numbers and names in few cells. In: values. Out: short text whose width is known.

use std::borrow::Cow;

use ratatui::text::Span;

use crate::output::text::printable;

/// Cells that a text takes on a screen.
pub fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { Span::raw(text).width() }
}

/// `512B`, `1.5K`, `12.0M`, `340M`, `1.2G`: five cells at most, binary units.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if count < 1000 {
        return format!("{count}B");
    }
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    match scaled {
        ..99.95 => format!("{scaled:.1}{}", UNITS[unit]),
        _ => format!("{scaled:.0}{}", UNITS[unit]),
    }
}

/// `340M`, or `-` when it is not known.
pub fn rate(bytes_per_second: Option<f64>) -> String {
    bytes_per_second.map_or_else(|| "-".to_owned(), |rate| bytes(rate as u64))
}

/// `850ns`, `12µs`, `1.2ms`, `12ms`, `3.4s`.
pub fn time(ns: u64) -> String {
    match ns {
        ..1_000 => format!("{ns}ns"),
        1_000..999_500 => format!("{:.0}µs", ns as f64 / 1e3),
        999_500..9_950_000 => format!("{:.1}ms", ns as f64 / 1e6),
        9_950_000..999_500_000 => format!("{:.0}ms", ns as f64 / 1e6),
        _ => format!("{:.1}s", ns as f64 / 1e9),
    }
}

/// `950`, `12.3k`, `4.1M`: a number in five cells.
pub fn count(count: u64) -> String {
    match count {
        ..100_000 => count.to_string(),
        100_000..1_000_000 => format!("{}k", count / 1000),
        1_000_000..100_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// `12.3`, `0.0`, `100`: percent in four cells.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 99.95 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

/// `text` in exactly `width` cells, safe to show: filled up, or cut with `…`.
pub fn fit(text: &str, width: usize, right: bool) -> String {
    let text = cut(text, width);
    let gap = " ".repeat(width.saturating_sub(self::width(&text)));
    if right { format!("{gap}{text}") } else { format!("{text}{gap}") }
}

/// At most `max` cells of `text`, safe to show; what is cut off shows as `…`.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    let text = printable(text);
    if width(&text) <= max {
        return text;
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > max {
            break;
        }
        kept.push(c);
    }
    if max > 0 {
        kept.push('…');
    }
    Cow::Owned(kept)
}

/// As [`cut`], but keeps the end.
pub fn cut_front(text: &str, max: usize) -> Cow<'_, str> {
    let text = printable(text);
    if width(&text) <= max {
        return text;
    }
    let mut kept: Vec<char> = Vec::new();
    let mut used = 1;
    for c in text.chars().rev() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > max {
            break;
        }
        kept.push(c);
    }
    if max > 0 {
        kept.push('…');
    }
    Cow::Owned(kept.into_iter().rev().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_five_cells_at_most() {
        let sizes = [0, 999, 1000, 1536, 100 << 10, 1023 << 10, 12 << 20, 340 << 20, 1 << 40];
        let expected = ["0B", "999B", "1.0K", "1.5K", "100K", "1.0M", "12.0M", "340M", "1.0T"];
        assert_eq!(sizes.map(bytes), expected);
        let times = [850, 12_345, 1_250_000, 12_500_000, 999_600_000, 90_000_000_000];
        assert_eq!(times.map(time), ["850ns", "12µs", "1.2ms", "12ms", "1.0s", "90.0s"]);
        assert_eq!(
            [7, 99_999, 123_456, 4_120_000, 1 << 40].map(count)[..4],
            ["7", "99999", "123k", "4.1M"]
        );
        assert_eq!([0.0, 0.123, 0.9996, 4.0].map(percent), ["0.0", "12.3", "100", "400"]);
        assert_eq!((rate(None), rate(Some(1e9))), ("-".into(), "954M".into()));
        for shift in 0..64 {
            let text = bytes(1 << shift);
            assert!(width(&text) <= 5, "{text}");
            let text = bytes((1u64 << shift).wrapping_sub(1));
            assert!(width(&text) <= 5, "{text}");
        }
    }

    #[test]
    fn texts_are_cut_to_cells_and_safe() {
        assert_eq!(fit("abc", 5, false), "abc  ");
        assert_eq!(fit("abc", 5, true), "  abc");
        assert_eq!(fit("abcdef", 4, false), "abc…");
        assert_eq!(fit("漢字漢字", 5, false), "漢字…");
        assert_eq!(fit("漢字漢字", 4, true), " 漢…");
        assert_eq!(cut("a\x1b[2J", 20), "a\\x1b[2J");
        assert_eq!((cut("abc", 0).as_ref(), cut("abc", 1).as_ref()), ("", "…"));
        assert_eq!((cut_front("abcdef", 4).as_ref(), cut_front("ab", 4).as_ref()), ("…def", "ab"));
    }
}
