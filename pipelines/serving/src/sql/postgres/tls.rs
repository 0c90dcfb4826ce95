//! TLS from files. What is configured and broken stops the start: nothing falls back to connections without it.

use std::sync::Arc;

use thalweg_core::{Error, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::sql::TlsFiles;

/// What accepts TLS 1.2 and 1.3 connections with this certificate.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let (cert, key) = (files.cert.display(), files.key.display());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect).map_err(|_| {
            Error::config(format!("{cert} holds no certificate in PEM that can be read"))
        })?;
    if chain.is_empty() {
        return Err(Error::config(format!("{cert} holds no certificate")));
    }
    let private = PrivateKeyDer::from_pem_file(&files.key).map_err(|_| {
        Error::config(format!("{key} holds no private key in PEM that can be read"))
    })?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::internal("TLS cannot be set up"))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|_| Error::config(format!("{cert} and {key} do not belong together")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_missing_or_broken_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            TlsFiles { cert: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let said = || acceptor(&files).err().unwrap().to_string();
        assert!(said().contains("c.pem holds no certificate"));
        std::fs::write(
            &files.cert,
            "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(said().contains("k.pem holds no private key"));
        std::fs::write(&files.key, "no key").unwrap();
        assert!(said().contains("k.pem holds no private key"));
    }
}
