//! The debug surface: what the page and its JSON say, what can be downloaded and replayed, and what never comes out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod debug {
    pub(crate) mod scene;
}

use debug::scene::{Scene, hostile, recorded};
use serde_json::{Value, json};

const HTML: [(&str, &str); 1] = [("accept", "text/html,application/xhtml+xml,*/*")];

async fn json(scene: &Scene) -> Value {
    let (code, _, body) = scene.get("/debug.json", &[]).await;
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_page_stands_alone_and_says_which_replica_it_is() {
    let scene = Scene::new(8 << 20);
    for called in [false, true] {
        if called {
            scene.sync(&recorded("served", "home")).await;
        }
        let (code, headers, page) = scene.get("/debug", &HTML).await;
        assert_eq!(code, 200);
        for text in ["serialfleet-hook-7d9c-x2x4q", "split between the replicas", env!("CARGO_PKG_VERSION")] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(headers.contains("default-src 'none'") && headers.contains("no-store"), "{headers}");
        // Nothing is fetched from anywhere, and nothing runs.
        for text in ["<script", "http://", "https://", "src=", "@import", "url("] {
            let own = page.replace("http://127.0.0.1:808", "");
            assert!(!own.contains(text), "{text}: {page}");
        }
    }
}

#[tokio::test]
async fn who_asks_for_json_gets_the_same_as_data() {
    let scene = Scene::new(8 << 20);
    scene.sync(&recorded("rival", "home")).await;
    let view = json(&scene).await;
    let (_, headers, same) = scene.get("/debug", &[("accept", "application/json")]).await;
    assert!(headers.contains("application/json"));
    assert_eq!(serde_json::from_str::<Value>(&same).unwrap(), view);
    let fleet = &view["fleets"][0];
    assert_eq!(fleet["name"], "home");
    let zigbee = &fleet["devices"][0];
    assert_eq!((&zigbee["name"], &zigbee["state"]), (&json!("zigbee"), &json!("Serving")));
    let explanation = zigbee["explanation"].as_str().unwrap();
    assert!(explanation.contains("Who says what") && explanation.contains("Decision"), "{explanation}");
    let conditions: Vec<&str> =
        fleet["conditions"].as_array().unwrap().iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert!(conditions.contains(&"Ready") && conditions.contains(&"Stalled"), "{conditions:?}");
    let call = &view["calls"][0];
    for (field, value) in [("hook", json!("sync")), ("code", json!(200)), ("fleet", json!("home"))] {
        assert_eq!(call[field], value);
    }
    for field in ["microseconds", "bytesIn", "bytesOut", "childrenObserved"] {
        assert!(call[field].as_u64().unwrap() > 0, "{field}");
    }
    assert_eq!(view["replica"]["rev"], "7");
}

#[tokio::test]
async fn what_is_downloaded_can_be_replayed_and_gives_the_same_answer() {
    let scene = Scene::new(8 << 20);
    for request in [recorded("moved", "home"), recorded("scope_node", "barn"), hostile()] {
        let fleet = request["parent"]["metadata"]["name"].as_str().unwrap();
        let (code, answer) = scene.sync(&request).await;
        assert_eq!(code, 200);
        let (code, headers, body) = scene.get(&format!("/debug/fleets/{fleet}/request.json"), &[]).await;
        assert_eq!(code, 200);
        assert!(headers.contains(&format!("{fleet}-request.json")), "{headers}");
        let (_, _, told) = scene.get(&format!("/debug/fleets/{fleet}/answer.json"), &[]).await;
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), answer);
        let replayed = scene.sync(&serde_json::from_str(&body).unwrap()).await;
        assert_eq!(replayed, (200, answer), "{fleet}");
    }
    let (code, _, body) = scene.get("/debug/fleets/nowhere/request.json", &[]).await;
    assert_eq!((code, body.lines().count()), (404, 1));
}

