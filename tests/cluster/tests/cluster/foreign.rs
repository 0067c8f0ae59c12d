//! Somebody else's objects have names that a fleet needs: they stay as they are, the fleet says what to do, and what
//! is not in their way is served.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serialfleet_cluster::{harness::say, wait};
use serialfleet_sim::{Mode, Scene, StickSpec};

use super::{
    apply_to_bytes::{zigbee, zwave},
    lab::{HOME, Lab, PATIENCE, SYSTEM, Strategy, since},
    objects::Untouched,
    settle::settle,
};

/// In the way of a fleet: what it has once, and the Service of one of its devices and the slice of another.
fn theirs(fleet: &str, service: &str, slice: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: {fleet}-bridge, namespace: {SYSTEM}, labels: {{app: theirs}}}}
spec:
  selector: {{matchLabels: {{app: theirs}}}}
  template:
    metadata: {{labels: {{app: theirs}}}}
    spec: {{nodeSelector: {{app: theirs}}, containers: [{{name: theirs, image: theirs}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {fleet}-anchor, namespace: {SYSTEM}, labels: {{app: theirs}}}}
spec: {{clusterIP: None, selector: {{app: theirs}}, ports: [{{name: web, port: 80}}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {fleet}-bridge, namespace: {SYSTEM}, labels: {{app: theirs}}}}
spec: {{podSelector: {{matchLabels: {{app: theirs}}}}, policyTypes: [Ingress]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {service}, namespace: {HOME}, labels: {{app: theirs}}}}
spec: {{selector: {{app: theirs}}, ports: [{{name: web, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {slice}-ipv4, namespace: {HOME}, labels: {{app: theirs}}}}
addressType: IPv4
ports: [{{name: web, port: 80}}]
endpoints: [{{addresses: [10.99.0.1]}}]
"
    )
}

/// These objects by namespace.
fn names(fleet: &str, service: &str, slice: &str) -> [(&'static str, String); 5] {
    [
        (SYSTEM, format!("daemonset/{fleet}-bridge")),
        (SYSTEM, format!("service/{fleet}-anchor")),
        (SYSTEM, format!("networkpolicy/{fleet}-bridge")),
        (HOME, format!("service/{service}")),
        (HOME, format!("endpointslice/{slice}-ipv4")),
    ]
}

const FLEETS: &str = "
apiVersion: serialfleet.io/v1alpha1
kind: SerialFleet
metadata: {name: home}
spec:
  serviceNamespace: iot-system
  devices:
  - {name: zigbee, match: {usb: '10c4:ea60'}}
  - {name: zwave, match: {usb: '0658:0200'}}
  - {name: meter, match: {usb: '0403:6001'}}
---
apiVersion: serialfleet.io/v1alpha1
kind: SerialFleet
metadata: {name: shed}
spec:
  serviceNamespace: iot-system
  devices:
  - {name: pump, match: {usb: '1a86:7523'}}
";

/// Everything of it is taken.
const BARN: &str = "
apiVersion: serialfleet.io/v1alpha1
kind: SerialFleet
metadata: {name: barn}
spec:
  serviceNamespace: iot-system
  devices:
  - {name: fan, match: {usb: '1234:0001'}}
  - {name: lamp, match: {usb: '1234:0002'}}
";

pub(crate) async fn stay_as_they_are(directory: PathBuf, strategy: Strategy) -> Result<()> {
    let lab = Lab::start(&directory, 2, strategy).await?;
    let host = lab.node(2).host();
    let _sticks = [
        host.plug(zigbee())?,
        host.plug(zwave())?,
        host.plug(StickSpec::new(Scene::Ftdi).usb_path("1-3").mode(Mode::Echo))?,
        host.plug(StickSpec::new(Scene::Ch340).usb_path("1-4").mode(Mode::Echo))?,
    ];
    // Of `home` a Service and a slice are taken, of `shed` everything that a fleet has once.
    let before = they_come(&lab, "shed", "zigbee", "zwave").await?;

    lab.kubectl().apply(FLEETS).await?;
    lab.endpoint_on("meter", "node-2").await?;
    for device in ["zigbee", "zwave"] {
        let status = lab.device_is("home", device, "Failed").await?;
        ensure!(status["reason"] == "NameTaken", "{status}");
        say(&format!("{device}: {}", status["message"]));
    }
    is_stalled(&lab, "home", &["zigbee", "zwave-ipv4", "Delete them"]).await?;
    is_stalled(&lab, "shed", &OF_A_FLEET).await?;
    settle(&lab, QUIET).await?;
    before.holds(&lab, "two fleets of these names").await?;

    // As soon as the way is free, nobody has to do anything else.
    for (namespace, resource) in names("shed", "zigbee", "zwave") {
        lab.kubectl().run(&["-n", namespace, "delete", &resource]).await?.success()?;
    }
    let start = Instant::now();
    for device in ["zigbee", "zwave", "pump"] {
        lab.endpoint_on(device, "node-2").await?;
        say(&format!("{device} has its endpoint {} ms after the way was free", since(start)));
    }
    for fleet in ["home", "shed"] {
        lab.fleet_is_ready(fleet).await?;
        lab.fleet_says(fleet, "Stalled", "False", "AsExpected").await?;
    }
    Ok(())
}

/// A fleet of which everything is taken, and who has it: for what becomes of them with the fleet.
pub(crate) async fn in_the_way_of_barn(lab: &Lab) -> Result<Untouched> {
    let before = they_come(lab, "barn", "fan", "lamp").await?;
    lab.kubectl().apply(BARN).await?;
    is_stalled(lab, "barn", &OF_A_FLEET).await?;
    Ok(before)
}

/// They exist, and the cluster's own controllers have written into them what they write into a new object.
async fn they_come(lab: &Lab, fleet: &str, service: &str, slice: &str) -> Result<Untouched> {
    lab.kubectl().apply(&theirs(fleet, service, slice)).await?;
    wait::until("their DaemonSet has a status", PATIENCE, async || {
        let set = lab.daemon_set(fleet).await?;
        Ok(set.status.and_then(|status| status.observed_generation).map(drop))
    })
    .await?;
    settle(lab, A_MOMENT).await?;
    lab.untouched(&names(fleet, service, slice)).await
}

async fn is_stalled(lab: &Lab, fleet: &str, words: &[&str]) -> Result<()> {
    let message = lab.fleet_says(fleet, "Stalled", "True", "NameTaken").await?;
    say(&format!("{fleet} is stalled: {message}"));
    ensure!(words.iter().all(|word| message.contains(word)), "{words:?} in {message}");
    lab.fleet_says(fleet, "Ready", "False", "NameTaken").await?;
    Ok(())
}

/// What is said of a fleet of which everything is taken that it has once.
const OF_A_FLEET: [&str; 4] = ["DaemonSet", "Service", "NetworkPolicy", "Delete them"];

/// Longer than the 2 s after which the hook server first asks to look again.
const QUIET: Duration = Duration::from_secs(3);

/// For what else controllers might write into a new object.
const A_MOMENT: Duration = Duration::from_secs(1);
