use std::thread;

use rustix::termios::{ControlModes, InputModes, tcgetattr, tcsetattr};
use serialfleet_api::{
    fleet::{FlowControl, Rs485},
    line::{Format, Parity, StopBits},
    resolve::Line,
};

use super::{
    AdoptError, Gone, Queues,
    on_a_pty::{Bench, line},
    termios::{differs, read, shape},
};
use crate::overlay::{Change, Overlay};

fn reasons(bench: &Bench, line: &Line) -> Vec<String> {
    let in_force = bench.tty.configure(line).unwrap();
    in_force.warnings.into_iter().map(|warning| warning.reason).collect()
}

#[test]
fn every_format_and_flow_control_reads_back_as_it_was_shaped() {
    let mut termios = Bench::new().termios();
    for data_bits in 5..=8 {
        for parity in [Parity::None, Parity::Even, Parity::Odd, Parity::Mark, Parity::Space] {
            for several in [false, true] {
                for flow_control in [FlowControl::None, FlowControl::RtsCts, FlowControl::XonXoff] {
                    let stop_bits = match (several, data_bits) {
                        (false, _) => StopBits::One,
                        (true, 5) => StopBits::OnePointFive,
                        (true, _) => StopBits::Two,
                    };
                    let format = Format { data_bits, parity, stop_bits };
                    let before = termios.clone();
                    shape(&mut termios, &Line { format, flow_control, ..line() }, false);
                    let found = read(&termios);
                    assert_eq!((found.format, found.flow_control), (format, flow_control));
                    assert!(differs(&before, &termios) || read(&before) == found);
                    assert!(!termios.control_modes.contains(ControlModes::HUPCL));
                    assert!(termios.control_modes.contains(ControlModes::CREAD | ControlModes::CLOCAL));
                }
            }
        }
    }
}

#[test]
fn any_rate_is_set_and_read_back() {
    let bench = Bench::unconfigured();
    for baud_rate in [50, 300, 12_345, 31_250, 74_880, 115_200, 250_000, 921_600, 3_000_001, 12_000_000] {
        let in_force = bench.tty.configure(&Line { baud_rate, ..line() }).unwrap();
        assert_eq!((bench.baud_rate(), in_force.baud_rate), (baud_rate, baud_rate));
        assert!(in_force.warnings.is_empty());
        assert_eq!(bench.tty.change(Change::BaudRate(baud_rate - 1)).unwrap().baud_rate, baud_rate - 1);
        assert_eq!(bench.tty.restore().unwrap().baud_rate, baud_rate);
    }
}

#[test]
fn a_clients_changes_are_in_force_until_they_are_undone() {
    let bench = Bench::new();
    let before = bench.termios();
    assert_eq!(bench.tty.change(Change::BaudRate(9600)).unwrap().baud_rate, 9600);
    bench.tty.change(Change::FlowControl(FlowControl::RtsCts)).unwrap();
    let values = bench.tty.change(Change::StopBits(StopBits::Two)).unwrap();
    assert_eq!(values.format.to_string(), "8N2");
    assert_eq!(values.overlay.baud_rate, Some(9600));
    let termios = bench.termios();
    assert_eq!(termios.output_speed(), 9600);
    assert!(termios.control_modes.contains(ControlModes::CSTOPB | ControlModes::CRTSCTS));
    let values = bench.tty.restore().unwrap();
    assert!(values.overlay.is_empty());
    assert!(!differs(&before, &bench.termios()));
}

#[test]
fn an_edit_leaves_alone_what_a_client_has_set() {
    let bench = Bench::new();
    bench.tty.change(Change::BaudRate(9600)).unwrap();
    let edited = Line {
        baud_rate: 57_600,
        format: "8N2".parse().unwrap(),
        flow_control: FlowControl::XonXoff,
        ..line()
    };
    let in_force = bench.tty.configure(&edited).unwrap();
    assert_eq!((bench.baud_rate(), in_force.baud_rate), (9600, 57_600), "the fleet is told of its own line");
    assert!(in_force.warnings.is_empty());
    assert!(bench.termios().control_modes.contains(ControlModes::CSTOPB));
    assert!(bench.termios().input_modes.contains(InputModes::IXON | InputModes::IXOFF));
    bench.tty.restore().unwrap();
    assert_eq!(bench.baud_rate(), 57_600);
    assert!(bench.termios().control_modes.contains(ControlModes::CSTOPB));
}

