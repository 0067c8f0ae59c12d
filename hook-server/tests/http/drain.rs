//! How the server ends: in order, and with no call lost.

use std::time::Duration;

use serialfleet_hook::serve::Timing;
use tokio::{net::TcpStream, task::JoinSet};

use super::wire::{Options, Server};
use crate::fleet;

/// Longer than anything takes that is done meanwhile.
const DELAY: Duration = Duration::from_secs(600);

/// Nothing but the drain ends a connection.
fn draining(delay: Duration) -> Options {
    let timing = Timing {
        drain_delay: delay,
        drain_limit: Duration::from_millis(200),
        head: 3 * DELAY,
        next_request: 3 * DELAY,
        ..Timing::default()
    };
    Options { timing, ..Options::default() }
}

/// Has the delay pass: from here on the clock moves by itself when there is nothing left to do.
async fn pass_the_delay() {
    tokio::time::pause();
    tokio::time::advance(DELAY).await;
}

#[tokio::test]
async fn it_drains_in_order_and_a_half_sent_request_does_not_hold_it() {
    let mut server = Server::start(draining(DELAY)).await;
    let mut half = server.connect().await;
    half.send("POST /sync HTTP/1.1\r\nHost: x\r\n").await;
    assert_eq!(server.get("/readyz").await.code, 200);
    server.stop();
    // The listener is still there, only the probe says no.
    while server.get("/readyz").await.code != 503 {}
    assert_eq!(server.get("/livez").await.code, 200);
    assert_eq!(server.connect().await.post("/sync", "", &fleet()).await.code, 200);
    pass_the_delay().await;
    server.ended().await;
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// Callers keep their connections; while the server is going, each is told with an answer to use another one.
#[tokio::test]
async fn callers_are_sent_elsewhere_and_no_call_is_lost() {
    let mut server = Server::start(draining(DELAY)).await;
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let mut wire = server.connect().await;
        callers.spawn(async move {
            let mut calls = 0;
            loop {
                let answer = wire.post("/sync", "", &fleet()).await;
                assert_eq!(answer.code, 200, "after {calls} calls");
                calls += 1;
                if answer.header("connection") == Some("close") {
                    break calls;
                }
            }
        });
    }
    while server
        .get("/metrics")
        .await
        .body
        .lines()
        .all(|it| !it.starts_with("serialfleet_sync_seconds_count"))
    {}
    server.stop();
    while let Some(calls) = callers.join_next().await {
        assert!(calls.unwrap() > 0);
    }
    pass_the_delay().await;
    server.ended().await;
}

#[tokio::test]
async fn a_call_at_work_is_finished_after_the_listener_is_closed() {
    let mut options = draining(Duration::ZERO);
    options.timing.drain_limit = Duration::from_secs(20);
    let mut server = Server::start(options).await;
    let mut wire = server.connect().await;
    let body = fleet();
    let (first, second) = body.split_at(20);
    wire.send(super::wire::post("/sync", "", body.len())).await;
    wire.send(first).await;
    server.stop();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    wire.send(second).await;
    assert_eq!(wire.answer().await.code, 200);
    server.ended().await;
}
