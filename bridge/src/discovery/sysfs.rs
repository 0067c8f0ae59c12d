//! The serial devices that a sysfs tree shows: [`scan`] is a function of the directory that it is given, of `/sys`
//! as of a recording.
//!
//! Owner: the types that everybody uses for what is present. The walk is in [`walk`], the only place that reads
//! files. Nothing here opens a tty: enumeration must not touch modem lines.

use std::{io, path::Path};

use serialfleet_api::node::PresentDevice;

use crate::discovery::{
    identity::{self, Identity},
    text::{self, MAX_KERNEL_NAME, MAX_TEXT},
};

mod walk;

/// Everything serial that is present, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The ttys with hardware behind them, in the order of their numbers.
    pub ttys: Vec<SerialTty>,
    /// USB devices that could be serial and have no tty, in the order of their sockets.
    pub without_tty: Vec<UsbDevice>,
}

/// A tty with hardware behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialTty {
    /// `ttyUSB0`.
    pub name: String,
    /// Of its device node.
    pub device_number: DeviceNumber,
    /// This very plug of the device.
    pub key: DeviceKey,
    /// Kernel driver: of the USB interface (`ch341`, not `ch341-uart`), or of the device below the serial core.
    pub driver: Option<String>,
    /// Where it hangs on USB.
    pub usb: Option<UsbPort>,
    /// The kernel prints its own messages here.
    pub console: bool,
}

/// Number of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// This very plug: another one after each enumeration, where `ttyUSB0` may be the same name again.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey {
    /// The tty's directory below the sysfs root, with a leading slash, as uevents give it.
    pub devpath: String,
    /// USB address: a new one at each plug.
    pub devnum: Option<u32>,
    /// Inode of the tty's directory: another one where only the driver was unbound and bound again.
    pub instance: u64,
}

/// Where a tty hangs on USB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbPort {
    /// The device.
    pub device: UsbDevice,
    /// `bInterfaceNumber`.
    pub interface_number: Option<u8>,
    /// usb-serial `port_number`.
    pub port_number: Option<u8>,
}

/// A USB device. Strings are raw: whoever shows them goes through [`text`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbDevice {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
    /// Serial number.
    pub serial_number: Option<String>,
    /// Another device that is present has the same ids and the same serial number.
    pub serial_is_shared: bool,
    /// Manufacturer string.
    pub manufacturer: Option<String>,
    /// Product string.
    pub product_name: Option<String>,
    /// Chain of ports, `usb-1.4`.
    pub usb_path: String,
    /// `pci-0000:00:14.0`, `platform-xhci-hcd.0`.
    pub controller: Option<String>,
    /// Why it has no tty, for members of [`Scan::without_tty`].
    pub obstacle: Option<Obstacle>,
}

/// Why a USB device has no tty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No driver took it. `cdc_acm`: it is of the standard class that this driver serves.
    NoDriver {
        /// An interface says communications class, abstract control model.
        cdc_acm: bool,
    },
    /// A program took it from the kernel through usbfs.
    Program,
    /// The administrator of the machine has not authorized it.
    NotAuthorized,
    /// It has no configuration: often too much current for its hub.
    NotConfigured,
}

/// Looks at everything below `root`, which is `/sys` or looks like it. It may block for as long as a device holds
/// its lock in the kernel (a reset, a slow probe): not for the data thread, and better not for a runtime's own.
///
/// # Errors
/// Only if `root` is not there, or `class/tty` is and cannot be listed. A tree without that is an empty one; what vanishes or fails in
/// the middle is left out or partly known.
pub fn scan(root: &Path) -> io::Result<Scan> {
    walk::scan(root)
}

impl SerialTty {
    /// Sorts `ttyUSB2` before `ttyUSB10`.
    pub fn order(&self) -> impl Ord + use<> {
        let stem = self.name.trim_end_matches(|character: char| character.is_ascii_digit());
        let number: u64 = self.name.strip_prefix(stem).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        (stem.to_owned(), number, self.name.clone())
    }

    /// What tells this very device from others.
    pub fn identity(&self) -> Identity {
        let Some(usb) = &self.usb else {
            return Identity::Tty(self.name.clone());
        };
        let UsbPort { device, interface_number, port_number } = usb;
        let (vendor, product) = (device.vendor, device.product);
        let (interface_number, port_number) = (*interface_number, *port_number);
        match device.own_serial_number() {
            Some(serial_number) => Identity::SerialNumber {
                vendor,
                product,
                serial_number: serial_number.to_owned(),
                interface_number,
                port_number,
            },
            None => Identity::UsbPath {
                vendor,
                product,
                usb_path: device.full_path(),
                interface_number,
                port_number,
            },
        }
    }

    /// As the node's report and `discover` show it, with every string made fit to print.
    pub fn to_present(&self, matched_by: Option<&str>) -> PresentDevice {
        let usb = self.usb.as_ref();
        PresentDevice {
            tty: Some(text::printable(&self.name, MAX_KERNEL_NAME)),
            driver: self.driver.as_deref().map(|driver| text::printable(driver, MAX_KERNEL_NAME)),
            interface_number: usb.and_then(|usb| usb.interface_number).map(i32::from),
            port_number: usb.and_then(|usb| usb.port_number).map(i32::from),
            ..usb.map_or_else(
                || PresentDevice { matched_by: matched_by.map(str::to_owned), ..PresentDevice::default() },
                |usb| usb.device.to_present(matched_by),
            )
        }
    }
}

impl UsbDevice {
    /// `10c4:ea60`, as lsusb prints it.
    pub fn ids(&self) -> String {
        format!("{:04x}:{:04x}", self.vendor, self.product)
    }

    /// The serial number, if it belongs to this device alone.
    pub fn own_serial_number(&self) -> Option<&str> {
        self.serial_number.as_deref().filter(|number| !self.serial_is_shared && identity::tells_apart(number))
    }

    /// Controller and chain of ports, `pci-0000:00:14.0-usb-1.4`.
    pub fn full_path(&self) -> String {
        match &self.controller {
            Some(controller) => format!("{controller}-{}", self.usb_path),
            None => self.usb_path.clone(),
        }
    }

    /// As the node's report and `discover` show it, with every string made fit to print.
    pub fn to_present(&self, matched_by: Option<&str>) -> PresentDevice {
        let printable = |text: &Option<String>| text.as_deref().map(|text| text::printable(text, MAX_TEXT));
        PresentDevice {
            usb: Some(self.ids()),
            serial_number: printable(&self.serial_number),
            manufacturer: printable(&self.manufacturer),
            product: printable(&self.product_name),
            usb_path: Some(text::printable(&self.full_path(), MAX_TEXT)),
            matched_by: matched_by.map(str::to_owned),
            ..PresentDevice::default()
        }
    }
}
