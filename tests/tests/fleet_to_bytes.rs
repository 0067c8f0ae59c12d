//! One SerialFleet, all the way: the example's YAML to the hook server over HTTP, to bridges on recorded sysfs trees
//! with PTYs behind their ttys, their SerialNodes back to the hook, to an EndpointSlice, to bytes over TCP; then
//! unplug, replug, and a move to another node.
#![allow(clippy::unwrap_used, reason = "a broken bench must stop the test at once")]

mod fleet_to_bytes {
    mod cluster;
    mod node;
    mod walk;
}
