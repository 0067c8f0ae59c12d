//! Certificates that are missing, broken, expired, or change under open connections.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use rcgen::date_time_ymd;
use serialfleet_api::node::PortState;
use serialfleet_bridge::{supervisor::PortView, tls::Options};
use serialfleet_sim::Host;

use super::{
    TWO,
    certificates::{Mount, ca, expired, expiring, issued, issued_with},
    client::{Client, der, trusting},
    rig::{Rig, refused, stick},
    zigbee,
};

const SERVER: &str = "tls: {mode: Server}";

fn failed(rig: &Rig, reason: &str, named: &str) {
    let view = rig.wait("zigbee", |view| {
        view.state == PortState::Failed && view.reason == reason && view.message.contains(named)
    });
    assert_eq!(view.tty.as_deref(), Some("ttyUSB0"), "it is known what is not served");
    rig.wait("zigbee", |view| view.addresses.is_empty());
}

fn warned(view: &PortView, reason: &str) -> bool {
    view.warnings.iter().any(|warning| warning.reason == reason)
}

#[test]
fn a_missing_certificate_fails_that_port_alone_until_it_is_there() {
    let ca = ca();
    let pair = issued(&ca);
    let mount = Mount::empty();
    let rig = super::rig(&mount, &TWO.replacen("port: 6639, tls: {mode: Server}", "port: 6639", 1));
    let stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut other = rig.connect("zwave");
    failed(&rig, "CertificateMissing", "zigbee.crt");
    other.echo(b"not my business");
    mount.write(&[("zigbee.crt", &pair.certificate)]);
    failed(&rig, "CertificateMissing", "zigbee.key");
    mount.write(&[("zigbee.crt", &pair.certificate), ("zigbee.key", &pair.key)]);
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"there");
    other.echo(b"still not");
    assert_eq!(stick_a.opens(0).unwrap(), 1, "no edge on its modem lines for that");
}

#[test]
fn where_the_device_is_not_nothing_is_missing() {
    let mount = Mount::empty();
    let rig = super::rig(&mount, &zigbee(SERVER));
    rig.wait_state("zigbee", PortState::Absent);
}

#[test]
fn without_a_directory_the_flag_is_named() {
    let rig = Rig::with_tls(Host::new().unwrap(), &zigbee(SERVER), Options::default());
    let _stick = rig.host.plug(stick("A1")).unwrap();
    failed(&rig, "CertificateMissing", "--tls-dir");
}

#[test]
fn a_device_s_own_certificate_comes_before_everybody_s() {
    let ca = ca();
    let (own, shared) = (issued(&ca), issued(&ca));
    let mount = Mount::empty();
    mount.write(&[
        ("zigbee.crt", &own.certificate),
        ("zigbee.key", &own.key),
        ("tls.crt", &shared.certificate),
        ("tls.key", &shared.key),
    ]);
    let rig = super::rig(&mount, TWO);
    let _stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    assert_eq!(Client::to(&rig, "zigbee", &trusting(&ca)).certificate(), der(&own.certificate));
    assert_eq!(Client::to(&rig, "zwave", &trusting(&ca)).certificate(), der(&shared.certificate));
}

#[test]
fn what_cannot_be_used_is_named_and_mended_by_itself() {
    let ca = ca();
    let (good, other) = (issued(&ca), issued(&ca));
    let (torn, _) = good.certificate.split_at(good.certificate.len() / 2);
    let damaged = good.certificate.replacen("MII", "MIJ", 1);
    for (files, named) in [
        ([("tls.crt", "garbage"), ("tls.key", &good.key)], "tls.crt"),
        ([("tls.crt", ""), ("tls.key", &good.key)], "tls.crt"),
        ([("tls.crt", torn), ("tls.key", &good.key)], "tls.crt"),
        ([("tls.crt", &damaged), ("tls.key", &good.key)], "tls.crt"),
        ([("tls.crt", &good.key), ("tls.key", &good.key)], "tls.crt"),
        ([("tls.crt", &good.certificate), ("tls.key", "garbage")], "tls.key"),
        ([("tls.crt", &good.certificate), ("tls.key", &good.certificate)], "tls.key"),
        ([("tls.crt", &good.certificate), ("tls.key", &other.key)], "tls.key"),
    ] {
        let mount = Mount::empty();
        mount.write(&files);
        let rig = super::rig(&mount, &zigbee(SERVER));
        let _stick = rig.host.plug(stick("A1")).unwrap();
        failed(&rig, "CertificateInvalid", named);
        mount.serve(&good);
        Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"mended");
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let mount = Mount::empty();
    // A pipe without a writer would keep whoever opens it for ever.
    let status = std::process::Command::new("mkfifo").arg(mount.path().join("tls.crt")).status().unwrap();
    assert!(status.success());
    fs::create_dir(mount.path().join("tls.key")).unwrap();
    let rig = super::rig(&mount, &zigbee(SERVER));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    failed(&rig, "CertificateInvalid", "not a file");
}

