//! A pod's volumes: directories of the node that its containers see.
//!
//! Owner: the pod's task, which prepares them, brings them up to date and drops them. Containers only read where they
//! are. What is in files of the API server's making is `files`' matter.

mod files;
mod token;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, Pod, ProjectedVolumeSource,
    Volume,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use self::files::{Entry, publish};
use self::token::Tokens;
use super::Machine;
use super::environment::{Content, Subject};
use super::view::PodView;

/// All volumes of one pod.
pub(super) struct Volumes {
    machine: Arc<Machine>,
    pod: Arc<Pod>,
    directory: PathBuf,
    tokens: Tokens,
}

impl Volumes {
    /// None prepared yet.
    pub(super) fn new(machine: &Arc<Machine>, pod: &Arc<Pod>, directory: PathBuf) -> Self {
        Self { machine: Arc::clone(machine), pod: Arc::clone(pod), directory, tokens: Tokens::default() }
    }

    /// Where a volume is on the node.
    ///
    /// # Errors
    /// If the pod has no such volume, or a host path is not what the pod says it is.
    pub(super) fn path(&self, name: &str) -> Result<PathBuf> {
        let volume =
            self.all().find(|volume| volume.name == name).with_context(|| format!("no volume {name}"))?;
        match &volume.host_path {
            Some(source) => self.host_path(source),
            None => Ok(self.directory.join(name)),
        }
    }

    /// Makes them all; again, to bring up to date what the API server's objects say.
    ///
    /// # Errors
    /// If something is not there yet: to be tried again.
    pub(super) async fn prepare(&self, view: &PodView) -> Result<()> {
        for volume in self.all() {
            let path = self.directory.join(&volume.name);
            let prepared = if let Some(source) = &volume.empty_dir {
                self.empty_dir(&path, source)
            } else if let Some(source) = &volume.host_path {
                self.host_path(source).map(drop)
            } else {
                self.entries(volume, view).await.and_then(|entries| publish(&path, &entries, self.owner()))
            };
            prepared.with_context(|| format!("MountVolume.SetUp failed for volume {:?}", volume.name))?;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Volume> {
        self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
    }

    fn empty_dir(&self, path: &Path, source: &EmptyDirVolumeSource) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        fs::create_dir_all(path)?;
        if source.medium.as_deref() == Some("Memory") {
            let size = source.size_limit.as_ref().and_then(|limit| tmpfs_size(&limit.0)).unwrap_or_default();
            mount("memory", path, "tmpfs", MountFlags::empty(), Some(size.as_c_str())).context("tmpfs")?;
        }
        let group = self.owner().group;
        chown(path, None, group)?;
        let mode = if group.is_some() { 0o2777 } else { 0o777 };
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    }

    fn host_path(&self, source: &HostPathVolumeSource) -> Result<PathBuf> {
        let path = self.machine.host_path(Path::new(&source.path));
        let is = |wanted: fn(&fs::Metadata) -> bool| fs::metadata(&path).is_ok_and(|found| wanted(&found));
        let kind = source.type_.as_deref().unwrap_or_default();
        let fits = match kind {
            "" | "DirectoryOrCreate" if !path.exists() => fs::create_dir_all(&path).is_ok(),
            "FileOrCreate" if !path.exists() => File::create(&path).is_ok(),
            "" => true,
            "Directory" | "DirectoryOrCreate" => path.is_dir(),
            "File" | "FileOrCreate" => path.is_file(),
            "Socket" => is(|found| found.file_type().is_socket()),
            "CharDevice" => is(|found| found.file_type().is_char_device()),
            "BlockDevice" => is(|found| found.file_type().is_block_device()),
            _ => bail!("hostPath type {kind}"),
        };
        ensure!(fits, "hostPath type check failed: {} is not a {kind}", source.path);
        Ok(path)
    }

    /// What a volume of the API server's making holds.
    async fn entries(&self, volume: &Volume, view: &PodView) -> Result<Vec<Entry>> {
        let addresses = self.machine.addresses();
        let subject =
            Subject { client: &self.machine.client, pod: &self.pod, view, host_addresses: &addresses };
        if let Some(source) = &volume.config_map {
            let content = subject.config_map(&source.name, source.optional == Some(true)).await?;
            pick(content, source.items.as_deref(), source.default_mode, source.optional)
        } else if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let content = subject.secret(name, source.optional == Some(true)).await?;
            pick(content, source.items.as_deref(), source.default_mode, source.optional)
        } else if let Some(source) = &volume.downward_api {
            downward(&subject, source.items.as_deref(), source.default_mode)
        } else if let Some(source) = &volume.projected {
            self.projected(&subject, &volume.name, source).await
        } else {
            bail!("this lab knows no such volume")
        }
    }

