//! The HTTP surface: what each call is answered, and how the server ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod http {
    mod drain;
    mod etag;
    mod limits;
    mod tls;
    mod wire;
}

use std::{sync::Arc, time::SystemTime};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use serialfleet_hook::{
    access::Access,
    app::{Readiness, Surface, app},
    config::{Config, Limits},
    metrics::Metrics,
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
    let gzip = Request::post("/sync").header("content-encoding", "gzip").body(Body::from("x")).unwrap();
    for (sentence, limits, request, code) in [
        ("another path", Limits::default(), post("/other", fleet()), 404),
        ("a hook by GET", Limits::default(), get("/sync"), 405),
        ("a probe by POST", Limits::default(), post("/livez", ""), 405),
        ("a body that is packed", Limits::default(), gzip, 415),
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
        let retry = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(retry.is_some(), code == 429, "{sentence}");
        assert!(retry.is_none_or(|seconds| (1..=3).contains(&seconds)), "{sentence}: {retry:?}");
        assert_eq!(response.headers().contains_key("allow"), code == 405, "{sentence}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{sentence}");
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

#[tokio::test]
async fn a_panic_beside_the_reactor_costs_one_call_and_one_line_too() {
    let app = app(
        Config::with_image("example/serialfleet:test"),
        Limits::default(),
        || panic!("no clock"),
        Readiness::default(),
    );
    let padding = "x".repeat(1 << 20);
    let body = fleet().replacen('{', &format!(r#"{{"news":"{padding}","#), 1);
    let (status, _, line) = call(app.clone(), post("/sync", body)).await;
    assert_eq!((status.as_u16(), line.as_str()), (500, "bug: the hook panicked, see its log\n"));
    let (_, _, text) = call(app, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert!(text.contains(r#"serialfleet_sync_calls_total{reason="Panic",code="500"} 1"#), "{text}");
}

/// `curl -d @request.json` replays what was captured.
#[tokio::test]
async fn the_content_type_is_no_matter() {
    let request =
        Request::post("/sync").header("content-type", "text/plain").body(Body::from(fleet())).unwrap();
    assert_eq!(call(router(Limits::default()), request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn calls_are_counted_by_outcome_those_too_that_are_sent_away() {
    let limits = |max_calls| Limits { rev: Some("7".to_owned()), max_calls, ..Limits::default() };
    let surface = |max_calls, metrics| Surface {
        config: Config::with_image("example/serialfleet:test"),
        limits: limits(max_calls),
        clock: || SystemTime::UNIX_EPOCH,
        ready: Readiness::default(),
        access: Access::default(),
        metrics,
        witness: None,
    };
    let metrics = Arc::new(Metrics::new(Some("7")));
    let router = surface(1, Arc::clone(&metrics)).router();
    call(router.clone(), post("/sync?rev=7", fleet())).await;
    call(router.clone(), post("/sync?rev=7", "{}")).await;
    call(router.clone(), post("/sync?rev=7", fleet().replace("spec", "specs"))).await;
    call(surface(0, metrics).router(), post("/customize?rev=7", fleet())).await;
    let (_, _, text) = call(router, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    for line in [
        r#"serialfleet_sync_calls_total{reason="Answered",code="200"} 1"#,
        r#"serialfleet_sync_calls_total{reason="Envelope",code="400"} 1"#,
        r#"serialfleet_sync_calls_total{reason="Parent",code="422"} 1"#,
        r#"serialfleet_customize_calls_total{reason="TooMany",code="429"} 1"#,
        "serialfleet_sync_seconds_count 3",
        "serialfleet_sync_request_bytes_count 3",
        "serialfleet_sync_response_bytes_count 3",
        "serialfleet_rejected_specs_total 1",
        r#"serialfleet_fleet_syncs_total{fleet="home"} 2"#,
        r#"serialfleet_devices{state="Absent"} 1"#,
        &format!(r#"serialfleet_hook_build_info{{version="{}",rev="7"}} 1"#, env!("CARGO_PKG_VERSION")),
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
