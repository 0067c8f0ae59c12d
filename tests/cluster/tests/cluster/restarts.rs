//! What is restarted on purpose: hook servers, Metacontroller, the API server. Whoever is connected to a device
//! notices none of it.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result, ensure};
use kube::{Api, api::DeleteParams};
use serialfleet_cluster::{
    audit::{Mark, Write},
    harness::say,
    wait,
};

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{Lab, PATIENCE, Strategy, root, shipped, since},
    settle::{METACONTROLLER, settle},
    traffic::Traffic,
};

pub(crate) async fn are_not_noticed(directory: PathBuf) -> Result<()> {
    let mut lab = Lab::start(&directory, 2, Strategy::DynamicApply).await?;
    let _stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    lab.fleet_is_ready("home").await?;
    let traffic = Traffic::start(lab.node(1).client()?, lab.service("zigbee").await?).await?;
    settle(&lab, QUIET).await?;

    hooks_with_equal_flags(&lab).await?;
    traffic.never_dropped("a new revision of the hook server").await?;

    metacontroller(&lab).await?;
    traffic.never_dropped("a restart of Metacontroller").await?;

    api_server(&mut lab).await?;
    traffic.never_dropped("a restart of the API server").await?;

    drop(traffic);
    hooks_with_another_image(&lab).await
}

/// A new revision whose flags are equal: nothing is written to any child.
async fn hooks_with_equal_flags(lab: &Lab) -> Result<()> {
    let mark = lab.audit().mark()?;
    let start = Instant::now();
    upgrade(lab, "serialfleet:0.1.0", "0.1.0-again").await?;
    say(&format!("hook servers rolled in {} ms", since(start)));
    settle(lab, QUIET).await?;
    let ours = metacontrollers(lab, mark, |write| write.subresource != "status")?;
    ensure!(ours.is_empty(), "a revision with equal flags writes no child:\n{}", ours.join("\n"));
    Ok(())
}

/// One with another image: the DaemonSet is written once.
async fn hooks_with_another_image(lab: &Lab) -> Result<()> {
    let before = lab.daemon_set("home").await?.metadata.generation;
    let mark = lab.audit().mark()?;
    upgrade(lab, "serialfleet:0.2.0", "0.2.0").await?;
    wait::until("the bridges run the other image", PATIENCE, async || {
        let set = lab.daemon_set("home").await?;
        let status = set.status.unwrap_or_default();
        Ok((set.metadata.generation > before
            && status.observed_generation == set.metadata.generation
            && status.updated_number_scheduled == Some(status.desired_number_scheduled)
            && status.number_available == Some(status.desired_number_scheduled))
        .then_some(()))
    })
    .await?;
    settle(lab, QUIET).await?;
    let ours = metacontrollers(lab, mark, |write| write.resource == "daemonsets")?;
    ensure!(ours.len() == 1, "one write of the DaemonSet:\n{}", ours.join("\n"));
    lab.endpoint_on("zigbee", "node-2").await?;
    Ok(())
}

async fn metacontroller(lab: &Lab) -> Result<()> {
    let mark = lab.audit().mark()?;
    let start = Instant::now();
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(lab.client.clone(), "metacontroller");
    let uid = pods.get("metacontroller-0").await?.metadata.uid;
    pods.delete("metacontroller-0", &DeleteParams::default()).await?;
    wait::until("another pod of Metacontroller", PATIENCE, async || {
        Ok(pods.get_opt("metacontroller-0").await?.filter(|pod| pod.metadata.uid != uid).map(|_| ()))
    })
    .await?;
    lab.metacontroller_is_ready().await?;
    say(&format!("Metacontroller restarted in {} ms", since(start)));
    settle(lab, QUIET).await?;
    let ours = metacontrollers(lab, mark, |write| write.resource != "leases")?;
    ensure!(ours.is_empty(), "after a restart nothing is left to do:\n{}", ours.join("\n"));
    Ok(())
}

/// Away for a while; what happens meanwhile is made up for afterwards.
async fn api_server(lab: &mut Lab) -> Result<()> {
    let start = Instant::now();
    lab.control_plane.stop_api_server().await?;
    let stick = lab.node(2).host().plug(super::apply_to_bytes::zwave())?;
    lab.control_plane.start_api_server().await?;
    say(&format!("API server back after {} ms", since(start)));
    let start = Instant::now();
    lab.endpoint_on("zwave", "node-2").await?;
    say(&format!("slice right {} ms after that", since(start)));
    lab.device_is("home", "zwave", "Serving").await?;
    drop(stick);
    lab.device_is("home", "zwave", "Absent").await?;
    settle(lab, QUIET).await
}

/// What Metacontroller has written since a mark, of what counts.
fn metacontrollers(lab: &Lab, mark: Mark, counts: impl Fn(&Write) -> bool) -> Result<Vec<String>> {
    let writes = lab.writes_since(mark)?;
    let counted = writes.iter().filter(|write| write.user == METACONTROLLER && counts(write));
    Ok(counted.map(ToString::to_string).collect())
}

/// As the install page says: another image and revision by the component, then `kubectl apply -k`.
async fn upgrade(lab: &Lab, image: &str, revision: &str) -> Result<()> {
    let overlay = lab.directory.join("overlay");
    fs::create_dir_all(&overlay)?;
    // kustomize takes relative paths only.
    let up = "../".repeat(overlay.canonicalize()?.components().count() - 1);
    let base = shipped().canonicalize()?;
    let base = format!("{up}{}", base.strip_prefix("/")?.display());
    fs::write(
        overlay.join("kustomization.yaml"),
        format!("resources: [{base}, release.yaml]\ncomponents: [{base}/components/release]\n"),
    )?;
    fs::write(
        overlay.join("release.yaml"),
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: serialfleet-release\n  \
             annotations: {{config.kubernetes.io/local-config: 'true'}}\n\
             data: {{image: '{image}', revision: '{revision}'}}\n"
        ),
    )?;
    lab.kubectl().apply_kustomize(&overlay).await.with_context(|| root().display().to_string())?;
    lab.hooks_are_ready().await
}

/// Long enough for what would come late, short enough to be done several times.
const QUIET: std::time::Duration = std::time::Duration::from_secs(5);
