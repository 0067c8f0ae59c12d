//! DTR and RTS, as the chip sees them.

use anyhow::{Result, ensure};
use serialfleet_clients::visitor::Visitor;
use serialfleet_hardware::lab::Lab;

use crate::{SONOFF, plug_in, pull_out};

pub(crate) fn visitors_leave_dtr_and_rts_alone(lab: &mut Lab) -> Result<()> {
    let address = plug_in(lab, SONOFF)?;
    Visitor::to(address)?.echo(b"first")?;
    let edges = |lab: &mut Lab| -> Result<usize> {
        Ok(lab.events("sonoff")?.iter().filter(|event| event.what.starts_with("dtr=")).count())
    };
    let opened = edges(lab)?;
    ensure!(opened > 0, "the open itself raises them");
    for _ in 0..VISITS {
        Visitor::to(address)?.echo(b"?")?;
    }
    ensure!(edges(lab)? == opened, "{VISITS} visits: {} edges", edges(lab)? - opened);
    pull_out(lab, &[SONOFF])
}

const VISITS: usize = 100;
