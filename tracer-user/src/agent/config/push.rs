//! `[[push]]`: to whom profiles and metrics are sent; `[spool]`: where they wait.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::target::{self, read};
use super::{Wrong, duration};
use crate::agent::push::client::{Protocol, Target, Url};
use crate::agent::push::labels::Pattern;
use crate::agent::push::make::Kind;
use crate::agent::push::spool::Bounds;
use crate::agent::push::{Receiver, Sends};

/// Where uploads wait, where nothing is said.
pub const SPOOL: &str = "/var/lib/heaptap/spool";
/// As often as Pyroscope's client uploads, as Parca scrapes, and as OpenTelemetry's SDKs export metrics.
const EVERY: [Duration; 3] =
    [Duration::from_secs(15), Duration::from_secs(10), Duration::from_secs(60)];
const TIMEOUT: Duration = Duration::from_secs(30);
const BOUNDS: Bounds = Bounds { bytes: 64 << 20, age: Duration::from_secs(3600) };
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    pub receivers: Vec<Receiver>,
    /// Where uploads wait.
    pub spool: PathBuf,
}

impl Default for Push {
    fn default() -> Self {
        Self { receivers: Vec::new(), spool: SPOOL.into() }
    }
}

/// As written: `[spool]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SpoolTable {
    dir: Option<PathBuf>,
}

/// As written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    kind: Spanned<String>,
    url: Spanned<String>,
    name: Option<Spanned<String>>,
    every: Option<Spanned<String>>,
    service: Option<Spanned<String>>,
    headers: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    token_file: Option<Spanned<PathBuf>>,
    ca_file: Option<PathBuf>,
    insecure: Option<bool>,
    timeout: Option<Spanned<String>>,
    spool_bytes: Option<Spanned<String>>,
    spool_age: Option<Spanned<String>>,
    retry_least: Option<Spanned<String>>,
    retry_most: Option<Spanned<String>>,
    /// Of `otlp` alone.
    protocol: Option<Spanned<String>>,
    metrics: Option<Spanned<bool>>,
    profiles: Option<Spanned<bool>>,
}

/// Checks all of them.
pub(super) fn check(tables: Vec<Table>, spool: SpoolTable) -> Result<Push, Wrong> {
    let mut receivers: Vec<Receiver> = Vec::new();
    for table in tables {
        let named = table.name.as_ref().map_or(table.kind.span(), Spanned::span);
        let receiver = table.check()?;
        if receivers.iter().any(|other| other.name == receiver.name) {
            let why =
                format!("there are two receivers called \"{}\": give one a name", receiver.name);
            return Err(Wrong::new(named, why));
        }
        receivers.push(receiver);
    }
    Ok(Push { receivers, spool: spool.dir.unwrap_or_else(|| SPOOL.into()) })
}

impl Table {
    fn check(self) -> Result<Receiver, Wrong> {
        let (kind, sends) = self.kind()?;
        let name = target::name(self.name.as_ref().unwrap_or(&self.kind))?;
        let url = read(&self.url, Url::parse)?;
        let protocol = match kind {
            Kind::Parca => Protocol::Grpc,
            Kind::Pyroscope => Protocol::Http,
            Kind::Otlp(protocol) => protocol,
        };
        if protocol == Protocol::Grpc && !url.path.is_empty() {
            return Err(Wrong::new(self.url.span(), "gRPC has no path behind the host and port"));
        }
        let headers = target::headers(&self.headers, self.token_file.is_some())?;
        let token_file = target::token_file(&self.token_file, &url, self.insecure)?;
        let time = |text: &Option<Spanned<String>>, default| match text {
            Some(text) => read(text, duration),
            None => Ok(default),
        };
        let [of_pyroscope, of_parca, of_otlp] = EVERY;
        let every = match kind {
            Kind::Pyroscope => of_pyroscope,
            Kind::Parca => of_parca,
            Kind::Otlp(_) => of_otlp,
        };
        let bytes = match &self.spool_bytes {
            Some(text) => read(text, size)?,
            None => BOUNDS.bytes,
        };
        let service = match &self.service {
            Some(text) => read(text, Pattern::parse)?,
            None => Pattern::default(),
        };
        Ok(Receiver {
            name,
            kind,
            every: time(&self.every, every)?,
            service,
            sends,
            bounds: Bounds { bytes, age: time(&self.spool_age, BOUNDS.age)? },
            retry: (time(&self.retry_least, RETRY.0)?, time(&self.retry_most, RETRY.1)?),
            target: Target {
                url,
                headers,
                token_file,
                ca_file: self.ca_file,
                timeout: time(&self.timeout, TIMEOUT)?,
                protocol,
            },
        })
    }

