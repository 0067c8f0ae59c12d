//! What is really plugged in, beside the simulated sticks: the machine's serial ttys as links in the simulated sysfs and
//! device directories, so that the bridge sees both. Opens nothing.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

const SYSFS: &str = "/sys/class/tty";
const DEV: &str = "/dev";

/// The machine's ttys that are linked now.
#[derive(Debug)]
pub(super) struct Neighbours {
    sysfs: PathBuf,
    dev: PathBuf,
    linked: BTreeMap<String, PathBuf>,
}

impl Neighbours {
    /// The roots are those of the simulated machine. The kernel's console comes along, as it is nobody's to serve.
    pub(super) fn new(sysfs_root: &Path, dev_root: &Path) -> io::Result<Self> {
        let sysfs = sysfs_root.join("class/tty");
        fs::create_dir_all(&sysfs)?;
        if let Ok(console) = fs::canonicalize(Path::new(SYSFS).join("console")) {
            symlink(console, sysfs.join("console"))?;
        }
        Ok(Self { sysfs, dev: dev_root.to_owned(), linked: BTreeMap::new() })
    }

    /// Makes the links what the machine has now; whether anything changed.
    pub(super) fn refresh(&mut self) -> io::Result<bool> {
        let present = present();
        let gone: Vec<String> = self
            .linked
            .iter()
            .filter(|(name, directory)| present.get(*name) != Some(directory))
            .map(|(name, _)| name.clone())
            .collect();
        let mut changed = !gone.is_empty();
        for name in gone {
            self.linked.remove(&name);
            fs::remove_file(self.sysfs.join(&name))?;
            fs::remove_file(self.dev.join(&name))?;
        }
        for (name, directory) in present {
            // A simulated UART of that name is in its place.
            if self.linked.contains_key(&name) || self.sysfs.join(&name).is_symlink() {
                continue;
            }
            symlink(&directory, self.sysfs.join(&name))?;
            // Last: the bridge watches this directory, and then looks at the other.
            symlink(Path::new(DEV).join(&name), self.dev.join(&name))?;
            self.linked.insert(name, directory);
            changed = true;
        }
        Ok(changed)
    }
}

/// The ttys with a device behind them and a node, and their directories in sysfs.
fn present() -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(SYSFS).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let directory = fs::canonicalize(entry.path()).ok()?;
            let is_serial = directory.join("device").exists() || name.starts_with("rfcomm");
            (is_serial && Path::new(DEV).join(&name).exists()).then_some((name, directory))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_ttys_are_linked_once() {
        let root = tempfile::tempdir().unwrap();
        let dev = root.path().join("dev");
        fs::create_dir(&dev).unwrap();
        let mut neighbours = Neighbours::new(&root.path().join("sys"), &dev).unwrap();
        let there = present();
        assert_eq!(neighbours.refresh().unwrap(), !there.is_empty());
        assert!(!neighbours.refresh().unwrap());
        for name in there.keys() {
            assert_eq!(fs::read_link(dev.join(name)).unwrap(), Path::new(DEV).join(name));
        }
        neighbours.linked.insert("ttyUSB99".to_owned(), PathBuf::new());
        symlink("/nowhere", neighbours.sysfs.join("ttyUSB99")).unwrap();
        symlink("/nowhere", dev.join("ttyUSB99")).unwrap();
        assert!(neighbours.refresh().unwrap());
        assert!(!dev.join("ttyUSB99").is_symlink());
    }
}
