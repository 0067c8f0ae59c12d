//! The cluster's DNS, for pods' `/etc/resolv.conf`: the Services of the API server, over UDP.
//!
//! Owner: the lab, in the machine room; dropping it ends it. It must not answer for anything but Services: whoever
//! asks for a name outside the cluster is told that there is none.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::message::{Answer, Question};

mod message;

/// A server that runs.
#[derive(Debug)]
pub struct Dns {
    // Ended when dropped.
    _tasks: JoinSet<()>,
    address: SocketAddr,
}

impl Dns {
    /// Serves at `address` from the moment it returns, with every Service that exists by then.
    ///
    /// # Errors
    /// If the address cannot be had, or the API server lists nothing.
    pub async fn start(client: Client, address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(address).await.with_context(|| format!("DNS at {address}"))?;
        let address = socket.local_addr()?;
        let mut tasks = JoinSet::new();
        let names = Names {
            services: mirror(&client, &mut tasks).await?,
            slices: mirror(&client, &mut tasks).await?,
        };
        tasks.spawn(serve(socket, names));
        Ok(Self { _tasks: tasks, address })
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// All objects of a kind, followed by a task.
async fn mirror<K>(client: &Client, tasks: &mut JoinSet<()>) -> Result<Store<K>>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default());
    // An error is an API server that restarts.
    let mut events = events.default_backoff().reflect(writer).boxed();
    tasks.spawn(async move { while events.next().await.is_some() {} });
    let kind = K::kind(&());
    timeout(PATIENCE, store.wait_until_ready())
        .await
        .with_context(|| format!("DNS: no list of {kind}"))??;
    Ok(store)
}

async fn serve(socket: UdpSocket, names: Names) {
    let mut buffer = [0; 512];
    loop {
        // An error is a client's port that has been closed.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(question) = buffer.get(..length).and_then(Question::parse) else { continue };
        let answer = question.answer(&names.look_up(&question.name));
        socket.send_to(&answer, client).await.ok();
    }
}

struct Names {
    services: Store<Service>,
    slices: Store<EndpointSlice>,
}

impl Names {
    fn look_up(&self, name: &str) -> Answer {
        let Some((name, namespace)) = service_of(name) else { return Answer::NoSuchName };
        let Some(service) = self.services.get(&ObjectRef::new(name).within(namespace)) else {
            return Answer::NoSuchName;
        };
        let addresses =
            service.spec.as_ref().and_then(|spec| spec.cluster_ips.as_deref()).unwrap_or_default();
        match addresses.first().map(String::as_str) {
            Some("None") => Answer::Addresses(self.endpoints(name, namespace)),
            Some(_) => Answer::Addresses(addresses.iter().filter_map(|it| it.parse().ok()).collect()),
            // ExternalName: nothing that this lab has.
            None => Answer::NoSuchName,
        }
    }

    /// Of a headless Service.
    fn endpoints(&self, service: &str, namespace: &str) -> Vec<IpAddr> {
        let slices = self.slices.state();
        let of_service = slices.iter().filter(|slice| {
            slice.namespace().as_deref() == Some(namespace)
                && slice.labels().get("kubernetes.io/service-name").is_some_and(|name| name == service)
        });
        let mut addresses: Vec<IpAddr> = of_service
            .flat_map(|slice| slice.endpoints.iter())
            .filter(|endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true))
            .flat_map(|endpoint| endpoint.addresses.iter().filter_map(|address| address.parse().ok()))
            .collect();
        addresses.sort_unstable();
        addresses
    }
}

/// Name and namespace in `<name>.<namespace>.svc`, with or without the cluster's domain. What a resolver's search
/// list adds to a full name makes names that do not exist, and it goes on.
fn service_of(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_suffix(".cluster.local").unwrap_or(name);
    name.strip_suffix(".svc")?.split_once('.').filter(|(_, namespace)| !namespace.contains('.'))
}

/// For the first list of each kind.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::service_of;

    #[test]
    fn a_search_list_finds_a_service_once() {
        let hook = Some(("hook", "fleet"));
        let rows = [
            ("hook.fleet.svc", hook),
            ("hook.fleet.svc.cluster.local", hook),
            ("hook.fleet.svc.svc.cluster.local", None),
            ("hook.fleet.svc.fleet.svc.cluster.local", None),
            ("hook.fleet", None),
            ("hook.svc", None),
            ("svc", None),
            ("example.org", None),
        ];
        for (name, service) in rows {
            assert_eq!(service_of(name), service, "{name}");
        }
    }
}
