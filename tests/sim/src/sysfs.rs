//! A sysfs root made of plain directories, files and relative links.
//!
//! Owner: `host` and `stick`. Knows nothing of devices: what is written where is `layout`'s business.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

/// Paths given to it are relative to the root.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(crate) fn new(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(root.join("class/tty"))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Writes attributes, each with the newline that the kernel appends.
    pub(crate) fn put<'a>(
        &self,
        path: &str,
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<()> {
        let directory = self.root.join(path);
        fs::create_dir_all(&directory)?;
        attributes
            .into_iter()
            .try_for_each(|(name, text)| fs::write(directory.join(name), format!("{text}\n")))
    }

    /// A relative symlink; its target is made if it is not there, as a bare directory.
    pub(crate) fn link(&self, path: &str, target: &str) -> io::Result<()> {
        let link = self.root.join(path);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir_all(self.root.join(target))?;
        match symlink(relative(Path::new(path), Path::new(target)), &link) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// Removes a link or a whole directory; what is gone already is no error.
    pub(crate) fn drop(&self, path: &str) -> io::Result<()> {
        let full = self.root.join(path);
        let removed = match full.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&full),
            Ok(_) => fs::remove_file(&full),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// `target` as seen from the directory that holds `link`; both relative to the same root.
fn relative(link: &Path, target: &Path) -> PathBuf {
    let from: Vec<Component<'_>> = link.parent().into_iter().flat_map(Path::components).collect();
    let to: Vec<Component<'_>> = target.components().collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from.iter().skip(common).map(|_| Component::ParentDir);
    up.chain(to.iter().skip(common).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_as_in_sysfs() {
        let relative = |link, target| relative(Path::new(link), Path::new(target)).display().to_string();
        assert_eq!(
            relative("class/tty/ttyS0", "devices/pnp0/00:02/tty/ttyS0"),
            "../../devices/pnp0/00:02/tty/ttyS0"
        );
        assert_eq!(relative("devices/a/b/tty/x/device", "devices/a/b"), "../..");
        assert_eq!(relative("devices/a/driver", "bus/usb/drivers/usb"), "../../bus/usb/drivers/usb");
    }
}
