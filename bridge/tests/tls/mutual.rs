//! Mode Mutual: only clients with a certificate of the right CA.

use std::io;

use serialfleet_api::node::PortState;

use super::{
    TWO,
    certificates::{Ca, Mount, Pair, ca, expired, issued},
    client::{Client, config, trusting},
    ended,
    rig::{Rig, refused, stick},
    zigbee,
};

const MUTUAL: &str = "tls: {mode: Mutual}";

fn mount(server: &Pair, clients: &Ca) -> Mount {
    let mount = Mount::empty();
    write(&mount, server, clients);
    mount
}

fn write(mount: &Mount, server: &Pair, clients: &Ca) {
    let files =
        [("tls.crt", server.certificate.as_str()), ("tls.key", &server.key), ("ca.crt", &clients.pem())];
    mount.write(&files);
}

/// Why this client is not served.
fn refusal(rig: &Rig, server: &Ca, own: Option<&Pair>) -> io::Error {
    let config = config(server, own, &[&rustls::version::TLS13, &rustls::version::TLS12]);
    match Client::try_to(rig.address_of("zigbee"), &config) {
        Err(error) => error,
        Ok(mut client) => client.read_to_end().unwrap_err(),
    }
}

#[test]
fn only_a_certificate_of_the_right_ca_opens_the_door() {
    let (servers, clients, strangers) = (ca(), ca(), ca());
    let mount = mount(&issued(&servers), &clients);
    let rig = super::rig(&mount, &zigbee(MUTUAL));
    let stick = rig.host.plug(stick("A1")).unwrap();
    // Each is told why.
    let refused = refusal(&rig, &servers, None);
    assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
    let refused = refusal(&rig, &servers, Some(&issued(&strangers)));
    assert!(refused.to_string().contains("UnknownCA"), "{refused}");
    let refused = refusal(&rig, &servers, Some(&expired(&clients)));
    assert!(refused.to_string().contains("CertificateExpired"), "{refused}");
    rig.wait_metric(&ended("zigbee", "TlsFailed"), 3.0);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        Client::to(&rig, "zigbee", &config(&servers, Some(&issued(&clients)), &[version])).echo(b"let me in");
    }
    assert_eq!(stick.opens(0).unwrap(), 1);
}

#[test]
fn another_ca_is_asked_of_new_connections_only() {
    let (servers, before, after) = (ca(), ca(), ca());
    let pair = issued(&servers);
    let mount = mount(&pair, &before);
    let rig = super::rig(&mount, &TWO.replace("Server", "Mutual"));
    let _stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let known = config(&servers, Some(&issued(&before)), &[&rustls::version::TLS12]);
    let next = config(&servers, Some(&issued(&after)), &[&rustls::version::TLS12]);
    let mut open = Client::to(&rig, "zigbee", &known);
    open.echo(b"before");
    write(&mount, &pair, &after);
    // Seen through the other port: a second connection to this one would take over.
    let address = rig.address_of("zwave");
    while Client::try_to(address, &next).is_err() {}
    open.echo(b"an open connection stays");
    // The same client again, with what it remembers of its first session.
    Client::try_to(rig.address_of("zigbee"), &known).unwrap_err();
    Client::to(&rig, "zigbee", &next).echo(b"new CA");
}

#[test]
fn without_the_clients_ca_nobody_is_let_in() {
    let servers = ca();
    let pair = issued(&servers);
    let mount = Mount::of(&pair);
    let rig = super::rig(&mount, &zigbee(MUTUAL));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let view = rig.wait_state("zigbee", PortState::Failed);
    assert_eq!(view.reason, "CertificateMissing");
    assert!(view.message.contains("zigbee.ca") && view.message.contains("ca.crt"), "{}", view.message);
    assert!(view.addresses.is_empty());
    // An edit that asks for less is served; back again, the certificate in force for that does not count.
    rig.edit(&zigbee("tls: {mode: Server}"));
    Client::to(&rig, "zigbee", &trusting(&servers)).echo(b"anybody");
    let address = rig.address_of("zigbee");
    rig.edit(&zigbee(MUTUAL));
    rig.wait_state("zigbee", PortState::Failed);
    assert!(refused(address));
    let clients = ca();
    write(&mount, &pair, &clients);
    let own = issued(&clients);
    Client::to(&rig, "zigbee", &config(&servers, Some(&own), &[&rustls::version::TLS13])).echo(b"mended");
}
