//! Which process has a tty open, where /proc shows it (not across pid namespaces).

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

/// `name (pid 123)` of the first other process with `path` open.
pub fn of(path: &Path) -> Option<String> {
    let target = fs::metadata(path).ok()?;
    // Nodes of one device differ between mounts of /dev, its number does not.
    let is_it = |found: &fs::Metadata| {
        if target.file_type().is_char_device() {
            found.file_type().is_char_device() && found.rdev() == target.rdev()
        } else {
            (found.dev(), found.ino()) == (target.dev(), target.ino())
        }
    };
    let own = std::process::id().to_string();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut open = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        open.any(|fd| fs::metadata(fd.path()).is_ok_and(|found| is_it(&found))).then(|| {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let name: String = name.trim().escape_default().take(32).collect();
            format!("{name} (pid {pid})")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_only_we_have_open_has_no_other_holder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(of(file.path()), None);
    }

    #[test]
    fn another_holder_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .stdin(fs::File::open(file.path()).unwrap())
            .spawn()
            .unwrap();
        let by = of(file.path());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(by.is_some_and(|by| by.contains(&format!("(pid {})", child.id()))));
    }
}
