//! The sync hook: one pure, total function from a request that was understood to an answer. No clock, no I/O, no
//! memory: the same request gives the same bytes, in whatever order its objects come.

use std::time::SystemTime;

use serde::Serialize;
use serialfleet_api::{fleet::SerialFleetStatus, hook::SyncResponse};

use crate::{
    children::Children,
    config::Config,
    observed::Observed,
    outcome::{Outcome, outcome},
    request::SyncRequest,
    services::wanted,
    status::{Causes, status},
};

/// An answer, to be written: what Metacontroller reads of it is a [`SyncResponse`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<'a> {
    /// Replaces the parent's status.
    pub status: SerialFleetStatus,
    /// Every desired child.
    pub children: Children<'a>,
    /// Ask for another call after this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resync_after_seconds: Option<f64>,
    /// Only for the finalize hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finalized: Option<bool>,
}

/// Answers a call. `now` ends up in the transition time of conditions that flip, in how soon the next look is due, and
/// in whether what is not as desired is still a delay: where it can matter, another look is asked for.
pub fn respond<'a>(request: &'a SyncRequest, config: &Config, now: SystemTime) -> Answer<'a> {
    let parent = &request.parent;
    let observed = Observed::new(request);
    let outcomes: Vec<Outcome<'a>> = wanted(request, &observed)
        .into_iter()
        .map(|wanted| outcome(wanted, &observed, &parent.name))
        .collect();
    let children = Children::new(parent, outcomes, &observed, config);
    let causes = Causes::new(request, &observed, &children, config, now);
    let (status, resync) = status(parent, &observed, children.outcomes(), &causes, now);
    Answer {
        status,
        children,
        resync_after_seconds: resync.map(f64::from),
        // There is nothing to clean up: the garbage collector takes the children with their owner.
        finalized: request.finalizing.then_some(true),
    }
}

/// The answer as JSON values, for whoever looks into the children.
///
/// # Errors
/// If something cannot be written as JSON, which no input brings about.
pub fn sync(request: &SyncRequest, config: &Config, now: SystemTime) -> serde_json::Result<SyncResponse> {
    let Answer { status, children, resync_after_seconds, finalized } = respond(request, config, now);
    let status = serde_json::to_value(status)?;
    let children = children.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    Ok(SyncResponse { status, children, resync_after_seconds, finalized })
}
