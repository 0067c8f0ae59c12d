//! YAML text to JSON values as kubectl makes them, and the line of each value. Bounded: a hostile file costs no more
//! than its own size. Knows nothing of SerialFleets.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

use crate::{
    scalar,
    validate::{Path, Segment},
};

/// Longest text, in bytes: what the API server takes.
const MAX_TEXT: usize = 1 << 20;
/// Deepest nesting; a SerialFleet has 9 levels.
const MAX_DEPTH: usize = 64;
/// Most values, those that aliases repeat included.
const MAX_VALUES: usize = 200_000;

/// One document.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) value: Value,
    /// Line of its first value, from 1.
    pub(crate) line: usize,
    /// Line of each value, by the path's spelling.
    pub(crate) lines: BTreeMap<String, usize>,
}

/// Why a text is no YAML that kubectl would take.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) path: String,
    pub(crate) message: String,
}

/// All documents, empty ones left out.
pub(crate) fn read(text: &str) -> Result<Vec<Document>, Problem> {
    if text.len() > MAX_TEXT {
        let message = format!("the file is larger than {MAX_TEXT} bytes, which is what the API server takes");
        return Err(Problem { line: 1, path: String::new(), message });
    }
    let mut reader = Reader::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| Problem {
            line: error.marker().line(),
            path: String::new(),
            message: format!("this is no YAML: {}", error.info()),
        })?;
        reader.line = span.start.line();
        let at = |reader: &Reader, message: String| Problem {
            line: reader.line,
            path: reader.path.to_string(),
            message,
        };
        reader.event(event).map_err(|message| at(&reader, message))?;
    }
    Ok(reader.documents)
}

/// A list or mapping that is not complete yet.
enum Open {
    List(Vec<Value>),
    Mapping { fields: Map<String, Value>, key: Option<Key>, merged: Vec<Map<String, Value>> },
}

/// A key whose value comes next.
enum Key {
    Field(String),
    Merge,
}

#[derive(Default)]
struct Reader {
    documents: Vec<Document>,
    document: Document,
    open: Vec<(Open, usize)>,
    path: Path,
    line: usize,
    values: usize,
    anchors: BTreeMap<usize, Value>,
}

impl Reader {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.document = Document { line: self.line, ..Document::default() };
                Ok(())
            }
            Event::DocumentEnd => {
                let document = std::mem::take(&mut self.document);
                if !document.value.is_null() {
                    self.documents.push(document);
                }
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                if self.is_key() && is_merge(&text, style, tag.as_deref()) {
                    return self.set_key(Key::Merge);
                }
                let value = scalar(&text, style, tag.as_deref())?;
                self.place(value, anchor)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                let value =
                    value.ok_or("this alias has no anchor above it, or stands inside of what it repeats")?;
                self.count(&value, self.open.len())?;
                self.place(value, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Open::List(Vec::new()), anchor, tag.as_deref(), "seq")
            }
            Event::MappingStart(anchor, tag) => {
                let mapping = Open::Mapping { fields: Map::new(), key: None, merged: Vec::new() };
                self.open(mapping, anchor, tag.as_deref(), "map")
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    /// Whether the next value is a key.
    fn is_key(&self) -> bool {
        matches!(self.open.last(), Some((Open::Mapping { key: None, .. }, _)))
    }

    fn open(&mut self, open: Open, anchor: usize, tag: Option<&Tag>, core: &str) -> Result<(), String> {
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == core)) {
            return Err("tags are not understood here: leave the word with the ! out".to_owned());
        }
        if self.is_key() {
            return Err("a field's name must be a text, not a list or a mapping".to_owned());
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels of nesting"));
        }
        self.enter();
        self.open.push((open, anchor));
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some((open, anchor)) = self.open.pop() else { return Ok(()) };
        let value = match open {
            Open::List(items) => Value::Array(items),
            Open::Mapping { mut fields, merged, .. } => {
                for (name, value) in merged.into_iter().flatten() {
                    fields.entry(name).or_insert(value);
                }
                Value::Object(fields)
            }
        };
        self.leave();
        self.place(value, anchor)
    }

    /// Notes the line of the value that begins, and steps into it.
    fn enter(&mut self) {
        let segment = match self.open.last() {
            Some((Open::List(items), _)) => Segment::Index(items.len()),
            Some((Open::Mapping { key: Some(Key::Field(name)), .. }, _)) => Segment::Field(name.clone()),
            Some((Open::Mapping { .. }, _)) => Segment::Field("<<".to_owned()),
            None => {
                self.document.line = self.line;
                return;
            }
        };
        self.path.0.push(segment);
        let line = self.line;
        self.document.lines.entry(self.path.to_string()).or_insert(line);
    }

    /// Steps out again; the outermost value has no step of its own.
    fn leave(&mut self) {
        if !self.open.is_empty() {
            self.path.0.pop();
        }
    }

    fn place(&mut self, value: Value, anchor: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        if anchor > 0 {
            self.count(&value, 0)?;
            self.anchors.insert(anchor, value.clone());
        }
        if self.is_key() {
            return self.set_key(Key::Field(key_text(value)?));
        }
        if !matches!(value, Value::Array(_) | Value::Object(_)) {
            self.enter();
            self.leave();
        }
        match self.open.last_mut() {
            None => self.document.value = value,
            Some((Open::List(items), _)) => items.push(value),
            Some((Open::Mapping { fields, key, merged }, _)) => match key.take() {
                Some(Key::Field(name)) => {
                    fields.insert(name, value);
                }
                Some(Key::Merge) => merged.extend(mappings(value)?),
                None => {}
            },
        }
        Ok(())
    }

    fn set_key(&mut self, next: Key) -> Result<(), String> {
        if let Some((Open::Mapping { fields, key, .. }, _)) = self.open.last_mut() {
            if let Key::Field(name) = &next
                && fields.contains_key(name)
            {
                return Err(format!("the field {name:?} stands here twice: leave one of them out"));
            }
            if let Key::Field(name) = &next {
                let line = self.line;
                self.path.0.push(Segment::Field(name.clone()));
                self.document.lines.insert(self.path.to_string(), line);
                self.path.0.pop();
            }
            *key = Some(next);
        }
        Ok(())
    }

    /// Counts what an anchor or alias repeats, `depth` levels deep in the document.
    fn count(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > MAX_VALUES || depth > MAX_DEPTH {
            return Err(format!(
                "aliases repeat more than {MAX_VALUES} values or nest more than {MAX_DEPTH} levels"
            ));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.count(item, depth + 1)),
            Value::Object(fields) => fields.values().try_for_each(|item| self.count(item, depth + 1)),
            _ => Ok(()),
        }
    }
}

