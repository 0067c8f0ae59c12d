//! The last steps into a container: its root directory, its privileges, its program.
//!
//! Owner: [`crate::enter_container`], called first thing by the test executable when a kubelet has started that again
//! below `nsenter` and `unshare`, with the plan of one container. One thread, private namespaces; it never returns
//! into the test. It must not know of pods: whatever depends on them is in the plan.

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::Gid;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{Uid, pivot_root, umask};
use rustix::system::sethostname;
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use serde::{Deserialize, Serialize};

/// A container that is about to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) hostname: String,
    /// An empty directory; its root is mounted over it, for this container only.
    pub(super) root: PathBuf,
    pub(super) read_only_root: bool,
    /// In this order.
    pub(super) mounts: Vec<Mount>,
    /// Small files that only this pod has, as `/etc/hosts`.
    pub(super) files: Vec<(PathBuf, String)>,
    pub(super) working_directory: PathBuf,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) privileges: Privileges,
}

/// Something of the machine's at a place of the container's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
    /// What is mounted below the source later appears in the container, too.
    pub(super) follows: bool,
}

/// Who the program is, and what it may do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Privileges {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// Without `CAP_`. Only root gets any of them.
    pub(super) capabilities: Vec<String>,
    pub(super) no_new_privileges: bool,
}

/// Becomes a container if this is what the process was started for; else returns at once.
pub(crate) fn enter_container() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument != ARGUMENT) {
        return;
    }
    let plan = PathBuf::from(arguments.next().unwrap_or_default());
    let Err(error) = launch(&plan);
    // The kubelet shows it as the container's last words.
    drop(writeln!(std::io::stderr(), "failed to start container: {error:#}"));
    #[allow(clippy::exit, reason = "nothing of the test is running")]
    std::process::exit(FAILED);
}

fn launch(plan: &Path) -> Result<Infallible> {
    let plan: Plan = serde_json::from_slice(&fs::read(plan)?).context("the container's plan")?;
    sethostname(plan.hostname.as_bytes()).context("the host name")?;
    furnish(&plan)?;
    move_in(&plan.root)?;
    give_up(&plan.privileges)?;
    std::env::set_current_dir(&plan.working_directory)
        .with_context(|| format!("working directory {}", plan.working_directory.display()))?;
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    let (program, arguments) = plan.command.split_first().context("no command specified")?;
    let error =
        Command::new(program).args(arguments).env_clear().envs(plan.environment.iter().cloned()).exec();
    Err(error).with_context(|| format!("exec {program}"))
}

/// What an image made of this machine's system would have, and nothing else of the machine.
fn furnish(plan: &Plan) -> Result<()> {
    let root = plan.root.as_path();
    mount("container", root, "tmpfs", MountFlags::empty(), Some(c"mode=755")).context("the root's tmpfs")?;
    for name in ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let (source, target) = (Path::new("/").join(name), root.join(name));
        match fs::symlink_metadata(&source) {
            Ok(found) if found.is_symlink() => symlink(fs::read_link(&source)?, &target)?,
            Ok(_) => {
                bind(
                    &Mount { source, target: Path::new("/").join(name), read_only: true, follows: false },
                    root,
                )?;
            }
            Err(_) => {}
        }
    }
    for name in ["etc", "proc", "root", "run", "var", "tmp"] {
        fs::create_dir(root.join(name))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::copy("/etc/ld.so.cache", root.join("etc/ld.so.cache")).ok();
    mount_bind_recursive("/proc", root.join("proc")).context("/proc")?;
    devices(root)?;
    for (path, text) in &plan.files {
        let path = inside(root, path);
        make_parent(&path)?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    for mount in &plan.mounts {
        bind(mount, root)
            .with_context(|| format!("mounting {} at {}", mount.source.display(), mount.target.display()))?;
    }
    if plan.read_only_root {
        mount_remount(root, MountFlags::BIND | MountFlags::RDONLY, c"").context("a read-only root")?;
    }
    Ok(())
}

/// A container's `/dev`: what every program expects. Real devices come by volumes only, also to a privileged one.
fn devices(root: &Path) -> Result<()> {
    let dev = root.join("dev");
    fs::create_dir(&dev)?;
    mount("dev", &dev, "tmpfs", MountFlags::NOSUID, Some(c"mode=755")).context("/dev")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let node = dev.join(name);
        fs::File::create(&node)?;
        mount_bind(Path::new("/dev").join(name), &node).with_context(|| format!("/dev/{name}"))?;
    }
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), dev.join(name))?;
    }
    fs::create_dir(dev.join("shm"))?;
    Ok(fs::set_permissions(dev.join("shm"), fs::Permissions::from_mode(0o1777))?)
}

fn bind(mount: &Mount, root: &Path) -> Result<()> {
    let target = inside(root, &mount.target);
    if mount.source.is_dir() {
        fs::create_dir_all(&target)?;
    } else {
        make_parent(&target)?;
        fs::File::create(&target)?;
    }
    mount_bind_recursive(&mount.source, &target)?;
    if !mount.follows {
        mount_change(&target, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    }
    if mount.read_only {
        mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, c"")?;
    }
    Ok(())
}

/// Unlike `chroot`, with no way back, and nothing of the machine's stays mounted.
fn move_in(root: &Path) -> Result<()> {
    std::env::set_current_dir(root)?;
    pivot_root(".", ".").context("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("leaving the machine's root")?;
    Ok(std::env::set_current_dir("/")?)
}

/// As a container runtime does: from the bounding set, so that the kernel works out the rest at exec.
fn give_up(privileges: &Privileges) -> Result<()> {
    for capability in CapabilitySet::all().iter() {
        let kept = privileges
            .capabilities
            .iter()
            .filter_map(|name| CapabilitySet::from_name(name))
            .any(|kept| kept == capability);
        // An error: this kernel does not know it.
        if !kept && capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability).context("the bounding set")?;
        }
    }
    let groups: Vec<Gid> = privileges.groups.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups).context("groups")?;
    let (uid, gid) = (Uid::from_raw(privileges.uid), Gid::from_raw(privileges.gid));
    set_thread_res_gid(gid, gid, gid).context("group")?;
    set_thread_res_uid(uid, uid, uid).context("user")?;
    if privileges.no_new_privileges {
        set_no_new_privs(true).context("no_new_privs")?;
    }
    Ok(())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |parent| Ok(fs::create_dir_all(parent)?))
}

/// The first argument of the executable that is to become a container.
pub(crate) const ARGUMENT: &str = "--become-container";

/// The exit code when there is no program to become.
pub(crate) const FAILED: i32 = 128;
