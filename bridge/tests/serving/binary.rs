//! The program itself: exit codes, signals, what it prints.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serialfleet_sim::Host;

use super::rig::{Client, own_address, stick};

const FLEET: &str = "apiVersion: serialfleet.io/v1alpha1
kind: SerialFleet
metadata: {name: home}
spec:
  devices:
  - {name: zigbee, match: {usb: 10c4:ea60}}
";

pub(super) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serialfleet-bridge"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    serial: SocketAddr,
    admin: SocketAddr,
}

impl Running {
    fn start(host: &Host, file: &Path) -> Self {
        let address = own_address();
        let (serial, admin) = (SocketAddr::new(address, 6638), SocketAddr::new(address, 9640));
        let mut child = program()
            .args(["run", "--node", "wyse-1", "--file"])
            .arg(file)
            .args(["--bind", &address.to_string()])
            .arg("--sysfs-root")
            .arg(host.sysfs_root())
            .arg("--dev-root")
            .arg(host.dev_root())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Self { child, log, serial, admin };
        running.wait_log("listening");
        running
    }

    fn wait_log(&mut self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "{text:?} was never logged:\n{all}");
            if line.contains(text) {
                return line;
            }
            all.push_str(&line);
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn written(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn sigterm_delivers_closes_and_exits_zero() {
    let host = Host::new().unwrap();
    let stick = host.plug(stick("A1")).unwrap();
    let file = written(FLEET);
    let mut running = Running::start(&host, file.path());
    let mut client = Client::to(running.serial);
    client.echo(b"before");
    running.signal(Signal::TERM);
    assert!(client.expect_end().is_empty());
    assert!(running.child.wait().unwrap().success());
    stick.wait_closed(0, super::rig::LIMIT).unwrap();
}

#[test]
fn ports_shows_what_is_served_and_to_whom() {
    let host = Host::new().unwrap();
    let _stick = host.plug(stick("A1")).unwrap();
    let file = written(FLEET);
    let running = Running::start(&host, file.path());
    let mut client = Client::to(running.serial);
    client.echo(b"x");
    let output = program().args(["ports", "--admin", &running.admin.to_string()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for part in
        ["zigbee", "Serving", "ttyUSB0", "115200", &running.serial.to_string(), &client.peer().to_string()]
    {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

#[test]
fn an_invalid_edit_keeps_the_last_good_fleet_and_says_so() {
    let host = Host::new().unwrap();
    let _stick = host.plug(stick("A1")).unwrap();
    let file = written(FLEET);
    let mut running = Running::start(&host, file.path());
    let mut client = Client::to(running.serial);
    client.echo(b"before");
    fs::write(file.path(), FLEET.replace("10c4:ea60", "no such thing")).unwrap();
    let line = running.wait_log("spec.devices[0].match.usb");
    assert!(line.contains("line 6"), "{line}");
    client.echo(b"after");
    fs::write(file.path(), FLEET).unwrap();
    running.wait_log("the fleet was read again");
    client.echo(b"good again");
}

#[test]
fn a_file_that_is_no_fleet_is_told_by_line_and_exits_64() {
    for (text, parts) in [
        (FLEET.replace("10c4:ea60", "10c4"), vec!["line 6", "spec.devices[0].match.usb"]),
        (FLEET.replace("devices:", "devises:"), vec!["line 5", "devises"]),
        (
            FLEET.replace("match: {usb: 10c4:ea60}", "match: {}"),
            vec!["line 6", "spec.devices[0].match", "usbPath or tty"],
        ),
        (
            format!("{FLEET}  - {{name: zwave, match: {{usb: 0658:0200}}}}\n"),
            vec!["line 7", "spec.devices[1].port", "zigbee has that already"],
        ),
        ("{".to_owned(), vec!["line"]),
        (String::new(), vec![]),
    ] {
        let file = written(&text);
        let output = program().args(["run", "--file"]).arg(file.path()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}\n{error}");
        for part in parts {
            assert!(error.contains(part), "{part} is missing in:\n{error}");
        }
        assert!(error.contains(&*file.path().to_string_lossy()), "{error}");
    }
}

#[test]
fn wrong_use_exits_64_and_help_exits_0() {
    for arguments in [vec!["run"], vec!["run", "--file", "a", "--fleet", "b"], vec!["fly"], vec![]] {
        assert_eq!(program().args(&arguments).output().unwrap().status.code(), Some(64), "{arguments:?}");
    }
    let neither = program().arg("run").output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&neither).contains("--file"), "both ways are named");
    let missing = program().args(["run", "--file", "/no/such/fleet.yaml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(64));
    for arguments in [vec!["--help"], vec!["--version"], vec!["run", "--help"]] {
        assert!(program().args(&arguments).output().unwrap().status.success(), "{arguments:?}");
    }
}

#[test]
fn discover_lists_what_is_plugged_in() {
    let host = Host::new().unwrap();
    let _stick = host.plug(stick("A1")).unwrap();
    let output = program().arg("discover").arg("--sysfs-root").arg(host.sysfs_root()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains("ttyUSB0") && text.contains("10c4:ea60") && text.contains("A1"), "{text}");
}

#[test]
fn the_admin_address_answers_probes_and_metrics() {
    let host = Host::new().unwrap();
    let _stick = host.plug(stick("A1")).unwrap();
    let file = written(FLEET);
    let running = Running::start(&host, file.path());
    Client::to(running.serial).echo(b"x");
    let get = |path: &str| {
        let mut admin = Client::to(running.admin);
        admin.send(format!("GET {path} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n").as_bytes());
        String::from_utf8(admin.expect_end()).unwrap()
    };
    assert!(get("/livez").starts_with("HTTP/1.1 200"));
    // The listener may be there a moment before the plan counts as applied.
    let start = std::time::Instant::now();
    while !get("/readyz").starts_with("HTTP/1.1 200") {
        assert!(start.elapsed() < super::rig::LIMIT, "{}", get("/readyz"));
    }
    let metrics = get("/metrics");
    for line in [
        "serialfleet_port_bytes_total{port=\"zigbee\",direction=\"to_device\"} 1",
        "serialfleet_port_state{port=\"zigbee\",state=\"Serving\"} 1",
        "serialfleet_port_output_queue_bytes{port=\"zigbee\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
}
