//! The CompositeController as hooks are shown it. Metacontroller holds it in Go structs: fields come in the order of
//! their declaration, unknown ones are lost, some empty ones always stand there
//! (`pkg/apis/metacontroller/v1alpha1/types.go`, `metav1.ObjectMeta`). Everything else in a request is sorted. Pure.

use serde_json::Value;
use serialfleet_hook::merge::to_vec;

use crate::duration;

/// How a value of Go's structs is written.
enum Shape {
    /// As it is; left out where it is null.
    Pointer,
    /// As it is; left out where it is null or empty (`omitempty`).
    Plain,
    /// A duration, in Go's own spelling.
    Duration,
    /// These fields in this order; left out where it is null.
    Struct(&'static [(&'static str, Self)]),
    /// The same, always there.
    Always(&'static [(&'static str, Self)]),
    /// Items of these fields; left out where it is empty.
    List(&'static [(&'static str, Self)]),
}

use Shape::{Always, Duration, List, Plain, Pointer, Struct};

const MANAGED_FIELDS: &[(&str, Shape)] = &[
    ("manager", Plain),
    ("operation", Plain),
    ("apiVersion", Plain),
    ("time", Pointer),
    ("fieldsType", Plain),
    ("fieldsV1", Pointer),
    ("subresource", Plain),
];
const OWNER: &[(&str, Shape)] = &[
    ("apiVersion", Pointer),
    ("kind", Pointer),
    ("name", Pointer),
    ("uid", Pointer),
    ("controller", Pointer),
    ("blockOwnerDeletion", Pointer),
];
const METADATA: &[(&str, Shape)] = &[
    ("name", Plain),
    ("generateName", Plain),
    ("namespace", Plain),
    ("selfLink", Plain),
    ("uid", Plain),
    ("resourceVersion", Plain),
    ("generation", Plain),
    ("creationTimestamp", Pointer),
    ("deletionTimestamp", Pointer),
    ("deletionGracePeriodSeconds", Pointer),
    ("labels", Plain),
    ("annotations", Plain),
    ("ownerReferences", List(OWNER)),
    ("finalizers", Plain),
    ("managedFields", List(MANAGED_FIELDS)),
];
const EXPRESSION: &[(&str, Shape)] = &[("key", Pointer), ("operator", Pointer), ("values", Plain)];
const SELECTOR: &[(&str, Shape)] = &[("matchLabels", Plain), ("matchExpressions", List(EXPRESSION))];
const CONDITION: &[(&str, Shape)] = &[("type", Pointer), ("status", Pointer), ("reason", Pointer)];
const KEY: &[(&str, Shape)] = &[("name", Pointer), ("namespace", Pointer), ("key", Plain)];
const AUTHORIZATION: &[(&str, Shape)] = &[("type", Plain), ("secretRef", Struct(KEY))];
const BASIC_AUTH: &[(&str, Shape)] =
    &[("secretRef", Struct(KEY)), ("usernameKey", Plain), ("passwordKey", Plain)];
const CLIENT_TLS: &[(&str, Shape)] =
    &[("secretRef", Struct(KEY)), ("certKey", Plain), ("privateKeyKey", Plain)];
const CA_BUNDLE: &[(&str, Shape)] =
    &[("inline", Pointer), ("secretRef", Struct(KEY)), ("configMapRef", Struct(KEY))];
const ENDPOINT: &[(&str, Shape)] = &[
    ("host", Pointer),
    ("caBundle", Struct(CA_BUNDLE)),
    ("clientTLS", Struct(CLIENT_TLS)),
    ("authorization", Struct(AUTHORIZATION)),
    ("basicAuth", Struct(BASIC_AUTH)),
];
const SERVICE: &[(&str, Shape)] =
    &[("name", Pointer), ("namespace", Pointer), ("port", Pointer), ("protocol", Pointer)];
const ETAG: &[(&str, Shape)] =
    &[("enabled", Pointer), ("cacheTimeoutSeconds", Pointer), ("cacheCleanupSeconds", Pointer)];
const WEBHOOK: &[(&str, Shape)] = &[
    ("url", Pointer),
    ("timeout", Duration),
    ("etag", Struct(ETAG)),
    ("path", Pointer),
    ("service", Struct(SERVICE)),
    ("responseUnMarshallMode", Pointer),
    ("caBundle", Struct(CA_BUNDLE)),
    ("clientTLS", Struct(CLIENT_TLS)),
    ("authorization", Struct(AUTHORIZATION)),
    ("basicAuth", Struct(BASIC_AUTH)),
];
const HOOK: &[(&str, Shape)] = &[("version", Pointer), ("webhook", Struct(WEBHOOK))];
const HOOKS: &[(&str, Shape)] = &[
    ("customize", Struct(HOOK)),
    ("sync", Struct(HOOK)),
    ("finalize", Struct(HOOK)),
    ("preUpdateChild", Struct(HOOK)),
    ("postUpdateChild", Struct(HOOK)),
];
const PARENT: &[(&str, Shape)] = &[
    ("apiVersion", Pointer),
    ("resource", Pointer),
    ("revisionHistory", Struct(&[("fieldPaths", Plain)])),
    ("labelSelector", Struct(SELECTOR)),
    ("ignoreStatusChanges", Pointer),
];
const CHILD: &[(&str, Shape)] = &[
    ("apiVersion", Pointer),
    ("resource", Pointer),
    (
        "updateStrategy",
        Struct(&[("method", Plain), ("statusChecks", Always(&[("conditions", List(CONDITION))]))]),
    ),
];
const SPEC: &[(&str, Shape)] = &[
    ("parentResource", Always(PARENT)),
    ("childResources", List(CHILD)),
    ("hooks", Struct(HOOKS)),
    ("endpointConfigs", List(ENDPOINT)),
    ("resyncPeriodSeconds", Pointer),
    ("generateSelector", Pointer),
];
const CONTROLLER: &[(&str, Shape)] = &[
    ("kind", Plain),
    ("apiVersion", Plain),
    ("metadata", Always(METADATA)),
    ("spec", Always(SPEC)),
    ("status", Always(&[])),
];

