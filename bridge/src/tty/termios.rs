//! A line as termios: [`shape`] writes it, [`read`] reads it back. Pure.

use rustix::termios::{ControlModes, InputModes, SpecialCodeIndex, Termios};
use serialfleet_api::{
    fleet::FlowControl,
    line::{Format, Parity, StopBits},
    resolve::Line,
};

/// Mark or space parity instead of odd or even (asm-generic/termbits.h).
const CMSPAR: ControlModes = ControlModes::from_bits_retain(0o10_000_000_000);
/// DC1 and DC3.
const XON_XOFF: [u8; 2] = [0x11, 0x13];

/// What a driver has made of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) baud_rate: u32,
    pub(super) format: Format,
    pub(super) flow_control: FlowControl,
}

/// Raw mode with the line's format and flow control; CLOCAL and CREAD set, HUPCL cleared. `marked`: breaks and bad
/// characters are marked in what is read (PARMRK of termios(3)), else they read as NUL or as they came.
pub(super) fn shape(termios: &mut Termios, line: &Line, marked: bool) {
    termios.make_raw();
    // A break or a badly framed byte must not vanish silently.
    termios.input_modes.remove(InputModes::IGNPAR | InputModes::INPCK | InputModes::IXANY);
    termios.input_modes.set(InputModes::PARMRK | InputModes::INPCK, marked);
    termios.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios.special_codes[SpecialCodeIndex::VTIME] = 0;
    let [xon, xoff] = XON_XOFF;
    termios.special_codes[SpecialCodeIndex::VSTART] = xon;
    termios.special_codes[SpecialCodeIndex::VSTOP] = xoff;

    let mut control = termios.control_modes;
    control.remove(
        ControlModes::CSIZE
            | ControlModes::PARENB
            | ControlModes::PARODD
            | ControlModes::CSTOPB
            | ControlModes::CRTSCTS
            | ControlModes::HUPCL
            | CMSPAR,
    );
    control.insert(ControlModes::CREAD | ControlModes::CLOCAL);
    control.insert(match line.format.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    });
    control.insert(match line.format.parity {
        Parity::None => ControlModes::empty(),
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
        Parity::Mark => ControlModes::PARENB | ControlModes::PARODD | CMSPAR,
        Parity::Space => ControlModes::PARENB | CMSPAR,
    });
    // A UART with CSTOPB sends two stop bits, with 5 data bits one and a half.
    if line.format.stop_bits != StopBits::One {
        control.insert(ControlModes::CSTOPB);
    }
    match line.flow_control {
        FlowControl::None => {}
        FlowControl::RtsCts => control.insert(ControlModes::CRTSCTS),
        FlowControl::XonXoff => termios.input_modes.insert(InputModes::IXON | InputModes::IXOFF),
    }
    termios.control_modes = control;
}

/// What is in force.
pub(super) fn read(termios: &Termios) -> Found {
    let control = termios.control_modes;
    let data_bits = match control & ControlModes::CSIZE {
        bits if bits == ControlModes::CS5 => 5,
        bits if bits == ControlModes::CS6 => 6,
        bits if bits == ControlModes::CS7 => 7,
        _ => 8,
    };
    let odd = control.contains(ControlModes::PARODD);
    let parity = match (control.contains(ControlModes::PARENB), control.contains(CMSPAR), odd) {
        (false, ..) => Parity::None,
        (true, false, false) => Parity::Even,
        (true, false, true) => Parity::Odd,
        (true, true, true) => Parity::Mark,
        (true, true, false) => Parity::Space,
    };
    let stop_bits = match (control.contains(ControlModes::CSTOPB), data_bits) {
        (false, _) => StopBits::One,
        (true, 5) => StopBits::OnePointFive,
        (true, _) => StopBits::Two,
    };
    let flow_control = if control.contains(ControlModes::CRTSCTS) {
        FlowControl::RtsCts
    } else if termios.input_modes.intersects(InputModes::IXON | InputModes::IXOFF) {
        FlowControl::XonXoff
    } else {
        FlowControl::None
    };
    Found { baud_rate: termios.output_speed(), format: Format { data_bits, parity, stop_bits }, flow_control }
}

/// Whether setting `wanted` over `now` would change anything.
pub(super) fn differs(now: &Termios, wanted: &Termios) -> bool {
    let codes =
        [SpecialCodeIndex::VMIN, SpecialCodeIndex::VTIME, SpecialCodeIndex::VSTART, SpecialCodeIndex::VSTOP];
    now.input_modes != wanted.input_modes
        || now.output_modes != wanted.output_modes
        || now.control_modes != wanted.control_modes
        || now.local_modes != wanted.local_modes
        || now.output_speed() != wanted.output_speed()
        || now.input_speed() != wanted.input_speed()
        || codes.into_iter().any(|code| now.special_codes[code] != wanted.special_codes[code])
}
