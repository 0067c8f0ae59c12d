//! The fleet from a file and from an API server, with everything that goes wrong there. Time is paused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/fake_api.rs"]
mod fake_api;

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc, time::Duration};

use fake_api::{FakeApi, Fault, Verb};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use serialfleet_bridge::fleet_source::{Fleet, FleetState, Origin, follow_api, follow_file, read_file};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

struct Rig {
    api: FakeApi,
    state: watch::Receiver<FleetState>,
    errors: Counter,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Rig {
    fn start(api: &FakeApi, state_dir: Option<&Path>) -> Self {
        let (tx, state) = watch::channel(FleetState::default());
        let (errors, shutdown) = (Counter::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let state_dir = state_dir.map(Path::to_owned);
        tasks.spawn(follow_api(api.client(), "home".into(), state_dir, tx, errors.clone(), shutdown.clone()));
        Self { api: api.clone(), state, errors, shutdown, tasks }
    }

    async fn until(&mut self, holds: impl FnMut(&FleetState) -> bool) -> FleetState {
        let found = timeout(Duration::from_secs(3600), self.state.wait_for(holds)).await;
        found.expect("it did not come to hold within an hour").unwrap().clone()
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = timeout(Duration::from_secs(1), self.tasks.join_next()).await;
        ended.expect("it does not end").unwrap().unwrap();
    }
}

fn fleet(baud_rate: i32) -> Value {
    json!({
        "apiVersion": "serialfleet.io/v1alpha1",
        "kind": "SerialFleet",
        "metadata": {"name": "home", "generation": baud_rate},
        "spec": {"devices": [{
            "name": "zigbee",
            "match": {"usb": "10c4:ea60"},
            "line": {"baudRate": baud_rate},
        }]},
    })
}

fn status(node: &str) -> Value {
    json!({"devices": [{"name": "zigbee", "state": "Serving", "node": node}]})
}

fn baud_rate(state: &FleetState) -> Option<i32> {
    state.fleet.as_ref()?.object.spec.devices.first()?.settings.line.baud_rate
}

#[tokio::test(start_paused = true)]
async fn the_status_flows_and_equal_content_wakes_nobody() {
    let api = FakeApi::new();
    let mut object = fleet(9600);
    api.put("serialfleets", &object);
    let mut rig = Rig::start(&api, None);
    let state = rig.until(|state| state.origin == Origin::Api).await;
    assert_eq!((baud_rate(&state), state.gone, state.problem), (Some(9600), false, None));

    object["status"] = status("wyse-1");
    api.put("serialfleets", &object);
    let state = rig.until(|state| state.status().is_some()).await;
    assert_eq!(state.status().unwrap().devices[0].node, "wyse-1");

    rig.state.mark_unchanged();
    for annotation in ["a", "b", "c"] {
        object["metadata"]["annotations"] = json!({"touched": annotation});
        api.put("serialfleets", &object);
        sleep(Duration::from_secs(600)).await;
    }
    assert!(!rig.state.has_changed().unwrap());
    assert!(api.calls(Verb::Watch) > 3, "the watch was renewed in between");
    assert_eq!((rig.errors.get(), api.calls(Verb::List)), (0, 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_starts_from_the_kept_fleet_and_the_api_server_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let api = FakeApi::new();
    let mut object = fleet(9600);
    object["status"] = status("wyse-1");
    api.put("serialfleets", &object);
    let mut rig = Rig::start(&api, Some(directory.path()));
    rig.until(|state| state.origin == Origin::Api).await;
    rig.stop().await;

    for fault in [Fault::Refuse, Fault::Hang, Fault::Status(503), Fault::Status(403)] {
        api.go_away(fault);
        let started = Instant::now();
        let mut rig = Rig::start(&api, Some(directory.path()));
        let state = rig.until(|state| state.origin != Origin::None).await;
        assert_eq!(started.elapsed().as_secs(), 2, "{fault:?}");
        assert_eq!((state.origin, baud_rate(&state)), (Origin::Cache, Some(9600)));
        assert_eq!(state.status(), None, "an old status says nothing about now");
        sleep(Duration::from_secs(600)).await;
        assert!(rig.errors.get() >= 10 && rig.errors.get() < 60, "{fault:?}: {} attempts", rig.errors.get());
        api.come_back();
        let state = rig.until(|state| state.origin == Origin::Api).await;
        assert_eq!(state.status().unwrap().devices[0].node, "wyse-1");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_edit_keeps_the_last_good_fleet() {
    let directory = tempfile::tempdir().unwrap();
    let api = FakeApi::new();
    api.put("serialfleets", &fleet(9600));
    let mut rig = Rig::start(&api, Some(directory.path()));
    rig.until(|state| state.origin == Origin::Api).await;

    let mut bad = fleet(9600);
    bad["spec"] = json!("nonsense");
    bad["status"] = status("wyse-2");
    api.put("serialfleets", &bad);
    let state = rig.until(|state| state.problem.is_some()).await;
    assert_eq!((baud_rate(&state), state.origin, state.gone), (Some(9600), Origin::Api, false));
    assert_eq!(state.status().unwrap().devices[0].node, "wyse-2", "its status is good");
    rig.stop().await;

    let mut rig = Rig::start(&api, Some(directory.path()));
    let state = rig.until(|state| state.fleet.is_some()).await;
    assert_eq!((state.origin, baud_rate(&state)), (Origin::Cache, Some(9600)), "a restart keeps it as well");
    assert!(state.problem.is_some());

    api.put("serialfleets", &fleet(19_200));
    let state = rig.until(|state| state.problem.is_none()).await;
    assert_eq!((baud_rate(&state), state.origin), (Some(19_200), Origin::Api));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_kept_fleet_is_written_only_when_the_spec_changes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fleet-home.json");
    let inode = || fs::metadata(&file).map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata)).ok();
    let api = FakeApi::new();
    let mut object = fleet(9600);
    api.put("serialfleets", &object);
    let mut rig = Rig::start(&api, Some(directory.path()));
    rig.until(|state| state.origin == Origin::Api).await;
    let first = inode();
    assert!(first.is_some());
    for node in ["a", "b"] {
        object["status"] = status(node);
        api.put("serialfleets", &object);
        rig.until(|state| state.status().is_some_and(|status| status.devices[0].node == node)).await;
        assert_eq!(inode(), first);
    }
    assert!(!fs::read_to_string(&file).unwrap().contains("status"));
    api.put("serialfleets", &fleet(19_200));
    rig.until(|state| baud_rate(state) == Some(19_200)).await;
    assert_ne!(inode(), first);
    api.remove("serialfleets", "home");
    rig.until(|state| state.gone).await;
    assert_eq!(inode(), None);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_way_to_lose_a_watch_is_survived() {
    let api = FakeApi::new();
    api.put("serialfleets", &fleet(100));
    let mut rig = Rig::start(&api, None);
    rig.until(|state| baud_rate(state) == Some(100)).await;

    api.expire();
    api.put("serialfleets", &fleet(200));
    rig.until(|state| baud_rate(state) == Some(200)).await;
    assert_eq!(rig.errors.get(), 0, "an expired watch is no failure");

    api.break_watches();
    api.put("serialfleets", &fleet(300));
    rig.until(|state| baud_rate(state) == Some(300)).await;

    api.fail(&[Verb::Watch], Fault::Status(500));
    api.break_watches();
    sleep(Duration::from_secs(60)).await;
    api.put("serialfleets", &fleet(400));
    rig.until(|state| baud_rate(state) == Some(400)).await;
    api.come_back();

    // Where versions went back, a watch from an old version would stay silent for ever.
    api.fail(&[Verb::List, Verb::Watch], Fault::Refuse);
    api.restore_backup();
    sleep(Duration::from_secs(10)).await;
    api.come_back();
    api.put("serialfleets", &fleet(500));
    rig.until(|state| baud_rate(state) == Some(500)).await;
    api.put("serialfleets", &fleet(600));
    rig.until(|state| baud_rate(state) == Some(600)).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_fleet_is_gone_but_stays_in_force() {
    let api = FakeApi::new();
    api.put("serialfleets", &fleet(9600));
    let mut rig = Rig::start(&api, None);
    rig.until(|state| state.origin == Origin::Api).await;

    let mut ending = fleet(9600);
    ending["metadata"]["deletionTimestamp"] = json!("2026-11-21T09:00:00Z");
    api.put("serialfleets", &ending);
    let state = rig.until(|state| state.gone).await;
    assert_eq!(baud_rate(&state), Some(9600));
    api.remove("serialfleets", "home");
    sleep(Duration::from_secs(5)).await;
    assert!(rig.state.borrow().gone);

    api.put("serialfleets", &fleet(19_200));
    let state = rig.until(|state| !state.gone).await;
    assert_eq!(baud_rate(&state), Some(19_200));

    // Deleted while nobody was watching.
    api.go_away(Fault::Refuse);
    api.remove("serialfleets", "home");
    sleep(Duration::from_secs(10)).await;
    api.come_back();
    rig.until(|state| state.gone).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_never_was_is_gone() {
    let api = FakeApi::new();
    let mut rig = Rig::start(&api, None);
    let state = rig.until(|state| state.gone).await;
    assert_eq!((state.origin, state.fleet), (Origin::None, None));
    api.put("serialfleets", &fleet(9600));
    rig.until(|state| !state.gone && state.origin == Origin::Api).await;
    rig.stop().await;
    assert_eq!(api.calls(Verb::Patch) + api.calls(Verb::Delete), 0, "it only reads");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_does_not_hold_up_the_end() {
    let api = FakeApi::new();
    api.go_away(Fault::Hang);
    let rig = Rig::start(&api, None);
    rig.api.wait_until(|api| api.calls(Verb::List) == 1).await;
    rig.stop().await;
}

/// Everything else here goes without sockets, because paused time and sockets do not mix.
#[tokio::test]
async fn it_works_over_a_connection() {
    let api = FakeApi::new();
    api.put("serialfleets", &fleet(9600));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut servers = JoinSet::new();
    servers.spawn(api.clone().serve(listener));
    let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();

    let (tx, state) = watch::channel(FleetState::default());
    let (errors, shutdown) = (Counter::default(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(follow_api(client, "home".into(), None, tx, errors.clone(), shutdown.clone()));
    let mut rig = Rig { api: api.clone(), state, errors, shutdown, tasks };
    rig.until(|state| baud_rate(state) == Some(9600)).await;
    api.put("serialfleets", &fleet(19_200));
    rig.until(|state| baud_rate(state) == Some(19_200)).await;
    api.remove("serialfleets", "home");
    rig.until(|state| state.gone).await;
    assert_eq!(rig.errors.get(), 0);
    rig.stop().await;
    servers.shutdown().await;
}

struct FileRig {
    path: std::path::PathBuf,
    directory: tempfile::TempDir,
    state: watch::Receiver<FleetState>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

fn yaml(baud_rate: i32) -> String {
    format!(
        "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {{name: home}}\nspec:\n  devices:\n  \
         - {{name: zigbee, match: {{usb: \"10c4:ea60\"}}, line: {{baudRate: {baud_rate}}}}}\n"
    )
}

impl FileRig {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.yaml");
        fs::write(&path, yaml(9600)).unwrap();
        let (tx, state) = watch::channel(FleetState::default());
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_file(path.clone(), read_file(&path).unwrap(), tx, shutdown.clone()));
        Self { path, directory, state, shutdown, tasks }
    }

    async fn until(&mut self, holds: impl FnMut(&FleetState) -> bool) -> FleetState {
        let found = timeout(Duration::from_secs(60), self.state.wait_for(holds)).await;
        found.expect("it did not come to hold within a minute").unwrap().clone()
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn edits_of_the_file_are_picked_up() {
    let mut rig = FileRig::start();
    let state = rig.until(|state| state.origin == Origin::File).await;
    assert_eq!(baud_rate(&state), Some(9600));
    rig.state.mark_unchanged();
    sleep(Duration::from_secs(60)).await;
    assert!(!rig.state.has_changed().unwrap(), "at rest nothing happens");

    fs::write(&rig.path, yaml(19_200)).unwrap();
    rig.until(|state| baud_rate(state) == Some(19_200)).await;

    // As an editor does it, and as kubelet does it.
    let beside = rig.directory.path().join("new");
    fs::write(&beside, yaml(38_400)).unwrap();
    fs::rename(&beside, &rig.path).unwrap();
    rig.until(|state| baud_rate(state) == Some(38_400)).await;
    for (number, rate) in [("1", 57_600), ("2", 115_200)] {
        let data = rig.directory.path().join(number);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("fleet.yaml"), yaml(rate)).unwrap();
        let link = rig.directory.path().join("..data.new");
        symlink(&data, &link).unwrap();
        fs::rename(&link, rig.directory.path().join("..data")).unwrap();
        if number == "1" {
            fs::remove_file(&rig.path).unwrap();
            symlink("..data/fleet.yaml", &rig.path).unwrap();
        }
        rig.until(|state| baud_rate(state) == Some(rate)).await;
    }
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_invalid_file_keeps_the_last_good_fleet() {
    let mut rig = FileRig::start();
    rig.until(|state| state.origin == Origin::File).await;
    for bad in ["", "spec: [", "kind: SerialFleet\nspec: {devices: 7}\n", "\u{0}"] {
        fs::write(&rig.path, bad).unwrap();
        let state = rig.until(|state| state.problem.is_some()).await;
        assert_eq!(baud_rate(&state), Some(9600), "{bad:?}");
        assert!(state.problem.unwrap().starts_with(&rig.path.display().to_string()));
        fs::write(&rig.path, yaml(9600)).unwrap();
        rig.until(|state| state.problem.is_none()).await;
    }
    fs::remove_file(&rig.path).unwrap();
    let state = rig.until(|state| state.problem.is_some()).await;
    assert_eq!(baud_rate(&state), Some(9600));
    fs::write(&rig.path, yaml(19_200)).unwrap();
    let state = rig.until(|state| state.problem.is_none()).await;
    assert_eq!(baud_rate(&state), Some(19_200));
    rig.stop().await;
}

/// Half a file may be a valid fleet with fewer devices.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_still_being_written_is_not_read() {
    let mut rig = FileRig::start();
    rig.until(|state| state.origin == Origin::File).await;
    sleep(Duration::from_secs(5)).await;
    let seen = rig.state.clone();
    for length in 1..20_usize {
        let text = format!("{}#{}\n", yaml(1200), "x".repeat(length));
        fs::write(&rig.path, text).unwrap();
        sleep(Duration::from_millis(700)).await;
        assert_eq!(baud_rate(&seen.borrow()), Some(9600), "after {length} writes");
    }
    rig.until(|state| baud_rate(state) == Some(1200)).await;
    rig.stop().await;
}

#[test]
fn a_fleet_compares_by_content() {
    let object: Fleet =
        serde_json::from_value::<serialfleet_api::fleet::SerialFleet>(fleet(1)).unwrap().into();
    let state = FleetState { fleet: Some(Arc::new(object.clone())), ..FleetState::default() };
    let other = FleetState { fleet: Some(Arc::new(object)), ..FleetState::default() };
    assert_eq!(state, other);
}
