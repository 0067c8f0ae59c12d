//! The bridge on hardware that nobody needs to own: a real kernel with real drivers in QEMU, and USB sticks in software that
//! are plugged and unplugged, whose modem lines are wired and whose chips say what the driver asked of them.
//!
//! Owner: `make test-hardware`. Emulation, so nothing here is a measure of speed; what is shown is order, and what a PTY lacks.

pub mod lab;
