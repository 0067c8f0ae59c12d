//! A client's bytes through a session, as the port drives it: shared by the tests of the codec and by its fuzz target.

use serialfleet_api::{
    fleet::FlowControl,
    line::{Format, Parity},
};
use serialfleet_bridge::rfc2217::{
    Attention, Event, MOST_OUT_PER_BYTE_IN, Purge, Request, Session, Unmarked, Unmarker, Values,
};

/// An event with its own bytes; neighbouring runs of data are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Data(Vec<u8>),
    Request(Request),
    Attention(Attention),
}

/// A line that was configured and does what it is told.
pub(crate) const VALUES: Values = Values {
    baud_rate: 115_200,
    format: Format { data_bits: 8, parity: Parity::None, stop_bits: serialfleet_api::line::StopBits::One },
    flow_control: FlowControl::None,
    break_on: false,
    dtr: true,
    rts: true,
    modem_state: 0xB0,
    line_state: 0,
};

/// Feeds the pieces one after the other; what was seen, and what was answered.
///
/// # Panics
/// If a session writes more than it says.
pub(crate) fn replay<'a>(
    session: &mut Session,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Vec<u8>) {
    let (mut seen, mut out, mut values) = (Vec::new(), Vec::new(), VALUES);
    let mut fed = 0;
    for mut piece in pieces {
        fed += piece.len();
        while let Some(event) = session.next(&mut piece, &mut out) {
            match event {
                Event::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    match seen.last_mut() {
                        Some(Seen::Data(before)) => before.extend(bytes),
                        _ => seen.push(Seen::Data(bytes.to_vec())),
                    }
                }
                Event::Request(request) => {
                    perform(request, &mut values);
                    session.answer(&request, &values, &mut out);
                    seen.push(Seen::Request(request));
                }
                Event::Attention(attention) => seen.push(Seen::Attention(attention)),
            }
        }
        assert!(piece.is_empty(), "input was left");
    }
    assert!(out.len() <= MOST_OUT_PER_BYTE_IN * (fed + BEGUN), "{} bytes answered {fed}", out.len());
    (seen, out)
}

/// Bytes of a command that an earlier call may have begun, and whose answer this one sees.
const BEGUN: usize = 8;

/// RTS is wired to CTS, DTR to DSR.
fn perform(request: Request, values: &mut Values) {
    match request {
        Request::BaudRate(rate) => values.baud_rate = rate.unwrap_or(values.baud_rate),
        Request::DataBits(bits) => values.format.data_bits = bits.unwrap_or(values.format.data_bits),
        Request::Parity(parity) => values.format.parity = parity.unwrap_or(values.format.parity),
        Request::StopBits(bits) => values.format.stop_bits = bits.unwrap_or(values.format.stop_bits),
        Request::FlowControl(flow) | Request::InboundFlowControl(flow) => {
            values.flow_control = flow.unwrap_or(values.flow_control);
        }
        Request::Break(on) => values.break_on = on.unwrap_or(values.break_on),
        Request::Dtr(on) => values.dtr = on.unwrap_or(values.dtr),
        Request::Rts(on) => values.rts = on.unwrap_or(values.rts),
        Request::Purge(None | Some(Purge::Receive | Purge::Transmit | Purge::Both))
        | Request::LineState
        | Request::ModemState
        | Request::LineStateMask(_)
        | Request::ModemStateMask(_) => {}
    }
    values.modem_state = 0x80 | u8::from(values.rts) << 4 | u8::from(values.dtr) << 5;
}

/// What a tty's bytes hold: data, and marks with the place in the data where they were.
///
/// # Panics
/// If more comes out than went in.
pub(crate) fn unmark<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<(usize, u8)>) {
    let (mut data, mut marks, mut fed) = (Vec::new(), Vec::new(), 0);
    let mut unmarker = Unmarker::new();
    for mut piece in pieces {
        fed += piece.len();
        while let Some(unmarked) = unmarker.next(&mut piece) {
            match unmarked {
                Unmarked::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    data.extend(bytes);
                }
                mark => marks.push((data.len(), mark.line_state(Parity::Even))),
            }
        }
        assert!(piece.is_empty(), "input was left");
    }
    assert!(data.len() + 2 * marks.len() <= fed, "more came out than went in");
    (data, marks)
}

/// The bytes in pieces of 0 to 7, the same for the same seed.
pub(crate) fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut random) = (bytes, u32::from(seed));
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, after) = rest.split_at((random >> 24) as usize % 8 % (rest.len() + 1));
        rest = after;
        Some(piece)
    })
}
