//! Waiting for a state, with a limit: the one place of the lab that sleeps.
//!
//! Owner: whoever waits. It must not decide anything: what is waited for is the caller's.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `probe` until it answers with something.
///
/// An error of the probe is no end: while an API server restarts, every question to it fails.
///
/// # Errors
/// After `limit`, with `what` was waited for and the last error of the probe.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let error = match probe().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() > limit {
            match error {
                Some(error) => return Err(error.context(format!("after {limit:?} still not: {what}"))),
                None => bail!("after {limit:?} still not: {what}"),
            }
        }
        tokio::time::sleep(TURN).await;
    }
}

/// Short enough to measure latencies of tens of milliseconds with.
const TURN: Duration = Duration::from_millis(20);
