//! Strings from hardware on their way to people: bounded, and with nothing in them that a terminal, a log or a web
//! page would act on.
//!
//! Owner: everything that prints what a device says of itself. Comparing goes the other way round: always over the
//! raw string, never over what these functions return.

/// Longest rendering of one string from hardware, in bytes: a USB string descriptor holds at most 126 characters.
pub const MAX_TEXT: usize = 128;
/// Longest rendering of a name that the kernel gives, in bytes.
pub const MAX_KERNEL_NAME: usize = 64;

/// The string for status, logs and tables: what cannot be printed is written `\n`, `\u{202e}`; above `max` bytes it
/// is cut, and ends in `…`.
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    // Where a cut leaves room for the ellipsis.
    let mut cut = 0;
    for character in text.chars() {
        if is_plain(character) {
            out.push(character);
        } else {
            out.extend(character.escape_debug());
        }
        if out.len() > max {
            out.truncate(cut);
            out.push('…');
            return out;
        }
        if out.len() + '…'.len_utf8() <= max {
            cut = out.len();
        }
    }
    out
}

/// The string as a YAML double-quoted scalar that reads back as the same string: for entries that people paste.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            plain if is_plain(plain) => out.push(plain),
            other => out.push_str(&match u32::from(other) {
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            }),
        }
    }
    out.push('"');
    out
}

/// `a`, `a and b`, `a, b and c`, `a, b, c, d and 3 more`.
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    let mut shown: Vec<&str> = items.iter().take(MAX_LISTED).map(AsRef::as_ref).collect();
    let more = items.len().saturating_sub(MAX_LISTED);
    let last = if more > 0 { format!("{more} more") } else { shown.pop().unwrap_or_default().to_owned() };
    if shown.is_empty() { last } else { format!("{} and {last}", shown.join(", ")) }
}

/// Whether the character shows as itself and changes nothing around it. Rust's `escape_debug` leaves alone only
/// what is printable: no control, format (bidi marks, zero widths), private or unassigned character, no separator
/// but the blank, no combining mark.
fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~') || (!character.is_ascii() && character.escape_debug().len() == 1)
}

const MAX_LISTED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        for (raw, shown) in [
            ("Sonoff Zigbee 3.0", "Sonoff Zigbee 3.0"),
            ("a/b c\\d;$(x)é\"'", "a/b c\\d;$(x)é\"'"),
            ("Ev/il \u{202e}corp", "Ev/il \\u{202e}corp"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("two\nlines\r\t\0", "two\\nlines\\r\\t\\0"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("e\u{301}", "e\\u{301}"),
            ("no\u{a0}break", "no\\u{a0}break"),
            ("日本", "日本"),
        ] {
            assert_eq!(printable(raw, MAX_TEXT), shown);
        }
    }

    #[test]
    fn long_strings_are_cut_within_the_bound_and_never_inside_an_escape() {
        assert_eq!(printable("abcdefgh", 8), "abcdefgh");
        assert_eq!(printable("abcdefghi", 8), "abcde…");
        assert_eq!(printable("ab\u{202e}cd", 8), "ab…");
        assert_eq!(printable("ééééé", 8), "éé…");
        for max in 3..40 {
            assert!(printable(&"\u{202e}é日x".repeat(20), max).len() <= max, "{max}");
        }
    }

    #[test]
    fn a_quoted_string_reads_back_as_itself() {
        for raw in ["0001", "no", "a\"b\\c", "\u{202e}é\n\0\u{1f600}\u{e0001}", "", "1e3", " x "] {
            let read: String = serde_yaml::from_str(&quoted(raw)).unwrap();
            assert_eq!(read, raw, "{}", quoted(raw));
            assert!(quoted(raw).chars().all(is_plain));
        }
        assert_eq!(quoted("a\"b\\c\u{202e}"), "\"a\\\"b\\\\c\\u202E\"");
    }

    #[test]
    fn lists_are_bounded() {
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a", "b", "c", "d", "e", "f"]), "a, b, c, d and 2 more");
        assert_eq!(list::<&str>(&[]), "");
    }
}
