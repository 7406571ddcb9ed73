//! What tables of receivers have in common: their name, headers and secrets.
//!
//! In: values as written. Out: the same, checked; what is wrong has its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use toml::Spanned;

use super::Wrong;
use crate::agent::push::client::Url;

/// What is set by the protocol itself.
const OURS: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
];

/// As a directory may be called.
pub(super) fn name(name: &Spanned<String>) -> Result<String, Wrong> {
    read(name, |text| {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match text.len() {
            1..=64 if text.chars().all(is_fine) => Ok(text.to_owned()),
            _ => Err("a name has 1 to 64 letters, digits, - and _".to_owned()),
        }
    })
}

pub(super) fn headers(
    written: &Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    has_token: bool,
) -> Result<HeaderMap, Wrong> {
    let mut headers = HeaderMap::new();
    for (name, value) in written.iter().flatten() {
        let key = read(name, |text| match HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) if OURS.contains(&name) || name.as_str().starts_with("grpc-") => {
                Err(format!("{name} is set by heaptap itself"))
            }
            Ok(name) if name == header::AUTHORIZATION && has_token => {
                Err("there is a token_file already".to_owned())
            }
            Ok(name) => Ok(name),
            Err(_) => Err(format!("\"{}\" is no header", text.escape_debug())),
        })?;
        let mut value = read(value, |text| {
            HeaderValue::from_str(text).map_err(|_| "no header can hold this".to_owned())
        })?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// The file of a token, if nobody on the way can read it.
pub(super) fn token_file(
    file: &Option<Spanned<PathBuf>>,
    url: &Url,
    insecure: Option<bool>,
) -> Result<Option<PathBuf>, Wrong> {
    let Some(file) = file else { return Ok(None) };
    if !url.is_https && !url.is_loopback() && insecure != Some(true) {
        return Err(Wrong::new(
            file.span(),
            "everybody on the way can read the token: use https, or say insecure = true",
        ));
    }
    Ok(Some(file.get_ref().clone()))
}

/// Reads a value, or blames its place.
pub(super) fn read<T>(
    text: &Spanned<String>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Wrong> {
    read(text.get_ref()).map_err(|why| Wrong::new(text.span(), why))
}
