//! What Metacontroller itself asks and writes, for the driver's tests: with `SERIALFLEET_RECORD=DIRECTORY` and a
//! `METACONTROLLER`, the recordings in `tests/driver/tests/recorded/` are made anew.
//!
//! Owner: whoever updates them. It stands between Metacontroller and a hook server, and takes the writes from the
//! audit log.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use serialfleet_cluster::{control_plane::Options, families::Families, harness::say};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    apply_to_bytes::zigbee,
    lab::{Lab, SYSTEM, Strategy, real_metacontroller},
    settle::{METACONTROLLER, settle},
};

/// The variable that says where to.
pub(crate) const VARIABLE: &str = "SERIALFLEET_RECORD";

pub(crate) async fn of_dynamic_apply(directory: PathBuf) -> Result<()> {
    record(directory, Strategy::DynamicApply, "dynamic-apply.json").await
}

pub(crate) async fn of_server_side_apply(directory: PathBuf) -> Result<()> {
    record(directory, Strategy::ServerSideApply, "server-side-apply.json").await
}

const FLEET: &str = "
apiVersion: serialfleet.io/v1alpha1
kind: SerialFleet
metadata: {name: home}
spec:
  serviceNamespace: iot-system
  devices:
  - {name: zigbee, description: <the \"hall\" & more>, match: {usb: '10c4:ea60'}}
";

async fn record(directory: PathBuf, strategy: Strategy, file: &str) -> Result<()> {
    ensure!(real_metacontroller().is_some(), "only Metacontroller itself is worth recording: METACONTROLLER");
    let options = Options { audit_bodies_of: Some(METACONTROLLER.to_owned()), ..Options::default() };
    let lab = Lab::start_with(&directory, 2, strategy, options).await?;
    let recorder = Recorder::start(hook(&lab).await?).await?;
    let patch = |path: &str| {
        format!(
            "{{op: replace, path: /spec/hooks/{path}/webhook/url, value: 'http://{}/{path}?rev=0.1.0'}}",
            recorder.address
        )
    };
    let patches = format!("[{}, {}]", patch("sync"), patch("customize"));
    lab.kubectl()
        .run(&["patch", "compositecontroller", "serialfleet", "--type=json", "-p", &patches])
        .await?
        .success()?;
    let stick = lab.node(2).host().plug(zigbee())?;
    let mark = lab.audit().mark()?;

    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    lab.fleet_is_ready("home").await?;
    settle(&lab, QUIET).await?;
    // An edit, and another hand in our children.
    lab.kubectl().apply(&FLEET.replace("match:", "port: 6700, match:")).await?;
    settle(&lab, QUIET).await?;
    let foreign = json!({
        "metadata": {"labels": {"serialfleet.io/device": "other"}},
        "spec": {"ports": [{"name": "serial", "port": 6700, "targetPort": 1}], "selector": {"a": "b"}},
    });
    let patch = ["-n", "iot-system", "patch", "service", "zigbee", "-p", &foreign.to_string()];
    lab.kubectl().run(&patch).await?.success()?;
    settle(&lab, QUIET).await?;
    drop(stick);
    lab.no_endpoint("zigbee").await?;
    settle(&lab, QUIET).await?;
    lab.kubectl().apply(&FLEET.replace("name: zigbee", "name: radio")).await?;
    settle(&lab, QUIET).await?;

    let story = tell(recorder.calls(), lab.writes_since(mark)?);
    let target = PathBuf::from(env::var_os(VARIABLE).context(VARIABLE)?);
    fs::create_dir_all(&target)?;
    write(&target.join(file), &story)?;
    say(&format!("{} calls", story.len()));
    Ok(())
}

/// The address of one of the hook servers.
async fn hook(lab: &Lab) -> Result<SocketAddr> {
    let pods: Api<Pod> = Api::namespaced(lab.client.clone(), SYSTEM);
    let hooks = pods.list(&ListParams::default().labels("app.kubernetes.io/component=hook")).await?;
    let address =
        hooks.items.into_iter().next().and_then(|pod| pod.status?.pod_ip).context("a hook server")?;
    Ok(SocketAddr::new(address.parse()?, 8080))
}

/// Each call with the writes that came between its answer and the next call. Of the syncs that changed no child only
/// the last stays, and of what the API server answered only what Metacontroller remembers.
fn tell(calls: Vec<Call>, writes: Vec<serialfleet_cluster::audit::Write>) -> Vec<Value> {
    let mut writes = writes
        .into_iter()
        .filter(|write| write.user == METACONTROLLER && write.resource != "events")
        .peekable();
    let ends: Vec<Timestamp> = calls.iter().skip(1).map(|call| call.asked).collect();
    let last = calls.len().saturating_sub(1);
    let mut story = Vec::new();
    for (index, call) in calls.into_iter().enumerate() {
        let end = ends.get(index).copied().unwrap_or(Timestamp::MAX);
        let mut led_to = Vec::new();
        while let Some(write) = writes.next_if(|write| write.time < end) {
            led_to.push(json!({
                "verb": write.verb, "resource": write.resource, "subresource": write.subresource,
                "namespace": write.namespace, "name": write.name, "code": write.code,
                "request": write.request, "stored": write.response.as_ref().map(identity),
            }));
        }
        let to_children = led_to.iter().any(|write| write["resource"] != "serialfleets");
        if call.hook == "customize" || to_children || index == last {
            story.push(
                json!({"hook": call.hook, "request": call.request, "answer": call.answer, "writes": led_to}),
            );
        }
    }
    story
}

fn identity(stored: &Value) -> Value {
    let metadata = &stored["metadata"];
    json!({"metadata": {
        "uid": metadata["uid"], "generation": metadata["generation"], "resourceVersion": metadata["resourceVersion"],
    }})
}

/// One call to a line, so that changes can be looked at.
fn write(file: &Path, story: &[Value]) -> Result<()> {
    let lines: Vec<String> = story.iter().map(ToString::to_string).collect();
    fs::write(file, format!("[\n{}\n]\n", lines.join(",\n"))).with_context(|| file.display().to_string())
}

struct Call {
    hook: String,
    asked: Timestamp,
    /// As it came, byte for byte.
    request: String,
    answer: Value,
}

/// Stands between Metacontroller and the hook server.
struct Recorder {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Ends with its owner.
    _server: JoinSet<std::io::Result<()>>,
}

#[derive(Clone)]
struct Way {
    to: SocketAddr,
    client: Client<HttpConnector, Body>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Recorder {
    async fn start(to: SocketAddr) -> Result<Self> {
        let calls = Arc::default();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let listener = TcpListener::bind((Families::default().first_room(), 0)).await?;
        let address = listener.local_addr()?;
        let way = Way { to, client, calls: Arc::clone(&calls) };
        let mut server = JoinSet::new();
        server.spawn(axum::serve(listener, Router::new().fallback(pass).with_state(way)).into_future());
        Ok(Self { address, calls, _server: server })
    }

    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().expect("no holder panics"))
    }
}

