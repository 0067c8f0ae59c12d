//! Rules about dependencies that no lint knows: crates that must not come in by a back door, features that would change
//! what programs do, and who may depend on what.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What `packages` are linked with on this machine, each with its features: `name vVERSION feature,feature`.
fn linked(packages: &[&str]) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["tree", "--locked", "--offline", "--edges", "normal"]);
    command.args(["--prefix", "none", "--format", "{p} {f}"]);
    for package in packages {
        command.args(["--package", package]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: BTreeSet<String> = text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect();
    assert!(lines.len() > packages.len(), "no dependencies in:\n{text}");
    lines
}

#[test]
fn forbidden_crates_are_not_locked() {
    const FORBIDDEN: [(&str, &str); 5] = [
        ("openssl", "rustls with ring does it, without a C library of the machine's"),
        ("openssl-sys", "as openssl"),
        ("aws-lc-sys", "ring is smaller and builds in half the time"),
        ("serde_yml", "unsound (RUSTSEC-2025-0068): serde-saphyr writes, serde_yaml reads"),
        ("rustls-pemfile", "unmaintained (RUSTSEC-2025-0134): rustls-pki-types reads PEM"),
    ];
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"serialfleet-api\""), "this is not our Cargo.lock");
    for (name, instead) in FORBIDDEN {
        assert!(!lock.contains(&format!("name = \"{name}\"\n")), "{name} has come in: {instead}");
    }
}

#[test]
fn maps_are_sorted_wherever_json_is_written() {
    for package in ["serialfleet-hook", "serialfleet-bridge"] {
        for line in linked(&[package]).iter().filter(|line| line.starts_with("serde_json ")) {
            assert!(
                !line.contains("preserve_order"),
                "{package}: the same request must give the same bytes: {line}"
            );
        }
    }
}

#[test]
fn the_bridge_has_one_runtime_thread() {
    for line in linked(&["serialfleet-bridge"]).iter().filter(|line| line.starts_with("tokio v")) {
        for feature in ["rt-multi-thread", "full"] {
            assert!(
                !line.split([' ', ',']).any(|it| it == feature),
                "threads cost memory on small nodes: {line}"
            );
        }
    }
}

#[test]
fn the_hook_server_cannot_talk_to_the_api_server_and_neither_program_knows_the_other() {
    let names = |package: &str| -> BTreeSet<String> {
        linked(&[package]).iter().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
    };
    let (hook, bridge) = (names("serialfleet-hook"), names("serialfleet-bridge"));
    for name in ["kube", "kube-client", "serialfleet-bridge", "serialfleet-sim"] {
        assert!(!hook.contains(name), "the hook server must not depend on {name}");
    }
    for name in ["serialfleet-hook", "serialfleet-sim"] {
        assert!(!bridge.contains(name), "the bridge must not depend on {name}");
    }
}
