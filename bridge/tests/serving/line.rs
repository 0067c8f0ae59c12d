//! What the fleet asks of a line, and what is said where the driver does not do it.

use serialfleet_api::node::PortState;

use super::rig::{LIMIT, Rig, stick};

fn device(line: &str) -> String {
    format!("  - {{name: meter, match: {{usb: '10c4:ea60'}}, line: {line}}}\n")
}

#[test]
fn a_driver_without_rs485_is_served_with_a_warning() {
    let rig = Rig::new(&device("{rs485: {rtsOnSend: true}}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let view = rig.wait_state("meter", PortState::Serving);
    let warning = view.warnings.iter().find(|warning| warning.reason == "Rs485Unsupported").unwrap();
    assert!(warning.message.contains("remove line.rs485"), "{}", warning.message);
    rig.connect("meter").echo(b"all the same");
    rig.edit(&device("{}"));
    rig.wait("meter", |view| view.warnings.is_empty());
}

#[test]
fn a_setting_that_is_refused_fails_that_port_with_ioctl_and_errno_and_is_tried_again() {
    let rig = Rig::new(&device("{rs485: {mandatory: true}}"));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let view = rig.wait("meter", |view| view.reason == "SettingsRefused");
    assert_eq!(view.state, PortState::Failed);
    assert!(view.message.contains("TIOCSRS485") && view.message.contains("os error 25"), "{}", view.message);
    stick.wait_for(LIMIT, |record| (record.ports[0].opens > 1).then_some(())).unwrap();
    rig.edit(&device("{}"));
    rig.connect("meter").echo(b"without it");
}

#[test]
fn an_edit_that_is_refused_fails_the_port_until_it_is_taken_back() {
    let rig = Rig::new(&device("{}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("meter");
    client.echo(b"before");
    rig.edit(&device("{rs485: {mandatory: true}}"));
    rig.wait("meter", |view| view.reason == "SettingsRefused");
    client.expect_end();
    rig.edit(&device("{}"));
    rig.connect("meter").echo(b"after");
}

#[test]
fn modem_lines_that_a_device_does_not_have_are_a_warning_that_stays() {
    let rig = Rig::new(&device("{dtr: false, rts: false}"));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let warned = |view: &serialfleet_bridge::supervisor::PortView| {
        view.warnings.iter().any(|warning| warning.reason == "ModemLinesUnsupported")
    };
    rig.wait("meter", |view| view.state == PortState::Serving && warned(view));
    rig.edit(&device("{dtr: false, rts: false, baudRate: 12345}"));
    stick.wait_line(0, LIMIT, |line| line.baud == 12_345).unwrap();
    rig.wait("meter", |view| view.baud_rate == Some(12_345) && warned(view));
}

/// The data thread stays out while the line is set, and must come back each time.
#[test]
fn bytes_flow_on_while_the_line_is_set_again_and_again() {
    let rig = Rig::new(&device("{}"));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("meter");
    for baud in (1000..1100).chain([9600]) {
        rig.edit(&device(&format!("{{baudRate: {baud}}}")));
        for byte in 0..20 {
            client.echo(&[byte; 100]);
        }
    }
    stick.wait_line(0, LIMIT, |line| line.baud == 9600).unwrap();
    client.echo(b"still here");
}
