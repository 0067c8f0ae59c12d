//! The overlays of the install page, taken from it as they stand there, and the components.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use tempfile::TempDir;

use super::{assert_restricted, flag, hook, object, objects, place, root, shipped, text, texts};

/// There kubectl sorts by kind, but no bridge can be before its rights are bounded.
#[test]
fn an_overlay_that_forgets_the_order_bounds_rights_before_there_are_bridges() {
    let overlay =
        release_overlay("example.test/other:9", "other").replace("sortOptions: {order: fifo}\n", "");
    assert!(!overlay.contains("sortOptions"));
    // As `kubectl apply -k` does it, which has no flag for this.
    let Some(text) = text(&Layout::new().overlay(&format!("{overlay}sortOptions: {{order: legacy}}\n")))
    else {
        return;
    };
    let objects = objects(&text);
    let bound = place(&objects, "ValidatingAdmissionPolicyBinding", "serialfleet-own-node");
    assert!(bound < place(&objects, "CompositeController", "serialfleet"));
}

#[test]
fn an_overlay_leaves_no_trace_of_the_shipped_image_and_revision() {
    let Some(shipped) = shipped() else { return };
    let (image, revision) = (flag(&shipped, "--bridge-image"), flag(&shipped, "--rev"));
    // Numbers and what YAML takes for one must stay text; a digest and a port must survive.
    for (other, rev) in
        [("example.test:5000/a/b@sha256:0123", "1.10"), ("other:latest", "2"), ("other", "true")]
    {
        let all = ["single-node", "hook-network-policy", "allow-host-network"];
        let Some(text) = text(&Layout::new().overlay(&with_components(&release_overlay(other, rev), &all)))
        else {
            return;
        };
        assert!(!text.contains(image), "{other}: the shipped image is still there");
        assert!(!text.contains(revision), "{rev}: the shipped revision is still there");
        assert!(!text.contains("serialfleet-release"), "the ConfigMap is for kustomize only");
        let objects = objects(&text);
        assert_eq!(hook(&objects)["image"], other);
        assert_eq!(flag(&objects, "--bridge-image"), other);
        assert_eq!(flag(&objects, "--rev"), rev);
        let deployment = object(&objects, "Deployment", "serialfleet-hook");
        assert_eq!(deployment["metadata"]["labels"]["app.kubernetes.io/version"], rev);
        let hooks = &object(&objects, "CompositeController", "serialfleet")["spec"]["hooks"];
        for name in ["sync", "customize"] {
            let url = hooks[name]["webhook"]["url"].as_str().unwrap();
            assert!(url.ends_with(&format!("/{name}?rev={rev}")), "{url}");
        }
    }
}

#[test]
fn components_do_what_they_say_in_any_order() {
    let mut all = ["single-node", "hook-network-policy", "allow-host-network"];
    for _ in 0..2 {
        let overlay = with_components(&release_overlay("example.test/other:9", "other"), &all);
        let Some(text) = text(&Layout::new().overlay(&overlay)) else { return };
        let objects = objects(&text);
        let deployment = object(&objects, "Deployment", "serialfleet-hook");
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert!(!objects.iter().any(|it| it["kind"] == "PodDisruptionBudget"));
        assert_eq!(texts(&hook(&objects)["args"]).last(), Some(&"--allow-host-network"));
        let policy = object(&objects, "NetworkPolicy", "serialfleet-hook");
        assert_eq!(policy["spec"]["podSelector"], deployment["spec"]["selector"]);
        assert_eq!(
            policy["spec"]["ingress"][0]["ports"][0]["port"],
            hook(&objects)["ports"][0]["containerPort"]
        );
        all.reverse();
    }
}

#[test]
fn metacontroller_is_installed_as_recommended() {
    let layout = Layout::new();
    let mut overlay = block("my-cluster/metacontroller/kustomization.yaml");
    let remote = overlay.lines().find(|line| line.contains("https://")).unwrap().to_owned();
    overlay = overlay.replace(&remote, "- upstream.yaml");
    let directory = layout.overlay(&overlay);
    fs::write(directory.join("upstream.yaml"), UPSTREAM).unwrap();
    let Some(text) = text(&directory) else { return };
    let objects = objects(&text);
    let set = object(&objects, "StatefulSet", "metacontroller");
    assert_eq!(set["spec"]["replicas"], 2);
    let pod = &set["spec"]["template"]["spec"];
    assert_restricted(pod);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "upstream");
    assert!(container["livenessProbe"].is_object());
    for flag in [
        "--leader-election",
        "--discovery-interval=5s",
        "--client-go-qps=50",
        "--client-go-burst=100",
        "--workers=10",
    ] {
        assert!(texts(&container["args"]).contains(&flag), "{flag}");
    }
    // The chart's values on the install page say the same.
    let page = fs::read_to_string(root().join("metacontroller/README.md")).unwrap();
    assert!(page.contains(&format!("commandArgs: [{}]", texts(&container["args"]).join(", "))));
    assert!(!text.contains("'*'") && !text.contains("\"*\""), "it may still do everything");
    assert!(!objects.iter().any(|it| it["kind"] == "ClusterRoleBinding"));
    object(&objects, "RoleBinding", "metacontroller-lease");
}

/// The layout of the install page: this repository, and beside it somebody's own directory with a kustomization.
struct Layout(TempDir);

impl Layout {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        symlink(root(), directory.path().join("serialfleet")).unwrap();
        Self(directory)
    }

    fn overlay(&self, kustomization: &str) -> PathBuf {
        let directory = self.0.path().join("my-cluster/overlay");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("kustomization.yaml"), kustomization).unwrap();
        directory
    }
}

/// The block of YAML on the install page that follows the mention of a file.
fn block(file: &str) -> String {
    let page = fs::read_to_string(root().join("metacontroller/README.md")).unwrap();
    let (_, after) =
        page.split_once(&format!("`{file}`:\n\n```yaml\n")).unwrap_or_else(|| panic!("no {file}"));
    after.split_once("```").unwrap().0.to_owned()
}

fn release_overlay(image: &str, revision: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let block = block("my-cluster/serialfleet/kustomization.yaml");
    let other = block
        .replace(&format!("image=example/serialfleet:{version}"), &format!("image={image}"))
        .replace(&format!("revision={version}"), &format!("revision={revision}"));
    assert!(!other.contains(version), "{other}");
    other
}

fn with_components(overlay: &str, names: &[&str]) -> String {
    let lines: String =
        names.iter().map(|name| format!("- ../../serialfleet/metacontroller/components/{name}\n")).collect();
    let with = overlay.replace("components:\n", &format!("components:\n{lines}"));
    assert_ne!(with, overlay);
    with
}

/// In place of upstream's manifests, as far as the components touch them.
const UPSTREAM: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: metacontroller}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: metacontroller}
rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: metacontroller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: metacontroller}
subjects: [{kind: ServiceAccount, name: metacontroller, namespace: metacontroller}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: metacontroller, namespace: metacontroller}
spec:
  replicas: 1
  serviceName: ''
  selector: {matchLabels: {app.kubernetes.io/name: metacontroller}}
  template:
    metadata: {labels: {app.kubernetes.io/name: metacontroller}}
    spec:
      serviceAccountName: metacontroller
      containers:
      - {name: metacontroller, image: upstream, args: [--discovery-interval=20s], livenessProbe: {httpGet: {port: 8081}}}
";
