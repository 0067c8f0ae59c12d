//! The table of good and bad objects, as `verdicts.txt` describes it.
//!
//! Owner: whoever gives verdicts: the tests of this crate, and those with a real API server.

/// One object and what is to be said about it.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Path and fragment of the message, for a bad one.
    pub(crate) refusal: Option<(String, String)>,
    /// Whether the CEL library of the tests refuses it as the API server does.
    #[allow(dead_code, reason = "the API server needs no such help")]
    pub(crate) by_cel: bool,
    pub(crate) text: String,
}

/// All of them.
pub(crate) fn table() -> Vec<Entry> {
    let text = include_str!("../verdicts.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    lines.split("=== ").skip(1).map(entry).collect()
}

fn entry(part: &str) -> Entry {
    let (head, body) = part.split_once('\n').unwrap();
    let by_cel = !head.starts_with("bad*");
    let (name, refusal) = match head.split_once(" | ") {
        Some((left, fragment)) => {
            let mut words = left.split(' ');
            assert!(matches!(words.next(), Some("bad" | "bad*")), "{head}");
            let name = words.next().unwrap().to_owned();
            (name, Some((words.next().unwrap().to_owned(), fragment.to_owned())))
        }
        None => (head.strip_prefix("good ").unwrap().to_owned(), None),
    };
    let text = if body.starts_with("apiVersion") {
        body.to_owned()
    } else {
        let spec = body.lines().map(|line| format!("  {line}\n")).collect::<String>();
        format!(
            "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {{name: home}}\nspec:\n{spec}"
        )
    };
    Entry { name, refusal, by_cel, text }
}
