//! USB sticks: usb-serial drivers (a port device between interface and tty) and cdc_acm (the tty directly below its
//! control interface, a data interface beside it).
//!
//! Owner: `layout`.

use super::{Action, Device, Layout, TtyName, tty};
use crate::spec::StickSpec;

pub(super) fn layout(spec: &StickSpec, ttys: &[TtyName], device_number: u32) -> Layout {
    let (bus, sockets) = spec.usb_path.split_once('-').unwrap_or(("1", &spec.usb_path));
    let mut layout = Layout { standing: standing(bus, sockets), ..Layout::default() };
    let hub = layout.standing.last().map_or(CONTROLLER, |hub| &hub.path);
    let device = usb_device(spec, format!("{hub}/{}", spec.usb_path), bus, sockets, device_number);
    let path = device.path.clone();
    let device = layout.push(device);
    layout.arrive(device, [Action::Add, Action::Probe]);
    for (index, name) in ttys.iter().enumerate() {
        if spec.is_cdc_acm() {
            cdc_acm_port(&mut layout, spec, &path, index, name);
        } else {
            usb_serial_port(&mut layout, spec, &path, index, name);
        }
    }
    layout.arrive(device, [Action::Bind]);
    layout.depart(device, [Action::Unbind, Action::Remove]);
    layout
}

fn usb_serial_port(layout: &mut Layout, spec: &StickSpec, usb: &str, index: usize, name: &TtyName) {
    let interface = interface(spec, usb, index, spec.interface_class, spec.interface.as_deref());
    let mut port = Device {
        path: format!("{}/{}", interface.path, name.name),
        subsystem: "usb-serial",
        attributes: vec![("port_number", "0".to_owned())],
        aliases: vec![format!("bus/usb-serial/devices/{}", name.name)],
        driver: Some(port_driver(&spec.driver)),
        ..Device::default()
    };
    if spec.driver == "ftdi_sio" {
        port.attributes.push(("latency_timer", "16".to_owned()));
    }
    let tty = tty(&port.path, index, name);
    let (interface, port, tty) = (layout.push(interface), layout.push(port), layout.push(tty));
    layout.arrive(interface, [Action::Add, Action::Probe]);
    layout.arrive(port, [Action::Add, Action::Probe]);
    layout.arrive(tty, [Action::Add]);
    layout.arrive(port, [Action::Bind]);
    layout.arrive(interface, [Action::Bind]);
    layout.depart(tty, [Action::Remove]);
    layout.depart(port, [Action::Unbind, Action::Remove]);
    layout.depart(interface, [Action::Unbind, Action::Remove]);
}

fn cdc_acm_port(layout: &mut Layout, spec: &StickSpec, usb: &str, index: usize, name: &TtyName) {
    let control = interface(spec, usb, 2 * index, spec.interface_class, spec.interface.as_deref());
    let data = interface(spec, usb, 2 * index + 1, [0x0A, 0, 0], None);
    let tty = tty(&control.path, index, name);
    let (control, data, tty) = (layout.push(control), layout.push(data), layout.push(tty));
    layout.arrive(control, [Action::Add, Action::Probe]);
    layout.arrive(tty, [Action::Add]);
    layout.arrive(control, [Action::Bind]);
    // The driver claims the data interface along with the control interface: it has a driver before it is announced.
    layout.arrive(data, [Action::Probe, Action::Add, Action::Bind]);
    layout.depart(tty, [Action::Remove]);
    layout.depart(data, [Action::Unbind]);
    layout.depart(control, [Action::Unbind, Action::Remove]);
    layout.depart(data, [Action::Remove]);
}

fn usb_device(spec: &StickSpec, path: String, bus: &str, sockets: &str, device_number: u32) -> Device {
    let bus_number: u32 = bus.parse().unwrap_or(1);
    let (major, minor) =
        ("189".to_owned(), (bus_number.saturating_sub(1) * 128 + device_number - 1).to_string());
    let interfaces = u32::from(spec.ports) * if spec.is_cdc_acm() { 2 } else { 1 };
    let strings =
        [("serial", &spec.serial_number), ("manufacturer", &spec.manufacturer), ("product", &spec.product)];
    let present = strings.into_iter().filter_map(|(key, text)| Some((key, text.clone()?)));
    Device {
        path,
        subsystem: "usb",
        attributes: [
            ("idVendor", spec.vendor_id.clone()),
            ("idProduct", spec.product_id.clone()),
            ("bcdDevice", spec.device_release.clone()),
            ("bDeviceClass", format!("{:02x}", spec.device_class)),
            ("bNumInterfaces", format!("{interfaces:2}")),
            ("busnum", bus.to_owned()),
            ("devnum", device_number.to_string()),
            ("devpath", sockets.to_owned()),
            ("dev", format!("{major}:{minor}")),
            ("speed", "12".to_owned()),
        ]
        .into_iter()
        .chain(present)
        .collect(),
        properties: vec![
            ("MAJOR", major),
            ("MINOR", minor),
            ("DEVNAME", format!("bus/usb/{bus_number:03}/{device_number:03}")),
            ("DEVTYPE", "usb_device".to_owned()),
            ("PRODUCT", product_property(spec)),
            ("TYPE", format!("{}/0/0", spec.device_class)),
            ("BUSNUM", format!("{bus_number:03}")),
            ("DEVNUM", format!("{device_number:03}")),
        ],
        aliases: vec![format!("bus/usb/devices/{}", spec.usb_path)],
        driver: Some("usb".to_owned()),
        tty: None,
    }
}

