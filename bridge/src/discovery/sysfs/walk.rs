//! The walk through sysfs: from a tty upwards to the first directory with `bInterfaceNumber`, from there to the first
//! with `idVendor`. No level is counted (kernels differ), and nothing above is looked at: hubs have ids and serial
//! numbers too.
//!
//! Owner: [`super::scan`]. A device may vanish between any two reads: that is one tty less, never an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{DeviceKey, DeviceNumber, Obstacle, Scan, SerialTty, UsbDevice, UsbPort};

pub(super) fn scan(root: &Path) -> io::Result<Scan> {
    let class = root.join("class/tty");
    // Links in it may lead out of the root (a directory of links into the real sysfs serves as well).
    let root = fs::canonicalize(root)?;
    let consoles = attribute(&class.join("console"), "active").unwrap_or_default();
    let consoles: BTreeSet<&str> = consoles.split_whitespace().collect();

    let mut ttys = Vec::new();
    let mut serving = BTreeSet::new();
    for name in names(&class)? {
        if let Some((mut tty, usb_directory)) = tty(&class.join(&name), &name, &root) {
            tty.console = consoles.contains(name.as_str());
            serving.extend(usb_directory);
            ttys.push(tty);
        }
    }
    ttys.sort_by_cached_key(SerialTty::order);

    let mut without_tty = Vec::new();
    let bus = root.join("bus/usb/devices");
    for name in names(&bus)? {
        // Interfaces have a colon, root hubs no dash.
        if name.contains(':') || !name.contains('-') {
            continue;
        }
        if let Ok(directory) = fs::canonicalize(bus.join(&name))
            && !serving.contains(&directory)
            && let Some(device) = device_without_tty(&directory)
        {
            without_tty.push(device);
        }
    }
    without_tty.sort_by_cached_key(|device| (device.full_path(), device.ids()));

    let mut scan = Scan { ttys, without_tty };
    mark_shared_serial_numbers(&mut scan);
    Ok(scan)
}

/// One tty with the directory of its USB device; `None` for what has no hardware behind it or is going away.
fn tty(link: &Path, name: &str, root: &Path) -> Option<(SerialTty, Option<PathBuf>)> {
    let directory = fs::canonicalize(link).ok()?;
    let device = match fs::canonicalize(directory.join("device")) {
        Ok(device) => device,
        // Bluetooth's have a parent only while connected. All others without one are virtual.
        Err(_) if name.starts_with("rfcomm") => directory.clone(),
        Err(_) => return None,
    };
    // A port that the kernel set aside and found no chip for: it opens, and then fails with EIO.
    if attribute(&directory, "type").as_deref() == Some("0") {
        return None;
    }
    let (major, minor) =
        attribute(&directory, "dev")?.split_once(':').map(|(a, b)| (a.parse(), b.parse()))?;
    let device_number = DeviceNumber { major: major.ok()?, minor: minor.ok()? };

    // A tty of a Bluetooth connection must not pass for the USB stick that carries it.
    let interface = if link_name(&device, "subsystem").as_deref() == Some("bluetooth") {
        None
    } else {
        upwards(&device, "bInterfaceNumber")
    };
    let usb_directory = interface.and_then(|interface| upwards(interface, "idVendor"));
    // A device that is going away loses its attributes one by one: not the hub above instead.
    if let (Some(interface), Some(usb_directory)) = (interface, usb_directory)
        && !belongs(interface, usb_directory)
    {
        return None;
    }
    let mut key = DeviceKey {
        devpath: devpath(&directory, root),
        devnum: None,
        instance: fs::metadata(&directory).ok()?.ino(),
    };
    let usb = match (interface, usb_directory) {
        (Some(interface), Some(usb_directory)) => {
            key.devnum = Some(attribute(usb_directory, "devnum")?.parse().ok()?);
            Some(UsbPort {
                device: usb_device(usb_directory)?,
                interface_number: attribute(interface, "bInterfaceNumber")
                    .and_then(|number| u8::from_str_radix(&number, 16).ok()),
                port_number: attribute(&device, "port_number").and_then(|number| number.parse().ok()),
            })
        }
        _ => None,
    };
    let driver = match interface {
        Some(interface) if usb.is_some() => link_name(interface, "driver"),
        _ => driver_below_serial_core(&device),
    };
    let tty = SerialTty { name: name.to_owned(), device_number, key, driver, usb, console: false };
    Some((tty, usb_directory.map(Path::to_owned)))
}

/// An interface `1-1.4:1.0` belongs to the device `1-1.4`.
fn belongs(interface: &Path, usb_device: &Path) -> bool {
    let name = |path: &Path| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    match (name(interface), name(usb_device)) {
        (Some(interface), Some(device)) => interface.split(':').next() == Some(device.as_str()),
        _ => false,
    }
}

/// Since Linux 6.12 two devices of the bus `serial-base` stand between a UART and its tty.
fn driver_below_serial_core(device: &Path) -> Option<String> {
    device
        .ancestors()
        .find(|directory| link_name(directory, "subsystem").as_deref() != Some("serial-base"))
        .and_then(|directory| link_name(directory, "driver"))
}

