//! Texts of others, made fit to be shown: bounded, on one line, and with every character that could move, hide or
//! reorder what stands around it spelled out. For terminals and pages; decides nothing.

use serde_json::Value;

/// At most `most` characters of a text. Line ends, control characters, marks that change the direction of writing and
/// characters without width are written as `\u{202e}`.
pub fn visible(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    for (index, c) in text.chars().enumerate() {
        if index == most {
            shown.push('…');
            break;
        }
        if is_treacherous(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The same for text of several lines.
pub fn visible_lines(text: &str, most: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| visible(line, most)).collect();
    lines.join("\n")
}

/// A JSON value on one line.
pub fn visible_json(value: &Value, most: usize) -> String {
    visible(&value.to_string(), most)
}

fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_moves_hides_or_reorders_its_surroundings() {
        for (text, shown) in [
            ("ttyUSB0", "ttyUSB0"),
            ("Zigbee-Stick Größe 3 中", "Zigbee-Stick Größe 3 中"),
            ("a\u{202e}gnp.exe", "a\\u{202e}gnp.exe"),
            ("a\u{1b}[2Jb\r\n", "a\\u{1b}[2Jb\\u{d}\\u{a}"),
            ("ze\u{200b}ro\u{feff}", "ze\\u{200b}ro\\u{feff}"),
            ("123456789012", "1234567890…"),
        ] {
            assert_eq!(visible(text, if shown.ends_with('…') { 10 } else { 100 }), shown);
        }
        assert_eq!(visible_lines("a\nb\u{7}", 9), "a\nb\\u{7}");
        assert_eq!(visible_json(&json!({"b": 1, "a": ["x\n"]}), 99), r#"{"a":["x\n"],"b":1}"#);
    }
}
