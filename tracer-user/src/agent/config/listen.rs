//! `[listen]`: where the agent answers.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use toml::Spanned;

use super::Wrong;

/// Where nothing is said: only this host itself can ask.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9467);

/// Checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub address: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: ADDRESS }
    }
}

/// As written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    address: Option<Spanned<String>>,
}

impl Table {
    pub(super) fn check(self) -> Result<Listen, Wrong> {
        let mut listen = Listen::default();
        if let Some(address) = self.address {
            listen.address =
                self::address(address.get_ref()).map_err(|why| Wrong::new(address.span(), why))?;
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
