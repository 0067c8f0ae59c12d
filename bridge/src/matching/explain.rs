//! The sentences of matching: what was found, and what to write instead.
//!
//! Owner: wording. Every string from hardware passes through [`text`]; every list is bounded.

use std::collections::BTreeSet;

use serialfleet_api::fleet::Match;

use super::{
    criteria::{self, Field},
    drivers,
};
use crate::discovery::{
    identity,
    sysfs::{Obstacle, Scan, SerialTty, UsbDevice},
    text::{self, MAX_KERNEL_NAME},
};

/// Several devices claim one tty with equal right.
pub(super) fn tie(tty: &SerialTty, device: &str, rivals: &[&str]) -> String {
    let mut devices: Vec<&str> = rivals.iter().copied().chain([device]).collect();
    devices.sort_unstable();
    format!(
        "{} matches the devices {} equally well, and none of them gets it: write serialNumber, usbPath or \
         interfaceNumber in the one that it is",
        place(tty),
        text::list(&devices)
    )
}

/// Several ttys match one device.
pub(super) fn several(matcher: &Match, ttys: &[&SerialTty], rivals: &[&str]) -> String {
    let places: Vec<String> = ttys.iter().map(|tty| place(tty)).collect();
    let rivalry = if rivals.is_empty() {
        String::new()
    } else {
        format!(", which the device{} {} may claim too", plural(rivals), text::list(rivals))
    };
    format!("{} match{rivalry}: {}", text::list(&places), what_tells_apart(matcher, ttys))
}

/// A device keeps its open tty although something else would do as well; empty if nothing would.
pub(super) fn staying(matcher: &Match, tty: &SerialTty, further: &[&SerialTty], rivals: &[&str]) -> String {
    let mut sentences = Vec::new();
    if !further.is_empty() {
        let places: Vec<String> = further.iter().map(|tty| place(tty)).collect();
        let all: Vec<&SerialTty> = std::iter::once(tty).chain(further.iter().copied()).collect();
        sentences.push(format!(
            "{} would match as well and after a restart none would be opened: {}",
            text::list(&places),
            what_tells_apart(matcher, &all)
        ));
    }
    if !rivals.is_empty() {
        sentences.push(format!(
            "the device{} {} would have at least the same right to {}, which stays here while it is open: make \
             one of the matches closer",
            plural(rivals),
            text::list(rivals),
            place(tty)
        ));
    }
    sentences.join("; ")
}

/// The tty that a device would get is open for another one.
pub(super) fn open_elsewhere(tty: &SerialTty, holder: &str, device: &str) -> String {
    format!(
        "{} matches, and the device {holder} has it open: make the match of {holder} closer so that it no longer \
         holds, or remove {device}",
        place(tty)
    )
}

/// Other devices have a stronger claim on all that matches.
pub(super) fn taken(tty: &SerialTty, owners: &[&str]) -> String {
    format!(
        "{} matches, but the device{} {} name{} it more closely: plug in another one, or remove one of the entries",
        place(tty),
        plural(owners),
        text::list(owners),
        if owners.len() == 1 { "s" } else { "" }
    )
}

/// Only the kernel's console matches.
pub(super) fn console(tty: &SerialTty) -> String {
    let name = text::printable(&tty.name, MAX_KERNEL_NAME);
    format!(
        "{name} is the kernel's console: remove console={name} from the kernel command line of this node, or \
         choose another port"
    )
}

/// It is plugged in, and no driver made a tty of it.
pub(super) fn no_driver(usb: &UsbDevice) -> String {
    let ids = usb.ids();
    let what = format!("USB device {ids} at {} is plugged in and has no tty: ", usb_place(usb));
    let by_ids = drivers::module(usb.vendor, usb.product);
    let why = match usb.obstacle {
        Some(Obstacle::NotAuthorized) => {
            "it is not authorized: allow it in usbguard, or write 1 to its file authorized in sysfs".to_owned()
        }
        Some(Obstacle::NotConfigured) => {
            "it has no configuration: look for its name in the kernel log, often its hub gives too little current"
                .to_owned()
        }
        Some(Obstacle::Program) => {
            "a program has taken it from the kernel (usbfs): stop that program, often brltty or a virtual machine"
                .to_owned()
        }
        Some(Obstacle::NoDriver { cdc_acm: true }) => missing("cdc_acm"),
        Some(Obstacle::NoDriver { cdc_acm: false }) | None => by_ids.map_or_else(
            || format!("no driver of this kernel takes {ids}; find the kernel module for it and load it"),
            missing,
        ),
    };
    what + &why
}