async fn pass(State(way): State<Way>, request: Request) -> Response {
    match way.pass(request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

impl Way {
    async fn pass(&self, request: Request) -> Result<Response> {
        let asked = Timestamp::now();
        let (head, body) = request.into_parts();
        let body: Bytes = to_bytes(body, usize::MAX).await?;
        let hook = head.uri.path().trim_start_matches('/').to_owned();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{}{path}", self.to).parse()?;
        let mut onward = Request::builder().method(head.method).uri(uri);
        if let Some(headers) = onward.headers_mut() {
            pass_on(&head.headers, headers);
        }
        let answer = self.client.request(onward.body(Body::from(body.clone()))?).await?;
        let (head, answer) = answer.into_parts();
        let answer = to_bytes(Body::new(answer), usize::MAX).await?;
        if head.status == StatusCode::OK {
            let call = Call {
                hook,
                asked,
                request: String::from_utf8(body.to_vec())?,
                answer: serde_json::from_slice(&answer)?,
            };
            self.calls.lock().expect("no holder panics").push(call);
        }
        let mut response = Response::builder().status(head.status);
        if let Some(headers) = response.headers_mut() {
            pass_on(&head.headers, headers);
        }
        Ok(response.body(Body::from(answer))?)
    }
}

/// All but what belongs to one connection.
fn pass_on(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if !matches!(
            name.as_str(),
            "host" | "connection" | "content-length" | "transfer-encoding" | "if-none-match"
        ) {
            to.insert(name, value.clone());
        }
    }
}

/// Short: this is not about staying quiet.
const QUIET: Duration = Duration::from_secs(2);
