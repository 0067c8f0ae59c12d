//! The walk through a sysfs root that a program under test has to imitate, as an independent second opinion.
//!
//! Owner: tests that compare. From the tty upwards to the first directory with `bInterfaceNumber`, from there to the
//! first with `idVendor`: no level is counted. It must not grow into a product's scanner: no matching, no policy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One serial port as sysfs shows it. Strings are decoded leniently; `None` where the file is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the files in sysfs")]
pub struct SysfsPort {
    pub tty: String,
    pub dev: Option<String>,
    pub driver: Option<String>,
    pub subsystem: Option<String>,
    pub usb_path: Option<String>,
    pub interface_number: Option<String>,
    pub interface: Option<String>,
    pub port_number: Option<String>,
    pub vendor_id: Option<String>,
    pub product_id: Option<String>,
    pub serial_number: Option<String>,
    pub manufacturer: Option<String>,
    pub product: Option<String>,
}

/// Every tty with a device parent, sorted by name; phantom UARTs (`type` 0) are left out.
pub fn ports(sysfs_root: &Path) -> io::Result<Vec<SysfsPort>> {
    let root = sysfs_root.canonicalize()?;
    let mut ports = Vec::new();
    for entry in fs::read_dir(root.join("class/tty"))? {
        let entry = entry?;
        let Ok(directory) = entry.path().canonicalize() else { continue };
        let Ok(device) = directory.join("device").canonicalize() else { continue };
        if attribute(&directory, "type").as_deref() == Some("0") {
            continue;
        }
        let mut port = SysfsPort {
            tty: entry.file_name().to_string_lossy().into_owned(),
            dev: attribute(&directory, "dev"),
            driver: link_name(&device, "driver"),
            subsystem: link_name(&device, "subsystem"),
            ..SysfsPort::default()
        };
        let interface = upwards(&device, "bInterfaceNumber", &root);
        if let Some((interface, usb)) = interface.and_then(|i| Some((i, upwards(i, "idVendor", &root)?))) {
            port.usb_path = usb.file_name().map(|name| name.to_string_lossy().into_owned());
            port.interface_number = attribute(interface, "bInterfaceNumber");
            port.interface = attribute(interface, "interface");
            port.port_number = attribute(&device, "port_number");
            port.vendor_id = attribute(usb, "idVendor");
            port.product_id = attribute(usb, "idProduct");
            port.serial_number = attribute(usb, "serial");
            port.manufacturer = attribute(usb, "manufacturer");
            port.product = attribute(usb, "product");
        }
        ports.push(port);
    }
    ports.sort_by(|a, b| a.tty.cmp(&b.tty));
    Ok(ports)
}

fn attribute(directory: &Path, name: &str) -> Option<String> {
    let bytes = fs::read(directory.join(name)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn upwards<'a>(directory: &'a Path, name: &str, stop: &Path) -> Option<&'a Path> {
    directory.ancestors().take_while(|&at| at != stop).find(|at| at.join(name).exists())
}

fn link_name(directory: &Path, name: &str) -> Option<String> {
    let target: PathBuf = fs::read_link(directory.join(name)).ok()?;
    target.file_name().map(|name| name.to_string_lossy().into_owned())
}
