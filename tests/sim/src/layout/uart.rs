//! On-board UARTs: a tty below a PNP or AMBA device, no USB parent.
//!
//! Owner: `layout`. The shape is that of kernels before 6.12, which put two more levels in between; the recordings
//! `k6.12-*` have those.

use super::{Action, Device, Layout, TtyName, tty};
use crate::spec::StickSpec;

pub(super) fn layout(spec: &StickSpec, ttys: &[TtyName]) -> Layout {
    let mut layout = Layout::default();
    let pnp = spec.tty_prefix == "ttyS";
    let (parent, subsystem, driver, port_type) = if pnp {
        (format!("devices/pnp0/{}", spec.usb_path), "pnp", spec.driver.clone(), PORT_16550A)
    } else {
        let unit = spec.usb_path.replace(':', "");
        (format!("devices/platform/soc/{unit}.serial"), "amba", "uart-pl011".to_owned(), PORT_AMBA)
    };
    let device =
        layout.push(Device { path: parent.clone(), subsystem, driver: Some(driver), ..Device::default() });
    layout.arrive(device, [Action::Add, Action::Probe]);
    for (index, name) in ttys.iter().enumerate() {
        let mut port = tty(&parent, index, name);
        let line = name.name.trim_start_matches(|c: char| !c.is_ascii_digit());
        port.attributes.extend([
            ("type", port_type.to_owned()),
            ("line", line.to_owned()),
            ("irq", "4".to_owned()),
            ("uartclk", "1843200".to_owned()),
            ("console", "N".to_owned()),
        ]);
        let port = layout.push(port);
        layout.arrive(port, [Action::Add]);
        layout.depart(port, [Action::Remove]);
    }
    layout.arrive(device, [Action::Bind]);
    layout.depart(device, [Action::Unbind, Action::Remove]);
    layout
}

const PORT_16550A: &str = "4";
const PORT_AMBA: &str = "32";
