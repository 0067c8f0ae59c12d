//! JSON as Go's `encoding/json` writes it: sorted keys, no spaces, `<`, `>`, `&`, U+2028 and U+2029 escaped, floats
//! in ECMAScript's form. Used for the last-applied annotation and for bodies of hook calls; it decides nothing.

use std::io;

use serde::{
    Serialize,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Value, ser::Formatter};

/// A value as compact JSON with Go's escapes.
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, GoFormatter);
    // Neither a Vec nor a Value can fail to be written.
    if Sorted(value).serialize(&mut serializer).is_err() {
        bytes.clear();
    }
    bytes
}

/// The same as text.
pub fn to_string(value: &Value) -> String {
    String::from_utf8(to_vec(value)).unwrap_or_default()
}

/// Writes objects in the order of their keys' bytes, however `serde_json` was built.
struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(object) => {
                let mut entries: Vec<_> = object.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| key.as_str());
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &Self(value))?;
                }
                map.end()
            }
            Value::Array(array) => {
                let mut seq = serializer.serialize_seq(Some(array.len()))?;
                for value in array {
                    seq.serialize_element(&Self(value))?;
                }
                seq.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

/// Go's escapes and floats, for a [`serde_json::Serializer`].
#[derive(Clone, Copy, Debug, Default)]
pub struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((before, special, after)) = split_at_special(rest) {
            write!(writer, "{before}\\u{:04x}", u32::from(special))?;
            rest = after;
        }
        writer.write_all(rest.as_bytes())
    }
}

fn split_at_special(text: &str) -> Option<(&str, char, &str)> {
    let (at, special) =
        text.char_indices().find(|(_, c)| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'))?;
    let (before, rest) = text.split_at_checked(at)?;
    let (_, after) = rest.split_at_checked(special.len_utf8())?;
    Some((before, special, after))
}

/// The shortest decimal that reads back as `value`, with an exponent from 1e21 on and below 1e-6.
pub fn float(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        };
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_escaped_as_go_does() {
        let text = "a\u{8}\u{c}\n\r\t\u{1}\u{7f}<>&\u{2028}\u{2029}\"\\é";
        assert_eq!(
            to_string(&json!(text)),
            "\"a\\b\\f\\n\\r\\t\\u0001\u{7f}\\u003c\\u003e\\u0026\\u2028\\u2029\\\"\\\\é\""
        );
    }

    #[test]
    fn keys_are_sorted_by_their_bytes_and_escaped_too() {
        assert_eq!(
            to_string(&json!({"b": 1, "a<": {"é": 1, "z": []}, "B": {}})),
            r#"{"B":{},"a\u003c":{"z":[],"é":1},"b":1}"#
        );
    }

    #[test]
    fn floats_are_written_as_go_does() {
        for (value, text) in [
            (80.0, "80"),
            (-0.0, "-0"),
            (80.5, "80.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (0.00001, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (-2.5e-9, "-2.5e-9"),
        ] {
            assert_eq!(float(value), text);
        }
        assert_eq!(to_string(&json!({"f": 1.0, "i": 1, "n": -3})), r#"{"f":1,"i":1,"n":-3}"#);
    }
}