fn missing(module: &str) -> String {
    format!("the kernel module {module} is missing; install it on this node and load it (modprobe {module})")
}

/// The tty that comes closest to a device that has none, if one comes close: the same chip, or the same socket.
pub(super) fn near_miss<'a>(matcher: &Match, ttys: impl Iterator<Item = &'a SerialTty>) -> Option<String> {
    let mut closest: Option<(&SerialTty, Vec<Field>)> = None;
    for tty in ttys {
        let failing = criteria::failing(matcher, tty);
        let holds = |given: bool, field| given && !failing.contains(&field);
        let named = matcher.tty.as_ref().is_some_and(|name| *name == tty.name);
        let near = holds(matcher.usb.is_some(), Field::Usb)
            || holds(matcher.usb_path.is_some(), Field::UsbPath)
            || (named && tty.usb.is_some());
        // The first of equals: the order of a scan is fixed.
        if near && closest.as_ref().is_none_or(|(_, fewest)| failing.len() < fewest.len()) {
            closest = Some((tty, failing));
        }
    }
    let (tty, failing) = closest?;
    Some(match failing[..] {
        [Field::Tty] if tty.usb.is_some() => {
            format!(
                "{} is a USB device, and `tty` is for on-board ports: write {}",
                place(tty),
                usb_fields(tty)
            )
        }
        [Field::SerialNumber] => other_serial_number(tty),
        _ => {
            let corrections: Vec<String> = failing.iter().map(|field| correction(*field, tty)).collect();
            format!("{} on this node comes close: {}", place(tty), text::list(&corrections))
        }
    })
}

fn other_serial_number(tty: &SerialTty) -> String {
    let number = tty.usb.as_ref().and_then(|usb| usb.device.serial_number.as_deref());
    match number {
        None => format!(
            "{} is the same chip on this node, without a serial number: remove serialNumber, and write usbPath if \
             there are several",
            place(tty)
        ),
        Some(number) => {
            let shared = if identity::tells_apart(number) {
                ""
            } else {
                " (many such devices carry this number: add usbPath if there are several)"
            };
            format!(
                "{} is the same chip on this node, with another serial number: if it is the one, write \
                 serialNumber: {}{shared}",
                place(tty),
                quoted_pattern(number)
            )
        }
    }
}

/// What the tty says in this field.
fn correction(field: Field, tty: &SerialTty) -> String {
    let Some(usb) = &tty.usb else {
        return "it is an on-board port, to be matched by `tty` alone".to_owned();
    };
    let device = &usb.device;
    let text = |name, value: &Option<String>| match value {
        Some(value) => format!("{name} is {}", quoted_pattern(value)),
        None => format!("it has no {name}"),
    };
    let number = |name, value: Option<u8>| match value {
        Some(value) => format!("{name} is {value}"),
        None => format!("it has no {name}"),
    };
    match field {
        Field::Usb => format!("usb is {}", text::quoted(&device.ids())),
        Field::SerialNumber => text("serialNumber", &device.serial_number),
        Field::Manufacturer => text("manufacturer", &device.manufacturer),
        Field::Product => text("product", &device.product_name),
        Field::InterfaceNumber => number("interfaceNumber", usb.interface_number),
        Field::PortNumber => number("portNumber", usb.port_number),
        Field::UsbPath => format!("usbPath is {}", text::quoted(&device.usb_path)),
        Field::Tty => "it is a USB device, and `tty` is for on-board ports".to_owned(),
    }
}

