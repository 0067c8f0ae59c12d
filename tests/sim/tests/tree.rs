//! The simulated sysfs tree, and the recorded ones, as a walk finds them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serialfleet_sim::walk::{SysfsPort, ports};
use serialfleet_sim::{Host, Scene, StickSpec, trees};

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The recorded trees show the very devices of our scenes: all but path and node number has to be equal.
#[test]
fn scenes_look_like_their_recordings() {
    for (scene, spec) in [
        ("ftdi-single", StickSpec::new(Scene::Ftdi)),
        ("ftdi-quad", StickSpec::new(Scene::Ftdi4)),
        ("cp210x-sonoff", StickSpec::new(Scene::Cp210x)),
        ("ch340-noserial", StickSpec::new(Scene::Ch340)),
        ("pl2303-noserial", StickSpec::new(Scene::Pl2303)),
        ("cdcacm-zwave-noserial", StickSpec::new(Scene::CdcAcm)),
        ("cdcacm-arduino", StickSpec::new(Scene::Arduino)),
    ] {
        let recorded = trees::unpack(scene).unwrap();
        let mut expected: Vec<SysfsPort> = ports(&recorded.sysfs_root()).unwrap();
        expected.retain(|port| port.usb_path.is_some());
        let host = Host::new().unwrap();
        let mut spec = spec.usb_path(expected[0].usb_path.as_deref().unwrap());
        // Strings are a matter of the single stick, their presence one of its kind.
        spec.serial_number = expected[0].serial_number.clone().filter(|_| spec.serial_number.is_some());
        spec.manufacturer = expected[0].manufacturer.clone().filter(|_| spec.manufacturer.is_some());
        spec.product = expected[0].product.clone().filter(|_| spec.product.is_some());
        spec.interface = expected[0].interface.clone().filter(|_| spec.interface.is_some());
        let _stick = host.plug(spec).unwrap();
        let mut found = ports(host.sysfs_root()).unwrap();
        for (found, expected) in found.iter_mut().zip(&mut expected) {
            assert!(found.dev.take().unwrap().starts_with("136:"));
            expected.dev = None;
        }
        assert_eq!(found, expected, "{scene}");
    }
}

#[test]
fn details_can_be_replaced_and_hubs_do_not_disturb() {
    let host = Host::new().unwrap();
    let spec = StickSpec::new(Scene::Cp210x)
        .usb("10c4:ea70")
        .serial_number("x/y \"z\"")
        .manufacturer(None)
        .product("Sonoff")
        .usb_path("2-1.4.3");
    let stick = host.plug(spec).unwrap();
    let expected = SysfsPort {
        tty: "ttyUSB0".into(),
        dev: ports(host.sysfs_root()).unwrap()[0].dev.clone(),
        driver: text("cp210x"),
        subsystem: text("usb-serial"),
        usb_path: text("2-1.4.3"),
        interface_number: text("00"),
        interface: text("CP2102 USB to UART Bridge Controller"),
        port_number: text("0"),
        vendor_id: text("10c4"),
        product_id: text("ea70"),
        serial_number: text("x/y \"z\""),
        manufacturer: None,
        product: text("Sonoff"),
    };
    assert_eq!(ports(host.sysfs_root()).unwrap(), [expected]);
    let usb = host.sysfs_root().join("bus/usb/devices/2-1.4.3").canonicalize().unwrap();
    assert!(usb.ends_with("usb2/2-1/2-1.4/2-1.4.3"), "{}", usb.display());

    // Another enumeration has another devnum; nothing of the old one is left.
    let number = |path: &str| {
        fs::read_to_string(host.sysfs_root().join("bus/usb/devices").join(path).join("devnum")).unwrap()
    };
    let before = number("2-1.4.3");
    stick.move_to("2-1.2").unwrap();
    assert!(!usb.exists());
    assert_ne!(number("2-1.2"), before);
    stick.unplug().unwrap();
    assert_eq!(ports(host.sysfs_root()).unwrap(), []);
    assert!(host.sysfs_root().join("bus/usb/devices/2-1").exists(), "hubs stay");
}

#[test]
fn the_node_has_the_number_that_sysfs_names() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let device = fs::metadata(stick.node(0).unwrap()).unwrap().rdev();
    let named = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    assert_eq!(ports(host.sysfs_root()).unwrap()[0].dev, Some(named));
}

#[test]
fn uarts_have_no_usb_parent() {
    let host = Host::new().unwrap();
    host.set_console(&["tty0", "ttyS1"]).unwrap();
    let _pnp = host.plug(StickSpec::new(Scene::Uart).lowest_number(1)).unwrap();
    let pl011 = StickSpec::new(Scene::Uart).tty_prefix("ttyAMA").usb_path("fe201000");
    let _pl011 = host.plug(pl011).unwrap();
    let found = ports(host.sysfs_root()).unwrap();
    let brief: Vec<_> =
        found.iter().map(|p| (p.tty.as_str(), p.driver.as_deref().unwrap(), p.usb_path.is_some())).collect();
    assert_eq!(brief, [("ttyAMA0", "uart-pl011", false), ("ttyS1", "serial", false)]);
    let read = |path: &str| fs::read_to_string(host.sysfs_root().join("class/tty").join(path)).unwrap();
    assert_eq!(read("ttyS1/type"), "4\n");
    assert_eq!(read("console/active"), "tty0 ttyS1\n");
}

#[test]
fn every_recording_unpacks() {
    let names = trees::names().unwrap();
    assert_eq!(names.len(), 22);
    for name in names {
        let tree = trees::unpack(&name).unwrap();
        let found = ports(&tree.sysfs_root()).unwrap();
        // Each machine has a real ttyS0; its phantoms do not count.
        assert!(found.iter().any(|port| port.tty == "ttyS0"), "{name}");
        let usb = found.iter().filter(|port| port.usb_path.is_some()).count();
        let expected = match name.trim_start_matches("k6.12-") {
            "base" | "nodriver" => 0,
            "ftdi-dual" | "dup-noserial" | "dup-serial-on-hub" => 2,
            "ftdi-quad" | "modem-option4" => 4,
            "mixed" => 9,
            _ => 1,
        };
        assert_eq!(usb, expected, "{name}");
        assert!(tree.dev_root().is_dir() && tree.path().join("dev.txt").is_file(), "{name}");
    }
}
