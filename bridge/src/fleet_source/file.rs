//! The fleet from a file (`--file`): no cluster is needed.
//!
//! Strict: everything that the CRD refuses is refused here as well. Edits are found by asking for the file's
//! metadata each second: mounted volumes swap a link that no watch on the file would see. A change counts once
//! the file has stayed as it is for a second, because half a file can be a valid fleet with fewer devices.

use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serialfleet_api::{
    fleet::{BridgeSpec, SerialFleet, SerialFleetSpec, ServiceSettings},
    manifest::{self, FileProblem},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Fleet, FleetState, Origin, publish};

/// Largest file that is read; the API server refuses objects long before.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// How often the file is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Why a file holds no fleet. Prints as one line for each reason: `FILE: line 7: spec.devices[0].port: ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// The reasons, at least one.
    pub problems: Vec<FileProblem>,
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            let line = if number == 0 { "" } else { "\n" };
            write!(f, "{line}{}: {problem}", self.file.display())?;
        }
        Ok(())
    }
}

/// The fleet in a file, and what the file looked like before. Says once what is ignored outside of a cluster.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn read_file(path: &Path) -> Result<(Fleet, Look), FileError> {
    let look = Look::at(path);
    let fleet = load(path)?;
    let ignored = ignored(&fleet.spec);
    if !ignored.is_empty() {
        tracing::info!(file = %path.display(), fields = ignored.join(", "), "these fields mean nothing outside of a cluster");
    }
    Ok((fleet.into(), look))
}

/// Publishes the fleet that was read, then each edit of the file.
pub async fn follow_file(
    path: PathBuf,
    (first, look): (Fleet, Look),
    tx: watch::Sender<FleetState>,
    shutdown: CancellationToken,
) {
    let mut state =
        FleetState { fleet: Some(Arc::new(first)), origin: Origin::File, ..FleetState::default() };
    publish(&tx, &state);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A fleet costs some 400 KiB to read: what was read at the start is not read again.
    let mut judged = Some(look);
    let mut before = judged;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Both calls are of local files and take microseconds: not worth a thread.
        let now = Some(Look::at(&path));
        if now == judged {
            before = now;
            continue;
        }
        if now != before {
            before = now;
            continue;
        }
        match load(&path) {
            Ok(fleet) => accept(&mut state, fleet.into()),
            Err(error) => {
                tracing::warn!("{error}\nthe last good fleet stays in force");
                state.problem = Some(error.to_string());
            }
        }
        publish(&tx, &state);
        judged = now;
    }
}

fn accept(state: &mut FleetState, fleet: Fleet) {
    let problem = state.problem.take();
    let known = state.fleet.as_deref();
    if problem.is_some() || known != Some(&fleet) {
        tracing::info!(devices = fleet.object.spec.devices.len(), "the fleet was read again");
    }
    if known.is_some_and(|known| known.object.metadata.name != fleet.object.metadata.name) {
        tracing::warn!("metadata.name was edited: reports keep the old name until this bridge starts again");
    }
    if known != Some(&fleet) {
        state.fleet = Some(Arc::new(fleet));
    }
}

fn load(path: &Path) -> Result<SerialFleet, FileError> {
    let refused = |problems| FileError { file: path.to_owned(), problems };
    let whole = |message| refused(vec![FileProblem { line: None, path: String::new(), message }]);
    let text = read_bounded(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
    manifest::read_standalone_fleet(&text).map_err(refused)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    // A pipe or a device would keep the control thread for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}

/// What a look at the file's metadata shows; differs whenever the content may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look(Seen);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    Missing(io::ErrorKind),
}

impl Look {
    fn at(path: &Path) -> Self {
        Self(
            fs::metadata(path)
                .map_or_else(|error| Seen::Missing(error.kind()), |metadata| Seen::of(&metadata)),
        )
    }
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Fields that are set and mean nothing without a cluster.
fn ignored(spec: &SerialFleetSpec) -> Vec<&'static str> {
    let settings = spec.devices.iter().map(|device| &device.settings);
    let service = std::iter::once(&spec.defaults)
        .chain(settings)
        .any(|settings| settings.service != ServiceSettings::default());
    [
        ("serviceNamespace", spec.service_namespace.is_some()),
        ("bridge", spec.bridge != BridgeSpec::default()),
        ("service", service),
    ]
    .into_iter()
    .filter_map(|(field, is_set)| is_set.then_some(field))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_for_each_reason() {
        let problem = |line, path: &str| FileProblem { line, path: path.into(), message: "no".into() };
        let error = FileError {
            file: "fleet.yaml".into(),
            problems: vec![problem(Some(7), "spec.devices[0].line.dtr"), problem(None, "")],
        };
        assert_eq!(error.to_string(), "fleet.yaml: line 7: spec.devices[0].line.dtr: no\nfleet.yaml: no");
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let text = load(directory.path()).unwrap_err().to_string();
        assert!(text.ends_with("cannot be read: it is not a regular file"), "{text}");
        assert!(load(&directory.path().join("none")).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn only_what_is_set_is_called_ignored() {
        let mut spec = SerialFleetSpec::default();
        assert!(ignored(&spec).is_empty());
        spec.service_namespace = Some("iot".into());
        spec.defaults.service.labels.insert("a".into(), "b".into());
        assert_eq!(ignored(&spec), ["serviceNamespace", "service"]);
    }
}
