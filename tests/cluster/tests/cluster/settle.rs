//! After the last change from outside: a few syncs, then nothing is written by anybody.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serialfleet_cluster::{harness::say, wait};

use super::lab::Lab;

/// Metacontroller, as the audit log calls it.
pub(crate) const METACONTROLLER: &str = "system:serviceaccount:metacontroller:metacontroller";

/// Waits until nobody has written for `span`, and holds what was written before that against the promise: after the
/// last write by somebody else, Metacontroller is done within three syncs.
pub(crate) async fn settle(lab: &Lab, span: Duration) -> Result<()> {
    let mut mark = lab.audit().mark()?;
    let mut quiet_since = Instant::now();
    let mut at_outside_change = lab.syncs().await?;
    let mut at_last_write = at_outside_change;
    let mut last = String::from("none");
    wait::until("nobody writes", span + LIMIT, async || {
        let next = lab.audit().mark()?;
        let writes = lab.writes_since(mark)?;
        let syncs = lab.syncs().await?;
        mark = next;
        for write in writes {
            quiet_since = Instant::now();
            at_last_write = syncs;
            if write.user != METACONTROLLER {
                at_outside_change = syncs;
            }
            last = write.to_string();
        }
        Ok((quiet_since.elapsed() >= span).then_some(()))
    })
    .await
    .map_err(|error| error.context(format!("the last write: {last}")))?;
    let took = at_last_write - at_outside_change;
    ensure!(took <= 3, "{took} syncs from the last change outside to the last write ({last})");
    let after = lab.syncs().await? - at_last_write;
    say(&format!(
        "settled within {took} syncs of the last change outside, then no write by anybody for {span:?} ({after} syncs)"
    ));
    Ok(())
}

/// How long the cluster may take to come to rest.
const LIMIT: Duration = Duration::from_secs(90);
