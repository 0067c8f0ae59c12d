//! What RFC 2217 clients have set over a device's `line`, and what is in force of the two together.
//!
//! Pure. One [`Overlay`] per port, whoever of its clients asked. The tty keeps it while the device is plugged in, the
//! port remembers it while it is not. Must not know of ttys, sockets or telnet.

use serde::{Serialize, Serializer};
use serialfleet_api::{
    fleet::FlowControl,
    line::{Format, Parity, StopBits},
    resolve::Line,
};

/// Highest rate that a client may set, in bits per second: the bound of `line.baudRate`.
pub const MAX_BAUD_RATE: u32 = 12_000_000;

/// One setting that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bits per second, 1 to [`MAX_BAUD_RATE`].
    BaudRate(u32),
    /// 5 to 8.
    DataBits(u8),
    /// Parity bit.
    Parity(Parity),
    /// Stop bits. Where the data bits do not allow them, the next best: a UART has one bit for "more than one".
    StopBits(StopBits),
    /// Flow control, both directions.
    FlowControl(FlowControl),
    /// Raises or lowers DTR.
    Dtr(bool),
    /// Raises or lowers RTS.
    Rts(bool),
    /// Begins or ends a break.
    Break(bool),
}

/// Everything that clients have set and `line` therefore does not decide; `None` where `line` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overlay {
    /// Bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baud_rate: Option<u32>,
    /// 5 to 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_bits: Option<u8>,
    /// Parity bit.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "parity")]
    pub parity: Option<Parity>,
    /// Stop bits.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "stop_bits")]
    pub stop_bits: Option<StopBits>,
    /// Flow control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_control: Option<FlowControl>,
    /// DTR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtr: Option<bool>,
    /// RTS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rts: Option<bool>,
    /// Whether a break is being sent.
    #[serde(skip_serializing_if = "Option::is_none", rename = "break")]
    pub sending_break: Option<bool>,
}

impl Overlay {
    /// Whether `line` decides everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes a change in; false, and nothing changes, where no line can be set so.
    pub fn set(&mut self, change: Change) -> bool {
        match change {
            // Rate 0 would hang up: B0 lowers both modem lines.
            Change::BaudRate(rate) if !(1..=MAX_BAUD_RATE).contains(&rate) => return false,
            Change::DataBits(bits) if !(5..=8).contains(&bits) => return false,
            Change::BaudRate(rate) => self.baud_rate = Some(rate),
            Change::DataBits(bits) => self.data_bits = Some(bits),
            Change::Parity(parity) => self.parity = Some(parity),
            Change::StopBits(bits) => self.stop_bits = Some(bits),
            Change::FlowControl(flow) => self.flow_control = Some(flow),
            Change::Dtr(on) => self.dtr = Some(on),
            Change::Rts(on) => self.rts = Some(on),
            Change::Break(on) => self.sending_break = Some(on),
        }
        true
    }

    /// The line that is to be in force: always a legal format.
    pub fn over(&self, line: &Line) -> Line {
        let format = Format {
            data_bits: self.data_bits.unwrap_or(line.format.data_bits),
            parity: self.parity.unwrap_or(line.format.parity),
            stop_bits: self.stop_bits.unwrap_or(line.format.stop_bits),
        };
        Line {
            baud_rate: self.baud_rate.unwrap_or(line.baud_rate),
            format: legal(format),
            flow_control: self.flow_control.unwrap_or(line.flow_control),
            dtr: self.dtr.or(line.dtr),
            rts: self.rts.or(line.rts),
            low_latency: line.low_latency,
            rs485: line.rs485.clone(),
        }
    }

    /// Whether clients have set any part of the character format.
    pub fn has_format(&self) -> bool {
        self.data_bits.is_some() || self.parity.is_some() || self.stop_bits.is_some()
    }
}

/// What is in force, for answers: read back from the driver, or remembered where there is nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// Bits per second, as the driver says.
    pub baud_rate: u32,
    /// Bits per second that were asked for, by a client or by `line`.
    pub asked_baud_rate: u32,
    /// Character format, as the driver says.
    pub format: Format,
    /// Flow control.
    pub flow_control: FlowControl,
    /// DTR, as last set or read.
    pub dtr: bool,
    /// RTS, as last set or read.
    pub rts: bool,
    /// Whether a break is being sent.
    pub sending_break: bool,
    /// Modem lines as last read: carrier detect 0x80, ring 0x40, DSR 0x20, CTS 0x10 (RFC 2217, NOTIFY-MODEMSTATE; the
    /// low four bits, "has changed", are 0). `None`: never read, or the device has none.
    pub modem: Option<u8>,
    /// What of this clients have set.
    pub overlay: Overlay,
}

impl Default for Values {
    /// A line as it is where nobody says otherwise: 115200 8N1, both lines raised by the kernel at open.
    fn default() -> Self {
        Self {
            baud_rate: 115_200,
            asked_baud_rate: 115_200,
            format: Format::default(),
            flow_control: FlowControl::None,
            dtr: true,
            rts: true,
            sending_break: false,
            modem: None,
            overlay: Overlay::default(),
        }
    }
}

impl Values {
    /// The rate to tell a client: what was asked for where the driver came within 2 % of it, because clients insist on
    /// their number and no UART notices; else what the driver says.
    pub fn told_baud_rate(&self) -> u32 {
        let (real, asked) = (u64::from(self.baud_rate), u64::from(self.asked_baud_rate));
        if real.abs_diff(asked) * 50 <= asked { self.asked_baud_rate } else { self.baud_rate }
    }

    /// A change while the device is unplugged: remembered, and in force as far as anybody can tell.
    pub fn set(&mut self, change: Change) {
        if !self.overlay.set(change) {
            return;
        }
        match change {
            Change::BaudRate(rate) => (self.baud_rate, self.asked_baud_rate) = (rate, rate),
            Change::DataBits(bits) => self.format = legal(Format { data_bits: bits, ..self.format }),
            Change::Parity(parity) => self.format.parity = parity,
            Change::StopBits(bits) => self.format = legal(Format { stop_bits: bits, ..self.format }),
            Change::FlowControl(flow) => self.flow_control = flow,
            Change::Dtr(on) => self.dtr = on,
            Change::Rts(on) => self.rts = on,
            Change::Break(on) => self.sending_break = on,
        }
    }
}

/// The same format with stop bits that its data bits allow.
fn legal(format: Format) -> Format {
    let stop_bits = match (format.stop_bits, format.data_bits) {
        (StopBits::One, _) => StopBits::One,
        (_, 5) => StopBits::OnePointFive,
        _ => StopBits::Two,
    };
    Format { stop_bits, ..format }
}

fn parity<S: Serializer>(parity: &Option<Parity>, serializer: S) -> Result<S::Ok, S::Error> {
    let word = parity.map(|parity| match parity {
        Parity::None => "None",
        Parity::Even => "Even",
        Parity::Odd => "Odd",
        Parity::Mark => "Mark",
        Parity::Space => "Space",
    });
    word.serialize(serializer)
}

fn stop_bits<S: Serializer>(bits: &Option<StopBits>, serializer: S) -> Result<S::Ok, S::Error> {
    let number = bits.map(|bits| match bits {
        StopBits::One => "1",
        StopBits::OnePointFive => "1.5",
        StopBits::Two => "2",
    });
    number.serialize(serializer)
}
