//! How much memory the queues of all ports may take: a quarter of what the process may have.
//!
//! Read once, at start, on the main thread. Must not be asked on the data thread: it reads files.

use std::{fs, path::Path};

/// The memory limit that is assumed where none is set: the one that the bridge has in a cluster by default.
const ASSUMED_LIMIT: u64 = 64 * 1024 * 1024;
/// Values from here on mean "no limit" in cgroup v1 (`PAGE_COUNTER_MAX` of linux/page_counter.h, in bytes).
const UNLIMITED: u64 = 1 << 60;

/// Most bytes that may wait in the queues of all ports together.
pub fn queue_ceiling() -> usize {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit_below(Path::new("/sys/fs/cgroup"), &own).unwrap_or(ASSUMED_LIMIT);
    usize::try_from(limit / 4).unwrap_or(usize::MAX)
}

/// The least limit of the process's groups and those above them, in bytes. `own` is `/proc/self/cgroup`
/// (cgroups(7)): `0::/path` for version 2, `N:memory:/path` for version 1. In a container the path may be the
/// node's while only the container's part is mounted: groups that are not there are passed over.
fn limit_below(mounted: &Path, own: &str) -> Option<u64> {
    own.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            match controllers {
                "" => Some((mounted.to_owned(), "memory.max", path)),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    Some((mounted.join("memory"), "memory.limit_in_bytes", path))
                }
                _ => None,
            }
        })
        .flat_map(|(root, file, path)| {
            let groups = Path::new(path.trim_start_matches('/')).ancestors();
            groups.map(move |group| root.join(group).join(file)).collect::<Vec<_>>()
        })
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
        .filter(|limit| *limit < UNLIMITED)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        for (files, own, limit) in [
            (&[("memory.max", "67108864\n")][..], "0::/\n", Some(67_108_864)),
            // The node's path, the container's mount.
            (&[("memory.max", "1000\n")], "0::/kubepods.slice/pod1/ctr\n", Some(1000)),
            (&[("a/memory.max", "2000\n"), ("a/b/memory.max", "max\n")], "0::/a/b\n", Some(2000)),
            (&[("a/memory.max", "2000\n"), ("a/b/memory.max", "500\n")], "0::/a/b\n", Some(500)),
            (&[("memory.max", "max\n")], "0::/\n", None),
            (
                &[("memory/x/memory.limit_in_bytes", "4096\n")],
                "3:cpu,memory:/x\n1:name=systemd:/y\n",
                Some(4096),
            ),
            (&[("memory/memory.limit_in_bytes", "9223372036854771712\n")], "3:memory:/\n", None),
            (&[], "0::/\nnonsense\n", None),
        ] {
            assert_eq!(limit_below(mounted(files).path(), own), limit, "{own}");
        }
    }

    #[test]
    fn there_is_always_a_ceiling() {
        assert!(queue_ceiling() > 0);
    }
}
