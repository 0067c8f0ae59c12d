//! What keeps a report small: strings are cut and escaped, and what does not fit in 64 KiB is left out, the least
//! informative first, and the summary says so. Pure.
//!
//! No limit here may exceed its counterpart in the CRD, or the API server refuses whole reports.

use std::fmt::Write;

use serde::Serialize;
use serialfleet_api::{
    names,
    node::{PortState, SerialNode},
};

/// Most bytes of the object as JSON.
pub const MAX_SIZE: usize = 64 * 1024;
/// Longest name of a device of the fleet, in characters.
pub const MAX_NAME: usize = names::MAX_NAME;
/// Longest reason, driver, tty and so on, in characters.
pub const MAX_WORD: usize = 64;
/// Longest `vendor:product`, in characters.
pub const MAX_USB: usize = 9;
/// Longest RFC 3339 time, in characters.
pub const MAX_TIME: usize = 40;
/// Longest string of a device, in characters; USB itself allows 126.
pub const MAX_TEXT: usize = 128;
/// Longest identity: a string of a device and what it is, in characters.
pub const MAX_IDENTITY: usize = 160;
/// Longest message, in characters.
pub const MAX_MESSAGE: usize = 512;
/// Longest string of the summary, in characters.
pub const MAX_SUMMARY: usize = 256;
/// What messages are cut to where space is short, in characters.
const SHORT_MESSAGE: usize = 120;

/// At most `max` characters of the text, without control characters and without those that turn the reading
/// direction or take no space: they are shown as `\u{7f}`. What was cut off is marked by `...`.
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    let mut length = 0;
    for character in text.chars() {
        let before = out.len();
        let added = if is_hidden(character) {
            let escaped = character.escape_unicode();
            let added = escaped.len();
            write!(out, "{escaped}").map_or(0, |()| added)
        } else {
            out.push(character);
            1
        };
        length += added;
        if length > max {
            out.truncate(before);
            while out.chars().count() + 3 > max && out.pop().is_some() {}
            out.push_str("...");
            break;
        }
    }
    out
}

/// The same for what may be absent; an empty text is absent.
pub fn clean_option(text: Option<&str>, max: usize) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(|text| clean(text, max))
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Comma separated, cut to fit: `zigbee,zwave,+3`.
pub fn join(items: impl Iterator<Item = String>) -> String {
    const ROOM: usize = 128;
    let mut text = String::new();
    let mut left_out = 0_usize;
    for item in items {
        let comma = usize::from(!text.is_empty());
        if left_out > 0 || text.chars().count() + comma + item.chars().count() > ROOM {
            left_out += 1;
        } else {
            text.push_str(if comma == 1 { "," } else { "" });
            text.push_str(&item);
        }
    }
    if left_out > 0 {
        let comma = if text.is_empty() { "" } else { "," };
        text.push_str(&format!("{comma}+{left_out}"));
    }
    text
}

/// Which ports stay where not all fit: smaller is more important.
pub fn importance(state: PortState) -> u8 {
    match state {
        PortState::Serving => 0,
        PortState::Held => 1,
        PortState::Failed => 2,
        PortState::Denied => 3,
        PortState::Busy => 4,
        PortState::Ambiguous => 5,
        PortState::Suspended => 6,
        PortState::Absent => 7,
    }
}

/// Leaves out what does not fit.
pub fn shrink(node: &mut SerialNode) {
    if size(node) <= MAX_SIZE {
        return;
    }
    // Room for the note that the summary gets.
    let limit = MAX_SIZE - 1024;
    let mut dropped = Vec::new();
    for port in &mut node.ports {
        let surplus = port.transitions.len().saturating_sub(1);
        port.transitions.drain(..surplus);
    }
    dropped.push("transitions".to_owned());
    let unmatched = drop_last(node, limit, |node| {
        node.devices.pop_if(|device| device.matched_by.is_none()).map(|device| size(&device))
    });
    if size(node) > limit {
        for port in &mut node.ports {
            port.message = clean(&port.message, SHORT_MESSAGE);
            port.warnings.clear();
        }
        dropped.push("warnings, ends of messages".to_owned());
    }
    let matched = drop_last(node, limit, |node| node.devices.pop().map(|device| size(&device)));
    if unmatched + matched > 0 {
        dropped.push(format!("{} devices", unmatched + matched));
    }
    let ports = drop_last(node, limit, |node| {
        let last = (0..node.ports.len()).max_by_key(|index| importance(node.ports[*index].state))?;
        Some(size(&node.ports.remove(last)))
    });
    if ports > 0 {
        dropped.push(format!("{ports} ports"));
    }
    say(node, &format!("left out to stay below 64 KiB: {}", dropped.join(", ")));
}

/// Adds to the summary what was left out.
pub fn say(node: &mut SerialNode, note: &str) {
    let problem = &mut node.summary.problem;
    if problem.is_empty() {
        *problem = clean(note, MAX_SUMMARY);
    } else {
        let room = MAX_SUMMARY.saturating_sub(note.chars().count() + 2);
        *problem = clean(&format!("{}; {note}", clean(problem, room)), MAX_SUMMARY);
    }
}

/// Drops one after the other until the object fits or there is none left; how many.
fn drop_last(
    node: &mut SerialNode,
    limit: usize,
    mut drop: impl FnMut(&mut SerialNode) -> Option<usize>,
) -> usize {
    let mut surplus = size(node).saturating_sub(limit);
    let mut dropped = 0;
    while surplus > 0
        && let Some(freed) = drop(node)
    {
        surplus = surplus.saturating_sub(freed);
        dropped += 1;
    }
    dropped
}

/// Bytes as JSON.
pub fn size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_strings_are_cut_and_escaped() {
        let cases = [
            ("Sonoff", 64, "Sonoff"),
            ("a\nb\u{1b}[31m", 64, "a\\u{a}b\\u{1b}[31m"),
            ("\u{202e}evil", 64, "\\u{202e}evil"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc..."),
            ("äöüäöüä", 6, "äöü..."),
            ("abc\u{0}", 6, "abc..."),
            ("", 6, ""),
        ];
        for (text, max, expected) in cases {
            let cleaned = clean(text, max);
            assert_eq!(cleaned, expected, "{text:?}");
            assert_eq!(clean(&cleaned, max), cleaned, "a second time changes nothing");
        }
    }

    #[test]
    fn lists_are_cut_at_a_whole_item() {
        assert_eq!(join(["zigbee", "zwave"].into_iter().map(str::to_owned)), "zigbee,zwave");
        assert_eq!(join(std::iter::empty()), "");
        let many = join((0..40).map(|n| format!("device-{n:02}")));
        assert!(many.ends_with(",+28") && many.chars().count() <= 140, "{many}");
    }
}
