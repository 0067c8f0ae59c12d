//! What a scan finds: in all recorded trees, in trees that are broken, and how it is shown to people.
#![allow(clippy::unwrap_used, reason = "a test: also in its helpers")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::Path,
};

use serialfleet_api::{manifest::read_fleet, node::PresentDevice, resolve::resolve};
use serialfleet_bridge::{
    discover::{Output, discover, entries},
    discovery::sysfs::{Obstacle, Scan, scan},
    matching::{self, Verdict},
};
use serialfleet_sim::{
    Host, Scene, StickSpec, trees,
    walk::{self, SysfsPort},
};

/// One test over all recordings, for unpacking them is what takes its time.
#[test]
fn every_recorded_tree_is_listed_checked_and_served() {
    let mut listing = String::new();
    for name in trees::names().unwrap() {
        let tree = trees::unpack(&name).unwrap();
        let scan = scan(&tree.sysfs_root()).unwrap();
        writeln!(listing, "== {name}").unwrap();
        list(&scan, &mut listing);
        compare(&scan, &walk::ports(&tree.sysfs_root()).unwrap());
        // In all recordings the on-board port is the kernel's console.
        assert!(!serve_all(&scan).contains("ttyS0"), "{name}");
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/discovery.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &listing).unwrap();
    }
    assert_eq!(listing, fs::read_to_string(&golden).unwrap(), "UPDATE_GOLDEN=1 rewrites it");
}

/// Everything that a scan knows.
fn list(scan: &Scan, listing: &mut String) {
    for tty in &scan.ttys {
        let (number, key) = (tty.device_number, &tty.key);
        let console = if tty.console { " console" } else { "" };
        let devnum = key.devnum.map_or_else(String::new, |devnum| format!("@{devnum}"));
        writeln!(listing, "{} {}:{} {}{console}", tty.name, number.major, number.minor, tty.identity())
            .unwrap();
        writeln!(listing, "    {}{devnum}", key.devpath).unwrap();
        writeln!(listing, "    {}", serde_json::to_string(&tty.to_present(None)).unwrap()).unwrap();
    }
    for usb in &scan.without_tty {
        let present = serde_json::to_string(&usb.to_present(None)).unwrap();
        writeln!(listing, "without tty, {:?}\n    {present}", usb.obstacle.as_ref().unwrap()).unwrap();
    }
}

/// An independent walk finds the same.
fn compare(scan: &Scan, expected: &[SysfsPort]) {
    let found: BTreeMap<&str, _> = scan.ttys.iter().map(|tty| (tty.name.as_str(), tty)).collect();
    assert!(found.keys().copied().eq(expected.iter().map(|port| port.tty.as_str())), "{expected:?}");
    for port in expected.iter().cloned() {
        let tty = found[port.tty.as_str()];
        let number = format!("{}:{}", tty.device_number.major, tty.device_number.minor);
        assert_eq!(Some(number), port.dev);
        let Some(usb) = &tty.usb else {
            assert_eq!(port.usb_path, None);
            continue;
        };
        let device = &usb.device;
        assert_eq!(Some(device.ids()), port.vendor_id.zip(port.product_id).map(|(v, p)| format!("{v}:{p}")));
        assert_eq!(device.serial_number, port.serial_number);
        assert_eq!(device.manufacturer, port.manufacturer);
        assert_eq!(device.product_name, port.product);
        assert_eq!(usb.interface_number.map(|number| format!("{number:02x}")), port.interface_number);
        assert_eq!(usb.port_number.map(|number| number.to_string()), port.port_number);
    }
}

#[test]
fn an_on_board_port_is_entered_for_this_node_only() {
    let host = Host::new().unwrap();
    let _uart = host.plug(StickSpec::new(Scene::Uart)).unwrap();
    let _pl011 =
        host.plug(StickSpec::new(Scene::Uart).tty_prefix("ttyAMA").usb_path("fe201000.serial")).unwrap();
    let scan = scan(host.sysfs_root()).unwrap();
    assert_eq!(serve_all(&scan), BTreeSet::from(["ttyAMA0".to_owned(), "ttyS0".to_owned()]));
    assert!(entries(&scan, Some("wyse-1")).contains("nodes: [\"wyse-1\"]"));
    assert!(entries(&scan, None).contains("scope: \"Node\""));
    assert_eq!(serve_all_on(&scan, None).len(), 2);
}

