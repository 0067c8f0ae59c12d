//! What is too slow, too large or too much, over a real socket: the caller always gets its answer, and never a reset
//! that Metacontroller would take for an outage.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serialfleet_hook::{config::Limits, metrics::Metrics, serve::Timing};

use super::wire::{Answer, Options, PATIENCE, Server, post};
use crate::fleet;

fn with(limits: Limits) -> Options {
    Options { limits, ..Options::default() }
}

fn is_line(answer: &Answer, code: u16) {
    assert_eq!(answer.code, code, "{answer:?}");
    assert!(answer.body.ends_with('\n') && answer.body.matches('\n').count() == 1, "{answer:?}");
    let retry = answer.header("retry-after").map(|it| it.parse::<u64>().unwrap());
    assert_eq!(retry.is_some_and(|it| it >= 1), code == 429, "{answer:?}");
}

async fn counted(server: &Server, line: &str) -> bool {
    server.get("/metrics").await.body.contains(line)
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_told_to_come_again() {
    let limits = Limits { call_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = Server::start(with(limits)).await;
    let mut wire = server.connect().await;
    wire.send(post("/sync", "", 1000)).await;
    wire.send("{\"parent\":").await;
    is_line(&wire.answer().await, 429);
    assert!(counted(&server, r#"serialfleet_sync_calls_total{reason="Slow",code="429"} 1"#).await);
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    let timing = Timing { head: Duration::from_millis(300), ..Timing::default() };
    let server = Server::start(Options { timing, ..Options::default() }).await;
    for sent in ["P", "POST /sy", "POST /sync HTTP/1.1\r\nHost: x\r\nContent-"] {
        let (mut fresh, mut kept) = (server.connect().await, server.connect().await);
        assert_eq!(kept.post("/sync", "", &fleet()).await.code, 200);
        for wire in [&mut fresh, &mut kept] {
            wire.send(sent).await;
            assert!(wire.ends().await, "{sent:?}");
        }
    }
}

#[tokio::test]
async fn an_idle_connection_ends_too_but_much_later() {
    let timing = Timing { next_request: Duration::from_millis(300), ..Timing::default() };
    let server = Server::start(Options { timing, ..Options::default() }).await;
    assert!(server.connect().await.ends().await);
    let mut wire = server.connect().await;
    assert_eq!(wire.post("/sync", "", &fleet()).await.code, 200);
    assert!(wire.ends().await);
}

#[test]
fn a_kept_connection_outlives_the_90_s_of_metacontrollers_pool() {
    let timing = Timing::default();
    assert!(timing.next_request > Duration::from_secs(90) && timing.head < timing.next_request);
    assert!(Limits::default().call_timeout < Duration::from_secs(10), "Metacontroller's own limit");
    assert_eq!(Limits::default().max_body_bytes, 64 << 20);
}

/// The whole of a large body is on its way when the answer is no; the connection serves the next call all the same.
#[tokio::test]
async fn who_is_sent_away_gets_the_answer_and_keeps_the_connection() {
    let large = "x".repeat(8 << 20);
    let rev = Limits { rev: Some("7".to_owned()), ..Limits::default() };
    for (limits, path, code) in [
        (Limits { max_calls: 0, ..Limits::default() }, "/sync", 429),
        (rev, "/sync", 400),
        (Limits { max_body_bytes: 1 << 20, ..Limits::default() }, "/sync", 413),
        (Limits::default(), "/sync", 400),
    ] {
        let server = Server::start(with(limits)).await;
        let mut wire = server.connect().await;
        for _ in 0..3 {
            is_line(&wire.post(path, "", &large).await, code);
        }
        assert_eq!(wire.call("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "").await.code, 200);
    }
}

/// A connection that is kept would lead to the same replica again.
#[tokio::test]
async fn a_call_for_another_revision_gets_the_answer_and_comes_on_another_connection() {
    let limits = Limits { rev: Some("7".to_owned()), ..Limits::default() };
    let server = Server::start(with(limits)).await;
    let answer = server.connect().await.post("/sync?rev=6", "", &"x".repeat(8 << 20)).await;
    is_line(&answer, 429);
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
}

#[tokio::test]
async fn who_asks_before_sending_need_not_send() {
    let server = Server::start(with(Limits { max_calls: 0, ..Limits::default() })).await;
    let mut wire = server.connect().await;
    wire.send(post("/sync", "Expect: 100-continue\r\n", 8 << 20)).await;
    is_line(&wire.answer().await, 429);
    let server = Server::start(Options::default()).await;
    let mut wire = server.connect().await;
    wire.send(post("/sync", "Expect: 100-continue\r\n", fleet().len())).await;
    assert_eq!(wire.answer().await.code, 100);
    wire.send(fleet()).await;
    assert_eq!(wire.answer().await.code, 200);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_read_up_to_the_limit() {
    let server = Server::start(with(Limits { max_body_bytes: 1 << 20, ..Limits::default() })).await;
    let head = "POST /sync HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let mut wire = server.connect().await;
    let body = fleet();
    let (first, second) = body.split_at(50);
    wire.send(format!("{head}{}", chunk(first))).await;
    wire.send(format!("{}0\r\n\r\n", chunk(second))).await;
    assert_eq!(wire.answer().await.code, 200);
    let filler = " ".repeat(300 << 10);
    wire.send(head).await;
    for _ in 0..4 {
        wire.send(chunk(&filler)).await;
    }
    wire.send("0\r\n\r\n").await;
    is_line(&wire.answer().await, 413);
}

#[tokio::test]
async fn bodies_share_one_room_and_what_finds_none_comes_again() {
    let limits = Limits {
        max_body_bytes: 1 << 20,
        max_body_memory: 1 << 20,
        call_timeout: Duration::from_secs(20),
        ..Limits::default()
    };
    let server = Server::start(with(limits)).await;
    let body = format!("{}{}", fleet(), " ".repeat((1 << 20) - fleet().len()));
    let (mut slow, mut other) = (server.connect().await, server.connect().await);
    slow.send(post("/sync", "", body.len())).await;
    slow.send(&body.as_bytes()[..100]).await;
    // Until the first has its room, there is room for this one.
    let start = Instant::now();
    loop {
        let answer = other.post("/sync", "", &body).await;
        if answer.code == 429 {
            is_line(&answer, 429);
            assert!(answer.body.contains("large bodies"), "{answer:?}");
            break;
        }
        assert!(start.elapsed() < PATIENCE);
    }
    slow.send(&body.as_bytes()[100..]).await;
    assert_eq!(slow.answer().await.code, 200);
    assert_eq!(other.post("/sync", "", &body).await.code, 200, "the room is given back");
    assert!(counted(&server, r#"serialfleet_sync_calls_total{reason="NoRoom",code="429"} 1"#).await);
}

#[tokio::test]
async fn a_caller_that_goes_away_is_counted_and_gives_its_room_back() {
    let limits =
        Limits { max_body_bytes: 1 << 20, max_body_memory: 1 << 20, max_calls: 1, ..Limits::default() };
    let server = Server::start(with(limits)).await;
    let mut gone = server.connect().await;
    gone.send(post("/sync", "", 1 << 20)).await;
    gone.send("{").await;
    drop(gone);
    let start = Instant::now();
    let over =
        |text: &str| text.contains(r#"reason="Abandoned",code="499""#) || text.contains(r#"reason="Body""#);
    while !over(&server.get("/metrics").await.body) {
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(server.connect().await.post("/sync", "", &fleet()).await.code, 200);
}

#[tokio::test]
async fn many_calls_at_once_are_all_answered_and_too_many_are_told_so() {
    for (max_calls, callers, refused) in [(64, 48, false), (2, 48, true)] {
        let metrics = Arc::new(Metrics::default());
        let limits = Limits { max_calls, ..Limits::default() };
        let server = Server::start(Options { metrics: Arc::clone(&metrics), ..with(limits) }).await;
        let body = fleet().replacen('{', &format!(r#"{{"news":"{}","#, "x".repeat(1 << 20)), 1);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..callers {
            let (mut wire, body) = (server.connect().await, body.clone());
            tasks.spawn(async move { wire.post("/sync", "", &body).await });
        }
        let mut codes = Vec::new();
        while let Some(answer) = tasks.join_next().await {
            let answer = answer.unwrap();
            if answer.code != 200 {
                is_line(&answer, 429);
            }
            codes.push(answer.code);
        }
        assert!(codes.contains(&200));
        assert_eq!(codes.contains(&429), refused, "{codes:?}");
        let sent_away = codes.iter().filter(|it| **it == 429).count();
        let line = format!(r#"serialfleet_sync_calls_total{{reason="TooMany",code="429"}} {sent_away}"#);
        assert_eq!(metrics.text().unwrap().contains(&line), refused, "counted as every other call");
    }
}
