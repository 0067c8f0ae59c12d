//! `serialfleet-bridge discover`: what is plugged in, as a table, as JSON, or as entries to paste into a fleet.
//!
//! Owner: the command line. Reads sysfs only; opens no tty, asks no cluster.

mod entries;
mod name;

use std::{fs, io, path::Path};

use serialfleet_api::node::PresentDevice;

use crate::discovery::{
    identity,
    sysfs::{self, Obstacle, Scan, UsbDevice},
};
pub use entries::entries;
pub(crate) use entries::matcher;
pub(crate) use name::label;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// The `devices` of a SerialNode.
    Json,
    /// Entries for `spec.devices` of a SerialFleet.
    Yaml,
}

/// What is plugged in, as text that ends in a line end.
///
/// # Errors
/// If sysfs cannot be listed.
pub fn discover(sysfs_root: &Path, output: Output) -> io::Result<String> {
    let scan = sysfs::scan(sysfs_root).map_err(|error| {
        io::Error::new(error.kind(), format!("sysfs cannot be read at {}: {error}", sysfs_root.display()))
    })?;
    match output {
        Output::Table => Ok(table(&scan)),
        Output::Json => json(&scan),
        Output::Yaml => Ok(entries(&scan, node().as_deref())),
    }
}

/// This machine's name, in the form that Kubernetes gives to nodes.
pub(crate) fn node() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_ascii_lowercase();
    let labels_are_valid = name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    });
    (labels_are_valid && name.len() <= 253).then_some(name)
}

fn json(scan: &Scan) -> io::Result<String> {
    let ttys = scan.ttys.iter().map(|tty| tty.to_present(None));
    let devices: Vec<PresentDevice> =
        ttys.chain(scan.without_tty.iter().map(|device| device.to_present(None))).collect();
    Ok(serde_json::to_string_pretty(&devices)? + "\n")
}

fn table(scan: &Scan) -> String {
    if scan.ttys.is_empty() && scan.without_tty.is_empty() {
        return "no serial devices\n".to_owned();
    }
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    for tty in &scan.ttys {
        let shared = tty.usb.as_ref().is_some_and(|usb| shares_its_serial_number(&usb.device));
        let remark = match (tty.console, shared) {
            (true, _) => "kernel console",
            (false, true) => "serial number not unique",
            (false, false) => "",
        };
        rows.push(row(&tty.to_present(None), remark));
    }
    for device in &scan.without_tty {
        rows.push(row(&device.to_present(None), remark(device)));
    }
    let mut width = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in width.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(width).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

const COLUMNS: [&str; 8] =
    ["TTY", "USB", "SERIAL NUMBER", "PRODUCT", "INTERFACE", "USB PATH", "DRIVER", "REMARK"];

fn row(device: &PresentDevice, remark: &str) -> [String; COLUMNS.len()] {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let interface = match (device.interface_number, device.port_number) {
        (Some(interface), Some(port @ 1..)) => format!("{interface} port {port}"),
        (Some(interface), _) => interface.to_string(),
        (None, _) => "-".to_owned(),
    };
    [
        text(&device.tty),
        text(&device.usb),
        text(&device.serial_number),
        text(&device.product),
        interface,
        text(&device.usb_path),
        text(&device.driver),
        remark.to_owned(),
    ]
}

/// Why a device has no tty, in a few words.
fn remark(device: &UsbDevice) -> &'static str {
    match device.obstacle {
        Some(Obstacle::NoDriver { .. }) | None => "no driver",
        Some(Obstacle::Program) => "taken by a program",
        Some(Obstacle::NotAuthorized) => "not authorized",
        Some(Obstacle::NotConfigured) => "not configured",
    }
}

fn shares_its_serial_number(device: &UsbDevice) -> bool {
    device.serial_is_shared
        || device.serial_number.as_deref().is_some_and(|number| !identity::tells_apart(number))
}
