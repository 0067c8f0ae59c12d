//! Mode Server: who is served, as without TLS, and how connections begin and end.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serialfleet_api::node::PortState;
use serialfleet_bridge::tls::Limits;
use serialfleet_sim::Mode;

use super::{
    TWO,
    certificates::{HOST, Mount, ca, issued},
    client::{Client, config, trusting},
    ended,
    rig::{LIMIT, stick},
    rig_with, zigbee,
};

const SERVER: &str = "tls: {mode: Server}";

#[test]
fn bytes_go_both_ways_in_both_versions() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let stick = rig.host.plug(stick("A1")).unwrap();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut client = Client::to(&rig, "zigbee", &config(&ca, None, &[version]));
        let all: Vec<u8> = (0..=255).collect();
        client.echo(&all);
        stick.send(0, b"by itself").unwrap();
        client.expect(b"by itself");
        rig.wait("zigbee", |view| view.clients.iter().any(|it| it.peer == client.peer()));
    }
    assert_eq!(stick.opens(0).unwrap(), 1);
}

#[test]
fn plain_text_never_reaches_the_device() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut plain = rig.connect("zigbee");
    plain.send(b"open the door\r\n");
    let answer = plain.expect_end();
    // A TLS alert (RFC 8446 section 6): type 21, never a byte of the device.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    rig.wait_metric(&ended("zigbee", "TlsFailed"), 1.0);
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"mine");
    stick.wait_received(0, LIMIT, b"mine").unwrap();
    assert_eq!(
        rig.metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"to_device\"}"),
        Some(4.0)
    );
}

#[test]
fn a_newcomer_takes_over_at_its_first_byte() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = Client::to(&rig, "zigbee", &trusting(&ca));
    first.echo(b"first");
    let mut second = Client::to(&rig, "zigbee", &trusting(&ca));
    second.echo(b"second");
    assert_eq!(first.read_to_end().unwrap(), b"", "told that this is the end");
    second.echo(b"still here");
}

#[test]
fn a_silent_newcomer_takes_over_after_a_while() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = Client::to(&rig, "zigbee", &trusting(&ca));
    first.echo(b"first");
    let mut second = Client::to(&rig, "zigbee", &trusting(&ca));
    assert_eq!(first.read_to_end().unwrap(), b"");
    rig.wait("zigbee", |view| view.clients.iter().any(|it| it.peer == second.peer()));
    stick.send(0, b"for the second").unwrap();
    second.expect(b"for the second");
}

/// Whoever has no handshake has no claim, however long it stays.
#[test]
fn without_a_handshake_nobody_is_evicted() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let limits = Limits { time: Duration::from_secs(600), ..Limits::default() };
    let plain = "  - {name: zwave, match: {serialNumber: B2, usb: '10c4:ea60'}, port: 7000}\n";
    let rig = rig_with(&mount, limits, &(zigbee(&format!("port: 7001, {SERVER}")) + plain));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let _other = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut client = Client::to(&rig, "zigbee", &trusting(&ca));
    client.echo(b"before");
    let mut in_the_clear = rig.connect("zwave");
    in_the_clear.echo(b"before");
    let _silent = rig.connect("zigbee");
    rig.wait_metric("serialfleet_port_connections_total{port=\"zigbee\"}", 2.0);
    // By the time at which one that came later takes over elsewhere.
    let _silent_too = rig.connect("zwave");
    in_the_clear.expect_end();
    rig.wait_metric(&ended("zwave", "TakenOver"), 1.0);
    client.echo(b"after");
    assert_eq!(rig.metric(&ended("zigbee", "TakenOver")), None);
}

#[test]
fn health_checks_evict_nobody() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let address = rig.address_of("zigbee");
    let mut client = Client::to(&rig, "zigbee", &trusting(&ca));
    client.echo(b"before");
    // One that knows nothing of TLS, and one that does.
    drop(TcpStream::connect(address).unwrap());
    rig.wait_metric(&ended("zigbee", "Probe"), 1.0);
    Client::try_to(address, &trusting(&ca)).unwrap().say_close();
    rig.wait_metric(&ended("zigbee", "Probe"), 2.0);
    client.echo(b"after");
    assert_eq!(rig.metric(&ended("zigbee", "TlsFailed")), None);
}

#[test]
fn refused_is_whoever_comes_second() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee("tls: {mode: Server}, clients: {policy: Refuse}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = Client::to(&rig, "zigbee", &trusting(&ca));
    first.echo(b"first");
    let mut second = Client::to(&rig, "zigbee", &trusting(&ca));
    assert_eq!(second.read_to_end().unwrap(), b"");
    rig.wait_metric(&ended("zigbee", "Refused"), 1.0);
    first.echo(b"still first");
}

