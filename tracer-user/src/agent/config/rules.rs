//! `[[rule]]`: conditions on metrics, and what follows; `[captures]`: what of it is kept, and where.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::{Wrong, duration};
use crate::agent::rules::{Bound, Capture, Metric, Of, Pattern, Rule, Severity, Whom};

/// Where captures are kept, where nothing is said.
const CAPTURES: &str = "/var/lib/heaptap/captures";
/// Longer a recording of a rule can't be, and further back a rule can't look.
const LONGEST_RECORDING: Duration = Duration::from_secs(600);
const FURTHEST: Duration = Duration::from_secs(24 * 3600);
const OVER: Duration = Duration::from_secs(300);
const COOLDOWN: Duration = Duration::from_secs(1800);
const RECORDING: Duration = Duration::from_secs(30);

/// Checked: how much is captured and kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Captures {
    pub dir: PathBuf,
    /// Bytes that all of them take at most; the oldest go first.
    pub bytes: u64,
    pub age: Duration,
    /// Captures in an hour, of all rules and requests together.
    pub per_hour: u32,
    /// Whether requests have captures made too, and how long such a one may take.
    pub on_request: bool,
    pub longest: Duration,
}

impl Default for Captures {
    fn default() -> Self {
        let age = Duration::from_secs(7 * 86_400);
        let dir = CAPTURES.into();
        Self { dir, bytes: 256 << 20, age, per_hour: 30, on_request: false, longest: RECORDING }
    }
}

/// As written: `[captures]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CapturesTable {
    dir: Option<PathBuf>,
    max_bytes: Option<Spanned<Value>>,
    max_age: Option<Spanned<String>>,
    per_hour: Option<u32>,
    on_request: Option<bool>,
    longest: Option<Spanned<String>>,
}

impl CapturesTable {
    pub(super) fn check(self) -> Result<Captures, Wrong> {
        let mut captures = Captures::default();
        captures.dir = self.dir.unwrap_or(captures.dir);
        captures.per_hour = self.per_hour.unwrap_or(captures.per_hour);
        if let Some(bytes) = &self.max_bytes {
            captures.bytes = at(bytes, number)? as u64;
        }
        if let Some(age) = &self.max_age {
            captures.age = at(age, |text| duration(text))?;
        }
        captures.on_request = self.on_request.unwrap_or(captures.on_request);
        if let Some(longest) = &self.longest {
            captures.longest = at(longest, |text| recording(text, text))?;
        }
        Ok(captures)
    }
}

/// As written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    name: Spanned<String>,
    metric: Spanned<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    comm: Option<String>,
    container: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
    above: Option<Spanned<Value>>,
    below: Option<Spanned<Value>>,
    over: Option<Spanned<String>>,
    quantile: Option<Spanned<f64>>,
    #[serde(rename = "for")]
    hold: Option<Spanned<String>>,
    severity: Option<Spanned<String>>,
    #[serde(default)]
    capture: Vec<Spanned<String>>,
    notify: Option<Vec<String>>,
    cooldown: Option<Spanned<String>>,
}

/// Checks all of them.
pub(super) fn check(tables: Vec<Table>) -> Result<Vec<Rule>, Wrong> {
    let mut rules: Vec<Rule> = Vec::with_capacity(tables.len());
    for table in tables {
        let named = table.name.span();
        let rule = table.check()?;
        if rules.iter().any(|other| other.name == rule.name) {
            return Err(Wrong::new(named, format!("there are two rules called {:?}", rule.name)));
        }
        rules.push(rule);
    }
    Ok(rules)
}

impl Table {
    fn check(self) -> Result<Rule, Wrong> {
        if self.name.get_ref().trim().is_empty() {
            return Err(Wrong::new(self.name.span(), "a rule has a name"));
        }
        let metric = at(&self.metric, |name| Metric::find(name))?;
        let of = self.of(metric)?;
        let bound = match (&self.above, &self.below) {
            (Some(above), None) => Bound::Above(at(above, number)?),
            (None, Some(below)) => Bound::Below(at(below, number)?),
            _ => {
                let why = "a rule has one bound, either above or below";
                return Err(Wrong::new(self.name.span(), why));
            }
        };
        let time = |text: &Option<Spanned<String>>, default| match text {
            Some(text) => at(text, |text| duration(text)),
            None => Ok(default),
        };
        let hold = match &self.hold {
            // At once.
            Some(text) if text.get_ref() == "0s" => Duration::ZERO,
            text => time(text, Duration::ZERO)?,
        };
        let severity = match &self.severity {
            Some(word) => at(word, |word| severity(word))?,
            None => Severity::Warning,
        };
        let capture: Result<Vec<Capture>, Wrong> =
            self.capture.iter().map(|word| at(word, |word| capture(word))).collect();
        let pattern = |glob: Option<String>| glob.map(Pattern);
        Ok(Rule {
            metric,
            labels: self.labels.into_iter().collect(),
            whom: Whom {
                comm: pattern(self.comm),
                container: pattern(self.container),
                pod: pattern(self.pod),
                namespace: pattern(self.namespace),
            },
            of,
            bound,
            hold,
            severity,
            capture: capture?,
            notify: self.notify,
            cooldown: time(&self.cooldown, COOLDOWN)?,
            name: self.name.into_inner(),
        })
    }

