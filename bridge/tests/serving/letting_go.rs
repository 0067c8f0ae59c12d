//! In which state a tty is left that the bridge lets go of although it is there.

use serialfleet_api::node::PortState;
use serialfleet_sim::Mode;

use super::{
    com_port::{BAUD, CONTROL, device},
    rig::{LIMIT, Rig, stick},
};

fn set_up(more: &str) -> (Rig, serialfleet_sim::Stick, super::rig::Client) {
    let rig = Rig::new(&device(more));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    client.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
    client.ask(CONTROL, &[3], &[3]);
    client.ask(CONTROL, &[5], &[5]);
    stick.wait_line(0, LIMIT, |line| line.baud == 9600 && line.rtscts).unwrap();
    (rig, stick, client)
}

const LINE: &str = ", line: {baudRate: 57600}";

#[test]
fn a_device_that_is_suspended_is_left_as_configured() {
    let (rig, stick, mut client) = set_up(LINE);
    rig.edit(&device(", line: {baudRate: 57600}, suspend: true"));
    rig.wait_state("modem", PortState::Suspended);
    client.expect_end();
    stick.wait_closed(0, LIMIT).unwrap();
    let line = stick.line(0).unwrap();
    assert!(line.baud == 57_600 && !line.rtscts, "{line:?}");
    rig.edit(&device(LINE));
    rig.connect("modem").agree().ask(BAUD, &[0; 4], &57_600_u32.to_be_bytes());
}

#[test]
fn a_bridge_that_ends_leaves_the_line_as_configured() {
    let (mut rig, stick, mut client) = set_up(LINE);
    rig.stop();
    client.expect_end();
    stick.wait_closed(0, LIMIT).unwrap();
    let line = stick.line(0).unwrap();
    assert!(line.baud == 57_600 && !line.rtscts, "{line:?}");
}

/// A chip that is flashed resets itself when the client leaves: what that had set is still being undone.
#[test]
fn a_device_that_goes_as_its_client_leaves_comes_back_as_configured() {
    let (rig, stick, mut client) = set_up(LINE);
    stick.freeze().unwrap();
    // For what waits for the device the line waits, too.
    client.send(&[b'x'; 30_000]);
    rig.wait_metric("serialfleet_port_bytes_total{port=\"modem\",direction=\"to_device\"}", 4_000.0);
    // Gone at once, and heard of although the device takes nothing.
    socket2::SockRef::from(&client.0).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    rig.wait("modem", |view| view.clients.is_empty());
    stick.unplug().unwrap();
    rig.wait_state("modem", PortState::Absent);
    stick.thaw().unwrap();
    stick.plug().unwrap();
    rig.wait_state("modem", PortState::Serving);
    let line = stick.line(0).unwrap();
    assert!(line.baud == 57_600 && !line.rtscts, "{line:?}");
}

/// The device may hang: then what a client has set is not worth more than the end.
#[test]
fn a_device_that_takes_nothing_keeps_the_end_waiting_for_a_moment_only() {
    let (mut rig, stick, mut client) = set_up(LINE);
    stick.freeze().unwrap();
    client.send(&[b'x'; 30_000]);
    rig.wait_metric("serialfleet_port_bytes_total{port=\"modem\",direction=\"to_device\"}", 4_000.0);
    rig.stop();
    client.expect_end();
    stick.thaw().unwrap();
    stick.wait_line(0, LIMIT, |line| line.baud == 57_600).unwrap();
}
