//! What Metacontroller's dynamic apply makes of a desired child: its three-way merge of last-applied, observed and
//! desired (`pkg/dynamic/apply`, `pkg/controller/common/manage_children.go`), as pure functions over JSON values.
//!
//! For whoever wants to know beforehand what Metacontroller will write: the prediction of differences, tests of a
//! fixed point, and the stand-in for Metacontroller in the cluster tests. It must do what Metacontroller does, also
//! where that is surprising; it must not do what would be right instead.
//!
//! [`update`] is what becomes of an observed child, [`create`] of one that is not observed, [`differences`] what a
//! write would change. Numbers are compared as Metacontroller does: `1` and `1.0` differ.

mod child;
mod difference;
mod go_json;
#[cfg(test)]
mod properties;
mod three_way;

pub use child::{
    LABEL_CONTROLLER_UID, LAST_APPLIED, SYSTEM_FIELDS, UnreadableLastApplied, add_controller_uid,
    controller_ref, create, last_applied, own, string_map, update, without_last_applied,
};
pub use difference::{Difference, differences};
pub use go_json::{GoFormatter, float, to_string, to_vec};
pub use three_way::merge;
