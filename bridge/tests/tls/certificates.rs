//! CAs, certificates, and the directory in which a Secret is mounted.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

pub(crate) const HOST: &str = "zigbee.iot-system";

pub(crate) type Ca = CertifiedIssuer<'static, KeyPair>;

/// Each has a name of its own.
pub(crate) fn ca() -> Ca {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = format!("CA {}", NEXT.fetch_add(1, Ordering::Relaxed));
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn issued(by: &Ca) -> Pair {
    issued_with(by, |_| {})
}

pub(crate) fn issued_with(by: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, by).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// Valid for this long from now on, whole seconds.
pub(crate) fn expiring(by: &Ca, within: Duration) -> Pair {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    issued_with(by, |params| {
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs() - 60);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs((now + within).as_secs());
    })
}

pub(crate) fn expired(by: &Ca) -> Pair {
    issued_with(by, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 4, 1);
    })
}

/// Files as the kubelet mounts those of a Secret: links into `..data`, a link that is swapped.
pub(crate) struct Mount {
    dir: tempfile::TempDir,
    version: AtomicU32,
}

impl Mount {
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), version: AtomicU32::new(0) }
    }

    pub(crate) fn of(pair: &Pair) -> Self {
        let mount = Self::empty();
        mount.serve(pair);
        mount
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What a Secret of type `kubernetes.io/tls` holds.
    pub(crate) fn serve(&self, pair: &Pair) {
        self.write(&[("tls.crt", &pair.certificate), ("tls.key", &pair.key)]);
    }

    /// The Secret now holds these, and nothing else.
    pub(crate) fn write(&self, files: &[(&str, &str)]) {
        let root = self.path();
        let version = format!("..version-{}", self.version.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(root.join(&version)).unwrap();
        for (name, text) in files {
            fs::write(root.join(&version).join(name), text).unwrap();
        }
        symlink(&version, root.join("..new")).unwrap();
        fs::rename(root.join("..new"), root.join("..data")).unwrap();
        for entry in fs::read_dir(root).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.starts_with("..") && !files.iter().any(|(file, _)| *file == name) {
                fs::remove_file(root.join(name)).unwrap();
            }
        }
        for (name, _) in files {
            if fs::symlink_metadata(root.join(name)).is_err() {
                symlink(Path::new("..data").join(name), root.join(name)).unwrap();
            }
        }
    }
}