/// Wraps the entries into a fleet, reads, resolves and matches it; the ttys that got a device.
fn serve_all(scan: &Scan) -> BTreeSet<String> {
    serve_all_on(scan, Some("this-node"))
}

fn serve_all_on(scan: &Scan, node: Option<&str>) -> BTreeSet<String> {
    let entries = entries(scan, node);
    let manifest = format!(
        "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {{name: found}}\nspec:\n{entries}"
    );
    let fleet = read_fleet(&manifest).unwrap_or_else(|problems| panic!("{problems:?}\n{manifest}"));
    let devices: Vec<_> = resolve(&fleet.spec).into_iter().map(Result::unwrap).collect();
    let verdicts = matching::assign(&devices, "this-node", scan, &BTreeMap::new());
    assert_eq!(verdicts.len(), devices.len());
    let expected = scan.ttys.iter().filter(|tty| !tty.console);
    let mut served = BTreeSet::new();
    for (device, tty) in devices.iter().zip(expected.clone()) {
        let Verdict::Bound { tty: index, also, warning } = &verdicts[&device.name] else {
            panic!("{:?}\n{manifest}", verdicts[&device.name])
        };
        assert_eq!(scan.ttys[*index].name, tty.name, "{manifest}");
        assert!(also.is_empty() && warning.is_empty(), "{warning}");
        served.insert(tty.name.clone());
    }
    assert_eq!(served.len(), expected.count());
    served
}

#[test]
fn hostile_strings_reach_people_escaped_and_the_matcher_raw() {
    let tree = trees::unpack("cdcacm-evil-strings").unwrap();
    let scan = scan(&tree.sysfs_root()).unwrap();
    let usb = &scan.ttys[0].usb.as_ref().unwrap().device;
    assert_eq!(usb.manufacturer.as_deref(), Some("Ev/il \u{202e}corp"));
    assert_eq!(usb.serial_number.as_deref(), Some("a/b c\\d;$(x)é\"'"));
    for output in [Output::Table, Output::Json, Output::Yaml] {
        let text = discover(&tree.sysfs_root(), output).unwrap();
        assert!(!text.contains('\u{202e}'), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
    }
    let json = discover(&tree.sysfs_root(), Output::Json).unwrap();
    let devices: Vec<PresentDevice> = serde_json::from_str(&json).unwrap();
    assert_eq!(devices[0].manufacturer.as_deref(), Some("Ev/il \\u{202e}corp"));
}

#[test]
fn strings_that_no_match_may_hold_are_entered_as_far_as_it_may() {
    let host = Host::new().unwrap();
    let long = "x".repeat(3000);
    let strings = [
        "a*b*c",
        "* all",
        "tab\there",
        "\u{1b}[2J",
        "\u{202e}evil\"\\",
        long.as_str(),
        " blanks ",
        "no",
        "0123e5",
    ];
    let _sticks: Vec<_> = strings
        .iter()
        .zip(1..)
        .map(|(text, port)| {
            let spec = StickSpec::new(Scene::Ftdi).serial_number(*text).product(*text);
            host.plug(spec.usb_path(&format!("1-{port}"))).unwrap()
        })
        .collect();
    assert_eq!(serve_all(&scan(host.sysfs_root()).unwrap()).len(), strings.len());
}

#[test]
fn the_table_says_what_stands_in_the_way() {
    let tree = trees::unpack("dup-serial-on-hub").unwrap();
    let table = discover(&tree.sysfs_root(), Output::Table).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("TTY      USB        SERIAL NUMBER"), "{table}");
    assert!(rows[1].ends_with("kernel console"), "{table}");
    assert!(rows[2].contains("usb-5.1") && rows[2].ends_with("serial number not unique"), "{table}");
    let tree = trees::unpack("nodriver").unwrap();
    assert!(discover(&tree.sysfs_root(), Output::Table).unwrap().contains("no driver"));
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(discover(nowhere.path(), Output::Table).unwrap(), "no serial devices\n");
    assert_eq!(discover(nowhere.path(), Output::Yaml).unwrap(), "  devices: []\n");
}

#[test]
fn phantom_ports_are_not_listed_and_the_console_is_marked() {
    for tree in ["base", "k6.12-base"] {
        let tree = trees::unpack(tree).unwrap();
        let scan = scan(&tree.sysfs_root()).unwrap();
        assert_eq!(scan.ttys.len(), 1, "ttyS1 to ttyS3 are phantoms");
        assert!(scan.ttys[0].console);
        // Not `port`, which is what the serial core says of itself since 6.12.
        assert_eq!(scan.ttys[0].driver.as_deref(), Some("serial"));
    }
}

