//! What kind of stick it is: the descriptors of well-known ones, each detail replaceable.
//!
//! Owner: tests and the demo. Data only; how it looks in sysfs is `layout`'s business.

use anyhow::{Context, Result};

use crate::reply::Mode;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scene {
    /// FT232R, one port.
    Ftdi,
    /// FT4232H: one USB device, four interfaces, four ttys.
    Ftdi4,
    /// CP2102 with the serial number "0001" that thousands of such sticks share.
    Cp210x,
    /// CH340: neither serial number nor manufacturer.
    Ch340,
    /// PL2303 without a serial number.
    Pl2303,
    /// A CDC-ACM Z-Wave stick without any string.
    CdcAcm,
    /// An Arduino Uno: CDC-ACM with a serial number.
    Arduino,
    /// An on-board UART: ttyS on PNP, or with another [`StickSpec::tty_prefix`] a platform device. No USB parent.
    Uart,
}

/// A stick before it is plugged in. Start from a [`Scene`], change what matters for the test.
#[derive(Clone, Debug)]
pub struct StickSpec {
    /// The driver of the interface (of the platform device for a UART).
    pub driver: String,
    /// `ttyUSB`, `ttyACM`, `ttyS`, `ttyAMA`, ...
    pub tty_prefix: String,
    /// Where the search for a free number starts.
    pub lowest_number: u16,
    /// `idVendor`, four hex digits.
    pub vendor_id: String,
    /// `idProduct`, four hex digits.
    pub product_id: String,
    /// `bcdDevice`, four hex digits.
    pub device_release: String,
    /// `bDeviceClass`.
    pub device_class: u8,
    /// Class, subclass and protocol of the interface that carries the tty.
    pub interface_class: [u8; 3],
    /// The USB string; `None`: the file is absent.
    pub serial_number: Option<String>,
    /// The USB string; `None`: the file is absent.
    pub manufacturer: Option<String>,
    /// The USB string; `None`: the file is absent.
    pub product: Option<String>,
    /// The interface's USB string; `None`: the file is absent.
    pub interface: Option<String>,
    /// How many ttys; one interface each.
    pub ports: u8,
    /// Bus and chain of sockets, e.g. `1-1` or, behind a hub, `1-1.4`. For a UART: its ACPI or bus address.
    pub usb_path: String,
    /// What it answers.
    pub mode: Mode,
    /// Start as hardware does, cooked and with ECHO, so that what arrives before the program sets raw mode is echoed
    /// to the device. Off: raw from the start.
    pub cooked: bool,
}

impl StickSpec {
    /// The descriptors of a well-known device, in socket `1-1`.
    pub fn new(scene: Scene) -> Self {
        match scene {
            Scene::Ftdi => Self::usb_serial("ftdi_sio", "0403:6001", "0600", [0xFF; 3])
                .serial_number("A50285BI")
                .strings("FTDI", "FT232R USB UART")
                .interface("FT232R USB UART"),
            Scene::Ftdi4 => Self {
                ports: 4,
                ..Self::usb_serial("ftdi_sio", "0403:6011", "0800", [0xFF; 3])
                    .serial_number("FT4S1TE5")
                    .strings("FTDI", "Quad RS232-HS")
                    .interface("Quad RS232-HS")
            },
            Scene::Cp210x => Self::usb_serial("cp210x", "10c4:ea60", "0100", [0xFF, 0, 0])
                .serial_number("0001")
                .strings("Silicon Labs", "CP2102 USB to UART Bridge Controller")
                .interface("CP2102 USB to UART Bridge Controller"),
            Scene::Ch340 => Self {
                device_class: 0xFF,
                ..Self::usb_serial("ch341", "1a86:7523", "0254", [0xFF, 1, 2]).product("USB Serial")
            },
            Scene::Pl2303 => Self::usb_serial("pl2303", "067b:2303", "0300", [0xFF, 0, 0])
                .strings("Prolific Technology Inc.", "USB-Serial Controller"),
            Scene::CdcAcm => Self::cdc_acm("0658:0200"),
            Scene::Arduino => Self::cdc_acm("2341:0043")
                .serial_number("75830303934351F0C1A2")
                .strings("Arduino (www.arduino.cc)", "Arduino Uno"),
            Scene::Uart => Self {
                driver: "serial".to_owned(),
                tty_prefix: "ttyS".to_owned(),
                usb_path: "00:05".to_owned(),
                ..Self::usb_serial("serial", "0000:0000", "0000", [0; 3])
            },
        }
    }