    fn kind(&self) -> Result<(Kind, Sends), Wrong> {
        let kind = match self.kind.get_ref().as_str() {
            "pyroscope" => Kind::Pyroscope,
            "parca" => Kind::Parca,
            "otlp" => Kind::Otlp(self.protocol()?),
            other => {
                let other = other.escape_debug();
                let why = format!("\"{other}\" is none of \"pyroscope\", \"parca\" and \"otlp\"");
                return Err(Wrong::new(self.kind.span(), why));
            }
        };
        let Kind::Otlp(_) = kind else {
            let spans = [
                self.protocol.as_ref().map(Spanned::span),
                self.metrics.as_ref().map(Spanned::span),
                self.profiles.as_ref().map(Spanned::span),
            ];
            return match spans.into_iter().flatten().next() {
                Some(at) => Err(Wrong::new(at, "this is said of receivers of kind \"otlp\" alone")),
                None => Ok((kind, Sends { profiles: true, metrics: false })),
            };
        };
        let is_set = |flag: &Option<Spanned<bool>>, default| {
            flag.as_ref().map_or(default, |flag| *flag.get_ref())
        };
        let sends =
            Sends { profiles: is_set(&self.profiles, false), metrics: is_set(&self.metrics, true) };
        match sends {
            Sends { profiles: false, metrics: false } => {
                Err(Wrong::new(self.kind.span(), "it is sent neither metrics nor profiles"))
            }
            _ => Ok((kind, sends)),
        }
    }

    fn protocol(&self) -> Result<Protocol, Wrong> {
        let Some(protocol) = &self.protocol else { return Ok(Protocol::Http) };
        read(protocol, |text| match text {
            "http" => Ok(Protocol::Http),
            "grpc" => Ok(Protocol::Grpc),
            other => Err(format!("\"{}\" is neither \"http\" nor \"grpc\"", other.escape_debug())),
        })
    }
}

/// `512KiB`, `64MiB`, `1GiB`.
fn size(text: &str) -> Result<u64, String> {
    let refused = || {
        let text = text.escape_debug();
        format!("\"{text}\" is no size: expected one such as \"512KiB\", \"64MiB\" or \"1GiB\"")
    };
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(at);
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::parse;

    fn one(text: &str) -> Receiver {
        parse(text).unwrap().push.receivers.remove(0)
    }

    fn problem(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn the_shortest_table_is_complete() {
        let of = |kind| one(&format!("[[push]]\nkind = \"{kind}\"\nurl = \"http://a:1/\"\n"));
        let pyroscope = of("pyroscope");
        assert_eq!((pyroscope.name.as_str(), pyroscope.every), ("pyroscope", EVERY[0]));
        assert_eq!((pyroscope.bounds, pyroscope.retry), (BOUNDS, RETRY));
        assert_eq!(pyroscope.target.timeout, TIMEOUT);
        assert_eq!(of("parca").target.protocol, Protocol::Grpc);
        let otlp = of("otlp");
        assert_eq!(otlp.kind, Kind::Otlp(Protocol::Http));
        assert_eq!(otlp.sends, Sends { profiles: false, metrics: true });
        assert_eq!(parse("").unwrap().push, Push::default());
    }

    #[test]
    fn everything_can_be_said() {
        let config = parse(
            "[spool]\ndir = \"/s\"\n[[push]]\nkind = \"otlp\"\nname = \"o\"\nprotocol = \"grpc\"\n\
             url = \"https://a\"\nevery = \"5s\"\nservice = \"{namespace}/{comm}\"\n\
             headers = { X-Scope-OrgID = \"t1\" }\ntoken_file = \"/t\"\nca_file = \"/c\"\n\
             timeout = \"3s\"\nspool_bytes = \"1GiB\"\nspool_age = \"2h\"\nretry_least = \"10ms\"\n\
             retry_most = \"20ms\"\nmetrics = false\nprofiles = true\n",
        )
        .unwrap();
        assert_eq!(config.push.spool, PathBuf::from("/s"));
        let [receiver] = &config.push.receivers[..] else { panic!() };
        assert_eq!(receiver.target.headers["x-scope-orgid"], "t1");
        assert_eq!(receiver.bounds.bytes, 1 << 30);
        assert_eq!(receiver.sends, Sends { profiles: true, metrics: false });
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let head = "[[push]]\nkind = \"pyroscope\"\nurl = \"http://a\"\n";
        for (more, line, why) in [
            ("evry = \"1s\"", 4, "unknown field `evry`"),
            ("every = \"1\"", 4, "no length of time"),
            ("protocol = \"grpc\"", 4, "\"otlp\" alone"),
            ("profiles = true", 4, "\"otlp\" alone"),
            ("token_file = \"/t\"", 4, "insecure = true"),
            ("headers = { Host = \"a\" }", 4, "set by heaptap itself"),
            ("headers = { \"a b\" = \"a\" }", 4, "is no header"),
            ("spool_bytes = \"5\"", 4, "is no size"),
            ("spool_bytes = \"0MiB\"", 4, "is no size"),
            ("service = \"{app}\"", 4, "{app} is no label"),
            ("name = \"a/b\"", 4, "1 to 64 letters"),
            ("[[push]]\nkind = \"pyroscope\"\nurl = \"http://b\"", 5, "two receivers called"),
            ("[[push]]\nkind = \"graphite\"\nurl = \"http://b\"", 5, "is none of"),
            ("[[push]]\nkind = \"parca\"\nurl = \"http://b/c\"", 6, "gRPC has no path"),
            ("[[push]]\nkind = \"parca\"\nurl = \"b\"", 6, "must begin with"),
            ("[[push]]\nkind = \"parca\"", 4, "missing field `url`"),
        ] {
            let told = problem(&format!("{head}{more}\n"));
            assert!(told.starts_with(&format!("{line}: ")) && told.contains(why), "{more}: {told}");
        }
        one(&format!("{head}token_file = \"/t\"\ninsecure = true\n"));
        one("[[push]]\nkind = \"pyroscope\"\nurl = \"http://[::1]:4040\"\ntoken_file = \"/t\"\n");
    }
}
