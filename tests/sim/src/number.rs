//! tty numbers: the lowest free one, taken until it is given back.
//!
//! Owner: `stick`. A number is a lock on a file below the device root, so that several processes may share a root
//! and a killed one leaves no number behind.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A name that nobody else gets while this value lives.
#[derive(Debug)]
pub(crate) struct Number {
    pub(crate) name: String,
    lock: File,
}

impl Number {
    /// Takes the lowest free number of this kind, counted from `lowest`.
    pub(crate) fn take(dev_root: &Path, prefix: &str, lowest: u16) -> Result<Self> {
        let directory = dev_root.join(".numbers");
        fs::create_dir_all(&directory)?;
        for number in lowest..lowest.saturating_add(256) {
            let name = format!("{prefix}{number}");
            let lock = File::create(directory.join(&name)).with_context(|| name.clone())?;
            match lock.try_lock() {
                Ok(()) => return Ok(Self { name, lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error).context(name),
            }
        }
        bail!("no free number for {prefix}")
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // Said aloud and not left to close(2): a child process between fork and exec shares the file for a moment.
        drop(self.lock.unlock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let take = |prefix, lowest| Number::take(dir.path(), prefix, lowest).unwrap();
        let first = take("ttyUSB", 0);
        assert_eq!(first.name, "ttyUSB0");
        let second = take("ttyUSB", 0);
        assert_eq!(second.name, "ttyUSB1");
        assert_eq!(take("ttyACM", 0).name, "ttyACM0");
        assert_eq!(take("ttyS", 3).name, "ttyS3");
        drop(first);
        assert_eq!(take("ttyUSB", 0).name, "ttyUSB0");
    }
}
