//! The last good fleet on disk, for a start while the API server is away.
//!
//! Owned by [`super::api`]. Holds the object as the API server sent it, without status: a bridge of another
//! version reads it anew instead of trusting what this one understood. Written only when the spec changes, and
//! whole or not at all. In a cluster the directory is a memory volume, so flash is never written.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Largest file that is read back: the API server's own limit for an object is below.
const MAX_SIZE: u64 = 4 * 1024 * 1024;

/// One fleet's file.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    /// What the file holds, as far as this process knows.
    holds: Option<Vec<u8>>,
}

impl Cache {
    /// The file of a fleet below a directory that need not exist yet.
    pub fn new(directory: &Path, fleet: &str) -> Self {
        let path = directory.join(format!("fleet-{fleet}.json"));
        let holds = read_bounded(&path).ok();
        Self { path, holds }
    }

    /// The object, if the file holds one.
    pub fn load(&self) -> Option<Value> {
        serde_json::from_slice(self.holds.as_deref()?)
            .inspect_err(
                |error| tracing::warn!(file = %self.path.display(), %error, "the kept fleet is unreadable"),
            )
            .ok()
    }

    /// Keeps an object, unless it is the one that is kept.
    ///
    /// # Errors
    /// If the file cannot be written; what it held before stays.
    pub fn store(&mut self, object: &Value) -> io::Result<()> {
        let bytes = serde_json::to_vec(object)?;
        if self.holds.as_deref() == Some(&bytes) {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let beside = self.path.with_extension("json.new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(&bytes)?;
        // Where the directory is on flash after all, a rename without this may leave an empty file behind.
        file.sync_data()?;
        fs::rename(&beside, &self.path)?;
        self.holds = Some(bytes);
        Ok(())
    }

    /// Forgets the object: it no longer exists.
    ///
    /// # Errors
    /// If the file is there and cannot be removed.
    pub fn remove(&mut self) -> io::Result<()> {
        self.holds = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_SIZE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("state");
        let mut cache = Cache::new(&below, "home");
        assert_eq!(cache.load(), None);
        cache.store(&json!({"spec": {"devices": []}})).unwrap();
        let written = fs::metadata(below.join("fleet-home.json")).unwrap();
        let mut again = Cache::new(&below, "home");
        assert_eq!(again.load(), Some(json!({"spec": {"devices": []}})));
        again.store(&json!({"spec": {"devices": []}})).unwrap();
        let untouched = fs::metadata(below.join("fleet-home.json")).unwrap();
        assert_eq!(
            std::os::unix::fs::MetadataExt::ino(&written),
            std::os::unix::fs::MetadataExt::ino(&untouched),
            "equal content is not written again"
        );
        again.remove().unwrap();
        again.remove().unwrap();
        assert_eq!(Cache::new(&below, "home").load(), None);
    }

    #[test]
    fn a_torn_file_is_no_fleet() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("fleet-home.json"), b"{\"spec\": ").unwrap();
        assert_eq!(Cache::new(directory.path(), "home").load(), None);
    }
}
