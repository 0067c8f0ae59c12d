//! Kernel uevents without hardware: encode, decode, inject, replay recordings.
//!
//! Owner: tests of whatever listens to the kernel. Injection goes into the network namespace of the calling process
//! and must never reach the machine's own udevd: the initial namespace is refused.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::netlink::KOBJECT_UEVENT;

use crate::netlink::{FIRST_FAMILY_TYPE, Netlink};
use crate::trees;

/// One kernel uevent. `ACTION`, `DEVPATH` and `SEQNUM` are not among the properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `bind`, `unbind`, `remove`, `change`.
    pub action: String,
    /// The device's path below the sysfs root, with a leading slash.
    pub devpath: String,
    /// Key and value, in the kernel's order.
    pub properties: Vec<(String, String)>,
}

impl Uevent {
    /// The value of one property.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The bytes as the kernel sends them; it appends a SEQNUM of its own to what is injected.
    pub fn encode(&self) -> Vec<u8> {
        let Self { action, devpath, properties } = self;
        let mut bytes = format!("{action}@{devpath}\0ACTION={action}\0DEVPATH={devpath}\0").into_bytes();
        for (key, value) in properties {
            bytes.extend_from_slice(format!("{key}={value}\0").as_bytes());
        }
        bytes
    }

    /// Reads a kernel message; `None` for anything else (udevd's own messages have a binary header).
    pub fn decode(message: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(message);
        let mut fields = text.split_terminator('\0');
        let (action, devpath) = fields.next()?.split_once('@')?;
        let properties = fields
            .filter_map(|field| field.split_once('='))
            .filter(|(key, _)| !matches!(*key, "ACTION" | "DEVPATH" | "SEQNUM"))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Some(Self { action: action.to_owned(), devpath: devpath.to_owned(), properties })
    }

    /// The same event with `from` replaced by `to` everywhere, e.g. `ttyUSB0` by `ttyUSB5`.
    #[must_use]
    pub fn renamed(&self, from: &str, to: &str) -> Self {
        Self {
            action: self.action.clone(),
            devpath: self.devpath.replace(from, to),
            properties: self.properties.iter().map(|(k, v)| (k.clone(), v.replace(from, to))).collect(),
        }
    }
}

/// Hands uevents to the kernel, which sends them to every listener of this network namespace as its own.
#[derive(Debug)]
pub struct Injector {
    netlink: Netlink,
}

impl Injector {
    /// Opens the socket. Fails in the initial network namespace: see [`crate::namespace::enter`].
    pub fn open() -> Result<Self> {
        ensure!(
            namespace_is_private(),
            "this is the initial network namespace, whose udevd would act on injected uevents: run below `unshare -rn`"
        );
        Ok(Self { netlink: Netlink::open(Some(KOBJECT_UEVENT)).context("a uevent socket")? })
    }

    /// Sends one event and waits until the kernel has taken it.
    pub fn send(&mut self, event: &Uevent) -> Result<()> {
        self.netlink
            .request(FIRST_FAMILY_TYPE, &event.encode())
            .with_context(|| format!("injecting {}@{}", event.action, event.devpath))
    }

    /// Sends a whole recording, without pauses.
    pub fn replay<'a>(&mut self, events: impl IntoIterator<Item = &'a Uevent>) -> Result<()> {
        events.into_iter().try_for_each(|event| self.send(event))
    }
}

/// The recorded kernel messages of one plug and one unplug of all devices of a scene ([`trees::names`] without the
/// two `base` trees, which have no USB device).
pub fn recorded(name: &str) -> Result<Vec<Uevent>> {
    let archive = if name.starts_with("k6.12-") { "k6.12-uevents.tar.gz" } else { "uevents.tar.gz" };
    let wanted = format!("{name}.kernel.bin");
    let mut archive = trees::open_archive(&trees::fixtures().join(archive))?;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()? == Path::new(&wanted) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return parse_recording(&bytes).with_context(|| wanted);
        }
    }
    bail!("no recording {wanted}")
}

/// Splits a recording: each message after its length, four bytes little-endian.
pub fn parse_recording(mut bytes: &[u8]) -> Result<Vec<Uevent>> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (message, rest) = rest.split_at_checked(length).context("a truncated recording")?;
        events.push(Uevent::decode(message).context("not a kernel uevent")?);
        bytes = rest;
    }
    ensure!(bytes.is_empty(), "a truncated recording");
    Ok(events)
}

/// Whether this network namespace is ours alone.
fn namespace_is_private() -> bool {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
    match (of("self"), of("1")) {
        (Ok(ours), Ok(initial)) => ours != initial,
        // PID 1 cannot be looked at from a user namespace of one's own; there the kernel itself refuses (EPERM)
        // injection into a network namespace that does not belong to it.
        _ => in_user_namespace().unwrap_or(false),
    }
}

fn in_user_namespace() -> io::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(!map.split_whitespace().eq(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_the_kernels() {
        let event = Uevent {
            action: "add".into(),
            devpath: "/devices/x/tty/ttyUSB0".into(),
            properties: vec![("SUBSYSTEM".into(), "tty".into()), ("DEVNAME".into(), "ttyUSB0".into())],
        };
        let bytes = event.encode();
        assert_eq!(
            bytes,
            b"add@/devices/x/tty/ttyUSB0\0ACTION=add\0DEVPATH=/devices/x/tty/ttyUSB0\0SUBSYSTEM=tty\0DEVNAME=ttyUSB0\0"
        );
        assert_eq!(Uevent::decode(&bytes), Some(event.clone()));
        assert_eq!(event.property("DEVNAME"), Some("ttyUSB0"));
        assert_eq!(event.renamed("ttyUSB0", "ttyUSB7").property("DEVNAME"), Some("ttyUSB7"));
    }

    #[test]
    fn udevd_messages_and_truncated_recordings_are_refused() {
        assert_eq!(Uevent::decode(b"libudev\0\xfe\xed\xca\xfe"), None);
        parse_recording(&[9, 0, 0, 0, b'a']).unwrap_err();
        parse_recording(&[1, 0]).unwrap_err();
    }

    #[test]
    fn recordings_have_their_known_number_of_messages() {
        for (name, messages) in [
            ("cdcacm-serial", 14),
            ("ch340-noserial", 14),
            ("ftdi-single", 20),
            ("ftdi-quad", 44),
            ("mixed", 120),
            ("nodriver", 6),
        ] {
            assert_eq!(recorded(name).unwrap().len(), messages, "{name}");
        }
        assert!(!recorded("k6.12-ftdi-quad").unwrap().is_empty());
        recorded("base").unwrap_err();
    }
}