fn usb_device(directory: &Path) -> Option<UsbDevice> {
    let hexadecimal = |name| attribute(directory, name).and_then(|text| u16::from_str_radix(&text, 16).ok());
    // `1-1.4`: bus, then the chain of ports. The bus number depends on the order of probing, the chain does not.
    let (_, chain) = directory.file_name()?.to_str()?.split_once('-')?;
    Some(UsbDevice {
        vendor: hexadecimal("idVendor")?,
        product: hexadecimal("idProduct")?,
        serial_number: attribute(directory, "serial"),
        serial_is_shared: false,
        manufacturer: attribute(directory, "manufacturer"),
        product_name: attribute(directory, "product"),
        usb_path: format!("usb-{chain}"),
        controller: controller(directory),
        obstacle: None,
    })
}

/// What the root hub (`usb1`) hangs on.
fn controller(usb_device: &Path) -> Option<String> {
    let root_hub = usb_device.ancestors().skip(1).find(|directory| {
        let name = directory.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.strip_prefix("usb")
            .is_some_and(|bus| !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_digit()))
    })?;
    let host = root_hub.parent()?;
    let name = host.file_name()?.to_str()?;
    let bus = link_name(host, "subsystem");
    // PCI names are domain:bus:device.function, should the link be missing.
    let bus = bus.as_deref().unwrap_or_else(|| if name.contains(':') { "pci" } else { "platform" });
    Some(format!("{bus}-{name}"))
}

/// A USB device that could be serial, and why it is not. Devices that all their drivers have taken are what those
/// drivers make of them (disks, keyboards): their strings, which wait for the device's lock, are not even read.
fn device_without_tty(directory: &Path) -> Option<UsbDevice> {
    // A hub.
    if attribute(directory, "bDeviceClass").as_deref() == Some("09") {
        return None;
    }
    let prefix = format!("{}:", directory.file_name()?.to_str()?);
    let interfaces: Vec<PathBuf> = names(directory)
        .ok()?
        .into_iter()
        .filter(|name| name.starts_with(&prefix))
        .map(|name| directory.join(name))
        .collect();
    let drivers: Vec<Option<String>> =
        interfaces.iter().map(|interface| link_name(interface, "driver")).collect();
    let obstacle = if attribute(directory, "authorized").as_deref() == Some("0") {
        Obstacle::NotAuthorized
    } else if interfaces.is_empty() {
        Obstacle::NotConfigured
    } else if drivers.iter().flatten().any(|driver| driver == "usbfs") {
        Obstacle::Program
    } else if drivers.iter().any(Option::is_none) {
        let is = |interface: &Path, name, value| attribute(interface, name).as_deref() == Some(value);
        Obstacle::NoDriver {
            cdc_acm: interfaces.iter().any(|interface| {
                is(interface, "bInterfaceClass", "02") && is(interface, "bInterfaceSubClass", "02")
            }),
        }
    } else {
        return None;
    };
    Some(UsbDevice { obstacle: Some(obstacle), ..usb_device(directory)? })
}

/// Two devices with one serial number: it tells neither apart, however it looks.
fn mark_shared_serial_numbers(scan: &mut Scan) {
    let mut paths: BTreeMap<(u16, u16, String), BTreeSet<String>> = BTreeMap::new();
    let id = |device: &UsbDevice| Some((device.vendor, device.product, device.serial_number.clone()?));
    let with_tty = scan.ttys.iter().filter_map(|tty| Some(&tty.usb.as_ref()?.device));
    for device in with_tty.chain(&scan.without_tty) {
        if let Some(id) = id(device) {
            paths.entry(id).or_default().insert(device.full_path());
        }
    }
    let with_tty = scan.ttys.iter_mut().filter_map(|tty| Some(&mut tty.usb.as_mut()?.device));
    for device in with_tty.chain(&mut scan.without_tty) {
        device.serial_is_shared =
            id(device).and_then(|id| paths.get(&id)).is_some_and(|paths| paths.len() > 1);
    }
}

/// The first directory from here upwards, up to the root of the file system, that has such an attribute.
fn upwards<'a>(from: &'a Path, attribute: &str) -> Option<&'a Path> {
    from.ancestors().find(|directory| directory.join(attribute).exists())
}

/// As uevents give it: below the sysfs root.
fn devpath(directory: &Path, root: &Path) -> String {
    let below = directory.strip_prefix(root).unwrap_or(directory);
    Path::new("/").join(below).to_string_lossy().into_owned()
}

/// Names in a directory, sorted; none if there is no such directory.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The last part of a link's target: `driver`, `subsystem`.
fn link_name(directory: &Path, name: &str) -> Option<String> {
    Some(fs::read_link(directory.join(name)).ok()?.file_name()?.to_str()?.to_owned())
}

/// An attribute's text without the line end that the kernel adds. A string that the device does not have is a
/// missing file. Bytes that are no UTF-8 stay distinguishable: `\xff`.
fn attribute(directory: &Path, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(directory.join(name)).ok()?.take(PAGE).read_to_end(&mut bytes).ok()?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    Some(text)
}

/// Most that sysfs gives for one attribute.
const PAGE: u64 = 4096;