#[test]
fn an_expired_certificate_is_not_shown_to_anybody() {
    let ca = ca();
    let mount = Mount::of(&expired(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    failed(&rig, "CertificateExpired", "2020-04-01T00:00:00Z");
    mount.serve(&issued(&ca));
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"renewed");
}

#[test]
fn one_that_expires_soon_is_served_with_a_warning() {
    let ca = ca();
    let tomorrow = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 24 * 60 * 60;
    let mount = Mount::of(&issued_with(&ca, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(tomorrow);
    }));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    rig.wait("zigbee", |view| view.state == PortState::Serving && warned(view, "CertificateExpiring"));
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"for now");
}

#[test]
fn one_that_expires_under_a_client_leaves_it_connected() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let address = rig.address_of("zigbee");
    let mut client = Client::to(&rig, "zigbee", &trusting(&ca));
    client.echo(b"before");
    // Only who is connected already need not hurry.
    mount.serve(&expiring(&ca, Duration::from_secs(3)));
    failed(&rig, "CertificateExpired", "tls.crt");
    client.echo(b"the lock still works");
    assert!(refused(address), "nobody new");
    mount.serve(&issued(&ca));
    rig.wait("zigbee", |view| view.state == PortState::Serving && view.warnings.is_empty());
    client.echo(b"the same connection");
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"and a new one");
    assert_eq!(stick.opens(0).unwrap(), 1);
}

/// After a power cut the clock may stand in 2016.
#[test]
fn one_that_is_not_valid_yet_is_served_with_a_warning() {
    let ca = ca();
    let mount = Mount::of(&issued_with(&ca, |params| params.not_before = date_time_ymd(2090, 1, 1)));
    let rig = super::rig(&mount, &zigbee(SERVER));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    rig.wait("zigbee", |view| view.state == PortState::Serving && warned(view, "CertificateNotYetValid"));
    // It is for the client to judge; this one's clock is right.
    let error = Client::try_to(rig.address_of("zigbee"), &trusting(&ca)).unwrap_err();
    assert!(
        error.to_string().contains("NotValidYet") || error.to_string().contains("not valid yet"),
        "{error}"
    );
}

#[test]
fn new_connections_get_the_new_certificate_and_open_ones_stay() {
    let ca = ca();
    let (before, after) = (issued(&ca), issued(&ca));
    let mount = Mount::of(&before);
    let rig = super::rig(&mount, TWO);
    let stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut open = Client::to(&rig, "zigbee", &trusting(&ca));
    assert_eq!(open.certificate(), der(&before.certificate));
    open.echo(b"before");
    mount.serve(&after);
    // Seen through the other port: a second connection to this one would take over.
    let address = rig.address_of("zwave");
    while Client::try_to(address, &trusting(&ca)).unwrap().certificate() != der(&after.certificate) {}
    open.echo(b"after");
    assert_eq!(Client::to(&rig, "zigbee", &trusting(&ca)).certificate(), der(&after.certificate));
    assert_eq!(stick_a.opens(0).unwrap(), 1);
}

#[test]
fn a_bad_change_leaves_the_last_good_certificate_in_force() {
    let ca = ca();
    let (good, next, stale) = (issued(&ca), issued(&ca), expired(&ca));
    let mount = Mount::of(&good);
    let rig = super::rig(&mount, &zigbee(SERVER));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"before");
    let bad: [(&[(&str, &str)], &str); 3] = [
        (&[("tls.crt", &next.certificate), ("tls.key", &good.key)], "CertificateInvalid"),
        (&[("tls.crt", &stale.certificate), ("tls.key", &stale.key)], "CertificateExpired"),
        (&[], "CertificateMissing"),
    ];
    for (files, reason) in bad {
        mount.write(files);
        let view = rig.wait("zigbee", |view| warned(view, reason));
        assert_eq!(view.state, PortState::Serving);
        assert_eq!(Client::to(&rig, "zigbee", &trusting(&ca)).certificate(), der(&good.certificate));
    }
    mount.serve(&next);
    rig.wait("zigbee", |view| view.warnings.is_empty());
    assert_eq!(Client::to(&rig, "zigbee", &trusting(&ca)).certificate(), der(&next.certificate));
}
