//! A simulated machine: one sysfs root and one device root, into which sticks are plugged.
//!
//! Owner: each test its own. Sticks keep the directories alive, so the order of drops does not matter.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use tempfile::TempDir;

use crate::spec::StickSpec;
use crate::stick::Stick;
use crate::sysfs::Tree;
use crate::uevent::Injector;

/// A machine with USB sockets.
#[derive(Debug)]
pub struct Host {
    roots: Arc<Roots>,
    uevents: bool,
    bind: bool,
}

/// What all sticks of a host share.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) sysfs: Tree,
    pub(crate) dev: PathBuf,
    last_device_number: AtomicU32,
    _temporary: Option<TempDir>,
}

impl Host {
    /// In a temporary directory.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("serialfleet-host-").tempdir()?;
        let (sysfs, dev) = (directory.path().join("sys"), directory.path().join("dev"));
        Self::with_roots(sysfs, dev, Some(directory))
    }

    /// In directories of the caller's, made if they are not there; several processes may share them.
    pub fn at(sysfs_root: &Path, dev_root: &Path) -> Result<Self> {
        Self::with_roots(sysfs_root.to_owned(), dev_root.to_owned(), None)
    }

    /// Sticks made from now on also inject the kernel's events into this network namespace. Fails in the initial
    /// one: see [`crate::namespace::enter`].
    pub fn with_uevents(mut self) -> Result<Self> {
        drop(Injector::open()?);
        self.uevents = true;
        Ok(self)
    }

    /// Nodes of sticks made from now on are bind mounts of the PTY instead of symlinks: for a program that opens with
    /// O_NOFOLLOW. Needs a mount namespace of one's own: see [`crate::namespace::enter`].
    #[must_use]
    pub fn with_bind_mounts(mut self) -> Self {
        self.bind = true;
        self
    }

    /// What stands in for `/sys`.
    pub fn sysfs_root(&self) -> &Path {
        self.roots.sysfs.root()
    }

    /// What stands in for `/dev`.
    pub fn dev_root(&self) -> &Path {
        &self.roots.dev
    }

    /// A stick that is not plugged in yet.
    pub fn stick(&self, spec: StickSpec) -> Result<Stick> {
        Stick::start(Arc::clone(&self.roots), spec, self.uevents, self.bind)
    }

    /// A stick, plugged in.
    pub fn plug(&self, spec: StickSpec) -> Result<Stick> {
        let stick = self.stick(spec)?;
        stick.plug()?;
        Ok(stick)
    }

    /// Names the ttys of the kernel's console, as `class/tty/console/active` shows them.
    pub fn set_console(&self, ttys: &[&str]) -> Result<()> {
        let sysfs = &self.roots.sysfs;
        sysfs.put("devices/virtual/tty/console", [("active", ttys.join(" ").as_str()), ("dev", "5:1")])?;
        Ok(sysfs.link("class/tty/console", "devices/virtual/tty/console")?)
    }

    fn with_roots(sysfs: PathBuf, dev: PathBuf, temporary: Option<TempDir>) -> Result<Self> {
        fs::create_dir_all(&dev).with_context(|| dev.display().to_string())?;
        let sysfs = Tree::new(sysfs)?;
        let roots = Roots { sysfs, dev, last_device_number: AtomicU32::new(1), _temporary: temporary };
        Ok(Self { roots: Arc::new(roots), uevents: false, bind: false })
    }
}

impl Roots {
    /// The next `devnum`: 2..=127, a new one at each enumeration.
    pub(crate) fn next_device_number(&self) -> u32 {
        self.last_device_number.fetch_add(1, Ordering::Relaxed) % 126 + 2
    }

    pub(crate) fn publish(&self, name: &str, pts: &Path, bind: bool) -> Result<()> {
        let node = self.dev.join(name);
        match fs::remove_file(&node) {
            // A killed simulation leaves its links behind; the number lock says that nobody owns this one.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context(name.to_owned()),
            _ => {}
        }
        if bind {
            fs::File::create(&node)?;
            mount_bind(pts, &node).with_context(|| format!("bind-mounting {}", node.display()))?;
        } else {
            symlink(pts, &node)?;
        }
        Ok(())
    }

    pub(crate) fn withdraw(&self, name: &str, bind: bool) -> Result<()> {
        let node = self.dev.join(name);
        if bind {
            // Detached, as a program may still have it open.
            unmount(&node, UnmountFlags::DETACH)?;
        }
        fs::remove_file(&node).with_context(|| node.display().to_string())
    }
}