/// Each side in a loop of its own: at the end both are as they were last asked for.
#[test]
fn an_edit_and_a_change_at_once_never_undo_each_other() {
    let bench = Bench::new();
    let two = Line { format: "8N2".parse().unwrap(), ..line() };
    thread::scope(|scope| {
        scope.spawn(|| {
            for edited in [&two, &line()].into_iter().cycle().take(201) {
                bench.tty.configure(edited).unwrap();
            }
        });
        for rate in 1000..1200 {
            assert_eq!(bench.tty.change(Change::BaudRate(rate)).unwrap().baud_rate, rate);
        }
    });
    assert_eq!(bench.baud_rate(), 1199);
    assert!(bench.termios().control_modes.contains(ControlModes::CSTOPB));
}

#[test]
fn what_no_line_can_do_is_answered_with_what_is_in_force() {
    let bench = Bench::new();
    for change in [Change::BaudRate(0), Change::BaudRate(u32::MAX), Change::DataBits(9)] {
        let values = bench.tty.change(change).unwrap();
        assert_eq!((values.baud_rate, values.format), (115_200, Format::default()));
        assert!(values.overlay.is_empty());
    }
    // A PTY takes eight data bits and no parity only, and says so when asked.
    assert_eq!(bench.tty.change(Change::Parity(Parity::Even)).unwrap().format, Format::default());
}

#[test]
fn a_device_without_modem_lines_remembers_them() {
    let bench = Bench::new();
    let values = bench.tty.values().unwrap();
    assert_eq!(
        (values.dtr, values.rts, values.modem),
        (true, true, None),
        "as the kernel raises them at open"
    );
    assert!(!bench.tty.change(Change::Dtr(false)).unwrap().dtr);
    let values = bench.tty.change(Change::Rts(false)).unwrap();
    assert_eq!((values.dtr, values.rts), (false, false));
    assert_eq!(bench.tty.values().unwrap(), values);
    let values = bench.tty.restore().unwrap();
    assert_eq!((values.dtr, values.rts), (false, false), "`line` does not name them");
}

#[test]
fn modem_lines_return_to_what_the_line_names() {
    let bench = Bench::unconfigured();
    let named = Line { dtr: Some(false), rts: Some(true), ..line() };
    assert_eq!(reasons(&bench, &named), ["ModemLinesUnsupported"]);
    assert_eq!(reasons(&bench, &Line { baud_rate: 9600, ..named.clone() }), ["ModemLinesUnsupported"]);
    bench.tty.change(Change::Dtr(true)).unwrap();
    let values = bench.tty.change(Change::Rts(false)).unwrap();
    assert_eq!((values.dtr, values.rts), (true, false));
    // An edit changes only what the overlay leaves.
    bench.tty.configure(&Line { dtr: None, ..named.clone() }).unwrap();
    bench.tty.configure(&named).unwrap();
    assert!(bench.tty.last_values().dtr);
    let values = bench.tty.restore().unwrap();
    assert_eq!((values.dtr, values.rts), (false, true));
    assert!(reasons(&bench, &line()).is_empty(), "nothing is named any more");
}

#[test]
fn a_break_is_answered_whether_or_not_the_device_can_send_one() {
    let bench = Bench::new();
    assert!(bench.tty.change(Change::Break(true)).unwrap().break_on);
    assert!(bench.tty.send_break().unwrap().break_on, "one is under way");
    assert!(!bench.tty.restore().unwrap().break_on);
    assert!(!bench.tty.send_break().unwrap().break_on);
}

#[test]
fn a_replugged_device_gets_what_its_clients_had_set() {
    let overlay = Overlay {
        baud_rate: Some(19_200),
        stop_bits: Some(StopBits::Two),
        dtr: Some(false),
        break_on: Some(true),
        ..Overlay::default()
    };
    let bench = Bench::new();
    let values = bench.tty.adopt_overlay(overlay).unwrap();
    assert_eq!(values.overlay, overlay);
    assert_eq!((values.baud_rate, values.dtr, values.break_on), (19_200, false, true));
    assert_eq!(bench.baud_rate(), 19_200);
    assert!(bench.termios().control_modes.contains(ControlModes::CSTOPB));
}