#[test]
fn two_devices_with_one_serial_number_are_told_apart_by_their_sockets() {
    let host = Host::new().unwrap();
    let spec = StickSpec::new(Scene::Arduino);
    let _first = host.plug(spec.clone()).unwrap();
    let alone = scan(host.sysfs_root()).unwrap().ttys.remove(0).identity();
    assert_eq!(alone.to_string(), "serialNumber=75830303934351F0C1A2");
    let _second = host.plug(spec.usb_path("1-2")).unwrap();
    let scan = scan(host.sysfs_root()).unwrap();
    let identities: Vec<String> = scan.ttys.iter().map(|tty| tty.identity().to_string()).collect();
    assert_eq!(identities, ["usbPath=pci-0000:00:14.0-usb-1", "usbPath=pci-0000:00:14.0-usb-2"]);
}

#[test]
fn a_replug_is_another_key_and_the_same_identity() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Arduino)).unwrap();
    let before = scan(host.sysfs_root()).unwrap().ttys.remove(0);
    assert_eq!(scan(host.sysfs_root()).unwrap().ttys, std::slice::from_ref(&before), "nothing changed");
    stick.replug().unwrap();
    let after = scan(host.sysfs_root()).unwrap().ttys.remove(0);
    assert_eq!(before.name, after.name);
    assert_ne!(before.key, after.key);
    assert_eq!(before.identity(), after.identity());
    stick.unplug().unwrap();
    assert_eq!(scan(host.sysfs_root()).unwrap(), Scan::default());
    let nowhere = host.sysfs_root().join("nowhere");
    let error = discover(&nowhere, Output::Table).unwrap_err().to_string();
    assert!(error.contains(nowhere.to_str().unwrap()), "{error}");
}

#[test]
fn links_that_lead_out_of_the_root_are_followed_to_their_own_tree() {
    let tree = trees::unpack("mixed").unwrap();
    let overlay = tempfile::tempdir().unwrap();
    let class = overlay.path().join("class/tty");
    fs::create_dir_all(&class).unwrap();
    for tty in ["ttyUSB5", "ttyACM0", "ttyS0", "console"] {
        symlink(tree.sysfs_root().join("class/tty").join(tty), class.join(tty)).unwrap();
    }
    let inside = scan(&tree.sysfs_root()).unwrap();
    let outside = scan(overlay.path()).unwrap();
    assert_eq!(outside.ttys.len(), 3);
    for tty in outside.ttys {
        let same = inside.ttys.iter().find(|other| other.name == tty.name).unwrap();
        assert_eq!((&tty.usb, &tty.driver, tty.console), (&same.usb, &same.driver, same.console));
        assert_ne!(tty.key.devpath, same.key.devpath, "another root, another path");
    }
}

#[test]
fn what_breaks_in_the_middle_of_a_scan_costs_no_other_tty() {
    let tree = trees::unpack("mixed").unwrap();
    let root = tree.sysfs_root();
    let class = root.join("class/tty");
    let directory = |tty: &str| class.join(tty).canonicalize().unwrap();
    symlink("../../devices/gone/tty/ttyUSB9", class.join("ttyUSB9")).unwrap();
    fs::remove_file(directory("ttyUSB6").join("dev")).unwrap();
    fs::write(directory("ttyACM1").join("dev"), "not a number\n").unwrap();
    let quad = root.join("bus/usb/devices/1-2").canonicalize().unwrap();
    fs::remove_file(quad.join("idVendor")).unwrap();
    // What cannot be read as a file stands for EIO.
    let sonoff = root.join("bus/usb/devices/1-3").canonicalize().unwrap();
    fs::remove_file(sonoff.join("serial")).unwrap();
    fs::create_dir(sonoff.join("serial")).unwrap();
    let scan = scan(&root).unwrap();
    let names: Vec<&str> = scan.ttys.iter().map(|tty| tty.name.as_str()).collect();
    assert!(["ttyACM0", "ttyS0", "ttyUSB0", "ttyUSB5"].iter().all(|name| names.contains(name)), "{names:?}");
    assert!(["ttyUSB9", "ttyUSB6", "ttyACM1"].iter().all(|name| !names.contains(name)), "{names:?}");
    let partly_known = scan.ttys.iter().find(|tty| tty.name == "ttyUSB5").unwrap();
    assert_eq!(partly_known.usb.as_ref().unwrap().device.serial_number, None);
    assert!(
        scan.ttys.iter().filter_map(|tty| tty.usb.as_ref()).all(|usb| usb.device.vendor != 0x1d6b),
        "never the hub above"
    );
}

