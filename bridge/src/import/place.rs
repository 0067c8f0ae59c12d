//! From the path that ser2net opened to the `match` that means the same device wherever it is plugged in.
//!
//! Owner: [`super::fleet`]. Must not guess: a path that could mean another device on another day, and is not plugged
//! in now, is no `match`. What has no number of its own is pinned to its node and socket.

use serialfleet_api::fleet::{Match, Scope};

use super::Machine;
use crate::{
    discover::matcher,
    discovery::{identity::tells_apart, sysfs::SerialTty},
};

/// What is known of a device.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) matcher: Match,
    pub(super) scope: Option<Scope>,
    /// The tty that it is here and now.
    pub(super) tty: Option<String>,
    /// Sentences about it.
    pub(super) said: Vec<String>,
    /// Why it cannot be told, and what to do.
    pub(super) unknown: Option<String>,
}

impl Place {
    /// A device that cannot be told, with what is known of it, for a person to complete.
    fn unknown(reason: String, matcher: Match) -> Self {
        Self { matcher, unknown: Some(reason), ..Self::default() }
    }
}

/// Stands for what a person has to fill in.
const IDS: &str = "VVVV:PPPP";

/// Which device the path means. `stick`: what the file is named after.
pub(super) fn place(path: &str, stick: Option<&str>, machine: &Machine) -> Place {
    let of_usb = |usb: &str| Match { usb: Some(usb.to_owned()), ..Match::default() };
    // `$DEVNODE`, `{{DEVNODE}}`
    if path.trim_matches(|c: char| !c.is_ascii_alphanumeric()).eq_ignore_ascii_case("devnode") {
        return match stick {
            Some(usb) => Place { matcher: of_usb(usb), scope: Some(Scope::Node), ..Place::default() },
            None => Place::unknown(
                format!("{path} stands for a path: name the file after the stick, 10c4:ea60.yaml"),
                of_usb(IDS),
            ),
        };
    }
    let Some(name) = path.strip_prefix("/dev/") else {
        let reason = format!("{path:?} is no device below /dev");
        return Place::unknown(reason, of_usb(IDS));
    };
    if let Some(by_path) = name.strip_prefix("serial/by-path/")
        && let Some(socket) = Socket::parse(by_path)
    {
        return by_socket(path, socket, machine);
    }
    let by_id = name.strip_prefix("serial/by-id/");
    let link = machine.links.get(path).map_or(name, String::as_str);
    let present = machine.scan.ttys.iter().find(|tty| tty.name == link);
    let present =
        present.or_else(|| by_id.and_then(|id| machine.scan.ttys.iter().find(|tty| link_name(tty) == id)));
    if let Some(tty) = present {
        return plugged_in(path, tty, machine);
    }
    match by_id {
        Some(id) => absent_by_id(path, id),
        None => absent(path, name, machine),
    }
}

/// What is plugged in here.
fn plugged_in(path: &str, tty: &SerialTty, machine: &Machine) -> Place {
    let mut place = Place {
        matcher: matcher(tty, &machine.scan, machine.node.as_deref()),
        tty: Some(tty.name.clone()),
        ..Place::default()
    };
    if tty.console {
        let reason = format!("{path} is the kernel's console, which is never served");
        return Place::unknown(reason, place.matcher);
    }
    let Some(usb) = &tty.usb else {
        if place.matcher.nodes.is_empty() {
            return needs_node(path, place.matcher);
        }
        return place;
    };
    let device = &usb.device;
    let strings = [&device.manufacturer, &device.product_name];
    let strings: Vec<&str> = strings.into_iter().flatten().map(String::as_str).collect();
    let here = machine.node.as_deref().unwrap_or("this machine");
    if !path.contains("/serial/by-id/") {
        place.said.push(format!(
            "{path} is {} {} on {here} today: should the file come from elsewhere, correct match.",
            device.ids(),
            strings.join(" ")
        ));
    }
    if device.own_serial_number().is_none() {
        place.matcher.usb_path = Some(device.full_path());
        place.matcher.interface_number = usb.interface_number.map(i32::from);
        place.matcher.port_number = usb.port_number.map(i32::from);
        let Some(node) = &machine.node else { return needs_node(path, place.matcher) };
        place.matcher.nodes = vec![node.clone()];
        place.said.push(
            "It has no serial number of its own, so its socket tells it from others. If it is the only one of its \
             kind in the cluster, leave out nodes and usbPath, and it may move."
                .to_owned(),
        );
    }
    place
}

