use std::{
    future::poll_fn,
    sync::Arc,
    time::{Duration, Instant},
};

use serialfleet_api::line::StopBits;

use super::*;
use crate::tty::on_a_pty::{Bench, line};

const LIMIT: Duration = Duration::from_secs(10);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

async fn next(line: &mut LineThread) -> Report {
    tokio::time::timeout(LIMIT, poll_fn(|cx| line.poll_report(cx))).await.expect("a report")
}

async fn order(line: &mut LineThread, order: Order) -> Values {
    let number = line.try_order(order).unwrap();
    match next(line).await {
        Report::Done { order, values } if order == number => values,
        report => panic!("{report:?}"),
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn orders_are_carried_out_one_after_another_and_each_is_reported() {
    let bench = Bench::new();
    let mut thread = LineThread::start(&bench.tty).unwrap();
    let orders = [
        Order::Change(Change::BaudRate(9600)),
        Order::Change(Change::StopBits(StopBits::Two)),
        Order::MarkErrors(true),
        Order::Change(Change::Dtr(false)),
        Order::Purge(Queues::Both),
        Order::WatchModem(true),
        Order::Values,
        Order::Restore,
    ];
    runtime().block_on(async {
        for order in orders {
            thread.try_order(order).unwrap();
        }
        let mut reported = Vec::new();
        for number in 0..8 {
            match next(&mut thread).await {
                Report::Done { order, values } if order == number => reported.push(values),
                report => panic!("{report:?}"),
            }
        }
        assert_eq!(reported[0].baud_rate, 9600);
        assert_eq!(reported[6].format.to_string(), "8N2");
        assert!(!reported[6].dtr);
        assert_eq!(reported[7].baud_rate, 115_200);
        assert!(reported[7].overlay.is_empty());
    });
    assert_eq!(bench.baud_rate(), 115_200);
}

#[test]
fn a_thousand_toggles_are_each_done_before_the_next() {
    let bench = Bench::new();
    let mut thread = LineThread::start(&bench.tty).unwrap();
    runtime().block_on(async {
        for on in [false, true].into_iter().cycle().take(1000) {
            assert_eq!(order(&mut thread, Order::Change(Change::Dtr(on))).await.dtr, on);
        }
    });
}

#[test]
fn more_orders_than_the_queue_holds_are_refused_and_none_is_lost() {
    let bench = Bench::new();
    let mut thread = LineThread::start(&bench.tty).unwrap();
    let mut given = 0;
    // Nobody takes the reports: sooner or later everything is full.
    wait_until("the queue is never full", || match thread.try_order(Order::Values) {
        Ok(number) => {
            assert_eq!(number, given);
            given += 1;
            given > 1000
        }
        Err(Full) => given > 2 * ORDERS as u64,
    });
    assert!(given <= 1000, "the queue is bounded");
    runtime().block_on(async {
        for number in 0..given {
            assert!(matches!(next(&mut thread).await, Report::Done { order, .. } if order == number));
        }
    });
    thread.try_order(Order::Values).unwrap();
}

#[test]
fn an_unplug_is_reported_and_the_number_is_given_back() {
    let Bench { tty, device, .. } = Bench::new();
    let mut thread = LineThread::start(&tty).unwrap();
    runtime().block_on(async {
        order(&mut thread, Order::WatchModem(true)).await;
        drop(device);
        thread.try_order(Order::Change(Change::BaudRate(9600))).unwrap();
        assert_eq!(next(&mut thread).await, Report::Gone);
        assert_eq!(next(&mut thread).await, Report::Gone);
    });
    assert_eq!(thread.try_order(Order::Values), Err(Full));
    let weak = Arc::downgrade(&tty);
    drop(tty);
    wait_until("a thread keeps the tty", || weak.strong_count() == 0);
}

#[test]
fn the_tty_is_let_go_of_by_whoever_lets_go_of_it_not_by_the_thread() {
    let Bench { tty, device: _device, .. } = Bench::new();
    let mut thread = LineThread::start(&tty).unwrap();
    runtime().block_on(order(&mut thread, Order::Values));
    let weak = Arc::downgrade(&tty);
    drop(tty);
    wait_until("the idle thread keeps the tty", || weak.strong_count() == 0);
    // An order for a tty that is gone.
    thread.try_order(Order::Values).unwrap();
    assert_eq!(runtime().block_on(next(&mut thread)), Report::Gone);
}

#[test]
fn orders_given_before_the_handle_was_dropped_are_carried_out() {
    let bench = Bench::new();
    let mut thread = LineThread::start(&bench.tty).unwrap();
    thread.try_order(Order::Change(Change::BaudRate(9600))).unwrap();
    thread.try_order(Order::MarkErrors(true)).unwrap();
    thread.try_order(Order::Change(Change::BaudRate(1200))).unwrap();
    drop(thread);
    wait_until("an order was lost", || bench.baud_rate() == 1200);
    wait_until("the thread keeps the tty", || Arc::strong_count(&bench.tty) == 1);
}

#[test]
fn a_tty_that_is_handed_back_is_as_configured_before_it_is_closed() {
    let Bench { tty, device, .. } = Bench::new();
    let mut thread = LineThread::start(&tty).unwrap();
    let values = runtime().block_on(async {
        order(&mut thread, Order::WatchModem(true)).await;
        order(&mut thread, Order::MarkErrors(true)).await;
        order(&mut thread, Order::Change(Change::Break(true))).await;
        order(&mut thread, Order::Change(Change::BaudRate(9600))).await
    });
    assert!(values.break_on);
    // Whatever waits is not worth a moment any more.
    while thread.try_order(Order::Change(Change::BaudRate(1200))).is_ok() {}
    let weak = Arc::downgrade(&tty);
    thread.hand_back(tty);
    wait_until("the thread keeps the tty", || weak.strong_count() == 0);
    let termios = rustix::termios::tcgetattr(&device).unwrap();
    assert_eq!(termios.output_speed(), 115_200);
    assert!(!termios.input_modes.contains(rustix::termios::InputModes::PARMRK));
}

#[test]
fn a_device_without_modem_lines_is_watched_in_vain() {
    let bench = Bench::new();
    let mut thread = LineThread::start(&bench.tty).unwrap();
    runtime().block_on(async {
        for watched in [true, true, false, true] {
            assert_eq!(order(&mut thread, Order::WatchModem(watched)).await.modem, None);
        }
    });
    wait_until("a watcher keeps the tty", || Arc::strong_count(&bench.tty) == 1);
}

#[test]
fn the_overlay_of_a_replugged_device_is_set() {
    let first = Bench::new();
    let mut thread = LineThread::start(&first.tty).unwrap();
    let mut values = runtime().block_on(order(&mut thread, Order::Change(Change::BaudRate(9600))));
    drop(first);
    drop(thread);
    // While it was unplugged.
    values.set(Change::StopBits(StopBits::Two));
    let second = Bench::new();
    assert_eq!(second.baud_rate(), line().baud_rate);
    let mut thread = LineThread::start(&second.tty).unwrap();
    let adopted = runtime().block_on(order(&mut thread, Order::Adopt(values.overlay)));
    assert_eq!((adopted.baud_rate, adopted.format.to_string().as_str()), (9600, "8N2"));
    assert_eq!(adopted.overlay, values.overlay);
}
