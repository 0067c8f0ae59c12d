//! The lab's own ground: without it no other scenario means anything.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serialfleet_cluster::control_plane::ControlPlane;
use serialfleet_cluster::credentials::User;
use serialfleet_cluster::dns::Dns;
use serialfleet_cluster::families::Families;
use serialfleet_cluster::harness::say;
use serialfleet_cluster::wait;
use tokio::process::Command;

/// It starts, takes a write and logs it, gets quiet, and keeps what it knows over a restart of its API server.
pub(crate) async fn comes_up(directory: PathBuf) -> Result<()> {
    raise_address().await?;
    let mut control_plane = ControlPlane::start(&directory).await?;
    say("started");
    let (kubectl, audit) = (control_plane.kubectl(), control_plane.audit());
    let version = kubectl.run(&["version"]).await?.success()?;
    ensure!(version.contains("Server Version: v1."), "{version}");

    let mark = audit.mark()?;
    kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: somewhere}}").await?;
    let created = wait::until("the write is in the audit log", Duration::from_secs(5), async || {
        let writes = audit.writes_since(mark)?;
        Ok(writes.into_iter().find(|write| write.resource == "namespaces" && write.name == "somewhere"))
    })
    .await?;
    ensure!(created.user == "admin" && created.code == 201 && !created.is_background(), "{created}");
    say("kubectl has created a namespace");

    audit.quiet_for(Duration::from_secs(2), Duration::from_secs(30), |write| !write.is_background()).await?;
    say("quiet");

    control_plane.stop_api_server().await?;
    say("the API server has stopped");
    ensure!(!kubectl.run(&["get", "namespaces"]).await?.ok, "nobody can have answered");
    control_plane.start_api_server().await?;
    say("the API server is back");
    let namespaces = Api::<Namespace>::all(control_plane.client(&User::Admin)?);
    ensure!(namespaces.get_opt("somewhere").await?.is_some(), "the namespace is gone");

    control_plane.stop_all().await?;
    say("all has stopped");
    control_plane.start_all().await?;
    say("all is back");
    kubectl.run(&["delete", "namespace", "somewhere"]).await?.success()?;
    wait::until("the namespace is gone", Duration::from_secs(20), async || {
        Ok(namespaces.get_opt("somewhere").await?.is_none().then_some(()))
    })
    .await?;
    say("the namespace is gone");
    control_plane.check()
}

/// A resolver's questions get the addresses of Services, and "no such name" for all else.
pub(crate) async fn names_of_services_resolve(directory: PathBuf) -> Result<()> {
    raise_address().await?;
    let control_plane = ControlPlane::start(&directory).await?;
    let client = control_plane.client(&User::Admin)?;
    let address = Families::default().first_room();
    let dns = Dns::start(client.clone(), (address, 53).into()).await?;
    say("started");

    let resolver = directory.join("resolv.conf");
    fs::write(
        &resolver,
        format!(
            "nameserver {address}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
        ),
    )?;
    // As a pod gets it; this mount namespace is the scenario's own.
    let mounted = Command::new("mount").arg("--bind").arg(&resolver).arg("/etc/resolv.conf").status().await?;
    ensure!(mounted.success(), "mount: {mounted}");
    for name in
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    {
        ensure!(resolve(name).await? == [Ipv4Addr::new(10, 96, 0, 1)], "{name}");
    }
    say("resolved");
    ensure!(resolve("absent.default.svc").await.is_err() && resolve("example.org").await.is_err());
    say("not resolved");

    control_plane
        .kubectl()
        .apply("{apiVersion: v1, kind: Service, metadata: {name: late}, spec: {ports: [{port: 80}]}}")
        .await?;
    wait::until("a new Service has a name", Duration::from_secs(5), async || {
        Ok(Some(resolve("late").await?))
    })
    .await?;
    say("a new Service has a name");
    drop(dns);
    Ok(())
}

async fn resolve(name: &str) -> Result<Vec<Ipv4Addr>> {
    let found = tokio::net::lookup_host((name, 0)).await.with_context(|| name.to_owned())?;
    let addresses: BTreeSet<Ipv4Addr> = found
        .filter_map(|address| match address.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    Ok(addresses.into_iter().collect())
}

/// No nodes here, so no network: the machine room's address alone.
async fn raise_address() -> Result<()> {
    let address = format!("{}/32", Families::default().first_room());
    let added = Command::new("ip").args(["address", "add", &address, "dev", "lo"]).status().await?;
    ensure!(added.success(), "ip address add: {added}");
    Ok(())
}
