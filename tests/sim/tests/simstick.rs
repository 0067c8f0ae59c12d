//! The binary: commands in, JSON lines out.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
fn commands_are_obeyed_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let (sysfs, dev) = (directory.path().join("sys"), directory.path().join("dev"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_simstick"))
        .args(["--scene", "arduino", "--path", "1-4", "--serial", "S1", "--mode", "silent"])
        .arg("--sysfs-root")
        .arg(&sysfs)
        .arg("--dev-root")
        .arg(&dev)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut commands = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |event: &str| -> Value {
        loop {
            let value: Value = serde_json::from_str(&lines.next().expect("more lines").unwrap()).unwrap();
            if value["event"] == event {
                return value;
            }
        }
    };
    let plugged = until("plugged");
    assert_eq!(plugged["names"][0], "ttyACM0");
    let mut file = std::fs::File::open(dev.join("ttyACM0")).unwrap();
    assert_eq!(until("opened")["users"], 1);
    writeln!(commands, "send 6869").unwrap();
    assert_eq!(until("done")["command"], "send 6869");
    let mut heard = [0; 2];
    file.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hi");
    writeln!(commands, "dance").unwrap();
    assert_eq!(until("error")["command"], "dance");
    writeln!(commands, "move 1-9\nset serial=S2\nreplug").unwrap();
    assert_eq!(until("unplugged")["usb_path"], "1-4");
    assert_eq!(until("plugged")["usb_path"], "1-9");
    drop(file);
    assert_eq!(until("released")["name"], "ttyACM0");
    assert_eq!(std::fs::read_to_string(sysfs.join("bus/usb/devices/1-9/serial")).unwrap(), "S2\n");
    drop(commands);
    until("unplugged");
    assert!(child.wait().unwrap().success());
    assert!(!dev.join("ttyACM1").is_symlink());
}
