//! Where the report stands: in the API server or in a file. Reads, writes and deletes it; must not know when.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::DynamicObject,
};
use serialfleet_api::{meta::Metadata, names, node::SerialNode};
use tokio::time::timeout;

use crate::cluster::{explain, fleets, serial_nodes};

/// Our name in `managedFields`.
pub const FIELD_MANAGER: &str = "serialfleet-bridge";
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest file that is read back.
const MAX_FILE: u64 = 1024 * 1024;

/// Where the report goes.
#[derive(Clone)]
pub enum Target {
    /// The API server.
    Api(Client),
    /// A file: JSON if its name ends in `.json`, else YAML.
    File(PathBuf),
}

/// What stands there, without what the server adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The report.
    pub node: SerialNode,
    /// Guards a deletion against a change in between.
    version: Option<String>,
}

impl Stored {
    /// Whether both say the same, whoever wrote them and whenever.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

/// Why a call failed, in a sentence with the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    text: String,
    /// The API server understood and said no: waiting alone will not help.
    pub is_refusal: bool,
}

impl Failure {
    fn of_file(path: &Path, error: &io::Error) -> Self {
        Self { text: format!("{}: {error}", path.display()), is_refusal: false }
    }

    /// `None`: no answer in time.
    fn of_call(error: Option<&kube::Error>) -> Self {
        let is_refusal = matches!(error, Some(kube::Error::Api(status)) if matches!(status.code, 400 | 403..=405 | 413 | 415 | 422));
        let text =
            error.map_or_else(|| "the API server does not answer within 10 seconds".to_owned(), explain);
        Self { text, is_refusal }
    }
}

impl Target {
    /// What stands there.
    ///
    /// # Errors
    /// If nobody answers, or with a refusal.
    pub async fn read(&self, name: &str) -> Result<Option<Stored>, Failure> {
        match self {
            Self::Api(client) => {
                let found = within(serial_nodes(client).get_opt(name)).await?;
                Ok(found.map(|object| stored(&object)))
            }
            Self::File(path) => match read_file(path) {
                Ok(node) => Ok(node.map(|node| Stored { node: plain(node), version: None })),
                Err(error) => Err(Failure::of_file(path, &error)),
            },
        }
    }

    /// Makes it stand there; what stands there then.
    ///
    /// # Errors
    /// If nobody answers, or with a refusal.
    pub async fn write(&self, name: &str, node: &SerialNode) -> Result<Stored, Failure> {
        match self {
            Self::Api(client) => {
                let params = PatchParams::apply(FIELD_MANAGER).force();
                let object = within(serial_nodes(client).patch(name, &params, &Patch::Apply(node))).await?;
                Ok(stored(&object))
            }
            Self::File(path) => {
                write_file(path, node).map_err(|error| Failure::of_file(path, &error))?;
                Ok(Stored { node: plain(node.clone()), version: None })
            }
        }
    }

    /// Deletes it, if `ours` says so of what stands there.
    ///
    /// # Errors
    /// If nobody answers, or with a refusal.
    pub async fn delete(&self, name: &str, ours: impl Fn(&SerialNode) -> bool) -> Result<(), Failure> {
        let Self::Api(client) = self else { return Ok(()) };
        let Some(found) = self.read(name).await?.filter(|found| ours(&found.node)) else { return Ok(()) };
        let guard = Preconditions { resource_version: found.version, uid: None };
        let params = DeleteParams { preconditions: Some(guard), ..DeleteParams::default() };
        match within_kube(serial_nodes(client).delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(Some(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Err(error) => Err(Failure::of_call(error.as_ref())),
        }
    }

    /// Whether the fleet is known to be deleted or being deleted.
    pub async fn fleet_is_gone(&self, fleet: &str) -> bool {
        let Self::Api(client) = self else { return false };
        match within_kube(fleets(client).get_opt(fleet)).await {
            Ok(found) => found.is_none_or(|fleet| fleet.metadata.deletion_timestamp.is_some()),
            Err(_) => false,
        }
    }

    /// Whether the object exists for its own sake: the API server holds none of nodes without devices.
    pub fn wants_empty(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    within_kube(call).await.map_err(|error| Failure::of_call(error.as_ref()))
}

/// `Err(None)`: no answer in time.
async fn within_kube<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Option<kube::Error>> {
    timeout(TIMEOUT, call).await.map_err(|_| None)?.map_err(Some)
}

fn stored(object: &DynamicObject) -> Stored {
    // A report that cannot be read is one that differs from ours.
    let node = serde_json::to_value(object).and_then(serde_json::from_value).unwrap_or_default();
    Stored { node: plain(node), version: object.metadata.resource_version.clone() }
}

/// Without what the server adds, and without what other managers may add to the metadata.
fn plain(mut node: SerialNode) -> SerialNode {
    node.metadata = Metadata {
        name: node.metadata.name,
        labels: node.metadata.labels.into_iter().filter(|(key, _)| key == names::LABEL_FLEET).collect(),
        owner_references: node.metadata.owner_references,
        ..Metadata::default()
    };
    node
}

fn read_file(path: &Path) -> io::Result<Option<SerialNode>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is not a regular file")),
        Ok(metadata) if metadata.len() > MAX_FILE => return Ok(Some(SerialNode::default())),
        Ok(_) => {}
    }
    let text = fs::read(path)?;
    // JSON is YAML as well. Something else that stood there gets replaced.
    Ok(Some(serde_yaml::from_slice(&text).unwrap_or_default()))
}

fn write_file(path: &Path, node: &SerialNode) -> io::Result<()> {
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let mut text = if is_json {
        serde_json::to_string_pretty(node)?
    } else {
        serde_saphyr::to_string(node).map_err(io::Error::other)?
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(&beside, path)
}
