//! Which directories, links and events a stick brings with it, in the kernel's order.
//!
//! Owner: `stick`, which carries it out. Pure: no file is touched here. The order is that of the recordings (a test
//! compares them): `tests/uevents.rs`.

mod uart;
mod usb;

use crate::spec::StickSpec;
use crate::uevent::Uevent;

/// What happens to a device, in the kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It appears: directory, links, event.
    Add,
    /// A driver has taken it; no event yet.
    Probe,
    /// The driver is done with its set-up.
    Bind,
    /// The driver has let go.
    Unbind,
    /// It disappears.
    Remove,
}

/// A tty that a stick brings: the name it got, and the number of the node behind it.
#[derive(Clone, Debug)]
pub(crate) struct TtyName {
    pub(crate) name: String,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// One directory in sysfs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    /// Relative to the sysfs root.
    pub(crate) path: String,
    pub(crate) subsystem: &'static str,
    /// As in its events, without SUBSYSTEM and DRIVER.
    pub(crate) properties: Vec<(&'static str, String)>,
    pub(crate) attributes: Vec<(&'static str, String)>,
    /// Other names for it, elsewhere in sysfs.
    pub(crate) aliases: Vec<String>,
    pub(crate) driver: Option<String>,
    /// Index of the port, if this is a tty.
    pub(crate) tty: Option<usize>,
}

impl Device {
    /// What `subsystem` points to.
    pub(crate) fn subsystem_path(&self) -> String {
        let kind = if self.subsystem == "tty" { "class" } else { "bus" };
        format!("{kind}/{}", self.subsystem)
    }

    /// What `driver` points to.
    pub(crate) fn driver_path(&self) -> Option<String> {
        self.driver.as_ref().map(|driver| format!("bus/{}/drivers/{driver}", self.subsystem))
    }

    /// The attribute `uevent`: the properties without SUBSYSTEM.
    pub(crate) fn uevent_attribute(&self, driven: bool) -> String {
        let lines: Vec<String> =
            self.all_properties(driven).map(|(key, value)| format!("{key}={value}")).collect();
        lines.join("\n")
    }

    /// The kernel's message; `None` where it sends none.
    pub(crate) fn message(&self, action: Action, driven: bool) -> Option<Uevent> {
        let word = match action {
            Action::Add => "add",
            Action::Probe => return None,
            Action::Bind => "bind",
            Action::Unbind => "unbind",
            Action::Remove => "remove",
        };
        let subsystem = ("SUBSYSTEM".to_owned(), self.subsystem.to_owned());
        let properties = self
            .all_properties(driven)
            .filter(|(key, _)| action != Action::Unbind || *key != "MODALIAS")
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        Some(Uevent {
            action: word.to_owned(),
            devpath: format!("/{}", self.path),
            properties: [subsystem].into_iter().chain(properties).collect(),
        })
    }

    /// The kernel puts DRIVER before PRODUCT.
    fn all_properties(&self, driven: bool) -> impl Iterator<Item = (&str, &str)> {
        let at =
            self.properties.iter().position(|(key, _)| *key == "PRODUCT").unwrap_or(self.properties.len());
        let own = self.properties.iter().map(|(key, value)| (*key, value.as_str()));
        let driver = self.driver.as_deref().filter(|_| driven).map(|driver| ("DRIVER", driver));
        own.clone().take(at).chain(driver).chain(own.skip(at))
    }
}

/// A stick as a list of devices and what happens to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Controller and hubs on the way: there before, and they stay.
    pub(crate) standing: Vec<Device>,
    pub(crate) devices: Vec<Device>,
    /// Plugging in; indices into `devices`.
    pub(crate) arrival: Vec<(Action, usize)>,
    /// Pulling out.
    pub(crate) departure: Vec<(Action, usize)>,
}

impl Layout {
    /// `device_number` is the kernel's `devnum`, another one at each plug.
    pub(crate) fn of(spec: &StickSpec, ttys: &[TtyName], device_number: u32) -> Self {
        if spec.is_uart() { uart::layout(spec, ttys) } else { usb::layout(spec, ttys, device_number) }
    }

    fn push(&mut self, device: Device) -> usize {
        self.devices.push(device);
        self.devices.len() - 1
    }

    fn arrive(&mut self, index: usize, actions: impl IntoIterator<Item = Action>) {
        self.arrival.extend(actions.into_iter().map(|action| (action, index)));
    }

    fn depart(&mut self, index: usize, actions: impl IntoIterator<Item = Action>) {
        self.departure.extend(actions.into_iter().map(|action| (action, index)));
    }
}

/// The tty itself: the class device below `parent`.
fn tty(parent: &str, index: usize, tty: &TtyName) -> Device {
    let TtyName { name, major, minor } = tty;
    Device {
        path: format!("{parent}/tty/{name}"),
        subsystem: "tty",
        properties: vec![
            ("MAJOR", major.to_string()),
            ("MINOR", minor.to_string()),
            ("DEVNAME", name.clone()),
        ],
        attributes: vec![("dev", format!("{major}:{minor}"))],
        aliases: vec![format!("class/tty/{name}")],
        driver: None,
        tty: Some(index),
    }
}