fn needs_node(path: &str, matcher: Match) -> Place {
    Place::unknown(format!("{path} is a place on one node: give its name, --node NAME"), matcher)
}

/// The name of the link that udev makes for it (`60-serial.rules`): strings, else ids, and numbers.
fn link_name(tty: &SerialTty) -> String {
    let Some(usb) = &tty.usb else { return String::new() };
    let device = &usb.device;
    let ids = [format!("{:04x}", device.vendor), format!("{:04x}", device.product)];
    let strings = [&device.manufacturer, &device.product_name];
    let mut words: Vec<String> =
        strings.iter().zip(ids).map(|(text, id)| text.as_deref().map_or(id, udev_text)).collect();
    words.extend(device.serial_number.as_deref().map(udev_text));
    let interface = usb.interface_number.map_or_else(String::new, |number| format!("-if{number:02x}"));
    let port = usb.port_number.map_or_else(String::new, |number| format!("-port{number}"));
    format!("usb-{}{interface}{port}", words.join("_"))
}

/// udev's spelling of a string in a link: blanks and what is neither letter nor digit nor one of `#+-.:=@_` become `_`.
fn udev_text(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii();
    words.join("_").chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

/// Names that udev gives to common sticks, and their ids: no name tells the ids by itself. A wrong entry makes a
/// device absent, never another one: the serial number must hold as well.
const KNOWN: [(&str, &str); 18] = [
    ("dresden_elektronik_ingenieurtechnik_GmbH_ConBee_II", "1cf1:0030"),
    ("FTDI_Dual_RS232-HS", "0403:6010"),
    ("FTDI_FT230X_Basic_UART", "0403:6015"),
    ("FTDI_FT232R_USB_UART", "0403:6001"),
    ("FTDI_Quad_RS232-HS", "0403:6011"),
    ("FTDI_USB-RS232_Cable", "0403:6001"),
    ("FTDI_USB-RS485_Cable", "0403:6001"),
    ("ITEAD_SONOFF_Zigbee_3.0_USB_Dongle_Plus", "10c4:ea60"),
    ("ITEAD_SONOFF_Zigbee_3.0_USB_Dongle_Plus_V2", "1a86:55d4"),
    ("Itead_Sonoff_Zigbee_3.0_USB_Dongle_Plus", "10c4:ea60"),
    ("Nabu_Casa_SkyConnect_v1.0", "10c4:ea60"),
    ("Prolific_Technology_Inc._USB-Serial_Controller", "067b:2303"),
    ("Silicon_Labs_CP2102N_USB_to_UART_Bridge_Controller", "10c4:ea60"),
    ("Silicon_Labs_CP2102_USB_to_UART_Bridge_Controller", "10c4:ea60"),
    ("Silicon_Labs_HubZ_Smart_Home_Controller", "10c4:8a2a"),
    ("Silicon_Labs_Sonoff_Zigbee_3.0_USB_Dongle_Plus", "10c4:ea60"),
    ("Silicon_Labs_slae.sh_cc2652rb_stick_-_slaesh_s_iot_stuff", "10c4:ea60"),
    ("Texas_Instruments_TI_CC2531_USB_CDC", "0451:16a8"),
];

/// A link by the stick's own strings, whose stick is not here.
fn absent_by_id(path: &str, id: &str) -> Place {
    let body = id.strip_prefix("usb-").unwrap_or(id);
    let (body, interface) = body.rsplit_once("-if").unwrap_or((body, ""));
    let (interface, port) = interface.split_once("-port").unwrap_or((interface, ""));
    let mut matcher = Match {
        interface_number: u8::from_str_radix(interface, 16).ok().map(i32::from),
        port_number: port.parse::<u8>().ok().map(i32::from),
        ..Match::default()
    };
    let known = KNOWN.iter().filter_map(|(name, usb)| Some((name.len(), *usb, body.strip_prefix(name)?)));
    let known = known.filter(|(_, _, rest)| rest.is_empty() || rest.starts_with('_')).max();
    let by_number = || {
        // Without strings udev writes the ids: `usb-0658_0200-if00`.
        let (vendor, rest) = body.split_once('_')?;
        let (product, rest) = rest.split_at_checked(4)?;
        let is_id = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fits = is_id(vendor) && is_id(product) && (rest.is_empty() || rest.starts_with('_'));
        fits.then(|| (format!("{vendor}:{product}"), rest))
    };
    let found = known.map(|(_, usb, rest)| (usb.to_owned(), rest)).or_else(by_number);
    let Some((usb, rest)) = found else {
        let serial_number = body.rsplit_once('_').map(|(_, last)| last).filter(|last| tells_apart(last));
        matcher.usb = Some(IDS.to_owned());
        matcher.serial_number = serial_number.map(str::to_owned);
        let reason = format!(
            "{path} is not here: import on its machine, or fill in vendor:product as lsusb prints it"
        );
        return Place::unknown(reason, matcher);
    };
    matcher.usb = Some(usb);
    let number = rest.trim_start_matches('_');
    let can_be_matched = number.len() <= 128 && !number.contains('*') && !number.contains(char::is_control);
    if !tells_apart(number) || !can_be_matched {
        let reason =
            format!("{path} is not here, and its name does not tell it from others: import on its machine");
        return Place::unknown(reason, matcher);
    }
    matcher.serial_number = Some(number.to_owned());
    let said = vec![format!("{path} is not here: match is made of its name.")];
    Place { matcher, said, ..Place::default() }
}

/// Any other path without a device here.
fn absent(path: &str, name: &str, machine: &Machine) -> Place {
    let moves = ["ttyUSB", "ttyACM"].iter().any(|prefix| name.starts_with(prefix));
    let is_name = name.len() <= 32
        && name.starts_with("tty")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if moves || !is_name {
        let reason = format!(
            "{path} is not here, and its name does not say which device it is: import on its machine, or fill in match"
        );
        return Place::unknown(reason, Match { usb: Some(IDS.to_owned()), ..Match::default() });
    }
    let nodes = machine.node.clone().into_iter().collect();
    let matcher = Match { tty: Some(name.to_owned()), nodes, ..Match::default() };
    if !machine.node_is_certain || machine.node.is_none() {
        let reason = format!("{path} is not here: import on its machine, or give its name, --node NAME");
        return Place::unknown(reason, matcher);
    }
    Place { matcher, ..Place::default() }
}

/// A socket, as udev spells it: `pci-0000:00:14.0-usb-0:1.4:1.0-port0`.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    /// `usb-1.4`, with the controller in front if it is known.
    usb_path: String,
    interface: Option<i32>,
    port: Option<i32>,
}

