//! What people see. Nothing else in the demo writes to the terminal.

use std::io::{Write, stderr, stdout};

/// The terminal, or whatever stands in for it. A reader that went away is no failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen;

impl Screen {
    pub(super) fn say(self, text: &str) {
        let mut out = stdout().lock();
        drop(writeln!(out, "{text}").and_then(|()| out.flush()));
    }

    pub(super) fn complain(self, text: &str) {
        drop(writeln!(stderr(), "{text}"));
    }

    /// Columns as wide as their widest cell; the first row is the heading.
    pub(super) fn table<const COLUMNS: usize>(self, rows: &[[String; COLUMNS]]) {
        let mut widths = [0; COLUMNS];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            self.say(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
        }
    }
}