#[test]
fn a_device_on_its_way_out_does_not_pass_for_its_hub() {
    let tree = trees::unpack("dup-serial-on-hub").unwrap();
    let root = tree.sysfs_root();
    fs::remove_file(root.join("bus/usb/devices/1-5.1/idVendor")).unwrap();
    let scan = scan(&root).unwrap();
    let names: Vec<&str> = scan.ttys.iter().map(|tty| tty.name.as_str()).collect();
    assert_eq!(names, ["ttyS0", "ttyUSB1"]);
    // Its twin is alone now, but the number is known to be shared.
    assert_eq!(scan.ttys[1].identity().to_string(), "usbPath=pci-0000:00:01.0-usb-5.2");
}

#[test]
fn a_bluetooth_connection_does_not_pass_for_the_dongle_that_carries_it() {
    let root = tempfile::tempdir().unwrap();
    let usb = root.path().join("devices/usb1/1-4");
    let connection = usb.join("1-4:1.0/bluetooth/hci0/hci0:11");
    let tty = connection.join("tty/rfcomm0");
    fs::create_dir_all(&tty).unwrap();
    fs::create_dir_all(root.path().join("class/tty")).unwrap();
    fs::create_dir_all(root.path().join("class/bluetooth")).unwrap();
    for (file, text) in [("idVendor", "0a12"), ("idProduct", "0001"), ("devnum", "4")] {
        fs::write(usb.join(file), text).unwrap();
    }
    fs::write(usb.join("1-4:1.0/bInterfaceNumber"), "00").unwrap();
    fs::write(tty.join("dev"), "216:0\n").unwrap();
    symlink(&connection, tty.join("device")).unwrap();
    symlink(root.path().join("class/bluetooth"), connection.join("subsystem")).unwrap();
    symlink(&tty, root.path().join("class/tty/rfcomm0")).unwrap();
    let scan = scan(root.path()).unwrap();
    assert_eq!(scan.ttys[0].usb, None);
    assert_eq!(scan.ttys[0].identity().to_string(), "tty=rfcomm0");
}

#[test]
fn devices_without_tty_say_why() {
    let tree = trees::unpack("nodriver").unwrap();
    let root = tree.sysfs_root();
    let device = root.join("bus/usb/devices/1-13").canonicalize().unwrap();
    let obstacle = || scan(&root).unwrap().without_tty.remove(0).obstacle.unwrap();
    assert_eq!(obstacle(), Obstacle::NoDriver { cdc_acm: false });
    let interface = device.join("1-13:1.0");
    fs::write(interface.join("bInterfaceClass"), "02\n").unwrap();
    fs::write(interface.join("bInterfaceSubClass"), "02\n").unwrap();
    assert_eq!(obstacle(), Obstacle::NoDriver { cdc_acm: true });
    symlink("/sys/bus/usb/drivers/usbfs", interface.join("driver")).unwrap();
    assert_eq!(obstacle(), Obstacle::Program);
    fs::write(device.join("authorized"), "0\n").unwrap();
    assert_eq!(obstacle(), Obstacle::NotAuthorized);
    fs::write(device.join("authorized"), "1\n").unwrap();
    fs::remove_dir_all(&interface).unwrap();
    assert_eq!(obstacle(), Obstacle::NotConfigured);
    // Another kind of device, with its driver.
    fs::create_dir(&interface).unwrap();
    symlink("/sys/bus/usb/drivers/usb-storage", interface.join("driver")).unwrap();
    assert_eq!(scan(&root).unwrap().without_tty, []);
}

#[test]
fn ttys_are_in_the_order_of_their_numbers() {
    let host = Host::new().unwrap();
    let _sticks: Vec<_> = [10, 2, 9, 1]
        .map(|number| {
            let spec = StickSpec::new(Scene::Ch340).usb_path(&format!("1-{number}")).lowest_number(number);
            host.plug(spec).unwrap()
        })
        .into();
    let names: Vec<String> = scan(host.sysfs_root()).unwrap().ttys.into_iter().map(|tty| tty.name).collect();
    assert_eq!(names, ["ttyUSB1", "ttyUSB2", "ttyUSB9", "ttyUSB10"]);
}
