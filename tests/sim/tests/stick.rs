//! Component tests of a simulated stick: bytes, hang-up, numbers, settings.
#![allow(clippy::unwrap_used, reason = "a test: also in its helpers")]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::termios::{ControlModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use serialfleet_sim::reply::{modbus_frame, zstack_frame};
use serialfleet_sim::{Event, Host, Mode, Scene, Stick, StickSpec};

const SOON: Duration = Duration::from_secs(10);

fn open(path: &Path) -> File {
    let noctty = OFlags::NOCTTY.bits().cast_signed();
    OpenOptions::new().read(true).write(true).custom_flags(noctty).open(path).unwrap()
}

fn ask(file: &mut File, request: &[u8], length: usize) -> Vec<u8> {
    file.write_all(request).unwrap();
    let mut answer = vec![0; length];
    file.read_exact(&mut answer).unwrap();
    answer
}

fn open_events(stick: &Stick) -> usize {
    stick.record().unwrap().count(|event| matches!(event, Event::Opened { .. }))
}

#[test]
fn each_mode_answers() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let mut file = open(&stick.node(0).unwrap());
    assert_eq!(ask(&mut file, b"hello", 5), b"hello");

    stick.set_mode(Mode::Modbus).unwrap();
    let answer = modbus_frame(&[1, 3, 2, 0, 7]);
    assert_eq!(ask(&mut file, &modbus_frame(&[1, 3, 0, 7, 0, 1]), answer.len()), answer);

    stick.set_mode(Mode::ZStack).unwrap();
    let answer = zstack_frame([0x61, 0x01], &[0x79, 0x07]);
    assert_eq!(ask(&mut file, &zstack_frame([0x21, 0x01], &[]), answer.len()), answer);

    stick.set_mode(Mode::Silent).unwrap();
    file.write_all(b"nothing comes back").unwrap();
    stick.wait_received(0, SOON, b"nothing comes back").unwrap();
    stick.send(0, b"but it can talk").unwrap();
    let mut heard = [0; 15];
    file.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"but it can talk");
}

#[test]
fn a_large_amount_comes_back_whole() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::CdcAcm)).unwrap();
    let mut reader = open(&stick.node(0).unwrap());
    let mut writer = reader.try_clone().unwrap();
    let data: Vec<u8> = (0..2_000_000_u32).flat_map(|n| [n.to_le_bytes()[0]]).collect();
    let sent = data.clone();
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut back = vec![0; data.len()];
    reader.read_exact(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == data);
}

#[test]
fn a_blocked_reader_sees_the_hang_up() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Cp210x)).unwrap();
    let node = stick.node(0).unwrap();
    let mut file = open(&node);
    let mut writer = file.try_clone().unwrap();
    stick.wait_opened(0, SOON).unwrap();
    let blocked = std::thread::spawn(move || file.read(&mut [0; 16]));
    stick.unplug().unwrap();
    // 0 as from hardware; EIO where TIOCVHANGUP is not permitted.
    match blocked.join().unwrap() {
        Ok(length) => assert_eq!(length, 0),
        Err(error) => assert_eq!(error.raw_os_error(), Some(5), "{error}"),
    }
    assert_eq!(writer.write(b"x").unwrap_err().raw_os_error(), Some(5));
    assert!(fs::symlink_metadata(&node).is_err());
    assert!(stick.name(0).is_err());
}

#[test]
fn a_number_is_taken_while_the_dead_device_is_open() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    assert_eq!(stick.name(0).unwrap(), "ttyUSB0");
    let held = open(&stick.node(0).unwrap());
    stick.replug().unwrap();
    assert_eq!(stick.name(0).unwrap(), "ttyUSB1");
    assert_eq!((stick.opens(0).unwrap(), stick.users(0).unwrap()), (1, 0));

    drop(held);
    stick.wait_released(SOON).unwrap();
    // It stays what it is; the next plug gets the lowest number again.
    assert_eq!(stick.name(0).unwrap(), "ttyUSB1");
    stick.replug().unwrap();
    assert_eq!(stick.name(0).unwrap(), "ttyUSB0");
}

#[test]
fn a_number_is_free_at_once_if_nobody_holds_it() {
    let host = Host::new().unwrap();
    let first = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let second = host.plug(StickSpec::new(Scene::Ch340).usb_path("1-2")).unwrap();
    let acm = host.plug(StickSpec::new(Scene::Arduino).usb_path("1-3")).unwrap();
    assert_eq!(second.name(0).unwrap(), "ttyUSB1");
    assert_eq!(acm.name(0).unwrap(), "ttyACM0");
    for _ in 0..20 {
        let file = open(&first.node(0).unwrap());
        drop(file);
        first.replug().unwrap();
        assert_eq!(first.name(0).unwrap(), "ttyUSB0");
    }
    drop(first);
    assert!(!host.dev_root().join("ttyUSB0").is_symlink());
    assert!(!host.sysfs_root().join("class/tty/ttyUSB0").is_symlink());
    second.move_to("1-7.2").unwrap();
    assert_eq!(second.name(0).unwrap(), "ttyUSB0");
}

