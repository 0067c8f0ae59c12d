//! The HTTP surface: what each call is answered, and how the server ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use serialfleet_hook::{
    app::{Readiness, app},
    config::{Config, Limits},
    serve::{Timing, bind, serve},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};
use tower::ServiceExt;

fn router(limits: Limits) -> Router {
    app(
        Config::with_image("example/serialfleet:test"),
        limits,
        || SystemTime::UNIX_EPOCH,
        Readiness::default(),
    )
}

fn fleet() -> String {
    json!({"parent": {"kind": "SerialFleet", "metadata": {"name": "home", "generation": 1}, "spec": {"devices": [
        {"name": "zigbee", "match": {"usb": "10c4:ea60"}}]}}})
    .to_string()
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

async fn call(router: Router, request: Request<Body>) -> (StatusCode, Response<()>, String) {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status, Response::from_parts(parts, ()), text)
}

#[tokio::test]
async fn sync_and_customize_answer_json() {
    for (path, key) in [("/sync", "children"), ("/customize", "relatedResources")] {
        let (status, response, body) = call(router(Limits::default()), post(path, fleet())).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        assert_eq!(response.headers()["content-type"], "application/json");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(!body[key].as_array().unwrap().is_empty());
    }
}

#[tokio::test]
async fn finalizing_is_answered_on_the_sync_route_and_takes_no_child_away() {
    let body = fleet().replacen('{', r#"{"finalizing":true,"#, 1);
    let (_, _, finalize) = call(router(Limits::default()), post("/sync", body)).await;
    let (_, _, sync) = call(router(Limits::default()), post("/sync", fleet())).await;
    let (finalize, sync): (Value, Value) =
        (serde_json::from_str(&finalize).unwrap(), serde_json::from_str(&sync).unwrap());
    assert_eq!(finalize["finalized"], true);
    assert_eq!(finalize["children"], sync["children"]);
    // Metacontroller honours this field even in an answer to sync: it must not be there.
    assert_eq!(sync.get("finalized"), None);
}

#[tokio::test]
async fn what_is_no_hook_call_gets_its_code_and_one_short_line() {
    let small = Limits { max_body_bytes: 1000, ..Limits::default() };
    let rev = Limits { rev: Some("7".to_owned()), ..Limits::default() };
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    for (sentence, limits, request, code) in [
        ("another path", Limits::default(), post("/other", fleet()), 404),
        ("a hook by GET", Limits::default(), get("/sync"), 405),
        ("a probe by POST", Limits::default(), post("/livez", ""), 405),
        ("no JSON", Limits::default(), post("/sync", "hello\nworld"), 400),
        ("no body", Limits::default(), post("/sync", ""), 400),
        ("JSON cut short", Limits::default(), post("/sync", fleet().as_bytes()[..40].to_vec()), 400),
        ("no parent", Limits::default(), post("/sync", "{}"), 400),
        ("no parent to customize", Limits::default(), post("/customize", "{}"), 400),
        (
            "a parent without spec",
            Limits::default(),
            post("/sync", r#"{"parent":{"metadata":{"name":"x"}}}"#),
            422,
        ),
        ("too large", small, post("/sync", "x".repeat(1001)), 413),
        ("another revision", rev.clone(), post("/sync?rev=6", fleet()), 429),
        ("another revision to customize", rev.clone(), post("/customize?rev=%37%37", fleet()), 429),
        ("no revision", rev, post("/sync", fleet()), 400),
        ("no call at once", Limits { max_calls: 0, ..Limits::default() }, post("/sync", fleet()), 429),
    ] {
        let (status, response, body) = call(router(limits), request).await;
        assert_eq!(status.as_u16(), code, "{sentence}: {body}");
        assert_eq!(body.matches('\n').count(), 1, "{sentence}: {body:?}");
        assert!(body.ends_with('\n') && body.len() > 5 && body.len() < 500, "{sentence}: {body:?}");
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(retry, (code == 429).then_some("1"), "{sentence}");
    }
}

#[tokio::test]
async fn its_own_revision_is_served_and_without_one_any_is() {
    for rev in [Some("v1 x".to_owned()), None] {
        let (status, _, body) =
            call(router(Limits { rev, ..Limits::default() }), post("/sync?rev=v1%20x", fleet())).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

#[tokio::test]
async fn a_body_of_several_megabytes_is_no_trouble() {
    let padding = "x".repeat(3 << 20);
    let body = fleet().replacen('{', &format!(r#"{{"news":"{padding}","#), 1);
    let (status, _, body) = call(router(Limits::default()), post("/sync", body)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

#[tokio::test]
async fn a_clock_that_panics_costs_one_call_and_one_line() {
    let app = app(
        Config::with_image("example/serialfleet:test"),
        Limits::default(),
        || panic!("no clock"),
        Readiness::default(),
    );
    let (status, _, body) = call(app.clone(), post("/sync", fleet())).await;
    assert_eq!((status, body.lines().count()), (StatusCode::INTERNAL_SERVER_ERROR, 1), "{body}");
    let (status, ..) = call(app, Request::get("/livez").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
}

/// `curl -d @request.json` replays what was captured.
#[tokio::test]
async fn the_content_type_is_no_matter() {
    let request =
        Request::post("/sync").header("content-type", "text/plain").body(Body::from(fleet())).unwrap();
    assert_eq!(call(router(Limits::default()), request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn calls_are_counted_by_outcome() {
    let router = router(Limits::default());
    call(router.clone(), post("/sync", fleet())).await;
    call(router.clone(), post("/sync", "{}")).await;
    let (_, _, text) = call(router, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    for line in [
        r#"serialfleet_sync_calls_total{reason="Answered"} 1"#,
        r#"serialfleet_sync_calls_total{reason="Envelope"} 1"#,
        "serialfleet_sync_seconds_count 1",
        "serialfleet_sync_request_bytes_count 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

/// A real listener: answers, becomes unready, still answers, and ends although a request was only half sent.
#[tokio::test]
async fn it_drains_in_order_and_a_half_sent_request_does_not_hold_it() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Readiness::default();
    let app = app(
        Config::with_image("example/serialfleet:test"),
        Limits::default(),
        || SystemTime::UNIX_EPOCH,
        ready.clone(),
    );
    let (end, ended) = oneshot::channel::<()>();
    let timing = Timing {
        drain_delay: Duration::from_secs(1),
        drain_limit: Duration::from_millis(200),
        ..Timing::default()
    };
    let mut server = pin!(serve(listener, app, ready, timing, async {
        ended.await.unwrap();
    }));
    let client = async {
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"POST /sync HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        assert!(exchange(address, "GET /readyz HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        end.send(()).unwrap();
        // The listener is still there, only the probe says no.
        loop {
            if exchange(address, "GET /readyz HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503") {
                break;
            }
        }
        let body = fleet();
        let request = format!(
            "POST /sync HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert!(exchange(address, &request).await.starts_with("HTTP/1.1 200"));
        half
    };
    let both = async {
        let mut client = pin!(client);
        let half = tokio::select! {
            () = &mut server => panic!("it ended too early"),
            half = &mut client => half,
        };
        server.await;
        drop(half);
    };
    timeout(Duration::from_secs(30), both).await.expect("the server ends by itself");
    assert!(TcpStream::connect(address).await.is_err());
}

async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let request = request.replacen("\r\n", "\r\nHost: x\r\nConnection: close\r\n", 1);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
