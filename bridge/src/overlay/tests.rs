use proptest::prelude::*;

use super::*;

fn line() -> Line {
    Line {
        baud_rate: 115_200,
        format: "8N1".parse().unwrap(),
        flow_control: FlowControl::None,
        dtr: Some(false),
        rts: None,
        low_latency: Some(true),
        rs485: None,
    }
}

#[test]
fn each_change_sets_its_own_part_and_nothing_else() {
    let line = line();
    for (change, expected) in [
        (Change::BaudRate(9600), Line { baud_rate: 9600, ..line.clone() }),
        (Change::DataBits(7), Line { format: "7N1".parse().unwrap(), ..line.clone() }),
        (Change::Parity(Parity::Even), Line { format: "8E1".parse().unwrap(), ..line.clone() }),
        (Change::StopBits(StopBits::Two), Line { format: "8N2".parse().unwrap(), ..line.clone() }),
        (
            Change::FlowControl(FlowControl::RtsCts),
            Line { flow_control: FlowControl::RtsCts, ..line.clone() },
        ),
        (Change::Dtr(true), Line { dtr: Some(true), ..line.clone() }),
        (Change::Rts(false), Line { rts: Some(false), ..line.clone() }),
        (Change::Break(true), line.clone()),
    ] {
        let mut overlay = Overlay::default();
        assert!(overlay.set(change));
        assert_eq!(overlay.over(&line), expected, "{change:?}");
    }
}

#[test]
fn what_no_line_can_do_is_left_out() {
    for change in [
        Change::BaudRate(0),
        Change::BaudRate(MAX_BAUD_RATE + 1),
        Change::BaudRate(u32::MAX),
        Change::DataBits(4),
        Change::DataBits(9),
    ] {
        let mut overlay = Overlay::default();
        assert!(!overlay.set(change), "{change:?}");
        assert!(overlay.is_empty());
    }
}

#[test]
fn stop_bits_that_the_data_bits_do_not_allow_become_the_next_best() {
    for (line_format, changes, expected) in [
        ("8N2", vec![Change::DataBits(5)], "5N1.5"),
        ("5N1.5", vec![Change::DataBits(7)], "7N2"),
        ("8N1", vec![Change::StopBits(StopBits::OnePointFive)], "8N2"),
        ("8N1", vec![Change::StopBits(StopBits::Two), Change::DataBits(5)], "5N1.5"),
        ("8E2", vec![Change::StopBits(StopBits::One), Change::DataBits(5)], "5E1"),
    ] {
        let line = Line { format: line_format.parse().unwrap(), ..line() };
        let (mut overlay, mut held) =
            (Overlay::default(), Values { format: line.format, ..Values::default() });
        for change in changes {
            overlay.set(change);
            held.set(change);
        }
        assert_eq!(overlay.over(&line).format.to_string(), expected);
        assert_eq!(held.format.to_string(), expected);
    }
}

#[test]
fn only_what_is_set_is_shown() {
    assert_eq!(serde_json::to_string(&Overlay::default()).unwrap(), "{}");
    let mut overlay = Overlay::default();
    for change in [
        Change::BaudRate(1200),
        Change::DataBits(7),
        Change::Parity(Parity::Mark),
        Change::StopBits(StopBits::OnePointFive),
        Change::FlowControl(FlowControl::XonXoff),
        Change::Dtr(false),
        Change::Rts(true),
        Change::Break(true),
    ] {
        overlay.set(change);
    }
    assert_eq!(
        serde_json::to_string(&overlay).unwrap(),
        r#"{"baudRate":1200,"dataBits":7,"parity":"Mark","stopBits":"1.5","flowControl":"XonXoff","dtr":false,"rts":true,"break":true}"#
    );
}

fn parities() -> impl Strategy<Value = Parity> {
    prop::sample::select(vec![Parity::None, Parity::Even, Parity::Odd, Parity::Mark, Parity::Space])
}

fn stops() -> impl Strategy<Value = StopBits> {
    prop::sample::select(vec![StopBits::One, StopBits::OnePointFive, StopBits::Two])
}

