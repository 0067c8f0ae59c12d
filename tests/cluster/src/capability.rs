//! What a machine must have for the lab, and where the programs of it are.
//!
//! Owner: the harness asks before the first scenario, the lab's parts for the programs. It changes nothing outside a
//! namespace of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is not there, in words that say how to get it. Empty: the lab can run.
#[must_use]
pub fn missing() -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return vec!["root: `make test-cluster` asks sudo for it".to_owned()];
    }
    let mut missing = Vec::new();
    for (program, package) in PROGRAMS {
        if !in_path(program) {
            missing.push(format!("the program {program} (package {package})"));
        }
    }
    if missing.is_empty() {
        missing.extend(
            ABILITIES.iter().filter(|(_, script)| !works(script)).map(|(what, _)| (*what).to_owned()),
        );
    }
    missing.extend(unbuilt(&CONTROL_PLANE.map(control_plane_program), "make control-plane"));
    missing.extend(unbuilt(&PRODUCT.map(product_program), "make test-cluster"));
    missing
}

/// Why there can be no cluster with IPv6 here. Asked only by scenarios that are about it.
#[must_use]
pub fn no_ipv6() -> Option<String> {
    (!works(IPV6)).then(|| {
        "no IPv6 in a network namespace: this kernel was built or started without it, or nftables without NAT for it"
            .to_owned()
    })
}

/// A part of Kubernetes, or etcd.
#[must_use]
pub fn control_plane_program(name: &str) -> PathBuf {
    let directory = env::var_os("SERIALFLEET_CONTROL_PLANE").map_or_else(
        || {
            let profile = profile_directory();
            // A build for a named target has one more directory between.
            let candidates = profile.ancestors().skip(1).take(2).map(|target| target.join("control-plane"));
            candidates
                .clone()
                .find(|path| path.is_dir())
                .or_else(|| candidates.clone().next())
                .unwrap_or_default()
        },
        PathBuf::from,
    );
    directory.join(name)
}

/// A program of the product, or the driver of its hooks.
#[must_use]
pub fn product_program(name: &str) -> PathBuf {
    env::var_os("SERIALFLEET_BINARIES").map_or_else(profile_directory, PathBuf::from).join(name)
}

/// `target/debug` for the test executable `target/debug/deps/cluster-0123`.
fn profile_directory() -> PathBuf {
    let executable = env::current_exe().unwrap_or_default();
    executable.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

fn unbuilt(programs: &[PathBuf], built_by: &str) -> Option<String> {
    let absent: Vec<String> =
        programs.iter().filter(|path| !path.is_file()).map(|path| path.display().to_string()).collect();
    (!absent.is_empty()).then(|| format!("{} (built by `{built_by}`)", absent.join(", ")))
}

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Tried in namespaces as a scenario gets them.
fn works(script: &str) -> bool {
    Command::new("unshare")
        .args(UNSHARE)
        .args(["sh", "-ec", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The namespaces of a scenario. What it mounts is private to it: unshare sees to that.
pub(crate) const UNSHARE: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Programs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("sh", "dash"),
];

/// What the kernel must be able to do, and a script that shows it.
const ABILITIES: [(&str, &str); 3] = [
    ("private network, mount and PID namespaces: this is a container that does not allow them", "true"),
    (
        "bridges and veth pairs (kernel modules bridge and veth)",
        "ip link add lab0 type bridge; ip netns list; ip link add one type veth peer name two",
    ),
    ("nftables in a network namespace (kernel module nf_tables)", "nft add table inet lab"),
];

/// What a node needs for IPv6: addresses, forwarding, and what kube-proxy does.
const IPV6: &str = "
ip link add lab0 type bridge
echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip address add fd00:10::1/64 dev lab0 nodad
nft add table ip6 lab
nft 'add chain ip6 lab services { type nat hook prerouting priority 0; }'
nft add rule ip6 lab services ip6 daddr fd00:10::2 dnat to fd00:10::3
";

const CONTROL_PLANE: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kube-proxy"];

const PRODUCT: [&str; 3] = ["serialfleet-bridge", "serialfleet-hook", "metacontroller-driver"];
