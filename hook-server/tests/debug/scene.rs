//! A hook server with its debug surface, and recorded requests to call it with.

#![allow(dead_code, reason = "each of the tests that share it uses a part")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    http::{Request, header},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use serialfleet_hook::{
    access::Access,
    app::{Readiness, Surface},
    config::{Config, Limits},
    debug::{Replica, router},
    foresight::look,
    journal::Journal,
    merge::{self, LAST_APPLIED},
    metrics::Metrics,
};
use tower::ServiceExt;

pub(crate) struct Scene {
    pub(crate) hook: Router,
    pub(crate) debug: Router,
    journal: Journal,
    metrics: Arc<Metrics>,
}

fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_266_000)
}

/// The journal's: each call comes a while after the one before.
fn passing() -> SystemTime {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    clock() + Duration::from_secs(SECONDS.fetch_add(10, Ordering::Relaxed))
}

impl Scene {
    /// A server that keeps bodies of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let (journal, metrics) = (Journal::new(bytes, passing), Arc::new(Metrics::new(Some("7"))));
        let surface = Surface {
            config: Config::with_image("example/serialfleet:test"),
            limits: Limits::default(),
            clock,
            ready: Readiness::default(),
            access: Access::default(),
            metrics: Arc::clone(&metrics),
            witness: Some(journal.witness()),
        };
        let replica = Replica {
            hostname: "serialfleet-hook-7d9c-x2x4q".to_owned(),
            rev: Some("7".to_owned()),
            started: clock() - Duration::from_secs(5 * 3600),
        };
        let debug = router(journal.clone(), replica, clock, true);
        Self { hook: surface.router(), debug, journal, metrics }
    }

    /// Calls the sync hook, and lets the answer be looked at.
    pub(crate) async fn sync(&self, request: &Value) -> (u16, Value) {
        let request = Request::post("/sync").body(Body::from(request.to_string())).unwrap();
        let response = self.hook.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if parts.status == 200 {
            let job = self.journal.wait().unwrap();
            look(&job, &self.journal, &self.metrics);
        }
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Code, headers as text, body.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        get(self.debug.clone(), path, headers).await
    }

    /// What the hook server counts.
    pub(crate) async fn metrics(&self) -> String {
        get(self.hook.clone(), "/metrics", &[]).await.2
    }
}

async fn get(router: Router, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let mut request = Request::get(path).header(header::HOST, "127.0.0.1:8081");
    for (name, value) in headers {
        request.headers_mut().unwrap().remove(*name);
        request = request.header(*name, *value);
    }
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), format!("{:?}", parts.headers), String::from_utf8(body.to_vec()).unwrap())
}

/// A recorded request, of a fleet of this name.
pub(crate) fn recorded(case: &str, fleet: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join("request.json");
    let text = std::fs::read_to_string(file).unwrap().replace("home", fleet);
    let mut request: Value = serde_json::from_str(&text).unwrap();
    // They were recorded without the label that Metacontroller has in its memory as well.
    let uid = request["parent"]["metadata"]["uid"].clone();
    for objects in request["children"].as_object_mut().unwrap().values_mut() {
        for child in objects.as_object_mut().unwrap().values_mut() {
            let annotation = &mut child["metadata"]["annotations"][LAST_APPLIED];
            let mut last: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
            last["metadata"]["labels"]["controller-uid"] = uid.clone();
            *annotation = json!(merge::to_string(&last));
        }
    }
    request
}

/// A request in which everybody who can does harm: the bridge, whoever writes objects, and credentials that lie about.
pub(crate) fn hostile() -> Value {
    let mut request = recorded("moved", "shed");
    let evil = "<script>document.title='owned'</script>\u{202e}gnp\u{0}&amp;\"'";
    request["related"]["SerialNode.serialfleet.io/v1alpha1"]["shed.wyse-2"]["ports"] = json!([
        {"name": "zigbee", "state": "Serving", "tty": evil, "reason": evil, "message": evil,
         "warnings": [{"reason": evil, "message": "<img src=x onerror=alert(1)>"}]},
        {"name": "zwave", "state": evil, "tty": evil, "message": "m".repeat(5000)},
    ]);
    let service = &mut request["children"]["Service.v1"]["iot-system/zigbee"]["metadata"];
    service["labels"]["serialfleet.io/device"] = json!(evil);
    service["annotations"]["serialfleet.io/note"] = json!("hunter2-".repeat(4000));
    request["controller"]["metadata"]["annotations"] = json!({"copy": "hunter2"});
    let webhook = &mut request["controller"]["spec"]["hooks"]["sync"]["webhook"];
    webhook["url"] = json!("http://me:hunter2@hook/sync?rev=7");
    webhook["authorization"] = json!({"credentials": {"name": "hunter2", "key": "hunter2"}});
    request
}