fn is_merge(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    text == "<<" && style == ScalarStyle::Plain && tag.is_none()
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let plain = || scalar::resolve(text).ok_or_else(|| format!("{text} is no number that JSON has"));
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain { plain() } else { Ok(text.into()) };
    };
    let value = match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
        (true, "str") => Some(Value::from(text)),
        (true, "bool") => Some(plain()?).filter(Value::is_boolean),
        (true, "int") => Some(plain()?).filter(|value| value.is_i64() || value.is_u64()),
        (true, "float") => Some(plain()?).filter(Value::is_number),
        (true, "null") => Some(plain()?).filter(Value::is_null),
        (false, "") if tag.handle == "!" => Some(Value::from(text)),
        _ => None,
    };
    value
        .ok_or_else(|| "this tag does not fit or is not understood: leave the word with the ! out".to_owned())
}

/// A field's name: kubectl turns numbers and booleans back into text.
fn key_text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err("a field's name must be a text".to_owned()),
    }
}

/// What `<<` brings in.
fn mappings(value: Value) -> Result<Vec<Map<String, Value>>, String> {
    let items = if let Value::Array(items) = value { items } else { vec![value] };
    let wrong = || "<< takes a mapping, or a list of mappings".to_owned();
    items.into_iter().map(|item| if let Value::Object(map) = item { Ok(map) } else { Err(wrong()) }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_the_lines_that_people_see() {
        let text = "a: 1\nb:\n  c:\n  - d: x\n    e: {f: z,\n      g: 2}\n  - 5\n";
        let documents = read(text).unwrap();
        assert_eq!(documents[0].value, json!({"a": 1, "b": {"c": [{"d": "x", "e": {"f": "z", "g": 2}}, 5]}}));
        let lines = &documents[0].lines;
        for (path, line) in [
            ("a", 1),
            ("b", 2),
            ("b.c", 3),
            ("b.c[0]", 4),
            ("b.c[0].e.f", 5),
            ("b.c[0].e.g", 6),
            ("b.c[1]", 7),
        ] {
            assert_eq!(lines.get(path), Some(&line), "{path}");
        }
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let documents =
            read("v: &a {p: 1, q: 2}\nw: *a\nz: {<<: *a, p: 3}\n---\n# nothing\n---\n[1, yes]\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].value["w"], json!({"p": 1, "q": 2}));
        assert_eq!(documents[0].value["z"], json!({"p": 3, "q": 2}));
        assert_eq!(documents[1].value, json!([1, true]));
    }

    #[test]
    fn keys_of_other_types_become_text() {
        assert_eq!(read("yes: 1\n2: b\n'no': c").unwrap()[0].value, json!({"true": 1, "2": "b", "no": "c"}));
    }

    #[test]
    fn what_kubectl_would_not_take_is_refused_with_its_line() {
        let bomb = format!(
            "a0: &a0 [x,x]\n{}",
            (1..40).fold(String::new(), |text, n| {
                format!("{text}a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","))
            })
        );
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let nested =
            (1..200).fold("a0: &a0 []\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{}]\n", n - 1));
        let large = " ".repeat(MAX_TEXT + 1);
        for (text, line, fragment) in [
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: [1\n", 2, "no YAML"),
            ("a: .nan\n", 1, "JSON"),
            ("a: !mine x\n", 1, "tag"),
            ("? [a]\n: b\n", 1, "name"),
            ("a: *b\n", 1, "no YAML"),
            ("a: &x {b: *x}\n", 1, "alias"),
            ("a: {<<: 3}\n", 1, "<<"),
            (&bomb, 7, "aliases"),
            (&deep, 1, "levels"),
            (&nested, 65, "aliases"),
            (&large, 1, "larger"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.message.contains(fragment), "{problem:?}");
            assert!(problem.line.abs_diff(line) <= 1, "{problem:?} instead of {line}");
        }
    }
}
