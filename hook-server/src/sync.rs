//! The sync hook: one pure, total function from a request that was understood to an answer. No clock, no I/O, no
//! memory: the same request gives the same bytes, in whatever order its objects come.

use std::time::SystemTime;

use serialfleet_api::hook::SyncResponse;

use crate::{
    children::children,
    config::Config,
    observed::Observed,
    outcome::{Outcome, outcome},
    request::SyncRequest,
    services::wanted,
    status::{Causes, status},
};

/// Answers a call. `now` ends up in the transition time of conditions that flip, and in how soon the next look is due.
///
/// # Errors
/// If the status cannot be written as JSON, which no input brings about.
pub fn sync(request: &SyncRequest, config: &Config, now: SystemTime) -> serde_json::Result<SyncResponse> {
    let parent = &request.parent;
    let observed = Observed::new(request);
    let outcomes: Vec<Outcome<'_>> = wanted(request, &observed)
        .into_iter()
        .map(|wanted| outcome(wanted, &observed, &parent.status, &parent.name))
        .collect();
    let children = children(parent, &outcomes, &observed, config);
    let causes = Causes::new(request, &observed, &outcomes, &children, config);
    let (status, resync) = status(parent, &observed, &outcomes, &causes, now);
    Ok(SyncResponse {
        status: serde_json::to_value(status)?,
        children,
        resync_after_seconds: resync.map(f64::from),
        // There is nothing to clean up: the garbage collector takes the children with their owner.
        finalized: request.finalizing.then_some(true),
    })
}
