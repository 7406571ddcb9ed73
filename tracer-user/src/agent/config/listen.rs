//! `[listen]`: where the agent answers, and whom.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::Wrong;

/// Where nothing is said: only this host itself can ask.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9467);

/// Checked; what several of them mean together is checked by [`Listen::is_safe`], when flags are known too.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub address: SocketAddr,
    /// Holds what has to be known to be answered.
    pub token_file: Option<PathBuf>,
    /// PEM: the agent's certificate and key, and who signs certificates of those that are answered.
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_client_ca: Option<PathBuf>,
    pub max_connections: usize,
    /// Requests in a second, of one address.
    pub max_rate: u32,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: ADDRESS,
            token_file: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            max_connections: 128,
            max_rate: 100,
        }
    }
}

impl Listen {
    /// Whether it answers only those that it should.
    ///
    /// # Errors
    /// What is missing, in one line.
    pub fn is_safe(&self) -> Result<(), String> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("TLS takes a certificate and its key (tls_cert, tls_key)".to_owned());
        }
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            return Err(
                "client certificates take a certificate of the agent's own (tls_cert, tls_key)"
                    .to_owned(),
            );
        }
        if !self.address.ip().is_loopback()
            && self.token_file.is_none()
            && self.tls_client_ca.is_none()
        {
            return Err(format!(
                "{} can be reached from elsewhere: say who is answered, by a token (token_file) or \
                 by client certificates (tls_client_ca)",
                self.address
            ));
        }
        Ok(())
    }
}

/// As written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    address: Option<Spanned<String>>,
    token_file: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    max_connections: Option<Spanned<usize>>,
    max_rate: Option<Spanned<u32>>,
}

impl Table {
    pub(super) fn check(self) -> Result<Listen, Wrong> {
        let Self { token_file, tls_cert, tls_key, tls_client_ca, .. } = self;
        let mut listen =
            Listen { token_file, tls_cert, tls_key, tls_client_ca, ..Listen::default() };
        if let Some(address) = self.address {
            listen.address =
                self::address(address.get_ref()).map_err(|why| Wrong::new(address.span(), why))?;
        }
        if let Some(most) = self.max_connections {
            if !(1..=65_536).contains(most.get_ref()) {
                return Err(Wrong::new(most.span(), "from 1 to 65536"));
            }
            listen.max_connections = most.into_inner();
        }
        if let Some(most) = self.max_rate {
            if *most.get_ref() == 0 {
                return Err(Wrong::new(most.span(), "1 at least"));
            }
            listen.max_rate = most.into_inner();
        }
        Ok(listen)
    }
}

/// Reads an address with its port.
///
/// # Errors
/// What is expected, in one line.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let text = text.escape_debug();
        format!(
            "\"{text}\" is no address with a port, such as \"127.0.0.1:9467\" or \"[::1]:9467\""
        )
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_that_others_reach_takes_more() {
        let safe = |text: &str| {
            let config = super::super::parse(&format!("[listen]\n{text}")).expect("well formed");
            config.listen.is_safe()
        };
        assert_eq!(safe(""), Ok(()));
        assert_eq!(safe("address = \"[::1]:1\""), Ok(()));
        for open in ["0.0.0.0:9467", "[::]:9467", "10.1.2.3:9467"] {
            let address = format!("address = \"{open}\"\n");
            assert!(safe(&address).is_err_and(|why| why.contains("say who is answered")));
            assert_eq!(safe(&format!("{address}token_file = \"/t\"")), Ok(()));
            let tls = "tls_cert = \"/c\"\ntls_key = \"/k\"\n";
            assert!(safe(&format!("{address}{tls}")).is_err(), "TLS alone says who we are");
            assert_eq!(safe(&format!("{address}{tls}tls_client_ca = \"/a\"")), Ok(()));
        }
        assert!(safe("tls_cert = \"/c\"").is_err());
        assert!(safe("tls_client_ca = \"/c\"").is_err());
    }
}
