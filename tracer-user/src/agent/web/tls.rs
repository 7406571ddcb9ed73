//! TLS: the agent's own certificate, and whose certificates it accepts.
//!
//! In: bytes of PEM files. Out: what accepts connections.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// What is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
    /// Only who has a certificate signed by one of these is answered.
    pub client_ca: Option<Vec<u8>>,
}

/// Makes what accepts connections.
///
/// # Errors
/// Which of the files is not what it should be, in one line.
pub fn acceptor(files: &Files) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certs = certificates(&files.cert).map_err(|why| format!("the certificate: {why}"))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|err| format!("the key: {err}"))?;
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|err| err.to_string())?;
    let config = match &files.client_ca {
        None => config.with_no_client_auth(),
        Some(roots) => {
            let wrong = |why: String| format!("the clients' authority: {why}");
            let mut store = RootCertStore::empty();
            for root in certificates(roots).map_err(wrong)? {
                store.add(root).map_err(|err| wrong(err.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
            let verifier = verifier.build().map_err(|err| wrong(err.to_string()))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config =
        config.with_single_cert(certs, key).map_err(|err| format!("certificate and key: {err}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|err| err.to_string())?;
    match found.is_empty() {
        true => Err("no certificate in the file".to_owned()),
        false => Ok(found),
    }
}
