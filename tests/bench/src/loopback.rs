//! Addresses that no other run uses.
//!
//! Owner: whoever starts a server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// Addresses that nobody listens on. The loopback network has room for each run to have an address of its own.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = IpAddr::V4(Ipv4Addr::new(127, high.max(1), middle, low.max(1)));
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind((own, 0))).collect::<Result<_, _>>().context("binding")?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}
