//! Each setting, broken alone, gives the one finding that names it.

use serde_json::{Value, json};

use super::*;

fn right() -> Value {
    let webhook = |hook: &str| {
        json!({"version": "v2", "webhook": {
            "url": format!("http://serialfleet-hook.serialfleet-system.svc:8080/{hook}?rev=1"),
            "timeout": "10s",
            "responseUnMarshallMode": "strict",
            "etag": {"enabled": true, "cacheTimeoutSeconds": 3600, "cacheCleanupSeconds": 600},
        }})
    };
    let kinds = KINDS.map(|(resource, version)| {
        json!({"apiVersion": version, "resource": resource,
            "updateStrategy": {"method": "InPlace", "statusChecks": {}}})
    });
    json!({"kind": "CompositeController", "metadata": {"name": "serialfleet"}, "spec": {
        "generateSelector": true,
        "parentResource": {"apiVersion": "serialfleet.io/v1alpha1", "resource": "serialfleets",
            "ignoreStatusChanges": true},
        "childResources": kinds,
        "hooks": {"sync": webhook("sync"), "customize": webhook("customize")},
    }})
}

fn findings(value: Value) -> Vec<Finding> {
    doctor(&serde_json::from_value(value).unwrap())
}

#[test]
fn right_settings_have_no_findings() {
    assert_eq!(findings(right()), []);
}

#[test]
fn what_metacontroller_takes_by_default_has_none_either() {
    let mut controller = right();
    for hook in ["sync", "customize"] {
        let webhook = controller["spec"]["hooks"][hook]["webhook"].as_object_mut().unwrap();
        for field in ["timeout", "responseUnMarshallMode", "etag"] {
            webhook.remove(field);
        }
    }
    assert_eq!(findings(controller), []);
}

#[test]
fn each_setting_alone_is_found() {
    let gone = Value::Null;
    for (pointer, value, setting, wrong) in [
        ("/generateSelector", gone.clone(), "generateSelector", "none is ever observed"),
        ("/parentResource/apiVersion", json!("v1"), "parentResource.apiVersion", "is v1"),
        ("/parentResource/resource", json!("pods"), "parentResource.resource", "is pods"),
        (
            "/parentResource/ignoreStatusChanges",
            json!(false),
            "parentResource.ignoreStatusChanges",
            "calls the hook again",
        ),
        ("/parentResource/revisionHistory", json!({}), "parentResource.revisionHistory", "stall"),
        (
            "/childResources/0/updateStrategy/method",
            gone.clone(),
            "childResources[daemonsets].updateStrategy.method",
            "is missing, so these are made once and never changed again",
        ),
        (
            "/childResources/1/updateStrategy",
            json!({"method": "OnDelete"}),
            "childResources[services].updateStrategy.method",
            "never changed",
        ),
        (
            "/childResources/2/updateStrategy/method",
            json!("Recreate"),
            "childResources[endpointslices].updateStrategy.method",
            "deletes the object first",
        ),
        (
            "/childResources/3/updateStrategy/method",
            json!("RollingInPlace"),
            "childResources[networkpolicies].updateStrategy.method",
            "stall",
        ),
        (
            "/childResources/1/apiVersion",
            json!("v2"),
            "childResources[services].apiVersion",
            "made again for ever",
        ),
        ("/childResources/4", json!({"resource": "pods"}), "childResources[pods]", "in memory"),
        ("/hooks/sync/version", gone.clone(), "hooks.sync.version", "is missing, which means v1"),
        ("/hooks/customize/version", json!("v1"), "hooks.customize.version", "is v1"),
        ("/hooks/customize", gone.clone(), "hooks.customize", "no SerialNodes arrive"),
        ("/hooks/finalize", json!({"version": "v2"}), "hooks.finalize", "cannot be deleted"),
        (
            "/hooks/sync/webhook/etag/cacheCleanupSeconds",
            gone.clone(),
            "hooks.sync.webhook.etag.cacheCleanupSeconds",
            "panics",
        ),
        (
            "/hooks/customize/webhook/etag/cacheTimeoutSeconds",
            gone,
            "hooks.customize.webhook.etag.cacheTimeoutSeconds",
            "panics",
        ),
        ("/hooks/sync/webhook/timeout", json!("2s"), "hooks.sync.webhook.timeout", "gives up"),
        ("/hooks/sync/webhook/timeout", json!(10), "hooks.sync.webhook.timeout", "no duration"),
        (
            "/hooks/sync/webhook/responseUnMarshallMode",
            json!("loose"),
            "hooks.sync.webhook.responseUnMarshallMode",
            "is loose",
        ),
        (
            "/hooks/customize/webhook/url",
            json!("http://hook/sync?rev=1"),
            "hooks.customize.webhook.url",
            "not the customize hook",
        ),
        ("/hooks/sync/webhook/url", json!("http://hook/sync"), "hooks.sync.webhook.url", "no revision"),
        ("/hooks/sync/webhook/url", Value::Null, "hooks.sync.webhook.url", "never called"),
        (
            "/hooks/customize/webhook/url",
            json!("http://hook/customize?rev=2"),
            "hooks.customize.webhook.url",
            "says revision 2 and that of sync 1",
        ),
        ("/resyncPeriodSeconds", json!(60), "resyncPeriodSeconds", "for nothing"),
    ] {
        let mut controller = right();
        put(&mut controller["spec"], pointer, value);
        let found = findings(controller);
        assert_eq!(found.len(), 1, "{pointer}: {found:?}");
        assert_eq!(found[0].setting, setting, "{found:?}");
        assert!(found[0].wrong.contains(wrong) && !found[0].fix.is_empty(), "{found:?}");
        assert!(found[0].to_string().starts_with(&format!("spec.{setting}: ")), "{}", found[0]);
    }
}