    /// Vendor and product as `lsusb` prints them, e.g. `10c4:ea60`.
    #[must_use]
    pub fn usb(mut self, ids: &str) -> Self {
        let (vendor, product) = ids.split_once(':').expect("vendor:product");
        vendor.clone_into(&mut self.vendor_id);
        product.clone_into(&mut self.product_id);
        self
    }

    /// `None`: no serial number.
    #[must_use]
    pub fn serial_number<'a>(mut self, text: impl Into<Option<&'a str>>) -> Self {
        self.serial_number = text.into().map(str::to_owned);
        self
    }

    /// `None`: no such string.
    #[must_use]
    pub fn manufacturer<'a>(mut self, text: impl Into<Option<&'a str>>) -> Self {
        self.manufacturer = text.into().map(str::to_owned);
        self
    }

    /// `None`: no such string.
    #[must_use]
    pub fn product<'a>(mut self, text: impl Into<Option<&'a str>>) -> Self {
        self.product = text.into().map(str::to_owned);
        self
    }

    /// `None`: no such string.
    #[must_use]
    pub fn interface<'a>(mut self, text: impl Into<Option<&'a str>>) -> Self {
        self.interface = text.into().map(str::to_owned);
        self
    }

    /// The socket, e.g. `1-1.4`.
    #[must_use]
    pub fn usb_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.usb_path);
        self
    }

    /// Another kind of tty. Anything but `ttyS` makes a UART a platform device with the PL011's driver.
    #[must_use]
    pub fn tty_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.tty_prefix);
        self
    }

    /// Where the search for a free number starts.
    #[must_use]
    pub fn lowest_number(mut self, number: u16) -> Self {
        self.lowest_number = number;
        self
    }

    /// What it answers.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Starts cooked with ECHO, as hardware does.
    #[must_use]
    pub fn cooked(mut self) -> Self {
        self.cooked = true;
        self
    }

    /// Sets a field by name, for command lines. An empty string means: no such string in the device.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let text = Some(value).filter(|text| !text.is_empty()).map(str::to_owned);
        match key {
            "usb" => {
                *self = self.clone().usb(Some(value).filter(|v| v.contains(':')).context("vendor:product")?)
            }
            "vid" => value.clone_into(&mut self.vendor_id),
            "pid" => value.clone_into(&mut self.product_id),
            "serial" => self.serial_number = text,
            "manufacturer" => self.manufacturer = text,
            "product" => self.product = text,
            "interface" => self.interface = text,
            "path" => value.clone_into(&mut self.usb_path),
            "tty" => value.clone_into(&mut self.tty_prefix),
            "ports" => self.ports = value.parse()?,
            _ => anyhow::bail!("no such field: {key}"),
        }
        Ok(())
    }

    pub(crate) fn is_cdc_acm(&self) -> bool {
        self.driver == "cdc_acm"
    }

    /// A UART is what has no USB ids.
    pub(crate) fn is_uart(&self) -> bool {
        self.vendor_id == "0000"
    }

    fn strings(self, manufacturer: &str, product: &str) -> Self {
        self.manufacturer(manufacturer).product(product)
    }

    fn cdc_acm(ids: &str) -> Self {
        Self {
            tty_prefix: "ttyACM".to_owned(),
            device_class: 2,
            ..Self::usb_serial("cdc_acm", ids, "0100", [2, 2, 1])
        }
    }

    fn usb_serial(driver: &str, ids: &str, device_release: &str, interface_class: [u8; 3]) -> Self {
        Self {
            driver: driver.to_owned(),
            tty_prefix: "ttyUSB".to_owned(),
            lowest_number: 0,
            vendor_id: String::new(),
            product_id: String::new(),
            device_release: device_release.to_owned(),
            device_class: 0,
            interface_class,
            serial_number: None,
            manufacturer: None,
            product: None,
            interface: None,
            ports: 1,
            usb_path: "1-1".to_owned(),
            mode: Mode::Echo,
            cooked: false,
        }
        .usb(ids)
    }
}
