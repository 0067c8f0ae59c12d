//! What is remembered, and that it stays within its bounds.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::calls::Subject;

/// Each call comes a while after the one before.
fn clock() -> SystemTime {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(SECONDS.fetch_add(10, Ordering::Relaxed))
}

fn call(fleet: &str, request: usize, answer: usize) -> Call {
    Call {
        hook: Hook::Sync,
        code: 200,
        reason: "Answered",
        refusal: None,
        subject: Some(Arc::new(Subject { fleet: fleet.to_owned(), ..Subject::default() })),
        unchanged: None,
        bytes_in: request,
        bytes_out: answer,
        time: Duration::from_millis(1),
        work: Some(Duration::from_millis(1)),
        request: Bytes::from(vec![b'x'; request]),
        answer: Some(Bytes::from(vec![b'y'; answer])),
    }
}

#[test]
fn only_the_last_calls_are_remembered_newest_first() {
    let journal = Journal::new(BYTES, clock);
    let witness = journal.witness();
    for number in 0..CALLS + 3 {
        witness(&call(&format!("fleet-{number}"), 1, 1));
    }
    let snapshot = journal.snapshot();
    let numbers: Vec<u64> = snapshot.calls.iter().map(|it| it.number).collect();
    assert_eq!(numbers, (4..=CALLS as u64 + 3).rev().collect::<Vec<_>>());
    assert_eq!((snapshot.fleets.len(), snapshot.forgotten), (FLEETS, (CALLS + 3 - FLEETS) as u64));
}

#[test]
fn bodies_stay_within_their_bound_and_the_newest_stay() {
    let journal = Journal::new(100, clock);
    let witness = journal.witness();
    for (fleet, request, answer, kept) in [
        ("a", 30, 10, "a"),
        ("b", 30, 10, "ab"),
        ("c", 30, 10, "bc"),
        ("b", 60, 30, "b"),
        // Larger than all: it alone is not kept, the others are.
        ("d", 90, 20, "b"),
        ("b", 90, 20, ""),
    ] {
        witness(&call(fleet, request, answer));
        let snapshot = journal.snapshot();
        let with = snapshot.fleets.iter().filter(|it| it.bodies.is_some());
        assert_eq!(with.map(|it| it.name.as_str()).collect::<String>(), kept, "{fleet} {request}");
        assert!(snapshot.bytes <= 100);
    }
}

#[test]
fn the_same_request_again_is_no_news_and_what_never_came_in_leaves_all_as_it_was() {
    let journal = Journal::new(BYTES, clock);
    let witness = journal.witness();
    witness(&call("a", 5, 5));
    witness(&Call { unchanged: Some(Unchanged::Request), answer: None, ..call("a", 5, 0) });
    witness(&Call { work: None, answer: None, code: 429, ..call("a", 0, 0) });
    witness(&Call { hook: Hook::Customize, ..call("a", 9, 9) });
    let fleet = journal.fleet("a").unwrap();
    assert_eq!((fleet.number, fleet.bodies.unwrap().answer.unwrap().len()), (1, 5));
    assert_eq!(journal.snapshot().calls.len(), 4);
    // A refusal is what its last request got: it is to be seen, and replayed.
    let refusal = Some("no".to_owned());
    witness(&Call { code: 422, refusal, answer: None, ..call("a", 7, 0) });
    let bodies = journal.fleet("a").unwrap().bodies.unwrap();
    assert_eq!((bodies.request.len(), bodies.answer, bodies.refusal.as_deref()), (7, None, Some("no")));
    assert!(journal.0.state.lock().unwrap().fleets.take_waiting().is_none());
}

#[test]
fn of_several_answers_to_one_fleet_the_last_is_looked_at_and_repeats_are_counted() {
    let journal = Journal::new(BYTES, clock);
    let witness = journal.witness();
    witness(&call("a", 1, 1));
    witness(&call("a", 2, 2));
    let writes = |numbers: &[u64]| numbers.iter().map(|it| (*it, it.to_string())).collect::<Vec<_>>();
    let job = journal.wait().unwrap();
    assert_eq!((job.number, job.request.len()), (2, 2));
    assert!(journal.predicted(&job, "1 changed".to_owned(), writes(&[7, 8])).is_empty());
    assert_eq!(journal.snapshot().calls[0].predicted.as_deref(), Some("1 changed"));
    for (now, again) in
        [(&[7, 9][..], vec![(2, "7")]), (&[7, 8], vec![(3, "7")]), (&[9], vec![]), (&[7], vec![])]
    {
        witness(&call("a", 3, 3));
        let job = journal.wait().unwrap();
        let found = journal.predicted(&job, String::new(), writes(now));
        let again: Vec<_> = again.into_iter().map(|(count, name)| (count, name.to_owned())).collect();
        assert_eq!(found, again, "{now:?}");
    }
    assert_eq!(journal.fleet("a").unwrap().repeats.of(7), 1);
}

/// A fleet that comes up is synced again before Metacontroller's cache shows the last status write.
#[test]
fn what_is_predicted_again_before_it_can_be_seen_is_no_repeat() {
    let journal = Journal::new(BYTES, || SystemTime::UNIX_EPOCH);
    let witness = journal.witness();
    for _ in 0..5 {
        witness(&call("a", 1, 1));
        let job = journal.wait().unwrap();
        assert!(journal.predicted(&job, String::new(), vec![(7, "7".to_owned())]).is_empty());
    }
    assert_eq!(journal.fleet("a").unwrap().repeats.of(7), 1);
}

#[test]
fn whoever_waits_is_let_go() {
    let journal = Journal::new(BYTES, clock);
    let waiting = {
        let journal = journal.clone();
        std::thread::spawn(move || (journal.wait().is_none(), journal.rest(Duration::from_secs(3600))))
    };
    journal.close();
    assert!(waiting.join().unwrap().0);
}

#[test]
fn where_nobody_reads_it_bodies_stay_until_they_were_looked_at() {
    let journal = Journal::passing(BYTES, clock);
    let witness = journal.witness();
    witness(&call("a", 5, 5));
    assert_eq!(journal.snapshot().bytes, 10);
    assert_eq!(journal.wait().unwrap().request.len(), 5);
    assert_eq!(journal.snapshot().bytes, 0);
    witness(&Call { code: 422, answer: None, ..call("a", 5, 0) });
    assert_eq!(journal.snapshot().bytes, 0);
}