fn interface(
    spec: &StickSpec,
    usb: &str,
    number: usize,
    [class, subclass, protocol]: [u8; 3],
    text: Option<&str>,
) -> Device {
    let name = format!("{}:1.{number}", spec.usb_path);
    let modalias = format!(
        "usb:v{}p{}d{}dc{:02X}dsc00dp00ic{class:02X}isc{subclass:02X}ip{protocol:02X}in{number:02X}",
        spec.vendor_id.to_uppercase(),
        spec.product_id.to_uppercase(),
        spec.device_release,
        spec.device_class,
    );
    let mut attributes = vec![
        ("bInterfaceNumber", format!("{number:02x}")),
        ("bInterfaceClass", format!("{class:02x}")),
        ("bInterfaceSubClass", format!("{subclass:02x}")),
        ("bInterfaceProtocol", format!("{protocol:02x}")),
        ("modalias", modalias.clone()),
    ];
    attributes.extend(text.map(|text| ("interface", text.to_owned())));
    Device {
        path: format!("{usb}/{name}"),
        subsystem: "usb",
        properties: vec![
            ("DEVTYPE", "usb_interface".to_owned()),
            ("PRODUCT", product_property(spec)),
            ("TYPE", format!("{}/0/0", spec.device_class)),
            ("INTERFACE", format!("{class}/{subclass}/{protocol}")),
            ("MODALIAS", modalias),
        ],
        attributes,
        aliases: vec![format!("bus/usb/devices/{name}")],
        driver: Some(spec.driver.clone()),
        tty: None,
    }
}

/// The root hub and the hubs on the way. They have `idVendor` and `serial` too: a walk that goes too far finds them.
fn standing(bus: &str, sockets: &str) -> Vec<Device> {
    let mut devices = vec![hub(
        format!("{CONTROLLER}/usb{bus}"),
        format!("usb{bus}"),
        "1d6b/2/601",
        [
            ("idVendor", "1d6b"),
            ("idProduct", "0002"),
            ("manufacturer", "Linux xhci-hcd"),
            ("product", "xHCI Host Controller"),
            ("serial", "0000:00:14.0"),
            ("busnum", bus),
            ("devnum", "1"),
            ("devpath", "0"),
        ],
    )];
    for (at, _) in sockets.match_indices('.') {
        let chain = sockets.get(..at).unwrap_or_default();
        let name = format!("{bus}-{chain}");
        let above = devices.last().map_or(CONTROLLER, |hub| hub.path.as_str());
        let path = format!("{above}/{name}");
        let attributes = [
            ("idVendor", "05e3"),
            ("idProduct", "0608"),
            ("product", "USB2.0 Hub"),
            ("busnum", bus),
            ("devpath", chain),
        ];
        devices.push(hub(path, name, "5e3/608/6000", attributes));
    }
    devices
}

fn hub<'a>(
    path: String,
    name: String,
    product: &str,
    attributes: impl IntoIterator<Item = (&'static str, &'a str)>,
) -> Device {
    let attributes = attributes.into_iter().chain([("bDeviceClass", "09"), ("speed", "480")]);
    Device {
        path,
        subsystem: "usb",
        properties: vec![
            ("DEVTYPE", "usb_device".to_owned()),
            ("PRODUCT", product.to_owned()),
            ("TYPE", "9/0/1".to_owned()),
        ],
        attributes: attributes.map(|(key, value)| (key, value.to_owned())).collect(),
        aliases: vec![format!("bus/usb/devices/{name}")],
        driver: Some("usb".to_owned()),
        tty: None,
    }
}

/// Hex without leading zeros, as the kernel prints it.
fn product_property(spec: &StickSpec) -> String {
    let short =
        |text: &str| Some(text.trim_start_matches('0')).filter(|t| !t.is_empty()).unwrap_or("0").to_owned();
    [&spec.vendor_id, &spec.product_id, &spec.device_release].map(|text| short(text)).join("/")
}

/// Two drivers call their ports otherwise than their interfaces.
fn port_driver(driver: &str) -> String {
    match driver {
        "ch341" => "ch341-uart",
        "option" => "option1",
        other => other,
    }
    .to_owned()
}

const CONTROLLER: &str = "devices/pci0000:00/0000:00:14.0";