/// Nothing comes close.
pub(super) fn nothing(matcher: &Match, scan: &Scan) -> String {
    if let Some(wanted) = &matcher.tty {
        let mut on_board: Vec<&SerialTty> = scan.ttys.iter().filter(|tty| tty.usb.is_none()).collect();
        on_board.sort_by_cached_key(|tty| tty.order());
        let on_board: Vec<String> = on_board.into_iter().map(place).collect();
        let present = if on_board.is_empty() { "none".to_owned() } else { text::list(&on_board) };
        let wanted = text::printable(wanted, MAX_KERNEL_NAME);
        return format!("no on-board port {wanted} with hardware behind it on this node; present: {present}");
    }
    let wanted =
        matcher.usb.as_ref().or(matcher.usb_path.as_ref()).map(|text| text::printable(text, MAX_KERNEL_NAME));
    format!("no such device on this node: plug {} in here or on another node", wanted.unwrap_or_default())
}

/// `nodes` leaves this one out.
pub(super) fn other_nodes() -> String {
    "the device is expected on other nodes only; add this one to match.nodes if it shall be served here"
        .to_owned()
}

/// The field in which candidates differ, with values.
fn what_tells_apart(matcher: &Match, ttys: &[&SerialTty]) -> String {
    let ports: Vec<_> = ttys.iter().filter_map(|tty| tty.usb.as_ref()).collect();
    let differ = |value: &dyn Fn(usize) -> Option<String>| {
        let values: BTreeSet<Option<String>> = (0..ports.len()).map(value).collect();
        (values.len() == ttys.len() && !values.contains(&None))
            .then(|| values.into_iter().flatten().collect::<Vec<_>>())
    };
    let serial_numbers = differ(&|at| ports[at].device.own_serial_number().map(quoted_pattern));
    let interfaces = differ(&|at| ports[at].interface_number.map(|number| number.to_string()));
    let port_numbers = differ(&|at| ports[at].port_number.map(|number| number.to_string()));
    let paths = differ(&|at| Some(text::quoted(&ports[at].device.usb_path)));
    let full_paths = differ(&|at| Some(text::quoted(&ports[at].device.full_path())));
    let choices = [
        ("serialNumber", serial_numbers, matcher.serial_number.is_some()),
        ("interfaceNumber", interfaces, matcher.interface_number.is_some()),
        ("portNumber", port_numbers, matcher.port_number.is_some()),
        ("usbPath", paths, false),
        ("usbPath", full_paths, false),
    ];
    for (field, values, given) in choices {
        if let (Some(values), false) = (values, given) {
            return format!("write {field}, here {}", text::list(&values).replace(" and ", " or "));
        }
    }
    "write usbPath and, for devices with several ports, interfaceNumber or portNumber".to_owned()
}

/// The fields by which to match a tty on USB.
fn usb_fields(tty: &SerialTty) -> String {
    let Some(usb) = &tty.usb else { return String::new() };
    match usb.device.own_serial_number() {
        Some(number) => {
            format!("usb: {} and serialNumber: {}", text::quoted(&usb.device.ids()), quoted_pattern(number))
        }
        None => format!("usb: {}", text::quoted(&usb.device.ids())),
    }
}

/// The string as it may be pasted into a `match`.
fn quoted_pattern(text: &str) -> String {
    text::quoted(&criteria::pattern(text, MAX_PATTERN).unwrap_or_else(|| "*".to_owned()))
}

/// `ttyUSB0 (usb-1.4)`.
fn place(tty: &SerialTty) -> String {
    let name = text::printable(&tty.name, MAX_KERNEL_NAME);
    match &tty.usb {
        Some(usb) => format!("{name} ({})", usb_place(&usb.device)),
        None => name,
    }
}

fn usb_place(usb: &UsbDevice) -> String {
    text::printable(&usb.usb_path, MAX_KERNEL_NAME)
}

/// Longest value in a sentence, in characters.
const MAX_PATTERN: usize = 64;

fn plural<T>(items: &[T]) -> &'static str {
    if items.len() == 1 { "" } else { "s" }
}
