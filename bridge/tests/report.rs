//! The report, written to an API server and to a file, with everything that goes wrong there. Time is paused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/fake_api.rs"]
mod fake_api;

use std::{fs, path::Path, sync::Arc, time::Duration};

use fake_api::{FakeApi, Fault, Verb};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use serialfleet_api::node::{PortState, PresentDevice, SerialNode, Warning};
use serialfleet_bridge::{
    fleet_source::{Fleet, FleetState, Origin},
    report::{self, NodeIdentity, NodeReport, PortReport, Target},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

const NODES: &str = "serialnodes";
const NAME: &str = "home.wyse-1";

struct Rig {
    api: FakeApi,
    reports: watch::Sender<NodeReport>,
    fleet: watch::Sender<FleetState>,
    errors: Counter,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Rig {
    fn new(api: &FakeApi) -> Self {
        Self::with(api, Target::Api(api.client()), "pod-1")
    }

    fn with(api: &FakeApi, target: Target, pod: &str) -> Self {
        let (reports, reports_of) = watch::channel(NodeReport::default());
        let state = FleetState {
            fleet: Some(Arc::new(Fleet::default())),
            origin: Origin::Api,
            ..FleetState::default()
        };
        let (fleet, fleet_of) = watch::channel(state);
        let (errors, shutdown) = (Counter::default(), CancellationToken::new());
        let identity = NodeIdentity {
            fleet: "home".into(),
            node: "wyse-1".into(),
            node_uid: Some("node-uid".into()),
            pod_uid: pod.into(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(report::run(target, identity, reports_of, fleet_of, errors.clone(), shutdown.clone()));
        Self { api: api.clone(), reports, fleet, errors, shutdown, tasks }
    }

    async fn publish(&self, report: NodeReport) {
        self.reports.send_replace(report);
        // The supervisor does not publish twice in one moment.
        sleep(Duration::from_millis(1)).await;
    }

    async fn until(&self, holds: impl Fn(&Value) -> bool) {
        self.api.wait_until(|api| api.object(NODES, NAME).is_some_and(|object| holds(&object))).await;
    }

    async fn stop(mut self) -> Duration {
        let start = tokio::time::Instant::now();
        self.shutdown.cancel();
        let ended = timeout(Duration::from_secs(5), self.tasks.join_next()).await;
        ended.expect("it does not end").unwrap().unwrap();
        start.elapsed()
    }
}

fn port(state: PortState) -> NodeReport {
    let port =
        PortReport { name: "zigbee".into(), state, tty: Some("ttyUSB0".into()), ..PortReport::default() };
    let device = PresentDevice { tty: Some("ttyUSB0".into()), ..PresentDevice::default() };
    NodeReport { devices: vec![device], ports: vec![port] }
}

fn cluster() -> FakeApi {
    let api = FakeApi::new();
    let meta = json!({"name": "home"});
    api.put(
        "serialfleets",
        &json!({"apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet", "metadata": meta}),
    );
    api
}

fn state_is(object: &Value, state: PortState) -> bool {
    object["ports"][0]["state"] == json!(state.as_str())
}

#[tokio::test(start_paused = true)]
async fn it_is_applied_with_label_and_owner_and_then_rests() {
    let api = cluster();
    let rig = Rig::new(&api);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(api.calls(Verb::Patch), 0, "the value that the channel starts with is no report");
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;
    let object = api.object(NODES, NAME).unwrap();
    assert_eq!(object["metadata"]["labels"], json!({"serialfleet.io/fleet": "home"}));
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "wyse-1", "uid": "node-uid"}]);
    assert_eq!(object["metadata"]["ownerReferences"], owner);
    assert_eq!((&object["podUID"], &object["nodeName"]), (&json!("pod-1"), &json!("wyse-1")));
    let query = &api.applied_as()[0];
    assert_eq!((query["fieldManager"].as_str(), query["force"].as_str()), ("serialfleet-bridge", "true"));

    let reads = api.calls(Verb::Get);
    for _ in 0..24 * 60 {
        rig.publish(port(PortState::Serving)).await;
        sleep(Duration::from_secs(60)).await;
    }
    assert_eq!((api.calls(Verb::Patch), api.calls(Verb::Delete)), (1, 0), "no writes in a day of rest");
    let reads = api.calls(Verb::Get) - reads;
    assert!((240..330).contains(&reads), "a look every five minutes: {reads}");
    assert_eq!(rig.errors.get(), 0);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_state_is_written_at_once_a_storm_is_not() {
    let api = cluster();
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;
    sleep(Duration::from_secs(60)).await;
    rig.publish(port(PortState::Held)).await;
    assert_eq!(api.calls(Verb::Patch), 2, "at once");

    sleep(Duration::from_secs(60)).await;
    for number in 0..200 {
        rig.publish(port(if number % 2 == 0 { PortState::Serving } else { PortState::Held })).await;
    }
    rig.publish(port(PortState::Busy)).await;
    assert_eq!(api.calls(Verb::Patch), 2 + 5);
    sleep(Duration::from_secs(3)).await;
    let object = api.object(NODES, NAME).unwrap();
    assert!(state_is(&object, PortState::Busy), "the last state is written");
    assert_eq!(object["ports"][0]["transitions"].as_array().unwrap().len(), 5);
    assert_eq!(api.calls(Verb::Patch), 2 + 6);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_warning_is_written_when_it_stands() {
    let api = cluster();
    let rig = Rig::new(&api);
    let mut warned = port(PortState::Serving);
    warned.ports[0].warnings = vec![Warning { reason: "Contended".into(), message: "m".into() }];
    rig.publish(port(PortState::Serving)).await;
    for _ in 0..10 {
        rig.publish(warned.clone()).await;
        sleep(Duration::from_secs(3)).await;
        rig.publish(port(PortState::Serving)).await;
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(api.calls(Verb::Patch), 1);
    rig.publish(warned).await;
    rig.until(|object| object["ports"][0]["warnings"][0]["reason"] == json!("Contended")).await;
    assert_eq!(api.calls(Verb::Patch), 2);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_nothing_is_forgotten() {
    for fault in [Fault::Refuse, Fault::Hang, Fault::Status(403), Fault::Status(404), Fault::Status(409)] {
        let api = cluster();
        let rig = Rig::new(&api);
        rig.publish(port(PortState::Serving)).await;
        rig.until(|object| state_is(object, PortState::Serving)).await;
        api.fail(&[Verb::Get, Verb::Patch], fault);
        for state in [PortState::Held, PortState::Absent, PortState::Serving, PortState::Busy] {
            rig.publish(port(state)).await;
        }
        sleep(Duration::from_secs(600)).await;
        let attempts = rig.errors.get();
        assert!((10..100).contains(&attempts), "{fault:?}: {attempts} attempts in ten minutes");
        api.come_back();
        rig.until(|object| state_is(object, PortState::Busy)).await;
        let object = api.object(NODES, NAME).unwrap();
        let states: Vec<_> = object["ports"][0]["transitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|transition| transition["state"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(states, ["Serving", "Held", "Absent", "Serving", "Busy"], "{fault:?}");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_starts_while_the_api_server_is_away() {
    let api = cluster();
    api.go_away(Fault::Refuse);
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Serving)).await;
    sleep(Duration::from_secs(3600)).await;
    api.come_back();
    rig.until(|object| state_is(object, PortState::Serving)).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_others_do_to_it_is_repaired() {
    let api = cluster();
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;
    let good = api.object(NODES, NAME).unwrap();

    api.remove(NODES, NAME);
    sleep(Duration::from_secs(331)).await;
    assert!(api.object(NODES, NAME).is_some());

    let mut edited = good.clone();
    edited["ports"][0]["state"] = json!("Absent");
    api.put(NODES, &edited);
    sleep(Duration::from_secs(331)).await;
    assert_eq!(api.object(NODES, NAME).unwrap()["ports"], good["ports"]);

    // Labels of others are theirs.
    let mut labelled = api.object(NODES, NAME).unwrap();
    labelled["metadata"]["labels"]["team"] = json!("iot");
    let writes = api.calls(Verb::Patch);
    api.put(NODES, &labelled);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(api.calls(Verb::Patch), writes);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_goes_with_its_fleet_and_comes_back_with_it() {
    let api = cluster();
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;

    api.fail(&[Verb::Delete], Fault::Status(503));
    rig.fleet.send_modify(|fleet| fleet.gone = true);
    sleep(Duration::from_secs(60)).await;
    api.come_back();
    api.wait_until(|api| api.object(NODES, NAME).is_none()).await;
    let writes = api.calls(Verb::Patch);
    rig.publish(port(PortState::Held)).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(api.calls(Verb::Patch), writes, "nothing is written for a fleet that is gone");

    rig.fleet.send_modify(|fleet| fleet.gone = false);
    rig.until(|object| state_is(object, PortState::Held)).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn at_the_end_it_stays_unless_the_fleet_is_gone() {
    let api = cluster();
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;
    rig.stop().await;
    assert!(api.object(NODES, NAME).is_some(), "a roll of the DaemonSet deletes nothing");

    // The fleet is deleted and SIGTERM arrives before the watch says so.
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Serving)).await;
    rig.api.wait_until(|api| api.calls(Verb::Patch) == 2).await;
    sleep(Duration::from_secs(1)).await;
    api.remove("serialfleets", "home");
    rig.stop().await;
    assert!(api.object(NODES, NAME).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_does_not_hold_up_the_end() {
    let api = cluster();
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;
    sleep(Duration::from_secs(1)).await;
    api.go_away(Fault::Hang);
    rig.publish(port(PortState::Held)).await;
    assert!(rig.stop().await <= Duration::from_secs(3));
}

/// The answer to a write may be lost after the write was done.
#[tokio::test(start_paused = true)]
async fn a_write_that_was_cut_short_is_deleted_with_the_fleet() {
    let api = cluster();
    let rig = Rig::new(&api);
    api.fail(&[Verb::Patch], Fault::Hang);
    rig.publish(port(PortState::Serving)).await;
    assert_eq!(api.calls(Verb::Patch), 1);
    api.put(NODES, &json!({"metadata": {"name": NAME}, "podUID": "pod-1"}));
    api.remove("serialfleets", "home");
    rig.stop().await;
    assert!(api.object(NODES, NAME).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_newer_pods_report_is_not_deleted() {
    let api = cluster();
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;
    let mut newer = api.object(NODES, NAME).unwrap();
    newer["podUID"] = json!("pod-2");
    api.put(NODES, &newer);
    rig.fleet.send_modify(|fleet| fleet.gone = true);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(api.object(NODES, NAME).unwrap()["podUID"], json!("pod-2"));
    rig.stop().await;
    assert!(api.object(NODES, NAME).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_without_devices_has_no_object_but_keeps_one() {
    let api = cluster();
    let rig = Rig::new(&api);
    rig.publish(NodeReport::default()).await;
    rig.publish(NodeReport {
        ports: vec![PortReport { name: "zigbee".into(), ..PortReport::default() }],
        ..NodeReport::default()
    })
    .await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((api.calls(Verb::Patch), api.calls(Verb::Get)), (0, 1));
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;
    rig.publish(NodeReport::default()).await;
    rig.until(|object| object["ports"].is_null() && object["devices"].is_null()).await;
    rig.stop().await;

    // The next pod says in its own name that there is nothing.
    let rig = Rig::with(&api, Target::Api(api.client()), "pod-2");
    rig.publish(NodeReport::default()).await;
    rig.until(|object| object["podUID"] == json!("pod-2")).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_transitions() {
    let api = cluster();
    let rig = Rig::new(&api);
    rig.publish(port(PortState::Busy)).await;
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| state_is(object, PortState::Serving)).await;
    rig.stop().await;
    let rig = Rig::with(&api, Target::Api(api.client()), "pod-2");
    rig.publish(port(PortState::Serving)).await;
    rig.until(|object| object["podUID"] == json!("pod-2")).await;
    let transitions = api.object(NODES, NAME).unwrap()["ports"][0]["transitions"].clone();
    let states: Vec<_> = transitions.as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, [json!("Busy"), json!("Serving"), json!("Serving")]);
    rig.stop().await;
}

fn in_file(path: &Path) -> Option<SerialNode> {
    serde_yaml::from_slice(&fs::read(path).ok()?).ok()
}

#[tokio::test(start_paused = true)]
async fn the_file_is_written_whole_and_only_when_something_changed() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["report.yaml", "report.json", "report"] {
        let path = directory.path().join(name);
        let api = cluster();
        let rig = Rig::with(&api, Target::File(path.clone()), "");
        let inode =
            || fs::metadata(&path).map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata)).ok();
        let mut odd = port(PortState::Serving);
        odd.devices[0].serial_number = Some("no".into());
        odd.devices[0].product = Some("1e3".into());
        odd.devices[0].manufacturer = Some("#: [\u{1b}".into());
        rig.publish(odd.clone()).await;
        let node = in_file(&path).unwrap();
        assert_eq!(node.devices[0].serial_number.as_deref(), Some("no"));
        assert_eq!(node.devices[0].product.as_deref(), Some("1e3"));
        assert_eq!(node.devices[0].manufacturer.as_deref(), Some("#: [\\u{1b}"));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.starts_with('{'), name.ends_with(".json"));
        assert!(
            text.contains("\"no\"") || text.contains("'no'"),
            "YAML 1.1 reads a bare no as false: {text}"
        );

        let first = inode();
        for _ in 0..100 {
            rig.publish(odd.clone()).await;
            sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(inode(), first, "no writes at rest");
        fs::remove_file(&path).unwrap();
        sleep(Duration::from_secs(331)).await;
        assert!(path.exists(), "it is written again");
        rig.stop().await;
        assert!(path.exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_written_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("later").join("report.yaml");
    let api = cluster();
    let rig = Rig::with(&api, Target::File(path.clone()), "");
    rig.publish(port(PortState::Serving)).await;
    sleep(Duration::from_secs(60)).await;
    fs::create_dir(path.parent().unwrap()).unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(in_file(&path).unwrap().ports[0].state, PortState::Serving);
    rig.stop().await;
}
