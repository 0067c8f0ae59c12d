//! What one connection of ser2net says, whatever the syntax it was written in.
//!
//! Owner: filled by [`super::connections`] and [`super::conf`], consumed by [`super::fleet`]. Knows nothing of the
//! machine.

use std::collections::BTreeMap;

use serialfleet_api::fleet::Settings;

use super::MAX_CONNECTIONS;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// `ser2net.yaml line 12`.
    pub(super) origin: String,
    /// What ser2net's user called it.
    pub(super) name: Option<String>,
    /// The stick that the file is named after, `10c4:ea60`.
    pub(super) stick: Option<String>,
    /// Path of the device, or `DEVNODE`.
    pub(super) device: String,
    /// All that is not about which device it is.
    pub(super) settings: Settings,
    /// `enable: off`.
    pub(super) suspend: bool,
    /// What is said about it.
    pub(super) notes: Notes,
    /// Why it cannot be served as it stands.
    pub(super) left_out: Option<String>,
}

impl Entry {
    /// The first reason stays.
    pub(super) fn leave_out(&mut self, reason: impl Into<String>) {
        self.left_out.get_or_insert_with(|| reason.into());
    }
}

/// What becomes comments beside a device.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What the bridge does anyway.
    pub(super) already: Vec<String>,
    /// What it cannot do.
    pub(super) lost: Vec<String>,
    /// Sentences.
    pub(super) said: Vec<String>,
}

impl Notes {
    pub(super) fn already(&mut self, what: impl Into<String>) {
        add(&mut self.already, what.into());
    }

    pub(super) fn lost(&mut self, what: impl Into<String>) {
        add(&mut self.lost, what.into());
    }

    pub(super) fn say(&mut self, sentence: impl Into<String>) {
        add(&mut self.said, sentence.into());
    }
}

/// Most notes of one kind: a hostile file makes no output that is a multiple of itself.
const MAX_NOTES: usize = 64;

fn add(notes: &mut Vec<String>, note: String) {
    if notes.len() < MAX_NOTES && !notes.contains(&note) {
        notes.push(note);
    }
}

/// What has been read so far, over all files.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) entries: Vec<Entry>,
    /// What concerns no single connection.
    pub(super) remarks: Vec<String>,
    /// More than [`MAX_CONNECTIONS`].
    pub(super) too_many: usize,
}

impl Reading {
    pub(super) fn say(&mut self, remark: impl Into<String>) {
        add(&mut self.remarks, remark.into());
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.len() < MAX_CONNECTIONS {
            self.entries.push(entry);
        } else {
            self.too_many += 1;
        }
    }
}

/// Defaults as they stand at some line of a file: the value of a name, for a class of gensios or (empty) for all.
#[derive(Debug, Default)]
pub(super) struct Defaults(BTreeMap<(String, String), String>);

impl Defaults {
    pub(super) fn set(&mut self, class: &str, name: &str, value: &str) {
        self.0.insert((class.to_owned(), dashes(name)), value.to_owned());
    }

    pub(super) fn delete(&mut self, class: &str, name: &str) {
        self.0.remove(&(class.to_owned(), dashes(name)));
    }

    pub(super) fn get(&self, class: &str, name: &str) -> Option<&str> {
        let of = |class: &str| self.0.get(&(class.to_owned(), name.to_owned())).map(String::as_str);
        of(class).or_else(|| of(""))
    }
}

/// ser2net 3 wrote some names with underscores that ser2net 4 writes with dashes.
fn dashes(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace('_', "-")
}

/// ser2net's booleans (`gensio_check_keybool`); a key alone is true.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "" | "true" | "1" | "on" | "yes")
}
