//! Who is who in the lab: a certificate authority, the API server's certificate, the service accounts' key, tokens.
//!
//! Owner: the control plane makes them once, in its directory. Tokens are plain words: outside the scenario's
//! network namespace there is nobody to keep them from.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

/// Who talks to the API server with a token of the lab. Pods have tokens of their own, from the API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// The scenario itself and its kubectl: may do everything.
    Admin,
    /// kube-controller-manager; its controllers use service accounts.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// Every node's kube-proxy.
    KubeProxy,
    /// The kubelet of `node-1` to `node-9`.
    Node(u8),
}

impl User {
    /// As the API server and its audit log call it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::ControllerManager => "system:kube-controller-manager".to_owned(),
            Self::Scheduler => "system:kube-scheduler".to_owned(),
            Self::KubeProxy => "system:kube-proxy".to_owned(),
            Self::Node(index) => format!("system:node:node-{index}"),
        }
    }

    fn group(&self) -> &'static str {
        match self {
            Self::Admin => "system:masters",
            Self::Node(_) => "system:nodes",
            Self::ControllerManager | Self::Scheduler | Self::KubeProxy => "system:authenticated",
        }
    }

    /// The same as a file name.
    fn file_stem(&self) -> String {
        self.name().replace(':', "-")
    }

    fn all() -> impl Iterator<Item = Self> {
        [Self::Admin, Self::ControllerManager, Self::Scheduler, Self::KubeProxy]
            .into_iter()
            .chain((1..=NODES).map(Self::Node))
    }
}

/// The files, and what clients in this process need of them.
#[derive(Debug)]
pub struct Credentials {
    directory: PathBuf,
    authority: Vec<u8>,
}

impl Credentials {
    /// Makes all of them in `directory`; `server` is the API server's URL for the kubeconfig files, `names` are the
    /// addresses and host names that it is reached by.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn create(directory: &Path, server: &str, names: &[String]) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;

        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "the lab");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_certificate = authority.self_signed(&authority_key)?;

        let key = KeyPair::generate()?;
        let mut serving = CertificateParams::new(names.to_vec())?;
        serving.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = serving.signed_by(&key, &Issuer::new(authority, authority_key))?;

        let made = Self { directory: directory.to_owned(), authority: authority_certificate.der().to_vec() };
        made.write(AUTHORITY, &authority_certificate.pem())?;
        made.write(CERTIFICATE, &certificate.pem())?;
        made.write(KEY, &key.serialize_pem())?;
        let signing = KeyPair::generate()?;
        made.write(SIGNING_KEY, &signing.serialize_pem())?;
        made.write(CHECKING_KEY, &signing.public_key_pem())?;
        let mut rows = String::new();
        for user in User::all() {
            let (token, name) = (Self::token(&user), user.name());
            writeln!(rows, "{token},{name},{name},\"{}\"", user.group())?;
            made.write(&kubeconfig_file(&user), &kubeconfig(&user, server, &made.authority_file())?)?;
        }
        made.write(TOKENS, &rows)?;
        Ok(made)
    }

    /// The certificate authority, for clients in this process.
    #[must_use]
    pub fn authority_der(&self) -> &[u8] {
        &self.authority
    }

    /// The certificate authority, as a PEM file.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.directory.join(AUTHORITY)
    }

    /// The API server's certificate.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.join(CERTIFICATE)
    }

    /// Its key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.directory.join(KEY)
    }

    /// The key that service accounts' tokens are signed with.
    #[must_use]
    pub fn signing_key_file(&self) -> PathBuf {
        self.directory.join(SIGNING_KEY)
    }

    /// The key that they are checked by.
    #[must_use]
    pub fn checking_key_file(&self) -> PathBuf {
        self.directory.join(CHECKING_KEY)
    }

    /// The API server's table of tokens.
    #[must_use]
    pub fn tokens_file(&self) -> PathBuf {
        self.directory.join(TOKENS)
    }

    /// What programs of the lab find the API server by.
    #[must_use]
    pub fn kubeconfig_file(&self, user: &User) -> PathBuf {
        self.directory.join(kubeconfig_file(user))
    }

    /// The bearer token.
    #[must_use]
    pub fn token(user: &User) -> String {
        format!("token-of-{}", user.file_stem())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

fn kubeconfig_file(user: &User) -> String {
    format!("{}.kubeconfig", user.file_stem())
}

/// JSON is YAML.
fn kubeconfig(user: &User, server: &str, authority: &Path) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "user", "user": {"token": Credentials::token(user)}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user"}}],
        "current-context": "lab",
    });
    Ok(serde_json::to_string_pretty(&config)?)
}

/// More than any scenario boots.
const NODES: u8 = 9;

const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "api-server.crt";
const KEY: &str = "api-server.key";
const SIGNING_KEY: &str = "service-accounts.key";
const CHECKING_KEY: &str = "service-accounts.pub";
const TOKENS: &str = "tokens.csv";
