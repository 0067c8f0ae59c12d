//! The task that keeps the report true: observes what the supervisor publishes, and writes when it must.
//!
//! Nothing is queued: it always writes what is true at that moment. While a call is under way it goes on
//! observing, so that short states appear among the transitions. All waiting is by a clock that nobody sets; the
//! wall clock only labels transitions.

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::counter::Counter;
use serialfleet_api::names;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    NodeIdentity, NodeReport,
    plan::{State, Step},
    target::{Failure, Stored, Target},
};
use crate::{cluster::dice, fleet_source::FleetState};

/// How long the farewell may take after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(3);

/// Keeps the report true until told to end. `api_errors` counts failed calls.
///
/// The value that `reports` starts with is no report: the first one counts from its first change on, so that a
/// node that has just started does not say that nothing is plugged in.
pub async fn run(
    target: Target,
    identity: NodeIdentity,
    reports: watch::Receiver<NodeReport>,
    fleet: watch::Receiver<FleetState>,
    api_errors: Counter,
    shutdown: CancellationToken,
) {
    let name = names::serial_node(&identity.fleet, &identity.node);
    let fleet_name = identity.fleet.clone();
    let mut state = State::new(identity, target.wants_empty());
    let started = Instant::now();
    let mut inputs = Inputs { reports, fleet };
    state.fleet_changed(&inputs.fleet.borrow_and_update());
    loop {
        let step = state.next_step(started.elapsed());
        if let Step::Sleep(until) = step {
            let timer = async {
                match until {
                    Some(until) => sleep_until(started + until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                news = inputs.next() => inputs.tell(&news, &mut state, started.elapsed()),
                () = timer => {}
            }
            continue;
        }
        let outcome = {
            let mut call = pin!(perform(&target, &name, &step, state.old_pods()));
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break None,
                    outcome = &mut call => break Some(outcome),
                    news = inputs.next() => inputs.tell(&news, &mut state, started.elapsed()),
                }
            }
        };
        let Some(outcome) = outcome else { break };
        if outcome.is_err() && matches!(target, Target::Api(_)) {
            api_errors.inc();
        }
        state.done(step, outcome, started.elapsed(), dice());
    }
    let farewell = say_farewell(&target, &name, &fleet_name, &state);
    if timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!(
            "the API server did not answer before the end; a SerialNode of a deleted fleet may be left"
        );
    }
}

/// Pods come and go with a roll, and then the report stays; but with a deleted fleet it goes.
async fn say_farewell(target: &Target, name: &str, fleet: &str, state: &State) {
    if !state.may_stand() || !(state.is_gone() || target.fleet_is_gone(fleet).await) {
        return;
    }
    if let Err(error) = delete(target, name, state.old_pods()).await {
        tracing::warn!("cannot delete SerialNode {name} of a deleted fleet: {error}");
    }
}

async fn perform(
    target: &Target,
    name: &str,
    step: &Step,
    pods: Vec<String>,
) -> Result<Option<Stored>, Failure> {
    match step {
        Step::Read | Step::Sleep(_) => target.read(name).await,
        Step::Write(node) => target.write(name, node).await.map(Some),
        Step::Delete => delete(target, name, pods).await.map(|()| None),
    }
}

/// Never deletes what a newer pod wrote for a newer fleet of the same name.
async fn delete(target: &Target, name: &str, pods: Vec<String>) -> Result<(), Failure> {
    target.delete(name, |found| pods.contains(&found.pod_uid)).await
}

struct Inputs {
    reports: watch::Receiver<NodeReport>,
    fleet: watch::Receiver<FleetState>,
}

enum News {
    Report,
    Fleet,
}

impl Inputs {
    /// Cancel-safe. A sender that is gone has no more news.
    async fn next(&mut self) -> News {
        let (reports, fleet) = (&mut self.reports, &mut self.fleet);
        let reports = async {
            if reports.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let fleet = async {
            if fleet.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = reports => News::Report,
            () = fleet => News::Fleet,
        }
    }

    fn tell(&mut self, news: &News, state: &mut State, now: Duration) {
        match news {
            News::Fleet => state.fleet_changed(&self.fleet.borrow_and_update()),
            News::Report => {
                let report = self.reports.borrow_and_update().clone();
                state.report_changed(report, now, &rfc3339(SystemTime::now()));
            }
        }
    }
}

/// RFC 3339 time; a clock before 1970 or after 9999 is shown at that end.
fn rfc3339(time: SystemTime) -> String {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(LAST);
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_epoch).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_no_panic() {
        let day = Duration::from_secs(86_400);
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - day), "1970-01-01T00:00:00Z");
        assert_eq!(
            rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000)),
            "9999-12-31T23:59:59Z"
        );
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + day), "1970-01-02T00:00:00Z");
    }
}
