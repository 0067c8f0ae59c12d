//! The address families of a cluster, and what has which address in each.
//!
//! Owner: the scenario chooses them; control plane, network, nodes and DNS ask here. It is pure, and asks nobody whether
//! the kernel can do it: that is [`crate::capability`]'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a cluster has. Addresses and ranges come in this order, the first being what Kubernetes calls the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// As most clusters.
    #[default]
    Ipv4,
    /// No IPv4 but in loopbacks.
    Ipv6,
    /// IPv4 first.
    Dual,
}

impl Families {
    /// The machine room's addresses: API server and DNS.
    #[must_use]
    pub fn room(self) -> Vec<IpAddr> {
        self.hosts(1)
    }

    /// The one by which the API server is called, and asked for names.
    #[must_use]
    pub fn first_room(self) -> IpAddr {
        match self {
            Self::Ipv4 | Self::Dual => ipv4_host(1).into(),
            Self::Ipv6 => ipv6_host(1).into(),
        }
    }

    /// A node's own addresses.
    #[must_use]
    pub fn node(self, index: u8) -> Vec<IpAddr> {
        self.hosts(10 + index)
    }

    /// The addresses of a pod, by the numbers of node and pod.
    #[must_use]
    pub fn pod(self, node: u8, number: u8) -> Vec<IpAddr> {
        let six = Ipv6Addr::new(0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, number.into());
        self.each(Ipv4Addr::new(10, 244, node, number).into(), six.into())
    }

    /// Where a node's pods are.
    #[must_use]
    pub fn pods_of(self, node: u8) -> Vec<String> {
        self.each(format!("10.244.{node}.0/24"), format!("fd00:10:244:{node:x}::/64"))
    }

    /// Where all pods are.
    #[must_use]
    pub fn pods(self) -> String {
        self.each("10.244.0.0/16", "fd00:10:244::/48").join(",")
    }

    /// Where the addresses of Services are.
    #[must_use]
    pub fn services(self) -> String {
        self.each("10.96.0.0/16", "fd00:10:96::/112").join(",")
    }

    /// The Service of the API server has the first address of each range.
    #[must_use]
    pub fn api_service(self) -> Vec<IpAddr> {
        self.each(Ipv4Addr::new(10, 96, 0, 1).into(), Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 1).into())
    }

    /// What a server listens on that is to be reached in all of them.
    #[must_use]
    pub fn any(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::Ipv6 | Self::Dual => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Whether the kernel needs IPv6 for it.
    #[must_use]
    pub fn has_ipv6(self) -> bool {
        self != Self::Ipv4
    }

    fn hosts(self, number: u8) -> Vec<IpAddr> {
        self.each(ipv4_host(number).into(), ipv6_host(number).into())
    }

    fn each<T>(self, four: T, six: T) -> Vec<T> {
        match self {
            Self::Ipv4 => vec![four],
            Self::Ipv6 => vec![six],
            Self::Dual => vec![four, six],
        }
    }
}

/// The length of the prefix that machine room and nodes share.
#[must_use]
pub fn shared_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// The length of a prefix that is one address.
#[must_use]
pub fn whole_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// What every pod calls its node: no address of the node's own, so nothing can be confused by it being on each veth.
#[must_use]
pub fn gateway(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => Ipv4Addr::new(169, 254, 1, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
    }
}

fn ipv4_host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

fn ipv6_host(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_address_and_the_first_comes_first() {
        let dual = Families::Dual;
        let text = |addresses: Vec<IpAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(dual.room()), ["10.0.0.1", "fd00:10::1"]);
        assert_eq!(text(dual.node(2)), ["10.0.0.12", "fd00:10::c"]);
        assert_eq!(text(dual.pod(2, 17)), ["10.244.2.17", "fd00:10:244:2::11"]);
        assert_eq!(dual.pods_of(12), ["10.244.12.0/24", "fd00:10:244:c::/64"]);
        assert_eq!(dual.services(), "10.96.0.0/16,fd00:10:96::/112");
        assert_eq!(text(Families::Ipv6.room()), ["fd00:10::1"]);
        for families in [Families::Ipv4, Families::Ipv6, Families::Dual] {
            assert_eq!(families.room().first(), Some(&families.first_room()));
        }
    }
}
