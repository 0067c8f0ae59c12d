//! What a client's request means for the line, and what is in force as its answer says it. Pure; used by the port's
//! RFC 2217 side alone.

use serialfleet_api::resolve::Line;

use crate::{
    overlay::{Change, Overlay, Values},
    port::Order,
    rfc2217::{self, Purge, Request},
    tty::Queues,
};

/// The order that performs a request. Whoever may not write (`writes`) changes nothing, and is told what is in force.
/// Masks are the session's; what they make the line do is ordered for all clients together.
pub(super) fn order_of(request: Request, writes: bool) -> Order {
    let change = match request {
        Request::BaudRate(rate) => rate.map(Change::BaudRate),
        Request::DataBits(bits) => bits.map(Change::DataBits),
        Request::Parity(parity) => parity.map(Change::Parity),
        Request::StopBits(bits) => bits.map(Change::StopBits),
        Request::FlowControl(flow) => flow.map(Change::FlowControl),
        Request::Break(on) => on.map(Change::Break),
        Request::Dtr(on) => on.map(Change::Dtr),
        Request::Rts(on) => on.map(Change::Rts),
        Request::Purge(Some(purge)) if writes => {
            return Order::Purge(match purge {
                Purge::Receive => Queues::Input,
                Purge::Transmit => Queues::Output,
                Purge::Both => Queues::Both,
            });
        }
        Request::Purge(_)
        | Request::InboundFlowControl(_)
        | Request::LineState
        | Request::ModemState
        | Request::LineStateMask(_)
        | Request::ModemStateMask(_) => None,
    };
    change.filter(|_| writes).map_or(Order::Values, Order::Change)
}

/// What the answers say. Modem lines that a device does not have are off.
pub(super) fn told(values: &Values) -> rfc2217::Values {
    rfc2217::Values {
        baud_rate: values.told_baud_rate(),
        format: values.format,
        flow_control: values.flow_control,
        break_on: values.sending_break,
        dtr: values.dtr,
        rts: values.rts,
        modem_state: values.modem.unwrap_or(0),
        line_state: 0,
    }
}

/// What would be in force if the device were there: `line` with what clients have set over it. The rest as `before`.
pub(super) fn remembered(line: &Line, overlay: Overlay, before: &Values) -> Values {
    let line = overlay.over(line);
    Values {
        baud_rate: line.baud_rate,
        asked_baud_rate: line.baud_rate,
        format: line.format,
        flow_control: line.flow_control,
        dtr: line.dtr.unwrap_or(before.dtr),
        rts: line.rts.unwrap_or(before.rts),
        sending_break: overlay.sending_break.unwrap_or(false),
        modem: before.modem,
        overlay,
    }
}

#[cfg(test)]
mod tests {
    use serialfleet_api::{fleet::FlowControl, line::Parity};

    use super::*;

    #[test]
    fn whoever_may_not_write_only_asks() {
        for request in [
            Request::BaudRate(Some(9600)),
            Request::Parity(Some(Parity::Even)),
            Request::FlowControl(Some(FlowControl::RtsCts)),
            Request::Break(Some(true)),
            Request::Dtr(Some(false)),
            Request::Rts(Some(true)),
            Request::Purge(Some(Purge::Both)),
        ] {
            assert_eq!(order_of(request, false), Order::Values, "{request:?}");
            assert_ne!(order_of(request, true), Order::Values, "{request:?}");
        }
    }

    #[test]
    fn questions_change_nothing() {
        for request in [
            Request::BaudRate(None),
            Request::DataBits(None),
            Request::StopBits(None),
            Request::Dtr(None),
            Request::Purge(None),
            Request::InboundFlowControl(Some(FlowControl::XonXoff)),
            Request::ModemState,
            Request::ModemStateMask(255),
            Request::LineStateMask(255),
        ] {
            assert_eq!(order_of(request, true), Order::Values, "{request:?}");
        }
    }
}
