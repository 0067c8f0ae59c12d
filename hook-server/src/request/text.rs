//! JSON text, read entry by entry, with a memory: an entry that stands there byte for byte as it stood in an earlier
//! text is taken from what was read of that one. Between two syncs of a fleet nearly every object is the same, so a
//! sync costs in proportion to what changed, not to how large the fleet is.
//!
//! Only ever a shortcut: equal bytes are equal JSON, so what is read does not depend on what was read before. Belongs to
//! [`super::SyncRequest`]; knows nothing of what the entries mean.

use std::{borrow::Cow, ops::Range};

use serde::{Deserialize, de::IgnoredAny};

use super::{Refusal, one_line};

/// So many entries of the earlier text are looked at for each one of this: as many may have gone at one place without
/// what follows being read anew.
const NEAR: usize = 8;

/// `"key": value` of an object, and what was read of it.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    /// Where it stands in the whole text, from the key's quote to the value's end.
    place: Range<usize>,
    pub(super) value: T,
}

/// A text that is being read.
pub(super) struct Text<'b> {
    bytes: &'b [u8],
    at: usize,
    earlier: &'b [u8],
}

impl<'b> Text<'b> {
    /// At its beginning. `earlier`: the text that known entries are from.
    pub(super) fn new(bytes: &'b [u8], earlier: &'b [u8]) -> Self {
        Self { bytes, at: 0, earlier }
    }

    /// Reads an object. `read` is called behind the colon of each entry that does not stand in `known` as it is.
    pub(super) fn object<T: Clone>(
        &mut self,
        known: &[Entry<T>],
        mut read: impl FnMut(&mut Self, &str) -> Result<T, Refusal>,
    ) -> Result<Vec<Entry<T>>, Refusal> {
        let mut entries = Vec::with_capacity(known.len());
        if !self.take(b'{') {
            return Err(self.unexpected("a JSON object"));
        }
        if self.take(b'}') {
            return Ok(entries);
        }
        let mut rest = known;
        loop {
            self.blank();
            let start = self.at;
            let value = match self.again(&mut rest) {
                Some(value) => value,
                None => {
                    let key: Cow<'b, str> = self.value()?;
                    self.pass(&mut rest, start);
                    if !self.take(b':') {
                        return Err(self.unexpected("a colon"));
                    }
                    read(self, &key)?
                }
            };
            entries.push(Entry { place: start..self.at, value });
            if self.take(b'}') {
                return Ok(entries);
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or the object's end"));
            }
        }
    }

    /// As [`Self::object`]; Go writes an empty one as `null`, too.
    pub(super) fn object_or_null<T: Clone>(
        &mut self,
        known: &[Entry<T>],
        read: impl FnMut(&mut Self, &str) -> Result<T, Refusal>,
    ) -> Result<Vec<Entry<T>>, Refusal> {
        if self.null()? { Ok(Vec::new()) } else { self.object(known, read) }
    }

    /// Whether `null` comes next; then it is passed.
    pub(super) fn null(&mut self) -> Result<bool, Refusal> {
        self.blank();
        let is_there = self.bytes.get(self.at) == Some(&b'n');
        if is_there {
            self.value::<()>()?;
        }
        Ok(is_there)
    }