    /// What of the metric is compared.
    fn of(&self, metric: Metric) -> Result<Of, Wrong> {
        let over = match &self.over {
            Some(text) => Some(at(text, |text| match duration(text)? {
                over if over > FURTHEST => Err(format!("{text:?} is too long: a day at most")),
                over => Ok(over),
            })?),
            None => None,
        };
        match (&self.quantile, metric.is_histogram()) {
            (Some(part), true) => {
                let part = at(part, |part| match (0.0..=1.0).contains(part) {
                    true => Ok(*part),
                    false => {
                        Err(format!("{part} is no part of all: 0.99 is, for the 99th percentile"))
                    }
                })?;
                Ok(Of::Quantile(part, over.unwrap_or(OVER)))
            }
            (Some(part), false) => Err(Wrong::new(
                part.span(),
                format!("{metric:?} is no histogram: it has no quantiles"),
            )),
            (None, true) => {
                let why = format!(
                    "{metric:?} is a histogram: say which quantile, such as quantile = 0.99"
                );
                Err(Wrong::new(self.metric.span(), why))
            }
            (None, false) => match over {
                Some(over) => Ok(Of::Rate(over)),
                None if metric.is_counter() => {
                    let why = format!(
                        "{metric:?} never goes back: say over = \"5m\" for how fast it grows a second"
                    );
                    Err(Wrong::new(self.metric.span(), why))
                }
                None => Ok(Of::Value),
            },
        }
    }
}

/// Reads a value; what is wrong is told with its place.
fn at<T, R>(value: &Spanned<T>, read: impl FnOnce(&T) -> Result<R, String>) -> Result<R, Wrong> {
    read(value.get_ref()).map_err(|why| Wrong::new(value.span(), why))
}

/// A number, with a unit if people like: `0.9`, `"90%"`, `"512MiB"`, `"10ms"`.
fn number(value: &Value) -> Result<f64, String> {
    const UNITS: [(&str, f64); 12] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
        ("%", 0.01),
        ("ms", 1e-3),
        ("us", 1e-6),
        ("s", 1.0),
        ("", 1.0),
    ];
    let refused = || {
        let told = match value {
            Value::String(text) => format!("{text:?}"),
            Value::Boolean(is) => is.to_string(),
            other => format!("a {}", other.type_str()),
        };
        format!("{told} is no number: expected one such as 0.9, \"90%\", \"512MiB\" or \"10ms\"")
    };
    let found = match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        Value::String(text) => {
            let end = text.trim_start_matches(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            let (digits, unit) = text.split_at(text.len() - end.len());
            let scale = UNITS.into_iter().find(|(name, _)| *name == unit.trim());
            let (_, scale) = scale.ok_or_else(refused)?;
            digits.parse::<f64>().map_err(|_| refused())? * scale
        }
        _ => return Err(refused()),
    };
    if found.is_finite() { Ok(found) } else { Err(refused()) }
}

fn severity(word: &str) -> Result<Severity, String> {
    let all = [Severity::Info, Severity::Warning, Severity::Critical];
    let found = all.into_iter().find(|severity| severity.word() == word);
    found.ok_or_else(|| format!("{word:?} is no severity: there are info, warning and critical"))
}

/// `heap`, `goroutines`, `record`, `map` or `os`, the last three with a length: `record 30s`.
fn capture(text: &str) -> Result<Capture, String> {
    let (word, length) = text.split_once(' ').unwrap_or((text, ""));
    let refused = || {
        format!(
            "{text:?} is no capture: there are heap, goroutines, \"record 30s\", \"map 30s\" and \"os 30s\""
        )
    };
    let found = Capture::of(word, RECORDING).ok_or_else(refused)?;
    match (found.recorded(), length.trim()) {
        (_, "") => Ok(found),
        (None, _) => Err(refused()),
        (Some(_), length) => Capture::of(word, recording(length, text)?).ok_or_else(refused),
    }
}

