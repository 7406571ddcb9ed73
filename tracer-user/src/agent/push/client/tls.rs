//! Whom to believe: TLS for connections to receivers.
//!
//! In: a file of certificates, or none. Out: rustls's configuration, with ring's cryptography.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: pem::Error },
    #[error("{}: {source}", path.display())]
    Certificate { path: PathBuf, source: rustls::Error },
    #[error("{}: no certificate in it", path.display())]
    Empty { path: PathBuf },
    #[error(
        "this host has no certificates of authorities (looked where OpenSSL does): set ca_file"
    )]
    None,
    #[error("TLS: {0}")]
    Tls(rustls::Error),
}

/// What is used for an address; roots are looked for only if it is `https`.
///
/// # Errors
/// No roots.
pub fn config(is_https: bool, ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let roots = match (is_https, ca_file) {
        (_, Some(path)) => of_file(path)?,
        (true, None) => of_host()?,
        (false, None) => RootCertStore::empty(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn of_file(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let unread = |source| Error::File { path: path.to_owned(), source };
    for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
        let refused = |source| Error::Certificate { path: path.to_owned(), source };
        roots.add(certificate.map_err(unread)?).map_err(refused)?;
    }
    match roots.is_empty() {
        true => Err(Error::Empty { path: path.to_owned() }),
        false => Ok(roots),
    }
}

fn of_host() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // A host's store may hold some that are too old to be read.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(Error::None),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let why = || config(true, Some(&file)).unwrap_err().to_string();
        assert!(why().contains("ca.pem"), "{}", why());
        std::fs::write(&file, "nothing").unwrap();
        assert!(why().ends_with("no certificate in it"), "{}", why());
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, torn).unwrap();
        assert!(why().contains("ca.pem"), "{}", why());
        config(false, None).unwrap();
    }
}
