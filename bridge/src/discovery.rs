//! What is plugged in, and when to look again.
//!
//! A scan of sysfs ([`sysfs::scan`]) is the truth; [`hotplug::Hotplug`] only says when to scan again.
//!
//! Owner: the control thread. Nothing here opens a tty, and nothing knows of fleets: that is [`crate::matching`].

pub mod hotplug;
pub mod identity;
pub mod sysfs;
pub mod text;
