//! TLS towards clients: certificates from files that may change at any time, and handshakes on a thread of their own.
//!
//! [`Tls`] is the supervisor's, on the control thread: it reads `--tls-dir` and says what each device that asks for
//! TLS gets ([`Terms`]) and what is wrong with it ([`Standing`]). [`Handshakes`] is a port's, on the data thread: it
//! hands sockets over and takes finished connections back. Must not serve a device that asks for TLS without it.

mod files;
mod handshakes;
mod validity;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;
use serialfleet_api::fleet::TlsMode;
use tokio::time::{Instant, sleep_until};

use self::files::{Certificate, Stamp};
pub use self::handshakes::{Done, Finished, Handshaker, Handshakes, Limits, Unfinished};

/// Most of a certificate's last days that are worth a warning; of a short-lived one it is the last sixth of its life.
const EXPIRING: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What the process was started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where certificates and keys are; `None`: a device that asks for TLS has no certificate.
    pub dir: Option<PathBuf>,
    /// How often the files are looked at while a device asks for TLS.
    pub look_every: Duration,
    /// What handshakes may take.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self { dir: None, look_every: Duration::from_secs(5), limits: Limits::default() }
    }
}

/// What a port that asks for TLS gets.
#[derive(Clone)]
pub struct Terms {
    /// What is asked for.
    pub mode: TlsMode,
    /// What new connections get; `None`: there is no valid certificate, and nobody may connect.
    pub offer: Option<Offer>,
}

/// For new connections; those that exist keep what they began with.
#[derive(Clone)]
pub struct Offer {
    /// Certificate, key, and what is asked of clients.
    pub config: Arc<ServerConfig>,
    /// Where handshakes are made.
    pub handshaker: Handshaker,
}

/// The same terms: the same certificate as it was read once, not one that looks the same.
impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        self.mode == other.mode
            && match (&self.offer, &other.offer) {
                (Some(ours), Some(theirs)) => Arc::ptr_eq(&ours.config, &theirs.config),
                (ours, theirs) => ours.is_none() && theirs.is_none(),
            }
    }
}

/// Never the key.
impl fmt::Debug for Terms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Terms").field("mode", &self.mode).field("offer", &self.offer.is_some()).finish()
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `CertificateMissing`, `CertificateInvalid`, `CertificateExpired`, `CertificateExpiring`,
    /// `CertificateNotYetValid`, or `Internal`.
    pub reason: &'static str,
    /// A sentence that names the file and the next step. It says the same at every look.
    pub message: String,
}

/// How a device's certificate stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why nobody may connect.
    pub failure: Option<Problem>,
    /// What is odd although it works, at most three.
    pub warnings: Vec<Problem>,
}

/// The certificates of all devices that ask for TLS.
pub struct Tls {
    options: Options,
    handshaker: Option<Handshaker>,
    devices: BTreeMap<String, Watched>,
    next_look: Instant,
}

/// One device's files.
struct Watched {
    mode: TlsMode,
    seen: Vec<Stamp>,
    /// In force: what was last read and could be used.
    good: Option<Certificate>,
    /// Why the files, as they are now, are not in force.
    problem: Option<Problem>,
    standing: Standing,
}

impl Tls {
    /// Nothing is read and no thread runs before the first device that asks for TLS.
    pub fn new(options: Options) -> Self {
        let next_look = Instant::now();
        Self { options, handshaker: None, devices: BTreeMap::new(), next_look }
    }

    /// What `device` gets now, and how that stands. Its files are read if it has not asked for this before.
    pub fn terms(&mut self, device: &str, mode: TlsMode) -> (Terms, Standing) {
        let now = SystemTime::now();
        let dir = self.options.dir.as_deref();
        if self.devices.is_empty() {
            self.next_look = Instant::now() + self.options.look_every;
        }
        let first = || Watched::first(mode, dir, device, now);
        let watched = self.devices.entry(device.to_owned()).or_insert_with(first);
        if watched.mode != mode {
            // A certificate in force for one mode says nothing about the other.
            *watched = first();
        }
        let mut standing = watched.standing.clone();
        let config = watched.good.as_ref().filter(|_| standing.failure.is_none()).map(|it| &it.config);
        let offer = match (config, &self.handshaker) {
            (None, _) => None,
            (Some(config), Some(handshaker)) => {
                Some(Offer { config: Arc::clone(config), handshaker: handshaker.clone() })
            }
            (Some(config), None) => match Handshaker::start(self.options.limits) {
                Ok(handshaker) => {
                    self.handshaker = Some(handshaker.clone());
                    Some(Offer { config: Arc::clone(config), handshaker })
                }
                Err(error) => {
                    let message =
                        format!("The bridge could not start its TLS thread ({error}): restart the bridge.");
                    standing.failure = Some(Problem { reason: "Internal", message });
                    None
                }
            },
        };
        (Terms { mode, offer }, standing)
    }

