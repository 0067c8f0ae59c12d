//! PEM files of one device into a configuration of rustls, with ring. Owner: [`super::Tls`], on the control thread.
//! Must not keep anything: what is in force is decided there.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use serialfleet_api::fleet::TlsMode;

use super::{Problem, validity::Validity};

/// Reasons of a [`Problem`].
pub(super) const MISSING: &str = "CertificateMissing";
const INVALID: &str = "CertificateInvalid";
const EXPIRED: &str = "CertificateExpired";

/// A Secret cannot be larger (1 MiB, of all its files together).
const LARGEST: u64 = 1024 * 1024;

/// Where a Secret comes from, for whoever reads a message.
const PLACE: &str = "put it there (in a cluster: into Secret `<fleet>-bridge-tls`)";

/// A certificate that can be used, at some time at least.
pub(super) struct Certificate {
    pub(super) config: Arc<ServerConfig>,
    /// The certificate's file.
    pub(super) file: PathBuf,
    /// Of the certificate itself: a chain may lead past an issuer that has expired.
    pub(super) valid: Validity,
}

impl Certificate {
    pub(super) fn expired(&self, now: SystemTime) -> bool {
        self.valid.not_after < now
    }

    /// The problem that it is once it has expired.
    pub(super) fn expiry(&self) -> Problem {
        let until = humantime::format_rfc3339_seconds(self.valid.not_after);
        let message = format!(
            "{} has expired at {until}: renew it, or correct the node's clock if that time is still to come.",
            self.file.display()
        );
        Problem { reason: EXPIRED, message }
    }
}

/// What a file is recognised by; `None`: it is not there.
pub(super) type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// Of all files that a device's certificate may come from. Follows links: a mounted Secret is swapped as a whole, by
/// a link on the way there.
pub(super) fn stamps(dir: &Path, device: &str) -> Vec<Stamp> {
    let stamp = |it: fs::Metadata| (it.dev(), it.ino(), it.mtime(), it.mtime_nsec(), it.size());
    let names = [
        format!("{device}.crt"),
        format!("{device}.key"),
        format!("{device}.ca"),
        "tls.crt".into(),
        "tls.key".into(),
        "ca.crt".into(),
    ];
    names.iter().map(|name| fs::metadata(dir.join(name)).ok().map(stamp)).collect()
}

/// Certificate chain, key and, in mode Mutual, the CA of the clients: the device's own files, else those of all.
///
/// # Errors
/// If a file is missing, unreadable or unusable, or if certificate and key are no pair; not if it has expired.
pub(super) fn load(dir: &Path, device: &str, mode: TlsMode) -> Result<Certificate, Problem> {
    let own = |extension: &str| dir.join(format!("{device}.{extension}"));
    // Half of an own pair is a mistake: it must not be answered with everybody's certificate.
    let (chain_file, key_file) = if own("crt").exists() || own("key").exists() {
        (own("crt"), own("key"))
    } else {
        (dir.join("tls.crt"), dir.join("tls.key"))
    };
    let chain = certificates(&chain_file, &own("crt"))?;
    let Some(first) = chain.first() else {
        return Err(invalid(&chain_file, "holds no certificate in PEM"));
    };
    let valid = Validity::of(first).map_err(|error| invalid(&chain_file, error))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&key_file, &own("key"))?).map_err(|error| {
        invalid(&key_file, format!("holds no private key in PEM without password ({error})"))
    })?;
    let provider = Arc::new(default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = match mode {
        TlsMode::Server => Arc::new(NoClientAuth),
        TlsMode::Mutual => {
            let file = Some(own("ca")).filter(|file| file.exists()).unwrap_or_else(|| dir.join("ca.crt"));
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&file, &own("ca"))? {
                roots.add(certificate).map_err(|error| invalid(&file, error))?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| invalid(&file, error))?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(&chain_file, error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| {
            invalid(&chain_file, format!("does not go with {} ({error})", key_file.display()))
        })?;
    // Connections live for days, so resumption would save nothing; it would let a client in after its CA was taken
    // away, and keep memory for whoever has been here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Certificate { config: Arc::new(config), file: chain_file, valid })
}

fn certificates(file: &Path, own: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = read(file, own)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(invalid(file, "holds no certificate in PEM")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(invalid(file, error)),
    }
}

/// `own`: where the device's own file would be.
fn read(file: &Path, own: &Path) -> Result<Vec<u8>, Problem> {
    let read = fs::metadata(file).and_then(|it| match it.len() {
        // A pipe would have to be waited for.
        _ if !it.is_file() => Err(io::Error::other("it is not a file")),
        length if length > LARGEST => Err(io::Error::other("it is larger than a Secret can be")),
        _ => fs::read(file),
    });
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if file == own => {
            Problem { reason: MISSING, message: format!("{} is missing: {PLACE}.", file.display()) }
        }
        io::ErrorKind::NotFound => Problem {
            reason: MISSING,
            message: format!("Neither {} nor {} is there: {PLACE}.", own.display(), file.display()),
        },
        _ => invalid(file, error),
    })
}

fn invalid(file: &Path, why: impl fmt::Display) -> Problem {
    Problem { reason: INVALID, message: format!("{} cannot be used: {why}; correct it.", file.display()) }
}