/// The CompositeController as it stands in a request.
pub fn controller(controller: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_fields(controller, CONTROLLER, &mut bytes);
    bytes
}

/// Its spec alone: equal bytes are an equal spec.
pub fn spec(controller: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_fields(controller.get("spec").unwrap_or(&Value::Null), SPEC, &mut bytes);
    bytes
}

fn write_fields(value: &Value, fields: &[(&str, Shape)], bytes: &mut Vec<u8>) {
    bytes.push(b'{');
    let mut first = true;
    for (name, shape) in fields {
        let value = value.get(name).unwrap_or(&Value::Null);
        if !is_written(value, shape) {
            continue;
        }
        if !first {
            bytes.push(b',');
        }
        first = false;
        bytes.extend(to_vec(&Value::from(*name)));
        bytes.push(b':');
        write_value(value, shape, bytes);
    }
    bytes.push(b'}');
}

fn is_written(value: &Value, shape: &Shape) -> bool {
    match (shape, value) {
        (Always(_), _) => true,
        (_, Value::Null) => false,
        (Pointer | Duration | Struct(_), _) => true,
        (Plain | List(_), Value::Array(items)) => !items.is_empty(),
        (Plain, Value::Object(map)) => !map.is_empty(),
        (Plain, Value::String(text)) => !text.is_empty(),
        (Plain, Value::Number(number)) => number.as_f64() != Some(0.0),
        (Plain, Value::Bool(flag)) => *flag,
        (List(_), _) => false,
    }
}

fn write_value(value: &Value, shape: &Shape, bytes: &mut Vec<u8>) {
    match shape {
        Pointer | Plain => bytes.extend(to_vec(value)),
        Duration => {
            let printed = value.as_str().and_then(duration::parse).map(duration::print);
            bytes.extend(to_vec(&printed.map_or_else(|| value.clone(), Value::from)));
        }
        Struct(fields) | Always(fields) => write_fields(value, fields, bytes),
        List(fields) => {
            bytes.push(b'[');
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write_fields(item, fields, bytes);
            }
            bytes.push(b']');
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_come_in_the_order_of_the_declaration_and_unknown_ones_are_lost() {
        let written = controller(&json!({
            "apiVersion": "metacontroller.k8s.io/v1alpha1", "kind": "CompositeController", "unknown": 1,
            "metadata": {"uid": "u", "name": "serialfleet", "generation": 1, "labels": {"b": "<", "a": "1"}, "annotations": {}},
            "spec": {
                "generateSelector": true, "unknown": 1,
                "hooks": {"sync": {"webhook": {"timeout": "1m", "url": "http://h/sync?a=1&rev=2", "etag": {"cacheTimeoutSeconds": 0, "enabled": true}}, "version": "v2"}, "customize": {}},
                "childResources": [{"updateStrategy": {"method": "InPlace"}, "resource": "services", "apiVersion": "v1"}, {"apiVersion": "v1", "resource": "pods"}],
                "parentResource": {"ignoreStatusChanges": false, "resource": "serialfleets", "apiVersion": "serialfleet.io/v1alpha1"},
            },
        }));
        assert_eq!(
            String::from_utf8(written).unwrap(),
            concat!(
                r#"{"kind":"CompositeController","apiVersion":"metacontroller.k8s.io/v1alpha1","#,
                r#""metadata":{"name":"serialfleet","uid":"u","generation":1,"labels":{"a":"1","b":"\u003c"}},"#,
                r#""spec":{"parentResource":{"apiVersion":"serialfleet.io/v1alpha1","resource":"serialfleets","ignoreStatusChanges":false},"#,
                r#""childResources":[{"apiVersion":"v1","resource":"services","updateStrategy":{"method":"InPlace","statusChecks":{}}},"#,
                r#"{"apiVersion":"v1","resource":"pods"}],"#,
                r#""hooks":{"customize":{},"sync":{"version":"v2","webhook":{"url":"http://h/sync?a=1\u0026rev=2","timeout":"1m0s","#,
                r#""etag":{"enabled":true,"cacheTimeoutSeconds":0}}}},"generateSelector":true},"status":{}}"#
            )
        );
    }
}
