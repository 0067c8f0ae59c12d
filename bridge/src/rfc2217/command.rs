//! The commands of RFC 2217, sections 2 and 3: what a client's bytes ask, and the bytes of the answers. Used by the
//! session alone; must not remember anything.

use serialfleet_api::{
    fleet::FlowControl,
    line::{Format, Parity, StopBits},
};

use super::{IAC, SB, SE, escape::escape, options::COM_PORT};

pub(super) const SIGNATURE: u8 = 0;
pub(super) const BAUD_RATE: u8 = 1;
const DATA_SIZE: u8 = 2;
const PARITY: u8 = 3;
const STOP_SIZE: u8 = 4;
const CONTROL: u8 = 5;
const LINE_STATE: u8 = 6;
const MODEM_STATE: u8 = 7;
pub(super) const SUSPEND: u8 = 8;
pub(super) const RESUME: u8 = 9;
pub(super) const LINE_STATE_MASK: u8 = 10;
pub(super) const MODEM_STATE_MASK: u8 = 11;
const PURGE: u8 = 12;
/// The server's commands are the client's and this.
const SERVER: u8 = 100;

const OUR_SIGNATURE: &[u8] = b"SerialFleet";
/// Baud rates of Cisco's first servers, sent as one byte, from 3 on (ser2net's table of the same).
const INDEXED_RATES: [u32; 13] =
    [300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115_200, 230_400];
const FIRST_INDEX: u8 = 3;

/// What a client asks of the line. `None` in a setting: only the value in force is asked for, or what was sent is no
/// value; both are answered with what is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bits per second, any but 0.
    BaudRate(Option<u32>),
    /// 5 to 8.
    DataBits(Option<u8>),
    /// Parity bit.
    Parity(Option<Parity>),
    /// Stop bits.
    StopBits(Option<StopBits>),
    /// Flow control, both ways or outbound.
    FlowControl(Option<FlowControl>),
    /// Flow control inbound. Linux has one for both ways: a server without two may leave the line alone
    /// (RFC 2217, section 3), and the answer says what it has.
    InboundFlowControl(Option<FlowControl>),
    /// Break on or off.
    Break(Option<bool>),
    /// DTR.
    Dtr(Option<bool>),
    /// RTS.
    Rts(Option<bool>),
    /// What is to be dropped; `None`: nothing that is known.
    Purge(Option<Purge>),
    /// A poll of the line state.
    LineState,
    /// A poll of the modem lines; also asked for by the session itself right after RFC 2217 is agreed.
    ModemState,
    /// Events of the line that are told from now on ([`super::line_state`]).
    LineStateMask(u8),
    /// Modem lines and changes that are told from now on ([`super::modem_state`]).
    ModemStateMask(u8),
}

/// Which of the server's buffers are dropped. serialx numbers the two the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// From the device.
    Receive,
    /// To the device.
    Transmit,
    /// Both ways.
    Both,
}

/// What is in force: answers are made of it. A device without modem lines answers with what was last asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// Bits per second as the driver set it. Within 2 % of what was asked it is answered as that: clients insist.
    pub baud_rate: u32,
    /// Data bits, parity, stop bits.
    pub format: Format,
    /// Flow control.
    pub flow_control: FlowControl,
    /// Break is on.
    pub break_on: bool,
    /// DTR is on.
    pub dtr: bool,
    /// RTS is on.
    pub rts: bool,
    /// Modem lines ([`super::modem_state`]).
    pub modem_state: u8,
    /// Line state ([`super::line_state`]), for clients that poll it.
    pub line_state: u8,
}

/// The request of a command that needs no state of the session; `None`: RFC 2217 has no answer to it.
pub(super) fn request(code: u8, payload: &[u8]) -> Option<Request> {
    let value = match *payload {
        [value] => value,
        // Zero is "tell me" in all of these, and in PURGE nothing.
        _ => 0,
    };
    Some(match code {
        DATA_SIZE => Request::DataBits((5..=8).contains(&value).then_some(value)),
        PARITY => Request::Parity(match value {
            1 => Some(Parity::None),
            2 => Some(Parity::Odd),
            3 => Some(Parity::Even),
            4 => Some(Parity::Mark),
            5 => Some(Parity::Space),
            _ => None,
        }),
        STOP_SIZE => Request::StopBits(match value {
            1 => Some(StopBits::One),
            2 => Some(StopBits::Two),
            3 => Some(StopBits::OnePointFive),
            _ => None,
        }),
        CONTROL => control(value),
        LINE_STATE => Request::LineState,
        MODEM_STATE => Request::ModemState,
        PURGE => Request::Purge(match value {
            1 => Some(Purge::Receive),
            2 => Some(Purge::Transmit),
            3 => Some(Purge::Both),
            _ => None,
        }),
        _ => return None,
    })
}

