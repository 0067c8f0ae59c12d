//! What can be said about the shipped manifests without kubectl: that they are complete, and that they say the same as
//! each other and as the crate. What they render to is tested beside the cluster, in `tests/cluster`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, json};
use serialfleet_api::names;

fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(directory().join(path)).unwrap();
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{path}: {error}")))
        .collect()
}

/// The one object of a file with this kind and name.
fn object(path: &str, kind: &str, name: &str) -> Value {
    let mut found: Vec<Value> = documents(path)
        .into_iter()
        .filter(|it| it["kind"] == kind && it["metadata"]["name"] == name)
        .collect();
    assert_eq!(found.len(), 1, "{path}: {kind} {name}");
    found.remove(0)
}

fn yaml_files(path: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|it| it.as_str().unwrap()).collect()
}

/// A manifest that nobody lists is never applied.
#[test]
fn every_manifest_is_listed() {
    let components = fs::read_dir(directory().join("components")).unwrap().map(|it| it.unwrap().path());
    let (mut listed, mut there) = (BTreeSet::new(), yaml_files(&directory().join("manifests")));
    for root in components.chain([directory().to_owned()]) {
        let file = root.join("kustomization.yaml");
        let kustomization: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let patches = kustomization["patches"].as_array().into_iter().flatten();
        let patches = patches.filter_map(|patch| patch["path"].as_str());
        listed.extend(texts(&kustomization["resources"]).into_iter().chain(patches).map(|it| root.join(it)));
        there.extend(yaml_files(&root).into_iter().filter(|path| *path != file));
    }
    assert_eq!(listed, there);
}

#[test]
fn every_component_is_in_the_readme() {
    let readme = include_str!("../README.md");
    for component in fs::read_dir(directory().join("components")).unwrap() {
        let name = component.unwrap().file_name().into_string().unwrap();
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}

fn hook_container() -> Value {
    let deployment = object("manifests/hook-server.yaml", "Deployment", "serialfleet-hook");
    deployment["spec"]["template"]["spec"]["containers"][0].clone()
}

/// Manifests of one version with the image of another would restart bridges for nothing, or worse.
#[test]
fn image_and_revision_are_of_this_version_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("serialfleet:{version}");
    let container = hook_container();
    assert_eq!(container["image"], image);
    assert_eq!(
        texts(&container["command"]),
        ["/serialfleet-hook", "serve", "--listen", "[::]:8080", "--rev", version, "--bridge-image", &image]
    );
    let deployment = object("manifests/hook-server.yaml", "Deployment", "serialfleet-hook");
    assert_eq!(deployment["metadata"]["labels"]["app.kubernetes.io/version"], version);
    let controller = object("manifests/composite-controller.yaml", "CompositeController", "serialfleet");
    for hook in ["sync", "customize"] {
        let url = controller["spec"]["hooks"][hook]["webhook"]["url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/{hook}?rev={version}")), "{url}");
    }
    let overlay = format!("image=example/{image}\n  - revision={version}\n");
    assert!(include_str!("../README.md").contains(&overlay), "the overlay of README.md");
}

/// The component finds the flags by their places.
#[test]
fn the_release_component_knows_where_the_flags_are() {
    let component: Value =
        serde_yaml::from_str(include_str!("../components/release/kustomization.yaml")).unwrap();
    let container = hook_container();
    let command = texts(&container["command"]);
    for (index, (key, flag)) in
        [("data.image", "--bridge-image"), ("data.revision", "--rev")].iter().enumerate()
    {
        let replacement = &component["replacements"][index];
        assert_eq!(replacement["source"]["fieldPath"], *key);
        let paths = texts(&replacement["targets"][0]["fieldPaths"]);
        let place = paths.iter().find_map(|path| path.rsplit_once(".command.")).unwrap().1;
        let place: usize = place.parse().unwrap();
        assert_eq!(command[place - 1], *flag);
    }
}

/// `group/resource` to verbs.
fn rights(role: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let role = object("manifests/rbac.yaml", "ClusterRole", role);
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let verbs = texts(&rule["verbs"]).into_iter().map(str::to_owned);
                rights.entry(format!("{group}/{resource}")).or_default().extend(verbs);
            }
        }
    }
    rights
}

fn expected(rights: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
    let verbs = |text: &str| text.split(' ').map(str::to_owned).collect();
    rights.iter().map(|(resource, text)| ((*resource).to_owned(), verbs(text))).collect()
}

