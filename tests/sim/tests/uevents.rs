//! Kernel uevents: what a listener of the kernel hears of simulated and of recorded devices.
#![allow(clippy::unwrap_used, reason = "a test: also in its helpers")]

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serialfleet_sim::uevent::{Injector, Uevent, recorded};
use serialfleet_sim::{Host, Scene, StickSpec, namespace};
use udev::{MonitorBuilder, MonitorSocket};

/// Action, subsystem, kind and last part of the path.
type Brief = (String, String, String, String);

fn brief(event: &Uevent) -> Brief {
    let property = |key| event.property(key).unwrap_or_default().to_owned();
    let name = event.devpath.rsplit('/').next().unwrap_or_default().to_owned();
    (event.action.clone(), property("SUBSYSTEM"), property("DEVTYPE"), name)
}

fn listen() -> MonitorSocket {
    MonitorBuilder::new_kernel().unwrap().listen().unwrap()
}

/// The next `count` events; fewer if none comes for long.
fn hear(monitor: &MonitorSocket, count: usize) -> Vec<Uevent> {
    let mut heard = Vec::new();
    while heard.len() < count {
        if let Some(event) = monitor.iter().next() {
            let properties = event.properties().map(|property| {
                let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
                (text(property.name()), text(property.value()))
            });
            heard.push(Uevent {
                action: event.event_type().to_string(),
                devpath: event.devpath().to_string_lossy().into_owned(),
                properties: properties.collect(),
            });
            continue;
        }
        let mut watched = [PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN)];
        let patience = Timespec::try_from(Duration::from_secs(10)).unwrap();
        if poll(&mut watched, Some(&patience)).unwrap() == 0 {
            break;
        }
    }
    heard
}

#[test]
fn a_recording_arrives_whole_and_in_order() {
    if !namespace::enter("a_recording_arrives_whole_and_in_order") {
        return;
    }
    let events = recorded("ftdi-quad").unwrap();
    let monitor = listen();
    Injector::open().unwrap().replay(&events).unwrap();
    let heard = hear(&monitor, events.len());
    assert_eq!(heard.iter().map(brief).collect::<Vec<_>>(), events.iter().map(brief).collect::<Vec<_>>());
}

/// Our scenes send what a kernel sent for the same devices, in its order and with its properties.
#[test]
fn a_stick_sends_what_a_kernel_sends() {
    if !namespace::enter("a_stick_sends_what_a_kernel_sends") {
        return;
    }
    for (name, spec) in [
        ("ftdi-single", StickSpec::new(Scene::Ftdi)),
        ("ftdi-quad", StickSpec::new(Scene::Ftdi4)),
        ("ch340-noserial", StickSpec::new(Scene::Ch340)),
        ("cdcacm-zwave-noserial", StickSpec::new(Scene::CdcAcm)),
    ] {
        let mut expected = recorded(name).unwrap();
        // An FT232R's GPIO pins are not imitated.
        expected.retain(|event| event.property("SUBSYSTEM") != Some("gpio"));
        let socket = expected[0].devpath.rsplit('/').next().unwrap().to_owned();
        let monitor = listen();
        let host = Host::new().unwrap().with_uevents().unwrap();
        let stick = host.plug(spec.usb_path(&socket)).unwrap();
        stick.unplug().unwrap();
        let heard = hear(&monitor, expected.len());
        assert_eq!(
            heard.iter().map(brief).collect::<Vec<_>>(),
            expected.iter().map(brief).collect::<Vec<_>>(),
            "{name}"
        );
        for (heard, expected) in heard.iter().zip(&expected) {
            for key in ["DRIVER", "PRODUCT", "TYPE", "INTERFACE", "MODALIAS", "BUSNUM"] {
                assert_eq!(heard.property(key), expected.property(key), "{name}: {key} of {expected:?}");
            }
        }
    }
}

#[test]
fn node_and_tree_stand_when_add_is_heard() {
    if !namespace::enter("node_and_tree_stand_when_add_is_heard") {
        return;
    }
    let monitor = MonitorBuilder::new_kernel().unwrap().match_subsystem("tty").unwrap().listen().unwrap();
    let host = Host::new().unwrap().with_uevents().unwrap().with_bind_mounts();
    let stick = host.plug(StickSpec::new(Scene::Cp210x)).unwrap();
    let heard = hear(&monitor, 1);
    assert_eq!(heard[0].property("DEVNAME"), Some("/dev/ttyUSB0"));
    assert!(host.sysfs_root().join(heard[0].devpath.trim_start_matches('/')).join("dev").exists());
    let node = std::fs::symlink_metadata(stick.node(0).unwrap()).unwrap();
    assert!(!node.is_symlink());
    std::fs::File::open(stick.node(0).unwrap()).unwrap();
    assert_eq!(stick.opens(0).unwrap(), 1);
    stick.unplug().unwrap();
    assert_eq!(hear(&monitor, 1)[0].action, "remove");
    assert!(!host.dev_root().join("ttyUSB0").exists());
}

#[test]
fn loopback_is_up_inside() {
    if !namespace::enter("loopback_is_up_inside") {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
}

#[test]
fn the_initial_namespace_is_refused() {
    let initial = std::fs::read_link("/proc/1/ns/net");
    if initial.is_ok_and(|initial| initial == std::fs::read_link("/proc/self/ns/net").unwrap()) {
        Injector::open().unwrap_err();
        Host::new().unwrap().with_uevents().unwrap_err();
    }
}

#[test]
fn a_failure_inside_and_a_wrong_name_are_reported() {
    if namespace::possible().is_err() {
        return;
    }
    let wrong = std::panic::catch_unwind(|| namespace::enter("no_such_test")).unwrap_err();
    assert!(wrong.downcast_ref::<String>().unwrap().contains("no test is called no_such_test"));
    let failed = std::panic::catch_unwind(|| namespace::enter("fails_inside")).unwrap_err();
    assert!(failed.downcast_ref::<String>().unwrap().contains("as it should"));
}

#[test]
#[ignore = "only for a_failure_inside_and_a_wrong_name_are_reported"]
fn fails_inside() {
    if namespace::enter("fails_inside") {
        panic!("as it should");
    }
}
