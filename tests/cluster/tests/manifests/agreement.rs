//! That the manifests agree with the hook server: what it demands of the CompositeController, and what it makes.

use std::{collections::BTreeSet, fs, time::SystemTime};

use serde_json::{Value, json};
use serialfleet_api::{manifest::read_fleet, names};
use serialfleet_hook::{config::Config, request::SyncRequest, sync::sync};

use super::{flag, hook, object, place, root, shipped, texts};

/// What the hook makes of `examples/home.yaml` when that controller calls for the first time.
fn answer(objects: &[Value]) -> Value {
    let example = fs::read_to_string(root().join("examples/home.yaml")).unwrap();
    let mut parent = serde_json::to_value(read_fleet(&example).unwrap()).unwrap();
    parent["metadata"]["uid"] = json!("1");
    parent["metadata"]["generation"] = json!(1);
    let request = json!({
        "controller": object(objects, "CompositeController", "serialfleet"),
        "parent": parent,
        "children": {
            "DaemonSet.apps/v1": {}, "Service.v1": {}, "EndpointSlice.discovery.k8s.io/v1": {},
            "NetworkPolicy.networking.k8s.io/v1": {},
        },
        "related": {
            "SerialNode.serialfleet.io/v1alpha1": {}, "EndpointSlice.discovery.k8s.io/v1": {}, "Service.v1": {},
        },
        "finalizing": false,
    });
    let request = SyncRequest::parse(request.to_string().as_bytes()).unwrap();
    let config = Config::with_image(flag(objects, "--bridge-image"));
    serde_json::to_value(sync(&request, &config, SystemTime::UNIX_EPOCH).unwrap()).unwrap()
}

#[test]
fn the_hook_has_nothing_to_say_against_the_composite_controller() {
    let Some(objects) = shipped() else { return };
    let answer = answer(&objects);
    let conditions = answer["status"]["conditions"].as_array().unwrap();
    let degraded = conditions.iter().find(|it| it["type"] == "Degraded").unwrap();
    assert_ne!(degraded["reason"], "Controller", "{degraded}");
    assert!(!degraded["message"].as_str().unwrap().contains("CompositeController"), "{degraded}");

    let service = object(&objects, "Service", "serialfleet-hook");
    let (port, container) = (&service["spec"]["ports"][0], hook(&objects));
    assert_eq!(port["targetPort"], container["ports"][0]["name"]);
    assert_eq!(flag(&objects, "--listen"), format!("[::]:{}", container["ports"][0]["containerPort"]));
    for name in ["sync", "customize"] {
        let hook = &object(&objects, "CompositeController", "serialfleet")["spec"]["hooks"][name];
        let webhook = &hook["webhook"];
        assert_eq!(
            webhook["url"],
            format!(
                "http://serialfleet-hook.{}.svc:{}/{name}?rev={}",
                names::SYSTEM_NAMESPACE,
                port["port"],
                flag(&objects, "--rev")
            )
        );
        assert_eq!(hook["version"], "v2");
        assert_eq!(webhook["responseUnMarshallMode"], "strict");
        assert_eq!(webhook["timeout"], "10s");
        // With one of the times alone Metacontroller stands still.
        assert_eq!(webhook["etag"].as_object().unwrap().len(), 3, "{webhook}");
    }
}

#[test]
fn the_bridges_that_the_hook_makes_are_those_that_the_manifests_provide_for() {
    let Some(objects) = shipped() else { return };
    let answer = answer(&objects);
    let children = answer["children"].as_array().unwrap();
    let set = &children[place(children, "DaemonSet", "home-bridge")];
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], hook(&objects)["image"]);

    let account = object(&objects, "ServiceAccount", pod["serviceAccountName"].as_str().unwrap());
    assert_eq!(account["metadata"]["namespace"], set["metadata"]["namespace"]);
    let binding = object(&objects, "ClusterRoleBinding", "serialfleet-bridge");
    let subject = &binding["subjects"][0];
    assert_eq!(subject["name"], account["metadata"]["name"]);
    assert_eq!(subject["namespace"], account["metadata"]["namespace"]);
    let policy = object(&objects, "ValidatingAdmissionPolicy", "serialfleet-own-node");
    let (namespace, name) = (&account["metadata"]["namespace"], &account["metadata"]["name"]);
    let user = format!(
        "request.userInfo.username == 'system:serviceaccount:{}:{}'",
        namespace.as_str().unwrap(),
        name.as_str().unwrap()
    );
    assert_eq!(policy["spec"]["matchConditions"][0]["expression"], user);
    // The policy tells the fleet from the pod's name: what the DaemonSet controller appends, and the hook's own suffix.
    let fleet =
        policy["spec"]["variables"].as_array().unwrap().iter().find(|it| it["name"] == "fleet").unwrap();
    let suffix = set["metadata"]["name"].as_str().unwrap().strip_prefix("home").unwrap();
    let expression = fleet["expression"].as_str().unwrap();
    assert!(expression.contains(&format!("{suffix}-[a-z0-9]{{5}}$'")), "{expression}");
    assert!(expression.contains(&format!("size() - {})", suffix.len() + 6)), "{expression}");
}

/// Group and plural of a kind of ours.
fn resource(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "DaemonSet" => ("apps", "daemonsets"),
        "Service" => ("", "services"),
        "EndpointSlice" => ("discovery.k8s.io", "endpointslices"),
        "NetworkPolicy" => ("networking.k8s.io", "networkpolicies"),
        other => panic!("a child of kind {other}: add it to the CompositeController, to the role, and here"),
    }
}

#[test]
fn metacontroller_watches_and_may_write_every_kind_of_child() {
    let Some(objects) = shipped() else { return };
    let declared: BTreeSet<&str> =
        object(&objects, "CompositeController", "serialfleet")["spec"]["childResources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["resource"].as_str().unwrap())
            .collect();
    let role = object(&objects, "ClusterRole", "serialfleet-metacontroller");
    let answer = answer(&objects);
    let made: BTreeSet<&str> =
        answer["children"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    for kind in made.into_iter().chain(["EndpointSlice"]) {
        let (group, plural) = resource(kind);
        assert!(declared.contains(plural), "{plural}");
        let rule = role["rules"].as_array().unwrap().iter().find(|rule| {
            texts(&rule["apiGroups"]).contains(&group) && texts(&rule["resources"]).contains(&plural)
        });
        for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
            assert!(texts(&rule.unwrap()["verbs"]).contains(&verb), "{verb} {plural}");
        }
    }
}
