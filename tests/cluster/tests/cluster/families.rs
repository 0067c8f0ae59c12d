//! Clusters with IPv6: alone, and beside IPv4. A device is served in every family that its cluster has.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serialfleet_cluster::{control_plane::Options, families::Families, harness::say, wait};

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{HOME, Lab, PATIENCE, Strategy, connect},
    settle::settle,
};

pub(crate) async fn both(directory: PathBuf) -> Result<()> {
    every_one_is_served(directory, Families::Dual).await
}

pub(crate) async fn ipv6_alone(directory: PathBuf) -> Result<()> {
    every_one_is_served(directory, Families::Ipv6).await
}

async fn every_one_is_served(directory: PathBuf, families: Families) -> Result<()> {
    let options = Options { families, ..Options::default() };
    let lab = Lab::start_with(&directory, 3, Strategy::DynamicApply, options).await?;
    let stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.fleet_is_ready("home").await?;
    let count = families.room().len();
    let endpoints = endpoints_on(&lab, "node-2", count).await?;

    let service = lab.object(HOME, "service/zigbee").await?;
    let port = service["spec"]["ports"][0]["port"].as_u64().context("a port")?;
    let cluster_ips = service["spec"]["clusterIPs"].as_array().context("addresses")?;
    let addresses: Result<Vec<SocketAddr>> = cluster_ips
        .iter()
        .map(|address| {
            let address: IpAddr = address.as_str().unwrap_or_default().parse()?;
            Ok(SocketAddr::new(address, u16::try_from(port)?))
        })
        .collect();
    let addresses = addresses?;
    ensure!(addresses.len() == count, "one ClusterIP for each family: {addresses:?}");
    let named: BTreeSet<IpAddr> =
        tokio::net::lookup_host(("zigbee.iot-system.svc", 0)).await?.map(|address| address.ip()).collect();
    let expected: BTreeSet<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    ensure!(named == expected, "the name leads to {named:?}, the ClusterIPs are {expected:?}");

    let client = lab.node(3).client()?;
    for address in endpoints.iter().chain(&addresses) {
        let mut stream = connect(&client, *address).await?;
        stream.write_all(b"ping")?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        ensure!(&answer == b"ping", "an echo through {address}: {answer:?}");
        say(&format!("bytes through {address}"));
    }
    settle(&lab, QUIET).await?;

    // A move takes all families along, and none is left behind without a stick.
    drop(stick);
    endpoints_on(&lab, "node-2", 0).await?;
    let _moved = lab.node(3).host().plug(zigbee())?;
    let moved = endpoints_on(&lab, "node-3", count).await?;
    say(&format!("moved to {moved:?}"));
    let now = lab.object(HOME, "service/zigbee").await?;
    ensure!(now["spec"]["clusterIPs"] == service["spec"]["clusterIPs"], "addresses never change: {now}");
    settle(&lab, QUIET).await
}

/// Waits until the device's slices name so many endpoints, one in each family, all on this node.
async fn endpoints_on(lab: &Lab, node: &str, count: usize) -> Result<Vec<SocketAddr>> {
    wait::until(&format!("zigbee has {count} endpoints on {node}"), PATIENCE, async || {
        let label = "kubernetes.io/service-name=zigbee";
        let mut found = Vec::new();
        for slice in lab.objects(&["-n", HOME, "endpointslices", "-l", label]).await? {
            let port = u16::try_from(slice["ports"][0]["port"].as_u64().context("a port")?)?;
            for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
                let address: IpAddr = endpoint["addresses"][0].as_str().unwrap_or_default().parse()?;
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                ensure!(slice["addressType"] == family, "{slice}");
                ensure!(endpoint["nodeName"] == node, "{slice}");
                found.push(SocketAddr::new(address, port));
            }
        }
        let families: BTreeSet<bool> = found.iter().map(SocketAddr::is_ipv4).collect();
        Ok((found.len() == count && families.len() == count).then_some(found))
    })
    .await
}

const QUIET: Duration = Duration::from_secs(2);
