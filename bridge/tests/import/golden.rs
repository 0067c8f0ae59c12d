//! Configurations as people keep them, each with the fleet that it becomes.

use std::{collections::BTreeMap, fs, path::Path};

use serialfleet_api::{
    manifest::{read_fleet, to_json},
    resolve::resolve,
    validate::validate,
};
use serialfleet_bridge::{
    discovery::sysfs::{DeviceKey, DeviceNumber, Scan, SerialTty, UsbDevice, UsbPort},
    import::{Imported, Machine, Source, import},
};

fn cases() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import/cases"))
}

fn usb(name: &str, ids: (u16, u16), strings: [Option<&str>; 3], path: &str, interface: u8) -> SerialTty {
    let [manufacturer, product_name, serial_number] = strings.map(|text| text.map(str::to_owned));
    let device = UsbDevice {
        vendor: ids.0,
        product: ids.1,
        serial_number,
        manufacturer,
        product_name,
        usb_path: path.to_owned(),
        controller: Some("pci-0000:00:14.0".to_owned()),
        ..UsbDevice::default()
    };
    let port = UsbPort { device, interface_number: Some(interface), port_number: Some(0) };
    SerialTty { usb: Some(port), ..on_board(name, false) }
}

fn on_board(name: &str, console: bool) -> SerialTty {
    SerialTty {
        name: name.to_owned(),
        device_number: DeviceNumber { major: 4, minor: 64 },
        key: DeviceKey { devpath: format!("/{name}"), ..DeviceKey::default() },
        driver: None,
        usb: None,
        console,
    }
}

/// A thin client, `wyse-1`: a Zigbee stick with a number of its own, an adapter with two interfaces, one without any
/// string, the Z-Wave stick that has none either, a port on board, and one that is the kernel's console.
fn wyse() -> Machine {
    let itead = [Some("ITEAD"), Some("SONOFF Zigbee 3.0 USB Dongle Plus"), Some("0c8b3f2e")];
    let cp2105 = [Some("Silicon Labs"), Some("CP2105 Dual USB to UART Bridge Controller"), Some("0001")];
    let links = [("/dev/serial/by-path/pci-0000:00:14.0-usb-0:1.2:1.0-port0", "ttyUSB2")];
    Machine {
        scan: Scan {
            ttys: vec![
                usb("ttyUSB0", (0x10c4, 0xea60), itead, "usb-1.1", 0),
                usb("ttyUSB1", (0x1a86, 0x7523), [None, Some("USB Serial"), None], "usb-1.4", 0),
                usb("ttyUSB2", (0x10c4, 0xea70), cp2105, "usb-1.2", 0),
                usb("ttyUSB3", (0x10c4, 0xea70), cp2105, "usb-1.2", 1),
                usb("ttyACM0", (0x0658, 0x0200), [None, None, None], "usb-1.3", 0),
                on_board("ttyS0", false),
                on_board("ttyS1", true),
            ],
            without_tty: Vec::new(),
        },
        links: links.map(|(path, tty)| (path.to_owned(), tty.to_owned())).into(),
        node: Some("wyse-1".to_owned()),
        node_is_certain: false,
    }
}

fn source(name: &str) -> Source {
    Source { name: name.to_owned(), text: fs::read_to_string(cases().join(name)).unwrap() }
}

fn imported(names: &[&str], machine: &Machine) -> Imported {
    let sources: Vec<Source> = names.iter().map(|name| source(name)).collect();
    import(&sources, "home", machine, &mut |_| Err("not here".to_owned())).unwrap()
}

