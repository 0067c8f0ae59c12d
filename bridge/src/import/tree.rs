//! ser2net's YAML as a tree: keys may repeat (`connection:` does), anchors have names that mean something, and an
//! alias stands for a text. Every scalar is text: `off` is the word off.
//!
//! Owner: [`super::statements`]. Knows YAML, not ser2net's words. Bounded: nesting and number of values.

use saphyr_parser::{Event, Parser, ScanError, Span};

/// A value with what stands before it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Name of its anchor, without `&`.
    pub(super) anchor: Option<String>,
    /// Its line, from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Value {
    /// A text; an alias `*name` is the text `*(name)`, by which ser2net means the same.
    Text(String),
    /// In the order of the file, keys as often as written.
    Mapping(Vec<(Node, Node)>),
    List(Vec<Node>),
}

impl Default for Value {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Node {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }
}

/// Deepest nesting; ser2net's files have four levels.
const MAX_DEPTH: usize = 16;
/// Most values.
const MAX_VALUES: usize = 50_000;
/// Most aliases to what another file defines.
const MAX_FOREIGN: usize = 100;

/// The documents of a text.
///
/// # Errors
/// The line and what is wrong with it.
pub(super) fn read(text: &str) -> Result<Vec<Node>, (usize, String)> {
    let mut text = text.to_owned();
    for _ in 0..MAX_FOREIGN {
        match parse(&text) {
            Ok(nodes) => return Ok(nodes),
            Err(Problem::Ours(line, message)) => return Err((line, message)),
            Err(Problem::Parser(error)) => match without_alias(&text, error.marker().index()) {
                Some(next) => text = next,
                None => return Err((error.marker().line(), error.info().to_owned())),
            },
        }
    }
    Err((1, format!("more than {MAX_FOREIGN} aliases without an anchor in this file")))
}

/// An alias whose anchor is in another file, or nowhere, written as the text that ser2net takes for the same.
fn without_alias(text: &str, index: usize) -> Option<String> {
    let (start, _) = text.char_indices().nth(index)?;
    let (before, rest) = text.split_at_checked(start)?;
    let name: String = rest.strip_prefix('*')?.chars().take_while(|c| is_name(*c)).collect();
    let after = rest.get(1 + name.len()..)?;
    (!name.is_empty()).then(|| format!("{before}\"*({})\"{after}", name.replace(['"', '\\'], "_")))
}

fn is_name(character: char) -> bool {
    !character.is_whitespace() && !matches!(character, ',' | '[' | ']' | '{' | '}')
}

enum Problem {
    Parser(ScanError),
    Ours(usize, String),
}

/// A list or mapping that is not complete yet, with the key whose value comes next.
struct Open {
    node: Node,
    key: Option<Node>,
}

fn parse(text: &str) -> Result<Vec<Node>, Problem> {
    let offsets: Vec<usize> = text.char_indices().map(|(offset, _)| offset).collect();
    let offset = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    // Names of the anchors, by the parser's numbers for them.
    let mut names: Vec<String> = vec![String::new()];
    let mut values = 0;
    while let Some(event) = parser.next_event() {
        let (event, span): (Event<'_>, Span) = event.map_err(Problem::Parser)?;
        let line = span.start.line();
        let mut anchored = |number: usize| {
            let start = offset(span.start.index());
            let name = (number > 0).then(|| anchor(text.get(start..).unwrap_or_default()))?;
            if names.len() <= number {
                names.resize(number + 1, String::new());
            }
            names.get_mut(number)?.clone_from(&name);
            Some(name)
        };
        let complete = match event {
            Event::Scalar(value, _, number, _) => {
                Some(Node { anchor: anchored(number), line, value: Value::Text(value.into_owned()) })
            }
            Event::Alias(number) => {
                let name = names.get(number).map_or("", String::as_str);
                Some(Node { anchor: None, line, value: Value::Text(format!("*({name})")) })
            }
            Event::MappingStart(number, _) => {
                let node = Node { anchor: anchored(number), line, value: Value::Mapping(Vec::new()) };
                open.push(Open { node, key: None });
                None
            }
            Event::SequenceStart(number, _) => {
                let node = Node { anchor: anchored(number), line, value: Value::List(Vec::new()) };
                open.push(Open { node, key: None });
                None
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().map(|open| open.node),
            _ => None,
        };
        if open.len() > MAX_DEPTH {
            return Err(Problem::Ours(line, format!("more than {MAX_DEPTH} levels of nesting")));
        }
        if let Some(node) = complete {
            values += 1;
            if values > MAX_VALUES {
                return Err(Problem::Ours(line, format!("more than {MAX_VALUES} values")));
            }
            place(node, &mut open, &mut documents);
        }
    }
    Ok(documents)
}

fn place(node: Node, open: &mut [Open], documents: &mut Vec<Node>) {
    match open.last_mut() {
        None => documents.push(node),
        Some(Open { node: outer, key }) => match (&mut outer.value, key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Mapping(fields), Some(name)) => fields.push((name, node)),
            (Value::Mapping(_), None) => *key = Some(node),
            (Value::Text(_), _) => {}
        },
    }
}

/// The name of the anchor that a value begins with; a tag may stand before it.
fn anchor(text: &str) -> String {
    let behind = text.split_once('&').map_or("", |(_, behind)| behind);
    behind.chars().take_while(|character| is_name(*character)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn show(node: &Node) -> String {
        let anchor = node.anchor.as_ref().map_or_else(String::new, |name| format!("&{name} "));
        let value = match &node.value {
            Value::Text(text) => format!("{text:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
            Value::Mapping(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(key, value)| format!("{}: {}", show(key), show(value))).collect();
                format!("{{{}}}", fields.join(", "))
            }
        };
        format!("{anchor}{value}")
    }

    fn shown(text: &str) -> String {
        read(text).unwrap().iter().map(show).collect::<Vec<_>>().join(" --- ")
    }

    #[test]
    fn names_of_anchors_and_repeated_keys_are_kept() {
        assert_eq!(
            shown(
                "%YAML 1.1\n---\n# a & b\ndefine: &é off # & no\nc: &con1 # &x\n  k: *é\nc: &con2 {k: [*con1]}\n"
            ),
            r#"{"define": &é "off", "c": &con1 {"k": "*(é)"}, "c": &con2 {"k": ["*(con1)"]}}"#
        );
        assert_eq!(shown("a: \"x\" \nb: &y 'z'\n---\nc: d"), r#"{"a": "x", "b": &y "z"} --- {"c": "d"}"#);
    }

    #[test]
    fn an_alias_of_another_file_is_text() {
        assert_eq!(shown("a: *b\nc: [*d, *é]\n"), r#"{"a": "*(b)", "c": ["*(d)", "*(é)"]}"#);
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        assert_eq!(read("a: 1\nb: [\n").unwrap_err().0, 3);
        assert!(read(&"[".repeat(100)).is_err());
        assert!(read("a: *\n").is_err());
        assert!(read(&format!("[{}]", "*a,".repeat(200))).is_err());
    }
}
