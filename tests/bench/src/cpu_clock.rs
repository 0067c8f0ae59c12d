//! CPU time of other processes, to the nanosecond.
//!
//! Owner: the measures. `/proc/PID/stat` counts in steps of 10 ms, which is too coarse for runs of half a second.
#![allow(unsafe_code, reason = "clock_getcpuclockid(3) and its clock have no safe wrapper")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;

/// User and system time that these processes have spent, all their threads included, also those that have ended.
pub(crate) fn spent(processes: &[Pid]) -> Result<Duration> {
    processes.iter().map(|pid| of(*pid)).sum()
}

fn of(pid: Pid) -> Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: integers only: all zeros is a valid value.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: both calls write one value each to a local of the type that they are defined with.
    let result = unsafe {
        match libc::clock_getcpuclockid(pid.as_raw_nonzero().get(), &raw mut clock) {
            0 => libc::clock_gettime(clock, &raw mut time),
            _ => -1,
        }
    };
    ensure!(result == 0, "process {pid} has no CPU clock: it has ended");
    let seconds = u64::try_from(time.tv_sec).context("CPU time")?;
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_spends_is_seen_at_once() {
        let own = [rustix::process::getpid()];
        let before = spent(&own).unwrap();
        let mut sum = 0_u64;
        while spent(&own).unwrap() - before < Duration::from_micros(500) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(sum > 0);
    }
}