#[test]
fn whoever_may_not_connect_gets_no_handshake() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig =
        super::rig(&mount, &zigbee("tls: {mode: Server}, clients: {allowFrom: [{cidr: 192.0.2.0/24}]}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    Client::try_to(rig.address_of("zigbee"), &trusting(&ca)).unwrap_err();
    rig.wait_metric(&ended("zigbee", "NotAllowed"), 1.0);
}

#[test]
fn a_half_closed_client_still_gets_its_reply() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    type Half = fn(&mut Client);
    let fin: Half = |client| client.0.sock.shutdown(Shutdown::Write).unwrap();
    for (half, question) in [(Client::say_close as Half, b"farewell"), (fin, b"only FIN")] {
        let mut client = Client::to(&rig, "zigbee", &trusting(&ca));
        client.send(question);
        half(&mut client);
        stick.wait_received(0, LIMIT, question).unwrap();
        stick.send(0, b"answer").unwrap();
        client.expect(b"answer");
    }
}

#[test]
fn a_client_survives_a_replug() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = Client::to(&rig, "zigbee", &trusting(&ca));
    client.echo(b"before");
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    stick.wait_released(LIMIT).unwrap();
    client.send(b"into the void");
    rig.wait_metric("serialfleet_port_dropped_bytes_total{port=\"zigbee\",reason=\"to_device\"}", 13.0);
    stick.plug().unwrap();
    rig.wait_state("zigbee", PortState::Serving);
    client.echo(b"after");
}

#[test]
fn what_was_read_is_delivered_on_sigterm_and_the_end_is_said() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let mut rig = super::rig(&mount, &zigbee("tls: {mode: Server}, clients: {slowReader: Block}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = Client::to(&rig, "zigbee", &trusting(&ca));
    client.send(&[7; 5000]);
    rig.wait_metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"from_device\"}", 5000.0);
    rig.stop();
    assert_eq!(client.read_to_end().unwrap(), [7; 5000]);
}

#[test]
fn a_change_of_tls_ends_this_port_s_clients_and_keeps_the_tty() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, TWO);
    let stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut changed = Client::to(&rig, "zigbee", &trusting(&ca));
    let mut other = Client::to(&rig, "zwave", &trusting(&ca));
    changed.echo(b"before");
    other.echo(b"before");
    rig.edit(&TWO.replacen("port: 6638, tls: {mode: Server}", "port: 6638", 1));
    assert_eq!(changed.read_to_end().unwrap(), b"");
    let mut plain = rig.connect("zigbee");
    plain.echo(b"in plain text");
    rig.edit(TWO);
    assert!(plain.expect_end().is_empty());
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"and back");
    other.echo(b"after");
    assert_eq!(stick_a.opens(0).unwrap(), 1);
}

/// Whether the program is there; where everything has to be proven it must be.
#[allow(clippy::print_stderr, reason = "a test that cannot run says so")]
fn installed(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = there.is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "{program} is needed");
    if !there {
        eprintln!("NOT TESTED: {program} is not installed");
    }
    there
}

struct Spoken(Child);

impl Drop for Spoken {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn openssl_s_client_is_served() {
    if !installed("openssl") {
        return;
    }
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("ca.pem"), ca.pem()).unwrap();
    let rig = super::rig(&mount, &zigbee(SERVER));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", version, "-verify_return_error", "-verify_hostname", HOST]);
        command.arg("-connect").arg(rig.address_of("zigbee").to_string());
        command.arg("-CAfile").arg(files.path().join("ca.pem"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Spoken(command.spawn().unwrap());
        child.0.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
        let mut answer = [0; 6];
        child.0.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello\n", "{version}");
    }
}

const PYTHON: &str = r#"
import hashlib, socket, ssl, sys, threading
host, port, ca, name = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
sent = bytes(range(256)) * 800
with socket.create_connection((host, int(port)), timeout=20) as raw:
    with context.wrap_socket(raw, server_hostname=name) as tls:
        read = bytearray()
        at = 0
        while len(read) < len(sent):
            at += tls.send(sent[at:at + 3000]) if at < len(sent) else 0
            read += tls.recv(1000)
        assert bytes(read) == sent
        print(tls.version())
"#;

#[test]
fn python_is_served() {
    if !installed("python3") {
        return;
    }
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("ca.pem"), ca.pem()).unwrap();
    let rig = super::rig(&mount, &zigbee("tls: {mode: Server}, clients: {slowReader: Block}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let address = rig.address_of("zigbee");
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON, &address.ip().to_string(), &address.port().to_string()]);
    command.arg(files.path().join("ca.pem")).arg(HOST);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"TLSv1.3\n");
}
