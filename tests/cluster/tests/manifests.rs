//! What kubectl makes of the shipped manifests, the components and the overlays of the install page. Nothing is applied
//! and no lab is needed, only kubectl. What the files say by themselves is tested beside them.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says when it cannot run"
)]

#[path = "manifests/agreement.rs"]
mod agreement;
#[path = "manifests/overlays.rs"]
mod overlays;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::{Value, json};
use serialfleet_api::names;
use serialfleet_cluster::capability::control_plane_program;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// What kubectl prints for a directory; nothing where there is no kubectl.
fn text(directory: &Path) -> Option<String> {
    let kubectl = control_plane_program("kubectl");
    if !kubectl.is_file() {
        let missing = format!("{} is missing: `make control-plane` builds it", kubectl.display());
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        eprintln!("skipped: {missing}");
        return None;
    }
    let output = Command::new(kubectl).env_clear().args(["kustomize", "--"]).arg(directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", directory.display());
    Some(String::from_utf8(output.stdout).unwrap())
}

fn objects(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn shipped() -> Option<Vec<Value>> {
    text(&root().join("metacontroller")).as_deref().map(objects)
}

fn place(objects: &[Value], kind: &str, name: &str) -> usize {
    let is_it = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == name;
    assert!(objects.iter().filter(|it| is_it(it)).count() <= 1, "{kind} {name} twice");
    objects.iter().position(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    &objects[place(objects, kind, name)]
}

fn hook(objects: &[Value]) -> &Value {
    &object(objects, "Deployment", "serialfleet-hook")["spec"]["template"]["spec"]["containers"][0]
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|it| it.as_str().unwrap()).collect()
}

/// What follows a flag.
fn flag<'a>(objects: &'a [Value], name: &str) -> &'a str {
    let container = hook(objects);
    let words: Vec<&str> = [&container["command"], &container["args"]].into_iter().flat_map(texts).collect();
    words[words.iter().position(|word| *word == name).unwrap() + 1]
}

#[test]
fn everything_is_there_in_the_order_in_which_it_is_needed() {
    let Some(objects) = shipped() else { return };
    let order = [
        ("Namespace", names::SYSTEM_NAMESPACE),
        ("CustomResourceDefinition", "serialfleets.serialfleet.io"),
        ("ValidatingAdmissionPolicy", "serialfleet-own-node"),
        ("ValidatingAdmissionPolicyBinding", "serialfleet-own-node"),
        // From here on a bridge could write, if there were one.
        ("ClusterRoleBinding", "serialfleet-bridge"),
        ("ClusterRoleBinding", "serialfleet-metacontroller"),
        ("PodDisruptionBudget", "serialfleet-hook"),
        ("Deployment", "serialfleet-hook"),
        ("CompositeController", "serialfleet"),
    ];
    let places: Vec<usize> = order.iter().map(|(kind, name)| place(&objects, kind, name)).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(places.last(), Some(&(objects.len() - 1)));
}

/// What Kubernetes' Pod Security calls restricted, and a bit.
fn assert_restricted(pod: &Value) {
    for (field, value) in [("hostNetwork", json!(true)), ("hostPID", json!(true)), ("hostIPC", json!(true))] {
        assert_ne!(pod[field], value);
    }
    assert_eq!(pod["volumes"], Value::Null);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        assert_eq!(
            container["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            })
        );
        assert!(container["resources"]["limits"]["memory"].is_string());
        assert!(container["resources"]["requests"]["cpu"].is_string());
    }
}

#[test]
fn the_hook_server_has_no_rights_at_all() {
    let Some(objects) = shipped() else { return };
    let pod = &object(&objects, "Deployment", "serialfleet-hook")["spec"]["template"]["spec"];
    assert_restricted(pod);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let account = pod["serviceAccountName"].as_str().unwrap();
    object(&objects, "ServiceAccount", account);
    for binding in objects.iter().filter(|it| it["kind"].as_str().unwrap().ends_with("RoleBinding")) {
        assert!(binding["subjects"].as_array().unwrap().iter().all(|it| it["name"] != account));
    }
    let workloads = ["Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob", "Pod"];
    assert_eq!(objects.iter().filter(|it| workloads.contains(&it["kind"].as_str().unwrap())).count(), 1);
}

#[test]
fn a_replica_is_always_there_and_ends_in_time() {
    let Some(objects) = shipped() else { return };
    let spec = &object(&objects, "Deployment", "serialfleet-hook")["spec"];
    assert_eq!(spec["replicas"], 2);
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxSurge": "100%", "maxUnavailable": 0}));
    let labels = &spec["template"]["metadata"]["labels"];
    for selector in [
        &spec["selector"]["matchLabels"],
        &object(&objects, "Service", "serialfleet-hook")["spec"]["selector"],
        &object(&objects, "PodDisruptionBudget", "serialfleet-hook")["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    let pre_stop = hook(&objects)["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let delay: u64 = flag(&objects, "--drain-delay").strip_suffix('s').unwrap().parse().unwrap();
    let limit = serialfleet_hook::serve::Timing::default().drain_limit.as_secs();
    let grace = spec["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(pre_stop + delay + limit < grace);
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(hook(&objects)[probe]["httpGet"], json!({"path": path, "port": "http"}));
    }
}
