//! One device's `match` against one tty: does it hold, where not, and how strong is it.
//!
//! Owner: the meaning of each field of `match`. Strings are compared raw.

use serialfleet_api::{fleet::Match, resolve::ResolvedDevice};

use crate::discovery::sysfs::{SerialTty, UsbDevice};

/// A field of `match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Usb,
    SerialNumber,
    Manufacturer,
    Product,
    InterfaceNumber,
    PortNumber,
    UsbPath,
    Tty,
}

/// How strong a match that holds is, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Strength {
    class: Class,
    /// How many of interfaceNumber and portNumber.
    numbers: usize,
    /// Whether usbPath or tty, below the class.
    place: bool,
    /// How many of the strings.
    strings: usize,
    /// How many values are given without `*`, and with the controller.
    exact: usize,
}

/// What a match rests on, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Ids,
    Strings,
    Place,
    SerialNumber,
}

/// Whether a device may be served on this node at all.
pub(super) fn expected_on(device: &ResolvedDevice, node: &str) -> bool {
    let nodes = &device.matcher.nodes;
    nodes.is_empty() || nodes.iter().any(|name| name == node)
}

/// Whether all given fields hold.
pub(super) fn satisfied(matcher: &Match, tty: &SerialTty) -> bool {
    is_specific(matcher) && failing(matcher, tty).is_empty()
}

/// Whether the fields that a USB device without tty can answer hold.
pub(super) fn satisfied_but_for_tty(matcher: &Match, usb: &UsbDevice) -> bool {
    is_specific(matcher) && matcher.tty.is_none() && failing_of_device(matcher, usb).is_empty()
}

/// The given fields that do not hold.
pub(super) fn failing(matcher: &Match, tty: &SerialTty) -> Vec<Field> {
    let mut failing = Vec::new();
    match &tty.usb {
        Some(usb) => {
            failing.extend(failing_of_device(matcher, &usb.device));
            if matcher
                .interface_number
                .is_some_and(|wanted| usb.interface_number.map(i32::from) != Some(wanted))
            {
                failing.push(Field::InterfaceNumber);
            }
            if matcher.port_number.is_some_and(|wanted| usb.port_number.map(i32::from) != Some(wanted)) {
                failing.push(Field::PortNumber);
            }
            // On-board UARTs only: the names of USB ttys change hands.
            if matcher.tty.is_some() {
                failing.push(Field::Tty);
            }
        }
        None => {
            let given = [
                (matcher.usb.is_some(), Field::Usb),
                (matcher.serial_number.is_some(), Field::SerialNumber),
                (matcher.manufacturer.is_some(), Field::Manufacturer),
                (matcher.product.is_some(), Field::Product),
                (matcher.interface_number.is_some(), Field::InterfaceNumber),
                (matcher.port_number.is_some(), Field::PortNumber),
                (matcher.usb_path.is_some(), Field::UsbPath),
                (matcher.tty.as_ref().is_some_and(|wanted| *wanted != tty.name), Field::Tty),
            ];
            failing.extend(given.into_iter().filter_map(|(fails, field)| fails.then_some(field)));
        }
    }
    failing
}

/// How strong a match is that holds for this tty.
pub(super) fn strength(matcher: &Match, tty: &SerialTty) -> Strength {
    let own_serial_number = tty.usb.as_ref().is_some_and(|usb| usb.device.own_serial_number().is_some());
    // `*` alone says only that there is one.
    let by_serial_number =
        own_serial_number && matcher.serial_number.as_deref().is_some_and(|pattern| pattern != "*");
    let place = matcher.usb_path.is_some() || matcher.tty.is_some();
    let patterns = [&matcher.manufacturer, &matcher.product, &matcher.serial_number];
    // A serial number that many share is a string like the others.
    let strings = patterns.iter().filter(|pattern| pattern.is_some()).count() - usize::from(by_serial_number);
    let class = if by_serial_number {
        Class::SerialNumber
    } else if place {
        Class::Place
    } else if strings > 0 {
        Class::Strings
    } else {
        Class::Ids
    };
    let exact =
        |pattern: &&&Option<String>| pattern.as_deref().is_some_and(|pattern| !pattern.ends_with('*'));
    let with_controller = matcher.usb_path.as_deref().is_some_and(|path| !path.starts_with("usb-"));
    Strength {
        class,
        numbers: usize::from(matcher.interface_number.is_some()) + usize::from(matcher.port_number.is_some()),
        place,
        strings,
        exact: patterns.iter().filter(exact).count()
            + usize::from(matcher.usb.is_some())
            + usize::from(with_controller),
    }
}

/// The longest beginning of a string from hardware, up to `max` characters, that a `match` may hold and that matches
/// it: the grammar allows neither control characters nor a `*` elsewhere. `None`: nothing of it is allowed.
pub(super) fn pattern(text: &str, max: usize) -> Option<String> {
    let allowed = |character: &char| *character != '*' && !character.is_ascii_control();
    let start: String = text.chars().take_while(allowed).take(max).collect();
    if start.is_empty() {
        return None;
    }
    if start.len() == text.len() {
        return Some(start);
    }
    Some(start.chars().take(max.saturating_sub(1)).chain(['*']).collect())
}

/// Validation asks for one of these; without them a match would hold for everything.
fn is_specific(matcher: &Match) -> bool {
    matcher.usb.is_some() || matcher.usb_path.is_some() || matcher.tty.is_some()
}

fn failing_of_device(matcher: &Match, usb: &UsbDevice) -> Vec<Field> {
    let text = |wanted: &Option<String>, has: &Option<String>| {
        wanted.as_deref().is_some_and(|wanted| !has.as_deref().is_some_and(|has| fits(wanted, has)))
    };
    let path = |wanted: &String| *wanted != usb.usb_path && *wanted != usb.full_path();
    let given = [
        (matcher.usb.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&usb.ids())), Field::Usb),
        (text(&matcher.serial_number, &usb.serial_number), Field::SerialNumber),
        (text(&matcher.manufacturer, &usb.manufacturer), Field::Manufacturer),
        (text(&matcher.product, &usb.product_name), Field::Product),
        (matcher.usb_path.as_ref().is_some_and(path), Field::UsbPath),
    ];
    given.into_iter().filter_map(|(fails, field)| fails.then_some(field)).collect()
}

/// A `*` at the end stands for any ending.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    }
}