fn flows() -> impl Strategy<Value = FlowControl> {
    prop::sample::select(vec![FlowControl::None, FlowControl::RtsCts, FlowControl::XonXoff])
}

prop_compose! {
    fn lines()(
        baud_rate in 50..=MAX_BAUD_RATE,
        data_bits in 5..=8u8,
        parity in parities(),
        stop_bits in stops(),
        flow_control in flows(),
        dtr in any::<Option<bool>>(),
        rts in any::<Option<bool>>(),
    ) -> Line {
        let format = legal(Format { data_bits, parity, stop_bits });
        Line { baud_rate, format, flow_control, dtr, rts, low_latency: None, rs485: None }
    }
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u32>().prop_map(Change::BaudRate),
        (1..=MAX_BAUD_RATE).prop_map(Change::BaudRate),
        any::<u8>().prop_map(Change::DataBits),
        (5..=8u8).prop_map(Change::DataBits),
        parities().prop_map(Change::Parity),
        stops().prop_map(Change::StopBits),
        flows().prop_map(Change::FlowControl),
        any::<bool>().prop_map(Change::Dtr),
        any::<bool>().prop_map(Change::Rts),
        any::<bool>().prop_map(Change::Break),
    ]
}

fn overlay_of(changes: &[Change]) -> Overlay {
    let mut overlay = Overlay::default();
    for change in changes {
        overlay.set(*change);
    }
    overlay
}

proptest! {
    #[test]
    fn without_clients_the_line_is_the_fleets(line in lines()) {
        prop_assert_eq!(Overlay::default().over(&line), line);
    }

    #[test]
    fn whatever_is_set_gives_a_legal_format(line in lines(), set in prop::collection::vec(changes(), 0..20)) {
        let format = overlay_of(&set).over(&line).format;
        prop_assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
    }

    /// Stop bits are the one part that another part may bend.
    #[test]
    fn an_edit_changes_only_what_the_overlay_leaves(
        before in lines(),
        after in lines(),
        set in prop::collection::vec(changes(), 0..20),
    ) {
        let overlay = overlay_of(&set);
        let (was, is) = (overlay.over(&before), overlay.over(&after));
        let check = |set: bool, same: bool, edited: bool| if set { same } else { edited };
        prop_assert!(check(overlay.baud_rate.is_some(), was.baud_rate == is.baud_rate, is.baud_rate == after.baud_rate));
        prop_assert!(check(
            overlay.data_bits.is_some(),
            was.format.data_bits == is.format.data_bits,
            is.format.data_bits == after.format.data_bits
        ));
        prop_assert!(check(overlay.parity.is_some(), was.format.parity == is.format.parity, is.format.parity == after.format.parity));
        let several = |line: &Line| line.format.stop_bits != StopBits::One;
        prop_assert!(check(overlay.stop_bits.is_some(), several(&was) == several(&is), several(&is) == several(&after)));
        prop_assert!(check(overlay.flow_control.is_some(), was.flow_control == is.flow_control, is.flow_control == after.flow_control));
        prop_assert!(check(overlay.dtr.is_some(), was.dtr == is.dtr, is.dtr == after.dtr));
        prop_assert!(check(overlay.rts.is_some(), was.rts == is.rts, is.rts == after.rts));
    }

    /// What a client is told while the device is unplugged is what it finds in force after.
    #[test]
    fn what_is_remembered_is_what_is_set_after(line in lines(), set in prop::collection::vec(changes(), 0..20)) {
        let mut values = Values {
            baud_rate: line.baud_rate,
            format: line.format,
            flow_control: line.flow_control,
            ..Values::default()
        };
        for change in &set {
            values.set(*change);
        }
        let after = values.overlay.over(&line);
        prop_assert_eq!(values.baud_rate, after.baud_rate);
        prop_assert_eq!(values.flow_control, after.flow_control);
        // A client that sets data bits 5 and back has two stop bits where it had one and a half.
        prop_assert_eq!(
            Format { stop_bits: StopBits::One, ..values.format },
            Format { stop_bits: StopBits::One, ..after.format }
        );
        prop_assert_eq!(values.format.stop_bits == StopBits::One, after.format.stop_bits == StopBits::One);
    }
}
