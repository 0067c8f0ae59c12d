//! What a file of ser2net 4 says, statement by statement: version 1 repeats `connection: &name`, version 2 (from 4.6)
//! has `connections:` with names below it (ser2net.yaml(5)). A connection without anchor, and one that makes up the
//! whole file, are understood too: people keep such snippets.
//!
//! Owner: [`super::connections`]. Does not know what the statements mean.

use std::collections::BTreeSet;

use super::tree::{Node, Value};

/// One statement.
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    /// Its anchor, or its key in version 2.
    pub(super) name: Option<String>,
    /// From 1.
    pub(super) line: usize,
    /// Before `(name)` in texts: `*` in version 1, `=` in version 2.
    pub(super) mark: char,
    /// `accepter`, `connector`, `timeout`, `value`, ...: key in lower case, and value.
    pub(super) fields: Vec<(String, String)>,
    /// What stands below `options`.
    pub(super) options: Vec<(String, String)>,
}

impl Statement {
    /// The names of fields that stand there again.
    pub(super) fn repeated(&self) -> impl Iterator<Item = &str> {
        let mut seen = BTreeSet::new();
        self.fields.iter().map(|(key, _)| key.as_str()).filter(move |key| !seen.insert(*key))
    }

    /// The field's text; the last one counts.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Define,
    Include,
    Default,
    DeleteDefault,
    #[default]
    Connection,
    /// `rotator`, `led`, `admin`.
    Other(&'static str),
    /// Something that ser2net does not know either.
    Unknown(String),
}

/// The statements of a document, in order.
pub(super) fn statements(document: &Node) -> Vec<Statement> {
    let mut found = Vec::new();
    match &document.value {
        Value::Mapping(fields) => level(fields, &mut found),
        // `- connection: ...`
        Value::List(items) => {
            for item in items {
                if let Value::Mapping(fields) = &item.value {
                    level(fields, &mut found);
                }
            }
        }
        Value::Text(_) => {}
    }
    found
}

const PARTS: [&str; 6] = ["accepter", "connector", "enable", "timeout", "options", "name"];

fn level(fields: &[(Node, Node)], found: &mut Vec<Statement>) {
    let word = |node: &Node| node.text().unwrap_or_default().trim().to_ascii_lowercase();
    if fields.iter().any(|(key, _)| word(key) == "connector")
        && fields.iter().all(|(key, _)| PARTS.contains(&word(key).as_str()))
    {
        let line = fields.first().map_or(1, |(key, _)| key.line);
        let mut whole = Statement { line, mark: '*', ..Statement::default() };
        parts(fields, &mut whole);
        found.push(whole);
        return;
    }
    for (key, value) in fields {
        let word = word(key);
        let (kind, version) = match word.as_str() {
            "define" => (Kind::Define, 1),
            "include" => (Kind::Include, 1),
            "default" => (Kind::Default, 1),
            "delete_default" => (Kind::DeleteDefault, 1),
            "connection" => (Kind::Connection, 1),
            "rotator" => (Kind::Other("rotator"), 1),
            "led" => (Kind::Other("led"), 1),
            "admin" => (Kind::Other("admin"), 1),
            "defines" => (Kind::Define, 2),
            "defaults" => (Kind::Default, 2),
            "delete_defaults" => (Kind::DeleteDefault, 2),
            "connections" => (Kind::Connection, 2),
            "rotators" => (Kind::Other("rotator"), 2),
            "leds" => (Kind::Other("led"), 2),
            "admins" => (Kind::Other("admin"), 2),
            _ => (Kind::Unknown(word), 1),
        };
        match (&value.value, version) {
            (Value::Mapping(named), 2) => {
                found.extend(named.iter().map(|(name, value)| {
                    statement(kind.clone(), name.text().map(str::to_owned), '=', name.line, value)
                }));
            }
            // A list of connections, or `connection:` with several below it.
            (Value::List(items), _) => found.extend(
                items.iter().map(|item| statement(kind.clone(), item.anchor.clone(), '*', item.line, item)),
            ),
            _ => found.push(statement(kind, value.anchor.clone(), '*', key.line, value)),
        }
    }
}

fn statement(kind: Kind, name: Option<String>, mark: char, line: usize, value: &Node) -> Statement {
    let mut statement = Statement { kind, name, line, mark, ..Statement::default() };
    match &value.value {
        Value::Text(text) => statement.fields.push(("value".to_owned(), text.clone())),
        Value::List(items) => {
            statement.fields.extend(items.iter().map(|item| ("class".to_owned(), flat(item))));
        }
        Value::Mapping(fields) => parts(fields, &mut statement),
    }
    if statement.kind == Kind::Connection && statement.name.is_none() {
        statement.name = statement.field("name").map(str::to_owned);
    }
    statement
}

fn parts(fields: &[(Node, Node)], statement: &mut Statement) {
    for (key, value) in fields {
        let name = flat(key).trim().to_ascii_lowercase();
        match &value.value {
            Value::Mapping(options) if name == "options" => {
                statement.options.extend(options.iter().map(|(key, value)| (flat(key), flat(value))));
            }
            _ => statement.fields.push((name, flat(value))),
        }
    }
}

/// The value as one text.
fn flat(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => text.clone(),
        Value::List(items) => items.iter().map(flat).collect::<Vec<_>>().join(","),
        Value::Mapping(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}={}", flat(key), flat(value))).collect();
            fields.join(",")
        }
    }
}