/// Flow control by DCD, DTR or DSR no tty of Linux has, and what has no meaning must be answered by something: both
/// with the flow control in force.
fn control(value: u8) -> Request {
    match value {
        1 => Request::FlowControl(Some(FlowControl::None)),
        2 => Request::FlowControl(Some(FlowControl::XonXoff)),
        3 => Request::FlowControl(Some(FlowControl::RtsCts)),
        4 => Request::Break(None),
        5 => Request::Break(Some(true)),
        6 => Request::Break(Some(false)),
        7 => Request::Dtr(None),
        8 => Request::Dtr(Some(true)),
        9 => Request::Dtr(Some(false)),
        10 => Request::Rts(None),
        11 => Request::Rts(Some(true)),
        12 => Request::Rts(Some(false)),
        13 | 18 => Request::InboundFlowControl(None),
        14 => Request::InboundFlowControl(Some(FlowControl::None)),
        15 => Request::InboundFlowControl(Some(FlowControl::XonXoff)),
        16 => Request::InboundFlowControl(Some(FlowControl::RtsCts)),
        _ => Request::FlowControl(None),
    }
}

/// Four bytes, or one as Cisco's first servers had it.
pub(super) fn baud_rate(payload: &[u8]) -> Option<u32> {
    match *payload {
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])).filter(|&rate| rate > 0),
        [index] => INDEXED_RATES.get(usize::from(index.checked_sub(FIRST_INDEX)?)).copied(),
        _ => None,
    }
}

pub(super) fn answer_baud_rate(asked: Option<u32>, in_force: u32, as_index: bool, out: &mut impl Extend<u8>) {
    let rate = asked.filter(|&asked| is_near(asked, in_force)).unwrap_or(in_force);
    let index = (FIRST_INDEX..).zip(INDEXED_RATES).find(|(_, indexed)| *indexed == rate);
    match index {
        Some((index, _)) if as_index => subnegotiation(SERVER + BAUD_RATE, &[index], out),
        _ => subnegotiation(SERVER + BAUD_RATE, &rate.to_be_bytes(), out),
    }
}

/// Drivers quantise.
fn is_near(asked: u32, in_force: u32) -> bool {
    u64::from(asked.abs_diff(in_force)) * 50 <= u64::from(asked)
}

pub(super) fn answer_signature(out: &mut impl Extend<u8>) {
    subnegotiation(SERVER + SIGNATURE, OUR_SIGNATURE, out);
}

pub(super) fn notify_modem_state(value: u8, out: &mut impl Extend<u8>) {
    subnegotiation(SERVER + MODEM_STATE, &[value], out);
}

pub(super) fn notify_line_state(value: u8, out: &mut impl Extend<u8>) {
    subnegotiation(SERVER + LINE_STATE, &[value], out);
}

/// The answers of one byte, which is all but the baud rate's.
pub(super) fn answer_byte(request: Request, values: &Values, out: &mut impl Extend<u8>) {
    let flow_control = match values.flow_control {
        FlowControl::None => 1,
        FlowControl::XonXoff => 2,
        FlowControl::RtsCts => 3,
    };
    let (code, value) = match request {
        Request::DataBits(_) => (DATA_SIZE, values.format.data_bits),
        Request::Parity(_) => (PARITY, parity(values.format.parity)),
        Request::StopBits(_) => (STOP_SIZE, stop_bits(values.format.stop_bits)),
        Request::FlowControl(_) => (CONTROL, flow_control),
        Request::InboundFlowControl(_) => (CONTROL, 13 + flow_control),
        Request::Break(_) => (CONTROL, if values.break_on { 5 } else { 6 }),
        Request::Dtr(_) => (CONTROL, if values.dtr { 8 } else { 9 }),
        Request::Rts(_) => (CONTROL, if values.rts { 11 } else { 12 }),
        Request::Purge(purge) => (PURGE, purge.map_or(0, number)),
        Request::LineState => (LINE_STATE, values.line_state),
        Request::ModemState => (MODEM_STATE, values.modem_state),
        Request::LineStateMask(mask) => (LINE_STATE_MASK, mask),
        Request::ModemStateMask(mask) => (MODEM_STATE_MASK, mask),
        Request::BaudRate(asked) => return answer_baud_rate(asked, values.baud_rate, false, out),
    };
    subnegotiation(SERVER + code, &[value], out);
}

fn parity(parity: Parity) -> u8 {
    match parity {
        Parity::None => 1,
        Parity::Odd => 2,
        Parity::Even => 3,
        Parity::Mark => 4,
        Parity::Space => 5,
    }
}

fn stop_bits(stop_bits: StopBits) -> u8 {
    match stop_bits {
        StopBits::One => 1,
        StopBits::Two => 2,
        StopBits::OnePointFive => 3,
    }
}

fn number(purge: Purge) -> u8 {
    match purge {
        Purge::Receive => 1,
        Purge::Transmit => 2,
        Purge::Both => 3,
    }
}

fn subnegotiation(code: u8, payload: &[u8], out: &mut impl Extend<u8>) {
    out.extend([IAC, SB, COM_PORT, code]);
    for run in escape(payload) {
        out.extend(run.iter().copied());
    }
    out.extend([IAC, SE]);
}
