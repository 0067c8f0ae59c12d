//! Which physical device a tty is, and whether a serial number can tell.
//!
//! Owner: this module alone decides that a device that came back is the one that went: only then may the bytes of a
//! kept client go to it.

use std::fmt;

use crate::discovery::text;

/// What tells this very device from others. Equal identities continue a stream over an unplug.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// A serial number of its own.
    SerialNumber {
        /// idVendor.
        vendor: u16,
        /// idProduct.
        product: u16,
        /// The USB serial number.
        serial_number: String,
        /// bInterfaceNumber.
        interface_number: Option<u8>,
        /// usb-serial port_number.
        port_number: Option<u8>,
    },
    /// The socket it is plugged into, and what kind of device it is: another chip in that socket is another device.
    UsbPath {
        /// idVendor.
        vendor: u16,
        /// idProduct.
        product: u16,
        /// Controller and chain of ports, `pci-0000:00:14.0-usb-1.4`.
        usb_path: String,
        /// bInterfaceNumber.
        interface_number: Option<u8>,
        /// usb-serial port_number.
        port_number: Option<u8>,
    },
    /// The name of an on-board tty.
    Tty(String),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (interface_number, port_number) = match self {
            Self::SerialNumber { serial_number, interface_number, port_number, .. } => {
                write!(f, "serialNumber={}", text::printable(serial_number, MAX_SHOWN))?;
                (*interface_number, *port_number)
            }
            Self::UsbPath { usb_path, interface_number, port_number, .. } => {
                write!(f, "usbPath={}", text::printable(usb_path, MAX_SHOWN))?;
                (*interface_number, *port_number)
            }
            Self::Tty(name) => return write!(f, "tty={}", text::printable(name, MAX_SHOWN)),
        };
        // Nearly every stick is port 0 of interface 0: said only where it tells something.
        if let Some(number @ 1..) = interface_number {
            write!(f, ",interfaceNumber={number}")?;
        }
        if let Some(number @ 1..) = port_number {
            write!(f, ",portNumber={number}")?;
        }
        Ok(())
    }
}

/// Whether a serial number belongs to one device. All those refused are known to be shared by whole batches.
pub fn tells_apart(serial_number: &str) -> bool {
    let number = serial_number.trim();
    let mut characters = number.chars();
    let first = characters.next();
    !(number.len() < SHORTEST
        // An unprogrammed memory reads as all zeros or all ones; "0000" and "FFFFFFFF" are what comes of it.
        || characters.all(|character| Some(character) == first)
        // What a developer types to have something there.
        || COUNTING.iter().any(|row| row.starts_with(&number.to_ascii_uppercase()))
        || SHARED.iter().any(|(shared, _)| shared.eq_ignore_ascii_case(number)))
}

/// Longest part of an identity that is shown, in bytes; comparing takes all of it.
const MAX_SHOWN: usize = 100;

/// One to three characters cannot number a batch.
const SHORTEST: usize = 4;

const COUNTING: [&str; 4] = [
    "0123456789ABCDEF0123456789ABCDEF",
    "123456789ABCDEF0123456789ABCDEF",
    "1234567890123456789012345678901234567890",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
];

/// Serial numbers that many devices carry, and whose they are.
const SHARED: [(&str, &str); 6] = [
    ("0001", "factory setting of Silicon Labs' CP2102: thousands of Zigbee sticks"),
    ("A50285BI", "on every counterfeit FT232R of one large batch"),
    ("0000:00:00.0", "a template of Linux' gadget drivers"),
    ("SerialNumber", "a placeholder in vendors' example firmware"),
    ("Default string", "a placeholder of board vendors"),
    ("1.0", "a version number in the wrong field"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_serial_numbers_are_no_identity() {
        for shared in [
            "",
            " ",
            "0",
            "0001",
            "00000000",
            "000000000",
            "ffffffff",
            "1234",
            "123456",
            "1234567890",
            "0123456789abcdef",
            "A50285BI",
            "a50285bi",
            "AAAA",
            "7",
            "ABCDEF",
        ] {
            assert!(!tells_apart(shared), "{shared:?}");
        }
        for own in [
            "0c8b3f2e",
            "FT4S1TE5",
            "75830303934351F0C1A2",
            "32303230-3034-5330-3135-303831333030",
            "QEMU01",
            "1235",
            "0002",
        ] {
            assert!(tells_apart(own), "{own:?}");
        }
    }

    #[test]
    fn identities_read_as_the_field_that_a_person_would_write() {
        let serial = |interface_number, port_number| Identity::SerialNumber {
            vendor: 0x0403,
            product: 0x6011,
            serial_number: "FT4S1TE5".into(),
            interface_number,
            port_number,
        };
        assert_eq!(serial(Some(0), Some(0)).to_string(), "serialNumber=FT4S1TE5");
        assert_eq!(serial(Some(2), Some(0)).to_string(), "serialNumber=FT4S1TE5,interfaceNumber=2");
        assert_eq!(serial(Some(0), Some(3)).to_string(), "serialNumber=FT4S1TE5,portNumber=3");
        assert_ne!(serial(Some(0), Some(0)), serial(Some(1), Some(0)));
        assert_eq!(Identity::Tty("ttyS1".into()).to_string(), "tty=ttyS1");
    }
}
