//! `[[notify]]`: who is told of alerts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::target::{self, read};
use super::{Wrong, duration};
use crate::agent::notify::{Form, Receiver};
use crate::agent::push::client::{Protocol, Target, Url};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com";
const PER_HOUR: u32 = 60;

/// As written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    kind: Spanned<String>,
    url: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    headers: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    token_file: Option<Spanned<PathBuf>>,
    routing_key_file: Option<Spanned<PathBuf>>,
    ca_file: Option<PathBuf>,
    insecure: Option<bool>,
    timeout: Option<Spanned<String>>,
    per_hour: Option<u32>,
}

/// Checks all of them.
pub(super) fn check(tables: Vec<Table>) -> Result<Vec<Receiver>, Wrong> {
    let mut receivers: Vec<Receiver> = Vec::new();
    for table in tables {
        let named = table.name.as_ref().unwrap_or(&table.kind).span();
        let receiver = table.check()?;
        if receivers.iter().any(|other| other.name == receiver.name) {
            let why = format!("two are called \"{}\": give one a name", receiver.name);
            return Err(Wrong::new(named, why));
        }
        receivers.push(receiver);
    }
    Ok(receivers)
}

impl Table {
    fn check(self) -> Result<Receiver, Wrong> {
        let name = target::name(self.name.as_ref().unwrap_or(&self.kind))?;
        let form = self.form()?;
        let url = match (&self.url, &form) {
            (Some(url), _) => read(url, Url::parse)?,
            (None, Form::PagerDuty { .. }) => {
                Url::parse(PAGERDUTY).map_err(|why| Wrong::new(self.kind.span(), why))?
            }
            (None, _) => return Err(Wrong::new(self.kind.span(), "it takes a url")),
        };
        let timeout = self.timeout.as_ref().map_or(Ok(TIMEOUT), |text| read(text, duration))?;
        Ok(Receiver {
            name,
            form,
            target: Target {
                headers: target::headers(&self.headers, self.token_file.is_some())?,
                token_file: target::token_file(&self.token_file, &url, self.insecure)?,
                url,
                ca_file: self.ca_file,
                timeout,
                protocol: Protocol::Http,
            },
            per_hour: self.per_hour.unwrap_or(PER_HOUR),
        })
    }

    fn form(&self) -> Result<Form, Wrong> {
        let form = match self.kind.get_ref().as_str() {
            "webhook" => Form::Generic,
            "slack" => Form::Slack,
            "alertmanager" => Form::Alertmanager,
            "pagerduty" => {
                let why = "it takes a routing_key_file";
                let file = self.routing_key_file.as_ref();
                let file = file.ok_or_else(|| Wrong::new(self.kind.span(), why))?;
                return Ok(Form::PagerDuty { routing_key_file: file.get_ref().clone() });
            }
            other => {
                let other = other.escape_debug();
                let why = format!(
                    "\"{other}\" is none of \"webhook\", \"slack\", \"pagerduty\" and \"alertmanager\""
                );
                return Err(Wrong::new(self.kind.span(), why));
            }
        };
        match &self.routing_key_file {
            Some(file) => Err(Wrong::new(
                file.span(),
                "this is said of receivers of kind \"pagerduty\" alone",
            )),
            None => Ok(form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::parse;

    #[test]
    fn receivers_are_checked() {
        let config = parse(
            "[[notify]]\nkind = \"slack\"\nurl = \"https://hooks.example.org/services/a\"\n\
             [[notify]]\nkind = \"pagerduty\"\nname = \"duty\"\nrouting_key_file = \"/k\"\nper_hour = 5\n\
             [[rule]]\nname = \"a\"\nmetric = \"go_goroutine_count\"\nabove = 1\nnotify = [\"duty\"]\n",
        )
        .unwrap();
        let [slack, duty] = &config.notify[..] else { panic!("two receivers") };
        assert_eq!(
            (&slack.name[..], &slack.form, slack.per_hour),
            ("slack", &Form::Slack, PER_HOUR)
        );
        assert_eq!((duty.target.url.authority.host(), duty.per_hour), ("events.pagerduty.com", 5));
        for (text, why) in [
            ("[[notify]]\nkind = \"mail\"\n", "2: \"mail\" is none of"),
            ("[[notify]]\nkind = \"slack\"\n", "2: it takes a url"),
            ("[[notify]]\nkind = \"pagerduty\"\n", "2: it takes a routing_key_file"),
            (
                "[[notify]]\nkind = \"webhook\"\nurl = \"http://10.0.0.1\"\ntoken_file = \"/t\"\n",
                "4: everybody on the way",
            ),
            (
                "[[rule]]\nname = \"a\"\nmetric = \"go_goroutine_count\"\nabove = 1\nnotify = [\"x\"]\n",
                " rule \"a\": there is no [[notify]] called \"x\"",
            ),
        ] {
            let told = parse(text).expect_err(text).to_string();
            assert!(told.starts_with(why), "{told}");
        }
    }
}
