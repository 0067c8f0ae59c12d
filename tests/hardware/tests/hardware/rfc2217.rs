//! A stick with modem lines, set over the network.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serialfleet_clients::{environment, program::Program, pyserial, visitor::Visitor};
use serialfleet_hardware::lab::Lab;

use crate::{ESP, plug_in, pull_out, say};

pub(crate) fn pyserials_own_tests_pass(lab: &mut Lab) -> Result<()> {
    let address = plug_in(lab, ESP)?;
    let expected = include_str!("../../../clients/expected/pyserial-rfc2217-lines.txt");
    let counts = pyserial::run(&format!("rfc2217://{address}"), expected)?;
    say(&format!("pyserial over rfc2217:// with modem lines: {counts}"));
    pull_out(lab, &[ESP])
}

pub(crate) fn esptools_reset_reaches_the_chip_in_order(lab: &mut Lab) -> Result<()> {
    let address = plug_in(lab, ESP)?;
    let mut client = Program::start(
        "esptool's sequence",
        Command::new(environment::python())
            .arg(environment::script("esptool_reset.py"))
            .arg(format!("rfc2217://{address}?ign_set_control")),
    )?;
    client.event("open", ANSWER)?;
    client.event("done", ANSWER)?;
    let lines = edges(lab)?;
    // Up at open; then what the script says, step by step.
    let wanted = ["dtr=1 rts=1", "dtr=0 rts=1", "dtr=1 rts=1", "dtr=1 rts=0", "dtr=0 rts=0"];
    ensure!(lines.ends_with(&wanted.map(str::to_owned)), "{lines:#?}");
    // Nobody has said what the lines should be without a client: they stay.
    drop(client);
    ensure!(edges(lab)? == lines, "{:#?}", edges(lab)?);
    pull_out(lab, &[ESP])
}

pub(crate) fn what_a_client_has_set_is_there_again_after_a_replug(lab: &mut Lab) -> Result<()> {
    let address = plug_in(lab, ESP)?;
    let divisor = |lab: &mut Lab| -> Result<String> {
        let events = since_plugged(lab)?;
        events.into_iter().rfind(|what| what.starts_with("divisor")).context("no baud rate was set")
    };
    let own = divisor(lab)?;
    let mut client = Visitor::to(address)?;
    client.agree_on_com_port()?;
    client.set_baud_rate(57_600)?;
    client.set_dtr(false)?;
    client.set_dtr(true)?;
    let ordered = divisor(lab)?;
    ensure!(ordered != own, "another rate is another divisor");

    lab.unplug(ESP.device)?;
    lab.admin()?.wait(ESP.device, "Held")?;
    // Answered although there is nothing that could be set.
    client.set_dtr(false)?;
    lab.plug(ESP.device, ESP.kind)?;
    lab.admin()?.wait(ESP.device, "Serving")?;
    client.say(b"after")?;
    client.hear(b"after")?;
    ensure!(divisor(lab)? == ordered, "{:#?}", since_plugged(lab)?);
    ensure!(edges(lab)?.last().is_some_and(|lines| lines == "dtr=0 rts=1"), "{:#?}", since_plugged(lab)?);

    drop(client);
    let start = Instant::now();
    while divisor(lab)? != own {
        ensure!(start.elapsed() < ANSWER, "it leaves, and its rate stays: {:#?}", since_plugged(lab)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    pull_out(lab, &[ESP])
}

/// From the segment's arrival in the kernel until the bridge is in the ioctl, by the kernel's own trace.
pub(crate) fn orders_for_lines_are_carried_out_at_once(lab: &mut Lab) -> Result<()> {
    let address = plug_in(lab, ESP)?;
    let mut client = Visitor::to(address)?;
    client.agree_on_com_port()?;
    client.set_dtr(true)?;
    let before = edges(lab)?.len();
    lab.run(&TRACE.replace("PORT", &ESP.port.to_string()))?;
    for round in 0..ORDERS {
        client.set_dtr(round % 2 == 1)?;
    }
    let trace = lab.run("cat /sys/kernel/tracing/trace; echo 0 >/sys/kernel/tracing/tracing_on")?;
    ensure!(edges(lab)?.len() - before == ORDERS, "{} edges", edges(lab)?.len() - before);
    let mut taken = delays(&trace)?;
    // That all were carried out, and in order, the edges say. The trace may lack a segment under load.
    let seen = taken.len();
    ensure!(seen * 100 >= ORDERS * 99, "{seen} orders in the trace");
    taken.sort_by(f64::total_cmp);
    let [p50, p99, most] = [seen / 2, seen * 99 / 100, seen - 1].map(|at| taken[at] * 1e3);
    say(&format!(
        "{ORDERS} orders for DTR: from the segment's arrival to the ioctl {p50:.2} ms (p50), {p99:.2} ms (p99), {most:.2} ms (most), in emulation"
    ));
    drop(client);
    pull_out(lab, &[ESP])
}

/// What DTR and RTS were, one after the other, since the stick was plugged in last.
fn edges(lab: &mut Lab) -> Result<Vec<String>> {
    let mut lines = since_plugged(lab)?;
    lines.retain(|what| what.starts_with("dtr="));
    lines.dedup();
    Ok(lines)
}

/// What the driver has asked of the chip since it was plugged in last.
fn since_plugged(lab: &mut Lab) -> Result<Vec<String>> {
    let all: Vec<String> = lab.events(ESP.device)?.into_iter().map(|event| event.what).collect();
    Ok(all.rsplit(|what| what == "plugged").next().unwrap_or_default().to_vec())
}

/// Seconds from each segment with an order to the ioctl that follows it.
fn delays(trace: &str) -> Result<Vec<f64>> {
    let mut delays = Vec::new();
    let mut arrived = None;
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        let at = |line: &str| -> Option<f64> {
            let (head, _) = line.split_once(": ")?;
            head.rsplit(' ').next()?.parse().ok()
        };
        let at = at(line).with_context(|| format!("no time: {line}"))?;
        if line.contains("tcp_probe") {
            arrived = Some(at);
        } else if line.contains("ioctl") {
            delays.extend(arrived.take().map(|arrived| at - arrived));
        }
    }
    Ok(delays)
}

/// Segments with data to the device's port, and TIOCMBIS, TIOCMBIC, TIOCMSET of whoever.
const TRACE: &str = "cd /sys/kernel/tracing 2>/dev/null && [ -e trace ] || mount -t tracefs tracefs /sys/kernel/tracing; \
    cd /sys/kernel/tracing; echo 'sport == PORT && data_len > 0' >events/tcp/tcp_probe/filter; \
    echo 'cmd >= 0x5416 && cmd <= 0x5418' >events/syscalls/sys_enter_ioctl/filter; \
    echo 1 >events/tcp/tcp_probe/enable; echo 1 >events/syscalls/sys_enter_ioctl/enable; \
    echo >trace; echo 1 >tracing_on";

const ORDERS: usize = 1000;

/// More than the client's own limits.
const ANSWER: Duration = Duration::from_secs(30);
