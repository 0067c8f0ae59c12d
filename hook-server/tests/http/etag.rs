//! Unchanged answers. The property first: whatever happens in whatever order, what Metacontroller then holds is what a
//! fresh computation gives.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use serialfleet_hook::{
    app::{Readiness, app},
    config::{Config, Limits},
    etag::depends_on_clock,
    request::SyncRequest,
    sync::respond,
};
use tower::ServiceExt;

use super::wire::{Options, Server};

const CASES: [&str; 6] =
    ["served", "conflict", "first_sync", "held", "scope_node", "bridges_ready_no_device"];
const START: u64 = 1_795_250_520;

fn recorded(case: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join("request.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn replica(config: &Config, clock: fn() -> SystemTime) -> Router {
    app(config.clone(), Limits::default(), clock, Readiness::default())
}

/// What comes back: code, tag, body.
async fn call(
    replica: &Router,
    path: &str,
    body: &str,
    known: Option<&str>,
) -> (u16, Option<String>, String) {
    let mut request = Request::post(path);
    if let Some(known) = known {
        request = request.header("if-none-match", known);
    }
    let answer = replica.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let tag = answer.headers().get("etag").map(|it| it.to_str().unwrap().to_owned());
    let code = answer.status().as_u16();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    (code, tag, String::from_utf8(text.to_vec()).unwrap())
}

/// The request after the one whose answer's status was stored.
fn stored(mut request: Value, answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let generation = request["parent"]["metadata"]["generation"].clone();
    request["parent"]["status"] = answer["status"].clone();
    request["parent"]["status"]["observedGeneration"] = generation;
    request
}

/// A fleet that came to rest a minute ago: its answer has a tag.
async fn at_rest(replica: &Router) -> (String, String, String) {
    let request = recorded("served");
    let parsed = SyncRequest::parse(request.to_string().as_bytes()).unwrap();
    let first = respond(&parsed, &Config::with_image("a"), now() - Duration::from_secs(60));
    let request = stored(request, &serde_json::to_string(&first).unwrap()).to_string();
    let (code, tag, answer) = call(replica, "/sync", &request, None).await;
    assert_eq!(code, 200, "{answer}");
    (request, tag.expect("a fleet at rest has a tag"), answer)
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START)
}

/// As [`now`], later by the whole time that has passed in the test of its name.
static PASSED: AtomicU64 = AtomicU64::new(0);

fn passing() -> SystemTime {
    now() + Duration::from_secs(PASSED.load(Ordering::Relaxed))
}