    async fn projected(
        &self,
        subject: &Subject<'_>,
        volume: &str,
        projected: &ProjectedVolumeSource,
    ) -> Result<Vec<Entry>> {
        let mode = projected.default_mode;
        let mut entries = Vec::new();
        for source in projected.sources.iter().flatten() {
            if let Some(source) = &source.service_account_token {
                let key = format!("{volume}/{}", source.path);
                let token = self.tokens.current(&key, subject, source).await?;
                entries.push(Entry::token(&source.path, token.into_bytes(), self.owner()));
            } else if let Some(source) = &source.config_map {
                let content = subject.config_map(&source.name, source.optional == Some(true)).await?;
                entries.extend(pick(content, source.items.as_deref(), mode, source.optional)?);
            } else if let Some(source) = &source.secret {
                let content = subject.secret(&source.name, source.optional == Some(true)).await?;
                entries.extend(pick(content, source.items.as_deref(), mode, source.optional)?);
            } else if let Some(source) = &source.downward_api {
                entries.extend(downward(subject, source.items.as_deref(), mode)?);
            } else {
                bail!("this lab knows no such source");
            }
        }
        Ok(entries)
    }

    fn owner(&self) -> Owner {
        let spec = self.pod.spec.as_ref();
        let of_pod = spec.and_then(|spec| spec.security_context.as_ref());
        let user_of_pod = of_pod.and_then(|context| context.run_as_user);
        let mut users = spec.into_iter().flat_map(|spec| &spec.containers).map(|container| {
            container.security_context.as_ref().and_then(|context| context.run_as_user).or(user_of_pod)
        });
        let first = users.next().flatten();
        let user =
            first.filter(|_| users.all(|user| user == first)).and_then(|user| u32::try_from(user).ok());
        let group = of_pod.and_then(|context| context.fs_group).and_then(|group| u32::try_from(group).ok());
        Owner { user, group }
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for volume in self.all().filter(|volume| volume.empty_dir.is_some()) {
            unmount(self.directory.join(&volume.name), UnmountFlags::DETACH).ok();
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// To whom files belong: the user that all containers run as, if it is one, and the pod's `fsGroup`.
#[derive(Clone, Copy, Debug)]
struct Owner {
    user: Option<u32>,
    group: Option<u32>,
}

/// The keys that are asked for; all, if none is.
fn pick(
    content: Option<Content>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Vec<Entry>> {
    let content = content.unwrap_or_default();
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(content.into_iter().map(|(key, bytes)| Entry::new(&key, bytes, default_mode)).collect());
    };
    let mut entries = Vec::new();
    for item in items {
        match content.get(&item.key) {
            Some(bytes) => entries.push(Entry::new(&item.path, bytes.clone(), item.mode.or(default_mode))),
            None if optional == Some(true) => {}
            None => bail!("references non-existent key: {}", item.key),
        }
    }
    Ok(entries)
}

fn downward(
    subject: &Subject<'_>,
    items: Option<&[DownwardAPIVolumeFile]>,
    default_mode: Option<i32>,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for item in items.into_iter().flatten() {
        let field = item.field_ref.as_ref().context("this lab knows fields only")?;
        let text = subject.field(&field.field_path)?;
        entries.push(Entry::new(&item.path, text.into_bytes(), item.mode.or(default_mode)));
    }
    Ok(entries)
}

/// As a tmpfs takes it: a plain number, or one with Ki, Mi, Gi.
fn tmpfs_size(quantity: &str) -> Option<std::ffi::CString> {
    let units = BTreeMap::from([("Ki", "k"), ("Mi", "m"), ("Gi", "g"), ("", "")]);
    let digits = quantity.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = units.get(quantity.strip_prefix(digits)?)?;
    std::ffi::CString::new(format!("size={digits}{unit}")).ok()
}