impl Socket {
    fn parse(name: &str) -> Option<Self> {
        let (controller, tail) =
            ["-usb-", "-usbv2-", "-usbv3-"].iter().find_map(|usb| name.rsplit_once(usb))?;
        // Where a controller hangs on another bus, udev names both; the last one is the controller.
        let at = ["pci-", "platform-"].iter().filter_map(|bus| controller.rfind(bus)).max()?;
        let controller = controller.get(at..)?;
        let mut parts = tail.splitn(3, ':');
        let (_, chain, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let (interface, port) = rest.split_once("-port").unwrap_or((rest, ""));
        let is_chain = !chain.is_empty()
            && chain.split('.').count() <= 7
            && chain.split('.').all(|number| {
                (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
            });
        let is_controller = controller.len() <= 80
            && controller.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-@_.:".contains(&byte));
        let number = |text: &str| text.parse::<u8>().ok().map(i32::from);
        (is_chain && is_controller).then(|| Self {
            usb_path: format!("{controller}-usb-{chain}"),
            interface: interface.split_once('.').and_then(|(_, interface)| number(interface)),
            port: number(port),
        })
    }
}

/// Whatever is in that socket, as ser2net had it.
fn by_socket(path: &str, socket: Socket, machine: &Machine) -> Place {
    let Socket { usb_path, interface: interface_number, port: port_number } = socket;
    let sits_there = |tty: &&SerialTty| {
        tty.usb.as_ref().is_some_and(|usb| {
            usb.device.full_path() == usb_path
                && interface_number.is_none_or(|number| usb.interface_number.map(i32::from) == Some(number))
                && port_number.is_none_or(|number| usb.port_number.map(i32::from) == Some(number))
        })
    };
    let tty = machine.scan.ttys.iter().find(sits_there).map(|tty| tty.name.clone());
    let tty = tty.or_else(|| machine.links.get(path).cloned());
    let nodes: Vec<String> = machine.node.clone().into_iter().collect();
    let is_known = !nodes.is_empty() && (tty.is_some() || machine.node_is_certain);
    let matcher =
        Match { usb_path: Some(usb_path), interface_number, port_number, nodes, ..Match::default() };
    if !is_known {
        let reason = format!(
            "{path} is a socket of one node, and not here: import on its machine, or give --node NAME"
        );
        return Place::unknown(reason, matcher);
    }
    Place { matcher, tty, ..Place::default() }
}
