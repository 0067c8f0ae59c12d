//! A prediction as text for a terminal: what, why, and path by path.

use std::fmt;

use super::{Action, Change, From, PathChange, Prediction};
use crate::visible::{visible, visible_json};

/// Longest path and value that are shown, in characters.
const PATH: usize = 200;
const VALUE: usize = 300;

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "fleet {}: {} of {} children are written; the status {}",
            visible(&self.fleet, 64),
            self.written(),
            self.changes.len() + self.unchanged,
            if self.status.is_empty() { "stays" } else { "changes" }
        )?;
        self.changes.iter().try_for_each(|change| write!(f, "\n{change}"))?;
        if !self.status.is_empty() {
            writeln!(f, "\nwrite status of the fleet")?;
        }
        self.status.iter().try_for_each(|path| write!(f, "{path}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.action {
            Action::Create => "create",
            Action::Update => "change",
            Action::Recreate => "delete and make anew",
            Action::Delete => "delete",
            Action::Leave => "leave",
        };
        writeln!(f, "{verb} {}: {}", visible(&self.title(), PATH), visible(&self.reason, VALUE))?;
        self.paths.iter().try_for_each(|path| write!(f, "{path}"))
    }
}

impl fmt::Display for PathChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drift = if self.from == From::Drift { "  (somebody changed it)" } else { "" };
        writeln!(f, "  {}{drift}", visible(&self.path, PATH))?;
        if let Some(before) = &self.before {
            writeln!(f, "    - {}", visible_json(before, VALUE))?;
        }
        if let Some(after) = &self.after {
            writeln!(f, "    + {}", visible_json(after, VALUE))?;
        }
        Ok(())
    }
}
