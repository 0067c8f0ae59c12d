//! The fleet: as it is at each look, and as the random editor leaves it.
//!
//! Owner: `churn::edits` and `look`. Pure.

use std::fmt::Write;

/// Address and number of the devices that it is made for.
pub(crate) struct Devices {
    /// Port of the one that is left in peace.
    pub(crate) steady: u16,
    /// Ports of the others.
    pub(crate) churned: Vec<u16>,
}

/// Serial number of the stick behind a churned port.
pub(crate) fn serial_number(port: usize) -> String {
    format!("SOAK{port:03}")
}

/// Serial number of the stick that is left in peace.
pub(crate) const STEADY: &str = "STEADY";

/// What each look is made with: every kind of port once, the rest plain.
pub(crate) fn first(devices: &Devices) -> String {
    text(devices, |port| match port {
        0 => "protocol: Rfc2217".into(),
        1 => "clients: {policy: Share, max: 4}".into(),
        _ => String::new(),
    })
}

/// As an impatient person might leave it; one time in ten not even valid.
pub(crate) fn edited(devices: &Devices, random: &mut fastrand::Rng) -> String {
    match random.u8(..20) {
        0 => return "spec: {devices: [".into(),
        1 => return text(devices, |_| "port: 99999999".into()),
        _ => {}
    }
    let mut left_out = random.usize(..devices.churned.len() * 4);
    let fleet = text(devices, |_| settings(random));
    // Now and then a device goes and comes back.
    let is_left_out = |line: &str| {
        let churned = line.contains("- {name: port-");
        let this = churned && left_out == 0;
        left_out = left_out.wrapping_sub(usize::from(churned));
        this
    };
    let mut lines: Vec<&str> = fleet.lines().collect();
    let at = lines.iter().copied().position(is_left_out);
    at.map(|at| lines.remove(at));
    lines.join("\n")
}

fn settings(random: &mut fastrand::Rng) -> String {
    let policies = [
        "policy: Takeover",
        "policy: Takeover, slowReader: Block",
        "policy: Refuse",
        "policy: Share, max: 2, writers: First",
        "policy: Share, max: 8",
        "idleTimeoutSeconds: 1",
        "allowFrom: [{cidr: 10.0.0.0/8}]",
    ];
    let others = [
        "",
        "protocol: Rfc2217",
        "holdSeconds: 0",
        "holdSeconds: 1",
        "holdSeconds: 30",
        "frameGapMilliseconds: 5",
        "suspend: true",
        "line: {baudRate: 9600, format: 7E1}",
        "line: {baudRate: 1500000, flowControl: XonXoff}",
        "keepalive: {idleSeconds: 1, userTimeoutSeconds: 3}",
    ];
    let policy = random.choice(policies).unwrap_or_default();
    let other = random.choice(others).unwrap_or_default();
    let comma = if other.is_empty() { "" } else { ", " };
    format!("clients: {{{policy}}}{comma}{other}")
}

fn text(devices: &Devices, mut settings: impl FnMut(usize) -> String) -> String {
    let mut text = format!(
        "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {{name: soak}}\nspec:\n  devices:\n  \
         - {{name: steady, match: {{usb: \"10c4:ea60\", serialNumber: {STEADY}}}, port: {}}}\n",
        devices.steady
    );
    for (port, number) in devices.churned.iter().enumerate() {
        let settings = settings(port);
        let own = if settings.starts_with("port:") { String::new() } else { format!("port: {number}") };
        let parts = [own, settings].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "  - {{name: port-{port}, match: {{usb: \"10c4:ea60\", serialNumber: {}}}, {}}}",
            serial_number(port),
            parts.join(", ")
        );
    }
    text
}
