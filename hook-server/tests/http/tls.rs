//! HTTPS, client certificates and tokens, and files that change under a running server.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serialfleet_hook::{
    access::{Access, Tokens},
    metrics::Metrics,
    reload::Reload,
    tls,
};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::wire::{Options, PATIENCE, Server, Wire};
use crate::fleet;

const HOST: &str = "serialfleet-hook.serialfleet-system";
const LOOK: Duration = Duration::from_millis(20);

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key as PEM.
fn issued(by: &Ca, host: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, by).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Secrets as the kubelet mounts them: files are links into `..data`, which is a link that is swapped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, version: &str, files: &[(&str, &str)]) {
        let root = self.0.path();
        fs::create_dir(root.join(version)).unwrap();
        for (name, text) in files {
            fs::write(root.join(version).join(name), text).unwrap();
            let link = root.join(name);
            if !link.exists() {
                std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        std::os::unix::fs::symlink(version, root.join("..new")).unwrap();
        fs::rename(root.join("..new"), root.join("..data")).unwrap();
    }
}

/// A server with these files, which are followed.
struct Secure {
    server: Server,
    metrics: Arc<Metrics>,
    _followers: JoinSet<()>,
}

async fn secure(files: Vec<PathBuf>, token: Option<PathBuf>) -> Secure {
    let metrics = Arc::new(Metrics::default());
    let mut followers = JoinSet::new();
    let certificate = files.len() > 2;
    let tls: Option<Reload<Arc<ServerConfig>>> =
        (!files.is_empty()).then(|| Reload::first("tls", files, tls::load).unwrap());
    let tokens = token.map(|file| Reload::first("bearer-token", vec![file], Tokens::load).unwrap());
    let access = Access { tokens: tokens.as_ref().map(Reload::subscribe), certificate };
    let options = Options {
        tls: tls.as_ref().map(Reload::subscribe),
        access,
        metrics: Arc::clone(&metrics),
        ..Options::default()
    };
    if let Some(tls) = tls {
        let metrics = Arc::clone(&metrics);
        followers.spawn(async move { match tls.follow(LOOK, metrics).await {} });
    }
    if let Some(tokens) = tokens {
        let metrics = Arc::clone(&metrics);
        followers.spawn(async move { match tokens.follow(LOOK, metrics).await {} });
    }
    Secure { server: Server::start(options).await, metrics, _followers: followers }
}

impl Secure {
    async fn connect(
        &self,
        trusts: &Ca,
        shows: Option<&(String, String)>,
    ) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusts.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let stream = TcpStream::connect(self.server.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Wire::new(connector.connect(ServerName::try_from(HOST).unwrap(), stream).await?))
    }

    async fn reloaded(&self, line: &str) {
        let start = Instant::now();
        while !self.metrics.text().unwrap().contains(line) {
            assert!(start.elapsed() < PATIENCE, "{line}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

const PROBE: &str = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn hooks_need_the_certificate_and_probes_do_not() {
    let (ca, mount) = (ca(), Mount::new());
    let ((certificate, key), client) = (issued(&ca, HOST), issued(&ca, "metacontroller"));
    mount.write("1", &[("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &ca.pem())]);
    let files = ["tls.crt", "tls.key", "ca.crt"].map(|it| mount.path(it)).to_vec();
    let secure = secure(files, None).await;

    let mut wire = secure.connect(&ca, Some(&client)).await.unwrap();
    assert_eq!(wire.post("/sync", "", &fleet()).await.code, 200);
    assert_eq!(wire.post("/customize", "", &fleet()).await.code, 200);

    let mut wire = secure.connect(&ca, None).await.unwrap();
    for path in ["/sync", "/customize"] {
        let answer = wire.post(path, "", &"x".repeat(1 << 20)).await;
        assert_eq!((answer.code, answer.body.lines().count()), (401, 1), "{answer:?}");
    }
    assert_eq!(wire.call(PROBE, "").await.code, 200, "as a kubelet probes");

    // Signed by somebody else: the handshake fails, which TLS 1.3 tells at the first byte that comes back.
    let stranger = issued(&self::ca(), "metacontroller");
    if let Ok(mut wire) = secure.connect(&ca, Some(&stranger)).await {
        wire.send(PROBE).await;
        assert!(wire.try_answer().await.is_none());
    }
    // Plain HTTP to this port costs nobody else anything.
    let mut plain = secure.server.connect().await;
    plain.send(PROBE).await;
    plain.whatever().await;
    assert_eq!(secure.connect(&ca, None).await.unwrap().call(PROBE, "").await.code, 200);
    assert!(secure.metrics.text().unwrap().contains(r#"calls_total{reason="Certificate",code="401"} 1"#));
}

#[tokio::test]
async fn a_new_certificate_is_served_at_once_and_a_broken_one_never() {
    let (old, new, mount) = (ca(), ca(), Mount::new());
    let ((certificate, key), (newer, newer_key)) = (issued(&old, HOST), issued(&new, HOST));
    mount.write("1", &[("tls.crt", &certificate), ("tls.key", &key)]);
    let secure = secure(vec![mount.path("tls.crt"), mount.path("tls.key")], None).await;
    let mut kept = secure.connect(&old, None).await.unwrap();
    assert!(secure.connect(&new, None).await.is_err());

    mount.write("2", &[("tls.crt", "no certificate at all"), ("tls.key", &newer_key)]);
    secure.reloaded(r#"serialfleet_file_reloads_total{files="tls",outcome="Broken"} 1"#).await;
    assert!(secure.connect(&old, None).await.is_ok(), "the earlier one stays in force");

    mount.write("3", &[("tls.crt", &newer), ("tls.key", &key)]);
    secure.reloaded(r#"serialfleet_file_reloads_total{files="tls",outcome="Broken"} 2"#).await;
    assert!(secure.connect(&old, None).await.is_ok(), "certificate and key are no pair");

    mount.write("4", &[("tls.crt", &newer), ("tls.key", &newer_key)]);
    secure.reloaded(r#"serialfleet_file_reloads_total{files="tls",outcome="Loaded"} 1"#).await;
    assert!(secure.connect(&new, None).await.is_ok());
    assert!(secure.connect(&old, None).await.is_err());
    assert_eq!(kept.post("/sync", "", &fleet()).await.code, 200, "connections go on");
}

#[tokio::test]
async fn a_token_can_be_replaced_without_a_gap() {
    let mount = Mount::new();
    mount.write("1", &[("token", "alpha\n")]);
    let secure = secure(Vec::new(), Some(mount.path("token"))).await;
    let mut wire = secure.server.connect().await;
    for (header, code) in [
        ("", 401),
        ("Authorization: Bearer bravo\r\n", 401),
        ("Authorization: Basic alpha\r\n", 401),
        ("Authorization: Bearer alpha\r\n", 200),
    ] {
        let answer = wire.post("/sync", header, &fleet()).await;
        assert_eq!(answer.code, code, "{header}");
        assert_eq!(answer.header("www-authenticate").is_some(), code == 401, "{header}");
        assert!(!answer.body.contains("alpha") || code == 200, "{answer:?}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(secure.server.get(path).await.code, 200, "{path}");
    }
    let both = |version, text, line: &'static str| {
        mount.write(version, &[("token", text)]);
        secure.reloaded(line)
    };
    both("2", "alpha\nbravo\n", r#"{files="bearer-token",outcome="Loaded"} 1"#).await;
    for token in ["alpha", "bravo"] {
        let answer = wire.post("/sync", &format!("Authorization: Bearer {token}\r\n"), &fleet()).await;
        assert_eq!(answer.code, 200, "{token}");
    }
    both("3", "\n \n", r#"{files="bearer-token",outcome="Broken"} 1"#).await;
    assert_eq!(wire.post("/sync", "Authorization: Bearer bravo\r\n", &fleet()).await.code, 200);
    assert_eq!(wire.post("/sync", "Authorization: Bearer \r\n", &fleet()).await.code, 401);
    both("4", "bravo", r#"{files="bearer-token",outcome="Loaded"} 2"#).await;
    assert_eq!(wire.post("/sync", "Authorization: Bearer alpha\r\n", &fleet()).await.code, 401);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (ca, mount) = (ca(), Mount::new());
    let ((certificate, key), (_, other_key)) = (issued(&ca, HOST), issued(&ca, HOST));
    let files =
        [("good.crt", certificate.as_str()), ("good.key", &key), ("other.key", &other_key), ("empty", "")];
    mount.write("1", &files);
    for (files, named) in [
        (vec!["missing.crt", "good.key"], "missing.crt"),
        (vec!["empty", "good.key"], "empty"),
        (vec!["good.crt", "good.crt"], "good.crt"),
        (vec!["good.crt", "other.key"], "other.key"),
        (vec!["good.crt", "good.key", "good.key"], "good.key"),
    ] {
        let files: Vec<PathBuf> = files.into_iter().map(|it| mount.path(it)).collect();
        let error = tls::load(&files).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{error}");
    }
    assert!(tls::load(&[mount.path("good.crt"), mount.path("good.key"), mount.path("good.crt")]).is_ok());
}