/// How long something is recorded; `text` is what was said.
fn recording(length: &str, text: &str) -> Result<Duration, String> {
    match duration(length)? {
        long if long > LONGEST_RECORDING => {
            Err(format!("{text:?} is too long: {} s at most", LONGEST_RECORDING.as_secs()))
        }
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::parse;

    fn rules(text: &str) -> Vec<Rule> {
        parse(text).unwrap().rules
    }

    fn problem(text: &str) -> String {
        format!("a.toml:{}", parse(text).expect_err("refused"))
    }

    #[test]
    fn a_rule_says_what_it_is_about() {
        let text = r#"
            [[rule]]
            name = "many goroutines"
            metric = "go_goroutine_count"
            comm = "api-*"
            namespace = "prod"
            above = "10kB"
            for = "2m"
            severity = "critical"
            capture = ["heap", "goroutines", "record 10s", "map", "os 1m"]
            notify = ["team"]
            cooldown = "1h"

            [[rule]]
            name = "grows"
            metric = "heaptap_memory_resident_bytes"
            above = "1MiB"
            over = "10m"

            [[notify]]
            kind = "webhook"
            name = "team"
            url = "http://localhost/"
        "#;
        let [many, grows] = &rules(text)[..] else { panic!("two rules") };
        assert_eq!((many.bound, many.of), (Bound::Above(10_000.0), Of::Value));
        assert_eq!((many.hold.as_secs(), many.cooldown.as_secs()), (120, 3600));
        assert_eq!(many.severity, Severity::Critical);
        let record = Capture::Record(Duration::from_secs(10));
        let (map, os) = (Capture::Map(RECORDING), Capture::Os(Duration::from_secs(60)));
        assert_eq!(many.capture, [Capture::Heap, Capture::Goroutines, record, map, os]);
        assert_eq!(many.whom.comm, Some(Pattern("api-*".to_owned())));
        assert_eq!(many.notify, Some(vec!["team".to_owned()]));
        assert_eq!(grows.of, Of::Rate(Duration::from_secs(600)));
        assert_eq!((grows.hold, grows.cooldown), (Duration::ZERO, COOLDOWN));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_line() {
        let rule = |more: &str| {
            problem(&format!("[[rule]]\nname = \"a\"\nmetric = \"go_goroutine_count\"\n{more}"))
        };
        for (more, said) in [
            ("", "a.toml:2: a rule has one bound"),
            ("above = 1\nbelow = 2", "a.toml:2: a rule has one bound"),
            ("above = true", "a.toml:4: true is no number"),
            ("above = \"1 elephant\"", "a.toml:4: \"1 elephant\" is no number"),
            ("above = 1\nquantile = 0.5", "a.toml:5: go_goroutine_count is no histogram"),
            ("above = 1\nover = \"2d\"", "a.toml:5: \"2d\" is too long"),
            ("above = 1\nseverity = \"bad\"", "a.toml:5: \"bad\" is no severity"),
            ("above = 1\ncapture = [\"core\"]", "a.toml:5: \"core\" is no capture"),
            ("above = 1\ncapture = [\"record 1h\"]", "a.toml:5: \"record 1h\" is too long"),
            ("above = 1\ncapture = [\"heap 5s\"]", "a.toml:5: \"heap 5s\" is no capture"),
            ("above = 1\nevery = 5", "a.toml:5: unknown field `every`"),
        ] {
            let told = rule(more);
            assert!(told.starts_with(said), "{told}");
        }
        let told = problem(
            "[[rule]]\nname = \"a\"\nmetric = \"go_memory_allocated_bytes_total\"\nabove = 1",
        );
        assert!(
            told.starts_with("a.toml:3: go_memory_allocated_bytes_total never goes back"),
            "{told}"
        );
        let two = "[[rule]]\nname = \"a\"\nmetric = \"go_goroutine_count\"\nabove = 1\n".repeat(2);
        assert!(problem(&two).starts_with("a.toml:6: there are two rules called"));
    }

    #[test]
    fn captures_are_bounded() {
        let captures =
            parse("[captures]\nmax_bytes = \"1GiB\"\nmax_age = \"1h\"").unwrap().captures;
        assert_eq!((captures.bytes, captures.age.as_secs()), (1 << 30, 3600));
        assert!(problem("[captures]\nmax_age = 3").starts_with("a.toml:2: "));
        assert!((!captures.on_request, captures.longest) == (true, RECORDING), "by rules alone");
        let asked = parse("[captures]\non_request = true\nlongest = \"1m\"").unwrap().captures;
        assert_eq!((asked.on_request, asked.longest.as_secs()), (true, 60));
        let long = problem("[captures]\nlongest = \"1h\"");
        assert!(long.starts_with("a.toml:2: \"1h\" is too long"), "{long}");
    }
}