    /// Forgets all devices but these; without any, the thread ends with the last handshake.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.devices.retain(|device, _| wanted(device));
        if self.devices.is_empty() {
            self.handshaker = None;
        }
    }

    /// Ready when terms or standing of a device are others than before: its files, or the clock, have moved on.
    pub async fn changed(&mut self) {
        if self.devices.is_empty() {
            return std::future::pending().await;
        }
        loop {
            // Kept across calls: whoever waits for other things as well must not put it off for ever.
            sleep_until(self.next_look).await;
            self.next_look = Instant::now() + self.options.look_every;
            let now = SystemTime::now();
            let dir = self.options.dir.as_deref();
            let mut changed = false;
            for (device, watched) in &mut self.devices {
                changed |= watched.look(dir, device, now);
            }
            if changed {
                return;
            }
        }
    }
}

impl Watched {
    fn first(mode: TlsMode, dir: Option<&Path>, device: &str, now: SystemTime) -> Self {
        let mut watched =
            Self { mode, seen: Vec::new(), good: None, problem: None, standing: Standing::default() };
        watched.look(dir, device, now);
        watched
    }

    /// Reads what has changed; whether anything is different from before.
    fn look(&mut self, dir: Option<&Path>, device: &str, now: SystemTime) -> bool {
        let before = self.good.as_ref().map(|it| Arc::as_ptr(&it.config));
        match dir {
            Some(dir) => self.read(dir, device, now),
            None => {
                let message = format!(
                    "{device} asks for TLS and the bridge has no certificates: start it with --tls-dir."
                );
                self.problem = Some(Problem { reason: files::MISSING, message });
            }
        }
        let standing = self.stand(now);
        for problem in standing.failure.iter().chain(&standing.warnings) {
            if self.standing.failure.as_ref() != Some(problem) && !self.standing.warnings.contains(problem) {
                tracing::warn!(port = device, reason = problem.reason, "{}", problem.message);
            }
        }
        let other = self.good.as_ref().map(|it| Arc::as_ptr(&it.config)) != before;
        if other && let Some(good) = &self.good {
            let until = humantime::format_rfc3339_seconds(good.valid.not_after);
            tracing::info!(port = device, file = %good.file.display(), %until, "certificate read");
        }
        let changed = other || standing != self.standing;
        self.standing = standing;
        changed
    }

    fn read(&mut self, dir: &Path, device: &str, now: SystemTime) {
        // Looked at before they are read: a change in between is seen at the next look. What is broken is read again
        // even if it looks the same: two halves of a pair may have been written within one tick of the clock.
        let seen = files::stamps(dir, device);
        if seen == self.seen && self.problem.is_none() {
            return;
        }
        let mut loaded = files::load(dir, device, self.mode);
        self.seen = files::stamps(dir, device);
        if self.seen != seen {
            // Swapped in between: of a pair, one half may have been read before and one after.
            loaded = files::load(dir, device, self.mode);
        }
        match loaded {
            Ok(new) if new.expired(now) && self.good.as_ref().is_some_and(|good| !good.expired(now)) => {
                self.problem = Some(new.expiry());
            }
            Ok(new) => {
                self.good = Some(new);
                self.problem = None;
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// Pure. The clock is believed where it says that a certificate is still valid, and where it says that one has
    /// expired; not where it says that one is not valid yet: after a power cut it may stand years behind, and a port
    /// that refuses everybody until somebody comes is worse than one that clients may judge for themselves.
    fn stand(&self, now: SystemTime) -> Standing {
        let Some(good) = &self.good else {
            return Standing { failure: self.problem.clone(), warnings: Vec::new() };
        };
        if good.expired(now) {
            let failure = self.problem.clone().unwrap_or_else(|| good.expiry());
            return Standing { failure: Some(failure), warnings: Vec::new() };
        }
        let (file, valid) = (good.file.display(), good.valid);
        let time = |time| humantime::format_rfc3339_seconds(time);
        let mut warnings = Vec::new();
        if let Some(problem) = &self.problem {
            let message = format!(
                "The earlier certificate is in force until {}. {}",
                time(valid.not_after),
                problem.message
            );
            warnings.push(Problem { reason: problem.reason, message });
        }
        if now < valid.not_before {
            let message = format!(
                "{file} is valid from {} on, which this node's clock has not reached: correct the clock, or the certificate.",
                time(valid.not_before)
            );
            warnings.push(Problem { reason: "CertificateNotYetValid", message });
        }
        let life = valid.not_after.duration_since(valid.not_before).unwrap_or_default();
        if valid.not_after.duration_since(now).unwrap_or_default() <= EXPIRING.min(life / 6) {
            let message = format!(
                "{file} expires at {}, then nobody can connect any more: renew it.",
                time(valid.not_after)
            );
            warnings.push(Problem { reason: "CertificateExpiring", message });
        }
        Standing { failure: None, warnings }
    }
}