#[test]
fn errors_are_marked_while_that_is_wanted() {
    let bench = Bench::new();
    let marks = |bench: &Bench| bench.termios().input_modes & (InputModes::PARMRK | InputModes::INPCK);
    assert!(marks(&bench).is_empty());
    bench.tty.mark_errors(true).unwrap();
    assert_eq!(marks(&bench), InputModes::PARMRK | InputModes::INPCK);
    bench.tty.change(Change::BaudRate(9600)).unwrap();
    bench.tty.configure(&Line { baud_rate: 1200, ..line() }).unwrap();
    assert_eq!(marks(&bench), InputModes::PARMRK | InputModes::INPCK, "whatever else is set");
    bench.tty.restore().unwrap();
    assert!(marks(&bench).is_empty());
}

#[test]
fn a_purge_drops_what_the_kernel_has() {
    let bench = Bench::new();
    bench.tell_flushes();
    for (queues, flag) in [(Queues::Input, 1), (Queues::Output, 2), (Queues::Both, 3)] {
        bench.tty.purge(queues).unwrap();
        assert_eq!(bench.next_packet(), Some(flag), "{queues:?}");
        assert_eq!(bench.next_packet(), None);
    }
}

#[test]
fn nothing_that_is_set_drops_data() {
    let bench = Bench::new();
    bench.tell_flushes();
    bench.tty.change(Change::BaudRate(9600)).unwrap();
    bench.tty.mark_errors(true).unwrap();
    bench.tty.configure(&Line { baud_rate: 1200, ..line() }).unwrap();
    bench.tty.restore().unwrap();
    while let Some(flags) = bench.next_packet() {
        assert_eq!(flags & 3, 0, "a queue was flushed");
    }
}

#[test]
fn a_driver_without_rs485_is_a_warning_or_where_it_is_mandatory_a_failure() {
    let bench = Bench::unconfigured();
    let rs485 = Rs485 { delay_before_milliseconds: Some(1), ..Rs485::default() };
    assert_eq!(reasons(&bench, &Line { rs485: Some(rs485.clone()), ..line() }), ["Rs485Unsupported"]);
    let mandatory = Line { rs485: Some(Rs485 { mandatory: Some(true), ..rs485 }), ..line() };
    let error = bench.tty.configure(&mandatory).unwrap_err();
    assert!(
        matches!(error, AdoptError::Refused { ioctl: "TIOCSRS485", errno: rustix::io::Errno::NOTTY }),
        "{error}"
    );
    assert!(reasons(&bench, &line()).is_empty());
}

#[test]
fn after_an_unplug_everything_ends_at_once() {
    let Bench { tty, device, released } = Bench::new();
    drop(device);
    assert_eq!(tty.change(Change::BaudRate(9600)), Err(Gone));
    assert_eq!(tty.change(Change::Dtr(false)), Err(Gone));
    assert_eq!(tty.mark_errors(true), Err(Gone));
    assert_eq!(tty.purge(Queues::Both), Err(Gone));
    assert_eq!(tty.values(), Err(Gone));
    assert_eq!(tty.restore(), Err(Gone));
    assert!(matches!(tty.configure(&line()), Err(AdoptError::Gone)));
    assert_eq!(tty.queued(), None);
    let weak = std::sync::Arc::downgrade(&tty);
    drop(tty);
    assert_eq!(weak.strong_count(), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // Told although nobody waited yet; a test that fails hangs here.
    runtime.block_on(released.notified());
}

/// Another program may have set it since: whatever that was, `line` is in force after the next change.
#[test]
fn what_another_program_has_set_does_not_stay() {
    let bench = Bench::new();
    let mut termios = tcgetattr(&bench.device).unwrap();
    termios.input_modes.insert(InputModes::ICRNL);
    tcsetattr(&*bench.tty, rustix::termios::OptionalActions::Now, &termios).unwrap();
    bench.tty.change(Change::BaudRate(9600)).unwrap();
    assert!(!bench.termios().input_modes.contains(InputModes::ICRNL));
}