/// A right more is a step for whoever takes over a bridge.
#[test]
fn bridges_may_do_what_the_bridge_does_and_nothing_else() {
    assert_eq!(
        rights("serialfleet-bridge"),
        expected(&[
            ("serialfleet.io/serialfleets", "get list watch"),
            ("serialfleet.io/serialnodes", "get create patch delete"),
        ])
    );
}

#[test]
fn metacontroller_may_do_what_fleets_need_and_nothing_else() {
    let child = "get list watch create update patch delete";
    assert_eq!(
        rights("serialfleet-metacontroller"),
        expected(&[
            ("metacontroller.k8s.io/compositecontrollers", "get list watch"),
            ("metacontroller.k8s.io/decoratorcontrollers", "get list watch"),
            ("metacontroller.k8s.io/controllerrevisions", "get list watch"),
            ("apiextensions.k8s.io/customresourcedefinitions", "get list watch"),
            ("/namespaces", "get list watch"),
            ("serialfleet.io/serialfleets", "get list watch"),
            ("serialfleet.io/serialnodes", "get list watch"),
            ("serialfleet.io/serialfleets/status", "update"),
            ("serialfleet.io/serialfleets/finalizers", "update"),
            ("apps/daemonsets", child),
            ("/services", child),
            ("discovery.k8s.io/endpointslices", child),
            ("discovery.k8s.io/endpointslices/restricted", "create"),
            ("networking.k8s.io/networkpolicies", child),
            ("/events", "create patch"),
        ])
    );
}

/// Whoever may write a fleet has privileged pods made.
#[test]
fn who_may_edit_namespaces_may_not_write_fleets() {
    for role in documents("manifests/rbac.yaml").iter().filter(|it| it["kind"] == "ClusterRole") {
        let labels = &role["metadata"]["labels"];
        assert_eq!(labels["rbac.authorization.k8s.io/aggregate-to-edit"], Value::Null);
        if labels["rbac.authorization.k8s.io/aggregate-to-view"] == "true" {
            let verbs = rights(role["metadata"]["name"].as_str().unwrap()).into_values();
            assert!(verbs.flatten().all(|verb| ["get", "list", "watch"].contains(&verb.as_str())));
        }
    }
}

#[test]
fn the_policy_is_about_the_bridges_and_is_bound() {
    let file = "manifests/admission-policy.yaml";
    let policy = object(file, "ValidatingAdmissionPolicy", "serialfleet-own-node");
    let user = format!("'system:serviceaccount:{}:serialfleet-bridge'", names::SYSTEM_NAMESPACE);
    assert_eq!(
        policy["spec"]["matchConditions"][0]["expression"],
        format!("request.userInfo.username == {user}")
    );
    assert_eq!(policy["spec"]["failurePolicy"], "Fail");
    let rule = &policy["spec"]["matchConstraints"]["resourceRules"][0];
    assert_eq!(rule["apiGroups"], json!([names::GROUP]));
    assert_eq!(rule["apiVersions"], json!([names::VERSION]));
    assert_eq!(rule["operations"], json!(["CREATE", "UPDATE", "DELETE"]));
    for validation in policy["spec"]["validations"].as_array().unwrap() {
        let said =
            validation["message"].as_str().or_else(|| validation["messageExpression"].as_str()).unwrap();
        assert!(said.split(' ').count() > 5, "a sentence: {said}");
        assert_eq!(validation["reason"], "Forbidden");
    }
    let binding = object(file, "ValidatingAdmissionPolicyBinding", "serialfleet-own-node");
    assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
}

/// The namespace of the crate, also where it is written out: a kustomization's `namespace:` would not reach all of them.
#[test]
fn everything_is_in_the_system_namespace() {
    let namespace = object("manifests/namespace.yaml", "Namespace", names::SYSTEM_NAMESPACE);
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
    for file in yaml_files(&directory().join("manifests")) {
        for object in documents(file.to_str().unwrap()) {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or(names::SYSTEM_NAMESPACE);
            assert_eq!(namespace, names::SYSTEM_NAMESPACE, "{}", file.display());
            let kind = object["kind"].as_str().unwrap();
            let needs = ["ServiceAccount", "Service", "PodDisruptionBudget", "Deployment"].contains(&kind);
            assert_eq!(object["metadata"]["namespace"].is_string(), needs, "{kind}");
        }
    }
}