/// Null removes.
fn put(spec: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match spec.pointer_mut(parent).unwrap() {
        Value::Array(items) => items.push(value),
        parent if value.is_null() => drop(parent.as_object_mut().unwrap().remove(last)),
        parent => parent[last] = value,
    }
}

#[test]
fn missing_kinds_are_found() {
    let mut controller = right();
    controller["spec"]["childResources"] = json!([]);
    let found = findings(controller);
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|it| it.fix.contains("InPlace")), "{found:?}");
}

#[test]
fn the_form_with_a_service_is_understood() {
    let mut controller = right();
    for hook in ["sync", "customize"] {
        controller["spec"]["hooks"][hook]["webhook"] = json!({
            "service": {"name": "serialfleet-hook", "namespace": "serialfleet-system"}, "path": format!("/{hook}?rev=1"),
        });
    }
    assert_eq!(findings(controller), []);
}

#[test]
fn nonsense_is_found_and_breaks_nothing() {
    for spec in [json!(null), json!("x"), json!([]), json!({"childResources": {}, "hooks": [1]})] {
        let found = findings(json!({"metadata": {"name": 3}, "spec": spec}));
        assert!(found.len() > 8, "{found:?}");
    }
}

#[test]
fn controllers_are_found_in_manifests_lists_and_captured_requests() {
    let one = right();
    for (text, count) in [
        (one.to_string(), 1),
        (format!("kind: Namespace\n---\n{one}\n---\n"), 1),
        (json!({"kind": "List", "items": [one, {"kind": "Pod"}, one]}).to_string(), 2),
        (json!({"controller": one, "parent": {}}).to_string(), 1),
    ] {
        let found = read(&text).unwrap();
        assert_eq!(found.len(), count);
        assert_eq!(found[0].name(), "serialfleet");
    }
    // A slip in the name of our kind is not somebody else's controller.
    let mut slip = right();
    slip["spec"]["parentResource"]["resource"] = json!("serialfleet");
    let found = read(&slip.to_string()).unwrap();
    assert_eq!(doctor(&found[0])[0].setting, "parentResource.resource");
    let mut other = right();
    other["spec"]["parentResource"] = json!({"apiVersion": "example.com/v1", "resource": "things"});
    for text in ["", "a: b", &other.to_string()] {
        assert!(matches!(read(text), Err(DoctorError::None)), "{text}");
    }
    let broken = read("a: [b").unwrap_err();
    assert!(matches!(broken, DoctorError::Yaml(_)));
    // With whatever is behind it, it is said once.
    assert_eq!(format!("{:#}", anyhow::Error::from(broken)).matches("did not find").count(), 1);
}
