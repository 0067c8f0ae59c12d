//! Files of a ConfigMap, Secret or projected volume, replaced all at once.
//!
//! Owner: the pod's volumes. As the kubelet does it: the visible names are links through `..data` to a directory
//! with a date, and an update swaps that one link, so that a program which watches sees what it would see on a node.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path};

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;

use super::Owner;

/// A file of a volume.
#[derive(Debug)]
pub(super) struct Entry {
    path: String,
    bytes: Vec<u8>,
    mode: u32,
    user: Option<u32>,
}

impl Entry {
    pub(super) fn new(path: &str, bytes: Vec<u8>, mode: Option<i32>) -> Self {
        let mode = mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644);
        Self { path: path.to_owned(), bytes, mode, user: None }
    }

    /// Only for the one user that all containers run as, if it is one.
    pub(super) fn token(path: &str, bytes: Vec<u8>, owner: Owner) -> Self {
        let mode = if owner.group.is_some() || owner.user.is_some() { 0o600 } else { 0o644 };
        Self { path: path.to_owned(), bytes, mode, user: owner.user }
    }
}

/// Makes `directory` hold these files and no others. Nothing happens if it does.
pub(super) fn publish(directory: &Path, entries: &[Entry], owner: Owner) -> Result<()> {
    let data = directory.join(DATA);
    if data.exists() && is_current(&data, entries)? {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    let dated = format!("..{}", Timestamp::now().as_nanosecond());
    let fresh = directory.join(&dated);
    fs::create_dir(&fresh)?;
    for entry in entries {
        let relative = Path::new(&entry.path);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(plain, "a file of a volume cannot be called {:?}", entry.path);
        let path = fresh.join(relative);
        fs::create_dir_all(path.parent().unwrap_or(&fresh))?;
        write(&path, entry, owner).with_context(|| path.display().to_string())?;
    }
    let old = fs::read_link(&data).ok();
    let swap = directory.join("..data_tmp");
    symlink(&dated, &swap)?;
    fs::rename(&swap, &data)?;
    let names = |entry: &Entry| entry.path.split('/').next().unwrap_or_default().to_owned();
    let names: Vec<String> = entries.iter().map(names).collect();
    for name in &names {
        match symlink(Path::new(DATA).join(name), directory.join(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    for found in fs::read_dir(directory)? {
        let name = found?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            fs::remove_file(directory.join(name))?;
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(directory.join(old)).ok();
    }
    Ok(())
}

fn write(path: &Path, entry: &Entry, owner: Owner) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&entry.bytes)?;
    chown(path, entry.user, owner.group)?;
    // What a group owns it can read.
    let shared = if owner.group.is_some() { 0o040 } else { 0 };
    Ok(file.set_permissions(fs::Permissions::from_mode(entry.mode | shared))?)
}

fn is_current(data: &Path, entries: &[Entry]) -> Result<bool> {
    let same = |entry: &Entry| fs::read(data.join(&entry.path)).is_ok_and(|bytes| bytes == entry.bytes);
    Ok(entries.iter().all(same) && count(data)? == entries.len())
}

fn count(directory: &Path) -> Result<usize> {
    let mut files = 0;
    for found in fs::read_dir(directory)? {
        let found = found?;
        files += if found.file_type()?.is_dir() { count(&found.path())? } else { 1 };
    }
    Ok(files)
}

const DATA: &str = "..data";

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Owner = Owner { user: None, group: None };

    #[test]
    fn files_come_change_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let entry = |path: &str, text: &str| Entry::new(path, text.into(), None);

        publish(directory.path(), &[entry("a", "1"), entry("deep/b", "2")], NOBODY).unwrap();
        assert_eq!(fs::read(at("a")).unwrap(), b"1");
        assert_eq!(fs::read(at("deep/b")).unwrap(), b"2");

        let before = fs::read_link(at(DATA)).unwrap();
        publish(directory.path(), &[entry("a", "1"), entry("deep/b", "2")], NOBODY).unwrap();
        assert_eq!(fs::read_link(at(DATA)).unwrap(), before, "nothing to change");

        publish(directory.path(), &[entry("a", "3")], NOBODY).unwrap();
        assert_eq!(fs::read(at("a")).unwrap(), b"3");
        assert!(!at("deep").exists() && !at("deep").is_symlink());

        publish(directory.path(), &[], NOBODY).unwrap();
        assert!(!at("a").is_symlink());
        publish(directory.path(), &[entry("../x", "")], NOBODY).unwrap_err();
    }
}
