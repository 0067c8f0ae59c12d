//! Any text as a file of ser2net's, of each kind. What becomes of it is checked by the importer itself: its output
//! is read back and must be what it was printed from.
//!
//! Takes the importer's files instead of the bridge's library: that would have a Kubernetes client built with a
//! sanitizer.
#![no_main]
#![allow(dead_code, unused_imports, reason = "of the modules that the importer stands on, only what it needs")]

#[path = "../../../bridge/src"]
mod bridge {
    pub(crate) mod discover;
    pub(crate) mod discovery {
        pub(crate) mod identity;
        pub(crate) mod sysfs;
        pub(crate) mod text;
    }
    pub(crate) mod import;
    pub(crate) mod matching;
}

use bridge::import::{ImportError, import_text};
// Where the importer looks for them.
use bridge::{discover, discovery, matching};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for name in ["ser2net.yaml", "ser2net.conf", "10c4:ea60.yaml"] {
        if let Err(ImportError::Invalid(problems)) = import_text(name, text) {
            panic!("{name} became a fleet that is refused: {problems:?}");
        }
    }
});
