//! Recorded sysfs trees: their names, and unpacking them into a temporary directory.
//!
//! Owner: tests of enumeration and matching. The recordings are a kernel's own output (see `fixtures/README.md`);
//! nothing here interprets them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use tar::Archive;
use tempfile::TempDir;

/// An unpacked recording; the directory goes away with the value.
#[derive(Debug)]
pub struct Tree {
    dir: TempDir,
}

impl Tree {
    /// Holds `class/tty`, `devices`, `bus`: what stands in for `/sys`.
    pub fn sysfs_root(&self) -> PathBuf {
        self.dir.path().join("sys")
    }

    /// Holds only udev's symlinks below `serial/`, dangling: there are no device nodes in a recording.
    pub fn dev_root(&self) -> PathBuf {
        self.dir.path().join("dev")
    }

    /// The whole recording: also `run/udev/data`, `dev.txt` and the `proc-tty-*.txt` files.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// All recordings, sorted.
pub fn names() -> Result<Vec<String>> {
    let directory = fixtures().join("sysfs");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        if let Some(name) = entry?.file_name().to_str().and_then(|file| file.strip_suffix(".tar.gz")) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Unpacks one recording.
pub fn unpack(name: &str) -> Result<Tree> {
    let dir = tempfile::Builder::new().prefix("serialfleet-tree-").tempdir()?;
    open_archive(&fixtures().join("sysfs").join(format!("{name}.tar.gz")))?
        .unpack(dir.path())
        .with_context(|| format!("unpacking {name}"))?;
    fs::create_dir_all(dir.path().join("dev"))?;
    Ok(Tree { dir })
}

/// The directory of the recordings.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

pub(crate) fn open_archive(path: &Path) -> Result<Archive<GzDecoder<File>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(Archive::new(GzDecoder::new(file)))
}