#[tokio::test]
async fn hostile_texts_stay_text_and_credentials_stay_away() {
    let scene = Scene::new(8 << 20);
    scene.sync(&hostile()).await;
    let (_, _, page) = scene.get("/debug", &HTML).await;
    let (_, _, json) = scene.get("/debug.json", &[]).await;
    let (_, _, request) = scene.get("/debug/fleets/shed/request.json", &[]).await;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    assert!(!page.contains("<img"), "{page}");
    for (what, text) in [("page", &page), ("json", &json)] {
        assert!(!text.contains('\u{202e}') && !text.contains('\0'), "{what}");
        assert!(text.contains("u{202e}"), "{what}");
    }
    for (what, text) in [("page", &page), ("json", &json), ("request", &request)] {
        // The annotation is bounded, not hidden: it may be anybody's.
        let hidden = text.replace("hunter2-", "");
        assert!(!hidden.contains("hunter2"), "{what}");
        assert!(text.len() < 200_000, "{what}: {}", text.len());
    }
}

#[tokio::test]
async fn the_same_write_again_and_again_is_called_a_hot_loop() {
    let scene = Scene::new(8 << 20);
    let mut request = recorded("moved", "home");
    for calls in 1..=3_u32 {
        request["children"]["EndpointSlice.discovery.k8s.io/v1"]["iot-system/zigbee-ipv4"]["metadata"]["resourceVersion"] =
            json!(format!("9{calls}"));
        scene.sync(&request).await;
        let view = json(&scene).await;
        let predicted = &view["fleets"][0]["predicted"];
        assert_eq!(predicted["hot"], calls == 3, "{predicted}");
        let change = predicted["changes"].as_array().unwrap().iter();
        let slice = change.clone().find(|it| it["object"] == "EndpointSlice iot-system/zigbee-ipv4").unwrap();
        assert_eq!(slice["callsInARow"], calls);
        let path = &slice["paths"][0];
        assert_eq!(
            (&path["path"], &path["callsInARow"]),
            (&json!("endpoints[0].addresses[0]"), &json!(calls))
        );
        let (_, _, page) = scene.get("/debug", &HTML).await;
        assert_eq!(page.contains("Hot loop"), calls == 3);
        assert_eq!(page.contains(&format!("the same in {calls} calls in a row")), calls > 1);
    }
    let text = scene.metrics().await;
    for line in [
        "serialfleet_hot_loops_total 1",
        "serialfleet_predictions_total 3",
        r#"serialfleet_predicted_changes_total{kind="EndpointSlice",action="Update"} 3"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn what_was_refused_or_had_no_room_says_so() {
    let scene = Scene::new(8 << 20);
    let mut request = recorded("served", "home");
    request["parent"]["spec"]["devices"] = json!("none");
    assert_eq!(scene.sync(&request).await.0, 422);
    let view = json(&scene).await;
    let trouble = view["fleets"][0]["trouble"].as_str().unwrap();
    assert!(trouble.contains("refused") && trouble.contains("spec"), "{trouble}");
    assert_eq!(view["calls"][0]["code"], 422);
    let (code, _, body) = scene.get("/debug/fleets/home/answer.json", &[]).await;
    assert!(code == 404 && body.contains("refused"), "{body}");
    let small = Scene::new(1000);
    let call = axum::http::Request::post("/sync").body(recorded("served", "home").to_string()).unwrap();
    tower::ServiceExt::oneshot(small.hook.clone(), call.map(axum::body::Body::from)).await.unwrap();
    let view = json(&small).await;
    assert!(view["fleets"][0]["trouble"].as_str().unwrap().contains("--debug-memory"), "{view}");
    assert_eq!(view["bodyBytes"], 0);
}

#[tokio::test]
async fn only_who_names_this_machine_and_reads_is_answered() {
    let scene = Scene::new(8 << 20);
    for (host, code) in [
        ("127.0.0.1:8081", 200),
        ("localhost:9999", 200),
        ("[::1]:8081", 200),
        ("evil.example:8081", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ] {
        assert_eq!(scene.get("/debug", &[("host", host)]).await.0, code, "{host}");
    }
    assert_eq!(scene.get("/nowhere", &[]).await.0, 404);
    let (code, headers, _) = scene.get("/", &[]).await;
    assert!(code == 303 && headers.contains("/debug"), "{code} {headers}");
}
