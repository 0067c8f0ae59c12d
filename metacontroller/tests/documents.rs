//! What the documents beside the types promise: every example is good, every field is in the table.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;
use serde_json::Value;
use serialfleet_api::manifest::{read_fleet, to_json};

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn spec_schema() -> Value {
    let document = serde_yaml::Deserializer::from_str(include_str!("../manifests/crds.yaml")).next().unwrap();
    let crd = Value::deserialize(document).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

#[test]
fn every_example_is_a_good_fleet_and_in_the_readme() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let readme = example("README.md");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".yaml") {
            continue;
        }
        let fleet = read_fleet(&example(&name)).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert!(names.insert(fleet.metadata.name), "{name}: the fleets of examples have names of their own");
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in examples/README.md");
    }
    assert!(names.len() >= 5);
}

/// Paths of all fields below `spec`: those of a device without a prefix, those of `defaults` left out.
fn fields(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        into.insert(path.clone());
        match path.as_str() {
            "defaults" => {}
            "devices" => fields(&inner["items"], "", into),
            _ => {
                fields(inner, &path, into);
                fields(&inner["items"], &format!("{path}[]"), into);
            }
        }
    }
}

#[test]
fn every_field_is_in_the_table() {
    let page = include_str!("../FIELDS.md");
    let mut all = BTreeSet::new();
    fields(&spec_schema(), "", &mut all);
    assert!(all.len() > 60, "{}", all.len());
    // A group is there by its fields.
    let is_group = |path: &str| all.iter().any(|other| other.starts_with(&format!("{path}.")));
    for path in all.iter().filter(|path| !is_group(path)) {
        let is_there =
            [format!("| `{path}` |"), format!("| `{path}` * |")].iter().any(|row| page.contains(row));
        assert!(is_there, "metacontroller/FIELDS.md: no row for {path}");
    }
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(path, _)| path)
    {
        let known = all.contains(row) || row == "metadata.name" || row.contains('/') || row.contains(".rs");
        assert!(known, "metacontroller/FIELDS.md: {row} is no field");
    }
}

/// The commented example really has every field.
#[test]
fn the_example_with_everything_has_everything() {
    fn used(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (name, inner) in object {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    into.insert(path.clone());
                    match (path.as_str(), inner) {
                        ("devices", Value::Array(devices)) => {
                            devices.iter().for_each(|device| used(device, "", into))
                        }
                        _ => used(inner, &path, into),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| used(item, &format!("{path}[]"), into)),
            _ => {}
        }
    }
    let mut wanted = BTreeSet::new();
    fields(&spec_schema(), "", &mut wanted);
    let mut found = BTreeSet::new();
    used(&to_json(&example("everything.yaml")).unwrap().unwrap()["spec"], "", &mut found);
    let missing: Vec<_> = wanted.difference(&found).filter(|path| *path != "match.tty").collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// People copy it by hand.
#[test]
fn the_example_for_homes_is_short() {
    assert!(example("home.yaml").lines().count() <= 7);
}
