//! One table of good and bad objects, `verdicts.txt`, against the committed CRD (schema and CEL) and against
//! `read_fleet`: the same verdicts, the same paths, the same words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde::Deserialize;
use serde_json::{Value, json};
use serialfleet_api::{manifest::read_fleet, validate};

#[path = "verdicts/table.rs"]
mod table;

use table::{Entry, table};

fn schema() -> Value {
    let document = serde_yaml::Deserializer::from_str(include_str!("../manifests/crds.yaml")).next().unwrap();
    let crd = Value::deserialize(document).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// What the API server would see of a file: the value that `read_fleet` makes of it, which only a test may look at.
fn as_json(text: &str) -> Value {
    serialfleet_api::manifest::to_json(text).unwrap().unwrap()
}

type Refusals = BTreeSet<(String, String)>;

/// The CRD's verdict: its bounds, and its CEL rules where those can run at all.
fn crd_refusals(schema: &CompiledSchema, object: &Value) -> Refusals {
    let bounds = validate::check_bounds(object);
    let mut refusals: Refusals = bounds.into_iter().map(|found| (found.path, found.message)).collect();
    let mut object = object.clone();
    remove_nulls(&mut object);
    match Validator::new().validate_compiled(schema, &object, None) {
        Ok(()) => {}
        // A rule that cannot run is one about a field of the wrong type, which the bounds refuse.
        Err(_)
            if refusals
                .iter()
                .any(|(_, message)| message.starts_with("write ") && message.contains("(found")) => {}
        Err(_) if refusals.iter().any(|(_, message)| message.starts_with("missing")) => {}
        Err(errors) => refusals.extend(
            errors
                .into_iter()
                .map(|error| (error.field_path.trim_start_matches('.').to_owned(), error.message)),
        ),
    }
    refusals
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[test]
fn crd_and_file_agree_on_every_entry() {
    let schema = compile_schema(&schema());
    let table = table();
    assert!(table.len() >= 80, "{}", table.len());
    let mut failures = Vec::new();
    for Entry { name, refusal, by_cel, text } in &table {
        let by_crd = crd_refusals(&schema, &as_json(text));
        let by_file: Refusals = match read_fleet(text) {
            Ok(_) => Refusals::new(),
            Err(problems) => {
                assert!(problems.iter().all(|problem| problem.line.is_some()), "{name}");
                problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
            }
        };
        let expected = |refusals: &Refusals| match refusal {
            None => refusals.is_empty(),
            Some((path, fragment)) => {
                refusals.iter().any(|(found, message)| found == path && message.contains(fragment))
            }
        };
        if !expected(&by_file) || (*by_cel && by_crd != by_file) {
            failures.push(format!("{name}\n  wanted {refusal:?}\n  CRD  {by_crd:?}\n  file {by_file:?}"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), table.len(), failures.join("\n"));
}

#[test]
fn names_of_entries_are_unique() {
    let table = table();
    let names: BTreeSet<_> = table.iter().map(|entry| &entry.name).collect();
    assert_eq!(names.len(), table.len());
}

/// Every sentence of the CRD is provoked by an entry: no rule without a test.
#[test]
fn every_rule_of_the_crd_has_an_entry() {
    let mut messages = BTreeSet::new();
    collect_messages(&schema(), &mut messages);
    assert!(messages.len() > 30, "{}", messages.len());
    let said: Vec<String> = table()
        .iter()
        .filter_map(|entry| read_fleet(&entry.text).err())
        .flatten()
        .map(|problem| problem.message)
        .collect();
    for message in messages {
        assert!(said.iter().any(|said| said.ends_with(&message)), "no entry for: {message}");
    }
}

fn collect_messages(value: &Value, messages: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
            {
                messages.insert(rule["message"].as_str().unwrap().to_owned());
            }
            fields.values().for_each(|value| collect_messages(value, messages));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_messages(value, messages)),
        _ => {}
    }
}

#[test]
fn every_cel_rule_compiles_and_names_only_self() {
    fn visit(schema: &CompiledSchema, rules: &mut usize) {
        assert!(!schema.has_errors(), "{:?}", schema.compilation_errors());
        *rules += schema.validations.len();
        for inner in schema.properties.values().chain(schema.items.as_deref()) {
            visit(inner, rules);
        }
    }
    let mut rules = 0;
    visit(&compile_schema(&schema()), &mut rules);
    assert!(rules > 40, "{rules}");
}

#[test]
fn a_fleet_of_256_devices_is_good_and_one_of_257_is_not() {
    let fleet = |count: usize| {
        let devices: Vec<Value> = (0..count)
            .map(|n| {
                json!({
                    "name": format!("device-{n:03}"),
                    "scope": if n % 2 == 0 { "Node" } else { "Cluster" },
                    "match": {"usb": format!("10c4:{n:04x}"), "serialNumber": format!("{n:08x}")},
                    "port": 7000 + n,
                    "clients": {"allowFrom": [{"cidr": format!("10.{}.0.0/16", n % 256)}]},
                })
            })
            .collect();
        json!({
            "apiVersion": "serialfleet.io/v1alpha1",
            "kind": "SerialFleet",
            "metadata": {"name": "large"},
            "spec": {"bridge": {"hostNetwork": true}, "devices": devices},
        })
    };
    assert_eq!(validate::validate(&fleet(256)).unwrap().spec.devices.len(), 256);
    let refusals = crd_refusals(&compile_schema(&schema()), &fleet(256));
    assert!(refusals.is_empty(), "{refusals:?}");
    let violations = validate::validate(&fleet(257)).unwrap_err();
    assert_eq!(violations[0].to_string(), "spec.devices: too many: at most 256 entries");
}
