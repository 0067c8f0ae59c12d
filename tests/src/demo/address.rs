//! Free addresses: what a developer's machine already serves must not stand in the demo's way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// A loopback address on which all these ports are free. All of 127.0.0.0/8 is there without being configured.
pub(super) fn loopback(ports: &[u16]) -> Result<IpAddr> {
    let is_free = |address: IpAddr, port: u16| TcpListener::bind((address, port)).is_ok();
    (1..=254)
        .map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
        .find(|address| ports.iter().all(|port| is_free(*address, *port)))
        .with_context(|| {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let ports = ports.join(", ");
            format!(
                "one of the ports {ports} is taken on every loopback address: give the devices other ports"
            )
        })
}

/// This port if it is free, else any.
pub(super) fn free(address: IpAddr, preferred: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind((address, preferred))
        .or_else(|_| TcpListener::bind((address, 0)))
        .with_context(|| format!("no free port on {address}"))?;
    Ok(listener.local_addr()?)
}