#[test]
fn opens_are_counted_exactly() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let node = stick.node(0).unwrap();
    let files: Vec<File> = (0..100).map(|_| open(&node)).collect();
    assert_eq!((stick.opens(0).unwrap(), stick.users(0).unwrap()), (100, 100));
    drop(files);
    assert_eq!((stick.opens(0).unwrap(), stick.users(0).unwrap()), (100, 0));
    assert_eq!(open_events(&stick), 100);
}

#[test]
fn a_number_is_released_however_many_held_the_device() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let node = stick.node(0).unwrap();
    let files: Vec<File> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..50).map(|_| open(&node)).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(files.len(), 200);
    stick.unplug().unwrap();
    drop(files);
    stick.wait_released(SOON).unwrap();
}

#[test]
fn settings_are_seen_and_fresh_after_a_replug() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Pl2303)).unwrap();
    let line = stick.line(0).unwrap();
    assert_eq!((line.baud, line.hupcl, line.raw), (9600, true, true));
    let file = open(&stick.node(0).unwrap());
    let mut termios = tcgetattr(&file).unwrap();
    termios.set_speed(12_345).unwrap();
    termios.control_modes |= ControlModes::CSTOPB | ControlModes::CRTSCTS;
    termios.control_modes -= ControlModes::HUPCL;
    tcsetattr(&file, OptionalActions::Now, &termios).unwrap();
    let line = stick.wait_line(0, SOON, |line| line.baud == 12_345).unwrap();
    assert!(line.two_stop_bits && line.rtscts && !line.hupcl);

    drop(file);
    assert_eq!(stick.line(0).unwrap().baud, 12_345, "kept while plugged in");
    stick.replug().unwrap();
    assert_eq!(stick.line(0).unwrap().baud, 9600);

    let cooked = host.plug(StickSpec::new(Scene::Ftdi).usb_path("1-9").cooked()).unwrap();
    assert!(!cooked.line(0).unwrap().raw);
}

#[test]
fn a_change_of_settings_alone_wakes_a_waiter() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let file = open(&stick.node(0).unwrap());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            stick.wait_event(
                0,
                SOON,
                |event| matches!(event, Event::Line { line, .. } if line.baud == 57_600),
            )
        });
        let mut termios = tcgetattr(&file).unwrap();
        termios.set_speed(57_600).unwrap();
        tcsetattr(&file, OptionalActions::Now, &termios).unwrap();
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn flushes_of_the_program_are_seen_and_our_own_are_not() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let file = open(&stick.node(0).unwrap());
    drop(file);
    stick.wait_closed(0, SOON).unwrap();
    assert_eq!(stick.record().unwrap().count(|event| matches!(event, Event::Flushed { .. })), 0);
    let file = open(&stick.node(0).unwrap());
    tcflush(&file, QueueSelector::IFlush).unwrap();
    stick
        .wait_event(0, SOON, |event| matches!(event, Event::Flushed { input: true, output: false, .. }))
        .unwrap();
}

#[test]
fn what_is_sent_to_nobody_is_lost() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    stick.send(0, b"early").unwrap();
    let mut file = open(&stick.node(0).unwrap());
    stick.send(0, b"unread").unwrap();
    drop(file);
    stick.wait_closed(0, SOON).unwrap();
    file = open(&stick.node(0).unwrap());
    stick.send(0, b"late").unwrap();
    let mut heard = [0; 16];
    let length = file.read(&mut heard).unwrap();
    assert_eq!(&heard[..length], b"late");
    assert_eq!(stick.record().unwrap().count(|event| matches!(event, Event::Dropped { bytes: 5, .. })), 1);
}

#[test]
fn the_end_of_one_user_takes_nothing_from_the_next() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let node = stick.node(0).unwrap();
    for visit in 0..300_u32 {
        let mut file = open(&node);
        assert_eq!(ask(&mut file, &visit.to_le_bytes(), 4), visit.to_le_bytes());
    }
}

#[test]
fn a_frozen_device_takes_nothing() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    stick.freeze().unwrap();
    let mut file = open(&stick.node(0).unwrap());
    rustix::io::ioctl_fionbio(&file, true).unwrap();
    let mut written = 0;
    let full = loop {
        match file.write(&[b'x'; 1000]) {
            Ok(length) => written += length,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    assert_eq!(stick.record().unwrap().ports[0].received_bytes, 0);
    stick.thaw().unwrap();
    stick.wait_for(SOON, |record| (record.ports[0].received_bytes == written as u64).then_some(())).unwrap();
}

#[test]
fn a_timeout_says_what_was_seen() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    let error = stick.wait_opened(0, Duration::from_millis(1)).unwrap_err();
    assert!(error.to_string().contains("Plugged"), "{error}");
}

#[test]
fn quad_adapters_have_four_independent_ports() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi4)).unwrap();
    for port in 0..4 {
        assert_eq!(stick.name(port).unwrap(), format!("ttyUSB{port}"));
        let text = format!("port {port}");
        let mut file = open(&stick.node(port).unwrap());
        assert_eq!(ask(&mut file, text.as_bytes(), text.len()), text.as_bytes());
        assert_eq!(stick.opens(port).unwrap(), 1);
    }
}
