//! Addresses as ser2net writes them, `[ipv4|ipv6,][tcp|udp,][host,]port`, and who may connect.
//!
//! Owner: [`super::connections`], [`super::conf`], [`super::options`]. Resolves no names: it looks nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serialfleet_api::fleet::{ClientSettings, Peer};

use super::entry::{Entry, Notes};

/// Takes over where ser2net listened.
pub(super) fn listen(text: &str, entry: &mut Entry) {
    let mut rest = text.trim();
    for family in ["ipv4", "ipv6"] {
        if let Some(behind) = part(rest, family) {
            entry.notes.lost(format!("{family} only"));
            rest = behind;
        }
    }
    rest = part(rest, "tcp").unwrap_or(rest);
    if let Some(other) = ["udp", "sctp", "unix"].into_iter().find(|other| part(rest, other).is_some()) {
        return entry.leave_out(format!("clients came by {other}, and the bridge speaks TCP"));
    }
    let (host, port) = match rest.split_once(',') {
        Some((host, port)) => (host.trim(), port.trim()),
        None => ("", rest),
    };
    match port.parse() {
        Ok(port @ 1..=65535) => entry.settings.port = Some(port),
        _ => entry.leave_out(format!("{port:?} is no port from 1 to 65535")),
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        _ if is_loopback(host) => {
            entry.settings.clients.allow_from = Some(LOOPBACK.map(peer).into());
            entry.notes.say(
                "ser2net served its own machine only: so nobody in the cluster may connect until allowFrom says \
                 who, such as {namespace: home-automation} or {cidr: 10.244.0.0/16}.",
            );
        }
        Ok(address) if address.is_unspecified() => {}
        _ if host.is_empty() => {}
        _ => entry.notes.lost(format!("listening on {host} only")),
    }
}

fn part<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    Some(text.strip_prefix(word)?.trim_start().strip_prefix(',')?.trim_start())
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "ip6-localhost" | "ip6-loopback")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

fn peer(cidr: &str) -> Peer {
    Peer { cidr: Some(cidr.to_owned()), ..Peer::default() }
}

/// Takes over `remaddr`: addresses between semicolons. Whoever cannot be named is kept out, not let in.
pub(super) fn remote_addresses(text: &str, clients: &mut ClientSettings, notes: &mut Notes) {
    let mut networks: Vec<IpNet> = Vec::new();
    let mut is_limited = false;
    for address in text.split(';').map(str::trim).filter(|address| !address.is_empty()) {
        is_limited = true;
        let plain = address.strip_prefix('!').unwrap_or(address);
        if plain.len() < address.len() {
            notes.lost(format!("connecting back to {plain}"));
        }
        let mut rest = plain;
        for word in ["ipv4", "ipv6", "tcp", "udp"] {
            rest = part(rest, word).unwrap_or(rest);
        }
        let (host, port) = rest.split_once(',').unwrap_or((rest, "0"));
        if !port.trim().bytes().all(|byte| byte == b'0') {
            notes.lost(format!("the client's own port in remaddr {plain}"));
        }
        match (host.trim().parse::<IpAddr>(), host.trim()) {
            (Ok(address), _) => networks.push(address.to_canonical().into()),
            (_, "localhost") => {
                networks.extend::<[IpNet; 2]>([
                    IpAddr::from(Ipv4Addr::LOCALHOST).into(),
                    IpAddr::from(Ipv6Addr::LOCALHOST).into(),
                ]);
            }
            (Err(_), host) => notes.lost(format!("remaddr {host} (a network is needed, not a name)")),
        }
    }
    if !is_limited {
        return;
    }
    let mut networks = IpNet::aggregate(&networks);
    if clients.allow_from.is_some() {
        // It listened for its own machine only: nobody else came in, whatever remaddr says.
        for network in networks.extract_if(.., |network| !network.addr().is_loopback()) {
            notes.lost(format!("remaddr {} (ser2net served its own machine only)", network.addr()));
        }
        if networks.is_empty() {
            return;
        }
    }
    for network in networks.drain(MAX_PEERS.min(networks.len())..) {
        notes.lost(format!("remaddr {} (at most {MAX_PEERS} networks)", network.addr()));
    }
    if networks.is_empty() {
        notes.say("Nobody may connect until allowFrom says who: ser2net named hosts that are no addresses.");
        networks = LOOPBACK.iter().filter_map(|network| network.parse().ok()).collect();
    }
    clients.allow_from = Some(networks.iter().map(|network| peer(&network.to_string())).collect());
}

/// Most entries of `allowFrom`.
const MAX_PEERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_hosts_are_taken_over() {
        for (text, port, limited, lost) in [
            ("3000", Some(3000), false, 0),
            ("127.0.0.1,3000", Some(3000), true, 0),
            ("localhost, 3000", Some(3000), true, 0),
            ("::,3000", Some(3000), false, 0),
            ("ipv6,tcp,::1,3000", Some(3000), true, 1),
            ("192.168.1.2,3000", Some(3000), false, 1),
            ("0", None, false, 0),
            ("ser2net", None, false, 0),
            ("udp,3000", None, false, 0),
            ("", None, false, 0),
        ] {
            let mut entry = Entry::default();
            listen(text, &mut entry);
            assert_eq!(entry.settings.port, port, "{text}");
            assert_eq!(entry.left_out.is_some(), port.is_none(), "{text}");
            assert_eq!(entry.settings.clients.allow_from.is_some(), limited, "{text}");
            assert_eq!(entry.notes.lost.len(), lost, "{text}");
        }
    }

    #[test]
    fn nobody_is_let_in_who_was_not() {
        let networks = |text: &str| -> Option<Vec<String>> {
            let (mut clients, mut notes) = (ClientSettings::default(), Notes::default());
            remote_addresses(text, &mut clients, &mut notes);
            clients.allow_from.map(|peers| peers.into_iter().filter_map(|peer| peer.cidr).collect())
        };
        assert_eq!(networks(" ; "), None);
        assert_eq!(
            networks("192.168.1.9,0;ipv6,fd00::1,0;!::ffff:10.0.0.1,99;otherserver,0").unwrap(),
            ["10.0.0.1/32", "192.168.1.9/32", "fd00::1/128"]
        );
        assert_eq!(networks("otherserver,0").unwrap(), LOOPBACK);
        let local = |text: &str| {
            let mut entry = Entry::default();
            listen("localhost,3000", &mut entry);
            remote_addresses(text, &mut entry.settings.clients, &mut entry.notes);
            let peers = entry.settings.clients.allow_from.unwrap();
            (peers.into_iter().filter_map(|peer| peer.cidr).collect::<Vec<_>>(), entry.notes.lost)
        };
        for (text, allowed) in [
            ("10.0.0.1,0", &LOOPBACK[..]),
            ("otherserver,0", &LOOPBACK),
            ("10.0.0.1,0;127.0.0.1,0", &["127.0.0.1/32"]),
        ] {
            let (networks, lost) = local(text);
            assert_eq!(networks, allowed, "{text}");
            assert_eq!(lost.len(), 1, "{text}: {lost:?}");
        }
        let many: String = (0..40).map(|n| format!("10.0.{n}.{},0;", n * 2)).collect();
        assert_eq!(networks(&many).unwrap().len(), MAX_PEERS);
    }
}