#[derive(Clone, Debug)]
struct Step {
    case: usize,
    version: u8,
    uid: u8,
    replica: usize,
    /// Metacontroller's status write, from the last answer.
    stores: bool,
    passes: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let passes = prop_oneof![Just(0), Just(1), 0..100_000_u64];
    (0..CASES.len(), 0..3_u8, 0..2_u8, 0..4_usize, any::<bool>(), passes).prop_map(
        |(case, version, uid, replica, stores, passes)| Step { case, version, uid, replica, stores, passes },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two replicas, one with other flags, one that restarts all the time; fleets that change their state, their
    /// resource version, their uid under the same name; time that passes or does not.
    #[test]
    fn what_is_replayed_is_what_would_be_computed_now(steps in proptest::collection::vec(step(), 1..40)) {
        PASSED.store(0, Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let flags = [Config::with_image("a"), Config::with_image("a"), Config::with_image("b"), Config::with_image("a")];
        let mut replicas: Vec<Router> = flags.iter().map(|flags| replica(flags, passing)).collect();
        // Metacontroller's: one entry per name.
        let mut cache: Option<(String, String)> = None;
        let mut last: Option<String> = None;
        let mut statuses: Vec<Value> = CASES.iter().map(|case| recorded(case)["parent"]["status"].clone()).collect();
        for step in steps {
            PASSED.fetch_add(step.passes, Ordering::Relaxed);
            replicas[3] = replica(&flags[3], passing);
            if let (true, Some(last)) = (step.stores, &last) {
                let answer: Value = serde_json::from_str(last).unwrap();
                statuses.fill(answer["status"].clone());
            }
            let mut request = recorded(CASES[step.case]);
            request["parent"]["metadata"]["resourceVersion"] = json!(step.version.to_string());
            request["parent"]["metadata"]["uid"] = json!(format!("uid-{}", step.uid));
            if !statuses[step.case].is_null() {
                request["parent"]["status"] = statuses[step.case].clone();
            }
            let request = request.to_string();
            let parsed = SyncRequest::parse(request.as_bytes()).unwrap();
            let fresh = serde_json::to_string(&respond(&parsed, &flags[step.replica], passing())).unwrap();
            let known = cache.as_ref().map(|(tag, _)| tag.as_str());
            let (code, tag, body) = runtime.block_on(call(&replicas[step.replica], "/sync", &request, known));
            let taken = match code {
                304 => {
                    prop_assert!(body.is_empty());
                    prop_assert_eq!(tag.as_deref(), known);
                    cache.as_ref().unwrap().1.clone()
                }
                code => {
                    prop_assert_eq!(code, 200);
                    if let Some(tag) = tag {
                        cache = Some((tag, body.clone()));
                    }
                    body
                }
            };
            prop_assert_eq!(&taken, &fresh);
            last = Some(taken);
        }
    }
}

/// An answer that has a tag is the same at any later time: nobody would come again to see another one.
#[test]
fn a_tagged_answer_is_the_same_at_any_later_time() {
    let config = Config::with_image("a");
    let mut tagged = 0;
    for case in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).unwrap() {
        let case = case.unwrap().file_name().into_string().unwrap();
        let mut request = recorded(&case);
        for minutes in [0, 1, 10, 60, 600] {
            let at = now() + Duration::from_secs(60 * minutes);
            let parsed = SyncRequest::parse(request.to_string().as_bytes()).unwrap();
            let response = respond(&parsed, &config, at);
            let answer = serde_json::to_string(&response).unwrap();
            if !depends_on_clock(&response.status, response.resync_after_seconds, at) {
                tagged += 1;
                for seconds in [1, 60, 3600, 86_400, 315_360_000] {
                    let later = respond(&parsed, &config, at + Duration::from_secs(seconds));
                    assert_eq!(answer, serde_json::to_string(&later).unwrap(), "{case}, {seconds} s later");
                }
            }
            request = stored(request, &answer);
        }
    }
    assert!(tagged > 20, "{tagged}");
}

#[tokio::test]
async fn an_unchanged_answer_costs_no_bytes() {
    let config = Config::with_image("a");
    let one = replica(&config, now);
    let (request, tag, answer) = at_rest(&one).await;
    assert!(tag.len() == 34 && tag.starts_with('"') && tag.ends_with('"'), "strong and quoted: {tag}");
    let other_version = request.replace("resourceVersion\":\"", "resourceVersion\":\"9");
    assert_ne!(request, other_version);
    let moved = stored(recorded("conflict"), &answer).to_string();
    for (sentence, replica, request, known, code) in [
        ("the same request", &one, &request, tag.as_str(), 304),
        ("the same to the other replica", &replica(&config, now), &request, &tag, 304),
        ("after our own status write", &one, &other_version, &tag, 304),
        ("the same again", &one, &other_version, &tag, 304),
        ("another tag", &one, &request, "\"0\"", 200),
        ("another state", &one, &moved, &tag, 200),
        ("other flags", &replica(&Config::with_image("b"), now), &request, &tag, 200),
    ] {
        let (got, new, body) = call(replica, "/sync", request, Some(known)).await;
        assert_eq!((got, body.is_empty()), (code, code == 304), "{sentence}: {body}");
        if code == 304 {
            assert_eq!(new.as_deref(), Some(known), "{sentence}");
        }
    }
    let answer = one.oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
    let text = String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    for line in [
        r#"serialfleet_sync_unchanged_total{same="Request"} 2"#,
        r#"serialfleet_sync_unchanged_total{same="Answer"} 1"#,
        r#"serialfleet_sync_calls_total{reason="Answered",code="304"} 3"#,
        r#"serialfleet_fleet_syncs_total{fleet="home"} 6"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

/// Metacontroller would replay the request for another look, or an old transition time, for ever.
#[tokio::test]
async fn what_the_clock_had_a_part_in_has_no_tag() {
    let replica = replica(&Config::with_image("a"), now);
    for case in ["first_sync", "foreign_service", "namespace_missing"] {
        let first = recorded(case);
        let (_, tag, answer) = call(&replica, "/sync", &first.to_string(), None).await;
        assert_eq!(tag, None, "{case}: conditions flip");
        let second = stored(first, &answer).to_string();
        let (_, tag, answer) = call(&replica, "/sync", &second, None).await;
        assert_eq!(tag, None, "{case}");
        assert!(answer.contains("resyncAfterSeconds"), "{case}");
    }
}

#[tokio::test]
async fn customize_is_tagged_too() {
    let replica = replica(&Config::with_image("a"), now);
    let request = recorded("served").to_string();
    let (code, tag, _) = call(&replica, "/customize", &request, None).await;
    assert_eq!(code, 200);
    assert_eq!(call(&replica, "/customize", &request, tag.as_deref()).await.0, 304);
    // Nothing of one hook is taken for the other's.
    assert_eq!(call(&replica, "/sync", &request, tag.as_deref()).await.0, 200);
    let other = request.replace("zigbee", "zigbee-2");
    assert_eq!(
        call(&replica, "/customize", &other, tag.as_deref()).await.0,
        if other == request { 304 } else { 200 }
    );
}

#[tokio::test]
async fn on_the_wire_it_is_a_head_without_a_body_and_the_connection_goes_on() {
    let options = Options { clock: now, metrics: Arc::default(), ..Options::default() };
    let server = Server::start(options).await;
    let (request, ..) = at_rest(&replica(&Config::with_image("example/serialfleet:test"), now)).await;
    let mut wire = server.connect().await;
    let answer = wire.post("/sync", "", &request).await;
    let tag = answer.header("etag").unwrap().to_owned();
    for _ in 0..3 {
        let answer = wire.post("/sync", &format!("If-None-Match: {tag}\r\n"), &request).await;
        assert_eq!((answer.code, answer.header("etag")), (304, Some(tag.as_str())));
    }
    assert_eq!(wire.post("/sync", "", &request).await.code, 200);
}