    /// Reads one value.
    pub(super) fn value<T: Deserialize<'b>>(&mut self) -> Result<T, Refusal> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter();
        let value = values.next().ok_or_else(|| self.unexpected("a value"))?;
        self.at += values.byte_offset();
        value.map_err(|error| Refusal::envelope(&error))
    }

    /// Passes over one value.
    pub(super) fn skip(&mut self) -> Result<(), Refusal> {
        self.value::<IgnoredAny>().map(drop)
    }

    /// Nothing may follow.
    pub(super) fn end(mut self) -> Result<(), Refusal> {
        self.blank();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    /// What the entry here held when it was read before, if that is known.
    fn again<T: Clone>(&mut self, rest: &mut &[Entry<T>]) -> Option<T> {
        let here = self.bytes.get(self.at..)?;
        for (index, entry) in rest.iter().take(NEAR).enumerate() {
            let text = self.earlier.get(entry.place.clone())?;
            // `1` is not the beginning of `12`.
            let is_whole = |next: Option<&u8>| next.is_some_and(|next| b",} \n\r\t".contains(next));
            if here.starts_with(text) && is_whole(here.get(text.len())) {
                self.at += text.len();
                *rest = rest.get(index + 1..)?;
                return Some(entry.value.clone());
            }
        }
        None
    }

    /// The entry that begins at `start`, its key just read, is not as it was: what is known goes on behind it.
    fn pass<T>(&self, rest: &mut &[Entry<T>], start: usize) {
        let Some(key) = self.bytes.get(start..self.at) else { return };
        let has_key =
            |it: &Entry<T>| self.earlier.get(it.place.clone()).is_some_and(|it| it.starts_with(key));
        if let Some(index) = rest.iter().take(NEAR).position(has_key) {
            *rest = rest.get(index + 1..).unwrap_or_default();
        }
    }

    /// Whether this byte comes next; then it is passed.
    fn take(&mut self, byte: u8) -> bool {
        self.blank();
        let is_there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn blank(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| b" \n\r\t".contains(byte)) {
            self.at += 1;
        }
    }

    fn unexpected(&self, wanted: &str) -> Refusal {
        if self.bytes.trim_ascii().is_empty() {
            return Refusal::Envelope("it is empty".to_owned());
        }
        let found = self.bytes.get(self.at..).unwrap_or_default();
        let found = String::from_utf8_lossy(found.get(..found.len().min(20)).unwrap_or_default());
        let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
        Refusal::Envelope(one_line(&format!("byte {}: expected {wanted}, found {found}", self.at)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    type Read = Result<Vec<Entry<Value>>, Refusal>;

    /// What is read, and how many of its entries were not known.
    fn read(text: &str, earlier: &str, known: &[Entry<Value>]) -> (Read, usize) {
        let mut anew = 0;
        let mut bytes = Text::new(text.as_bytes(), earlier.as_bytes());
        let entries = bytes.object(known, |text, _| {
            anew += 1;
            text.value()
        });
        (entries.and_then(|entries| bytes.end().map(|()| entries)), anew)
    }

    fn values(entries: &[Entry<Value>]) -> Vec<&Value> {
        entries.iter().map(|it| &it.value).collect()
    }

    #[test]
    fn what_is_as_it_was_is_not_read_again() {
        let earlier = r#"{"a": {"x": 1}, "b": 1, "c": [1], "d": "e", "f": null}"#;
        let (known, anew) = read(earlier, "", &[]);
        let known = known.unwrap();
        assert_eq!((known.len(), anew), (5, 5));
        for (sentence, text, expected) in [
            ("the same", earlier, 0),
            ("other blanks between them", r#"{"a": {"x": 1},"b": 1 ,"c": [1],"d": "e","f": null }"#, 0),
            ("one changed", r#"{"a": {"x": 1}, "b": 2, "c": [1], "d": "e", "f": null}"#, 1),
            ("one that begins alike", r#"{"a": {"x": 1}, "b": 12, "c": [1], "d": "e", "f": null}"#, 1),
            ("all but the last changed", r#"{"a": 0, "b": 0, "c": 0, "d": 0, "f": null}"#, 4),
            ("one more", r#"{"a": {"x": 1}, "aa": 1, "b": 1, "c": [1], "d": "e", "f": null}"#, 1),
            ("two fewer", r#"{"a": {"x": 1}, "d": "e", "f": null}"#, 0),
            ("another order", r#"{"f": null, "a": {"x": 1}}"#, 1),
        ] {
            let (again, anew) = read(text, earlier, &known);
            let fresh = read(text, "", &[]).0.unwrap();
            let again = again.unwrap_or_else(|refusal| panic!("{sentence}: {refusal}"));
            assert_eq!(values(&again), values(&fresh), "{sentence}");
            assert_eq!(anew, expected, "{sentence}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_also_where_its_beginning_is_known() {
        let earlier = r#"{"a": 1, "b": {}}"#;
        let known = read(earlier, "", &[]).0.unwrap();
        for text in [
            "",
            "[]",
            "3",
            "{",
            r#"{"a""#,
            r#"{"a": 1"#,
            r#"{"a": 1,"#,
            r#"{"a": 1,}"#,
            r#"{"a": 1 "b": {}}"#,
            r#"{"a": 1, "b": {}"#,
            r#"{"a": 1, "b": {}}}"#,
            r#"{"a": 1x}"#,
            r#"{a: 1}"#,
            r#"{"a": 1, "b": {}} 1"#,
            r#"{"a" 1}"#,
        ] {
            assert!(serde_json::from_str::<Map<String, Value>>(text).is_err());
            assert!(read(text, earlier, &known).0.is_err(), "{text}");
        }
    }

    proptest! {
        /// Any two objects, any text between their tokens: what is known of one changes nothing in the other.
        #[test]
        fn what_is_read_does_not_depend_on_what_is_known(
            before in proptest::collection::vec(("[a-c]{1,2}", 0..30_u32), 0..12),
            after in proptest::collection::vec(("[a-c]{1,2}", 0..30_u32), 0..12),
            pretty: bool,
        ) {
            let text = |entries: &[(String, u32)]| {
                let colon = if pretty { " : " } else { ":" };
                let all: Vec<String> = entries.iter().map(|(key, value)| match value % 3 {
                    0 => format!("\"{key}\"{colon}{value}"),
                    1 => format!("\"{key}\"{colon}{}", json!({"x": value})),
                    _ => format!("\"{key}\"{colon}\"{value}\""),
                }).collect();
                format!("{{{}}}", all.join(if pretty { " ,\n" } else { "," }))
            };
            let (before, after) = (text(&before), text(&after));
            let known = read(&before, "", &[]).0.unwrap();
            let (again, fresh) = (read(&after, &before, &known).0.unwrap(), read(&after, "", &[]).0.unwrap());
            prop_assert_eq!(values(&again), values(&fresh));
            prop_assert_eq!(again.iter().map(|it| &it.place).collect::<Vec<_>>(), fresh.iter().map(|it| &it.place).collect::<Vec<_>>());
        }
    }
}