#[test]
fn configurations_become_the_fleets_beside_them() {
    let cases: [(&[&str], &str); 6] = [
        (&["zigbee.yaml"], "zigbee"),
        (&["console-server.yaml"], "console-server"),
        (&["modbus-v2.yaml"], "modbus-v2"),
        (&["ser2net.conf"], "ser2net-3"),
        (&["10c4:ea60.yaml"], "snippet"),
        (&["10c4:ea60.yaml", "0403_6001.yaml", "zigbee.yaml", "console-server.yaml"], "together"),
    ];
    let mut differing = Vec::new();
    for (names, golden) in cases {
        let imported = imported(names, &wyse());
        let fleet = read_fleet(&imported.yaml).unwrap();
        assert_eq!(validate(&to_json(&imported.yaml).unwrap().unwrap()).unwrap(), fleet);
        assert!(resolve(&fleet.spec).iter().all(Result::is_ok));
        assert_eq!(fleet.spec.devices.len(), imported.devices);
        let text = format!("{}---\n{}\n", imported.yaml, imported.remarks.join("\n"));
        let path = self::cases().join(format!("../expected/{golden}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != text {
            differing.push(golden);
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 rewrites them: {differing:?}");
}

/// What the issue asks for, word by word.
#[test]
fn a_snippet_means_that_stick_on_each_node_at_the_host_s_own_name() {
    let imported = imported(&["10c4:ea60.yaml"], &Machine::default());
    let fleet = read_fleet(&imported.yaml).unwrap();
    assert_eq!(fleet.spec.bridge.host_network, Some(true));
    let device = serde_json::to_value(&fleet.spec.devices[0]).unwrap();
    let wanted = serde_json::json!({
        "name": "zigbee",
        "scope": "Node",
        "match": {"usb": "10c4:ea60"},
        "port": 6639,
        "line": {"baudRate": 115_200, "format": "8N1", "dtr": false, "rts": false},
        "clients": {"policy": "Takeover"},
    });
    assert_eq!(device, wanted);
    assert!(imported.yaml.contains("To leave it"), "{}", imported.yaml);
}

#[test]
fn away_from_its_machine_no_path_is_taken_for_another_stick() {
    for names in [["zigbee.yaml"], ["console-server.yaml"], ["modbus-v2.yaml"], ["ser2net.conf"]] {
        let imported = imported(&names, &Machine::default());
        for device in read_fleet(&imported.yaml).unwrap().spec.devices {
            assert!(device.matcher.serial_number.is_some(), "{names:?}: {device:?}");
        }
    }
}

#[test]
fn a_named_node_has_its_sockets_and_on_board_ports() {
    let machine = Machine { node: Some("shed".to_owned()), node_is_certain: true, ..Machine::default() };
    let fleet = read_fleet(&imported(&["console-server.yaml"], &machine).yaml).unwrap();
    let of: BTreeMap<&str, _> =
        fleet.spec.devices.iter().map(|device| (device.name.as_str(), &device.matcher)).collect();
    assert_eq!(of["switch-2"].usb_path.as_deref(), Some("pci-0000:00:14.0-usb-1.2"));
    assert_eq!(of["switch-2"].interface_number, Some(1));
    assert_eq!(of["con0192"].tty.as_deref(), Some("ttyS0"));
    assert!(of.values().all(|matcher| matcher.nodes == ["shed"]), "{of:?}");
}

#[test]
fn included_files_share_what_was_defined() {
    let main = Source {
        name: "ser2net.yaml".to_owned(),
        text: "define: &usb /dev/ttyUSB0\ninclude: /etc/ser2net.d/*.yaml\ninclude: /gone\n".to_owned(),
    };
    let text = "connection: &a\n  accepter: tcp,1\n  connector: serialdev,*(usb),9600n81\n  options: {banner: *usb}\n";
    let mut include = |pattern: &str| match pattern {
        "/etc/ser2net.d/*.yaml" => Ok(vec![Source { name: "a.yaml".to_owned(), text: text.to_owned() }]),
        _ => Err("no such file".to_owned()),
    };
    let imported = import(&[main], "home", &wyse(), &mut include).unwrap();
    assert_eq!(imported.devices, 1);
    assert!(
        imported.remarks.iter().any(|remark| remark.contains("/gone: no such file")),
        "{:?}",
        imported.remarks
    );
}

#[test]
fn passwords_are_not_repeated() {
    for names in [["console-server.yaml"], ["ser2net.conf"]] {
        let imported = imported(&names, &wyse());
        assert!(!imported.yaml.contains("secret") && !imported.remarks.concat().contains("secret"));
    }
}
