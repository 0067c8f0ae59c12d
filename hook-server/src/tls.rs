//! TLS for the listener: PEM files into a configuration of rustls, with ring. A client certificate is asked for and
//! never insisted on here: the kubelet's probes have none. [`crate::access`] insists, on the hooks.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use crate::reload::Broken;

/// Reads certificate chain, key, and, where there is a third file, the CA of the clients.
///
/// # Errors
/// If a file cannot be read or used, or if certificate and key are no pair.
pub fn load(files: &[PathBuf]) -> Result<Arc<ServerConfig>, Broken> {
    let (chain, key, clients) = match files {
        [chain, key] => (chain, key, None),
        [chain, key, clients] => (chain, key, Some(clients)),
        _ => return Err(Broken::new(Path::new(""), "TLS takes a certificate and a key")),
    };
    let provider = Arc::new(default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = match clients {
        None => Arc::new(NoClientAuth),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| Broken::new(file, error))?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| Broken::new(file, error))?
        }
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => Broken::new(key, "holds no private key, or one with a password"),
        error => Broken::new(key, error),
    })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Broken::new(chain, error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(chain)?, private)
        .map_err(|error| Broken::new(chain, format!("with the key {}: {error}", key.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Broken> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(Broken::new(file, "holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(Broken::new(file, error)),
    }
}
