//! What a container is made of: image, volumes, environment and privileges in one plan for the launcher.
//!
//! Owner: the container's task, before each start.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::super::environment::{Subject, command, variables};
use super::super::launcher::{Mount, Plan};
use super::super::privileges::privileges;
use super::super::view::PodView;
use super::Job;

/// Why a container cannot be started, as the pod's status says it.
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, error: &anyhow::Error) -> Self {
        Self { reason, message: format!("{error:#}") }
    }
}

impl Job {
    pub(super) async fn plan(&self) -> Result<Plan, Refusal> {
        let reference = self.container.image.as_deref().unwrap_or_default();
        let image = self.machine.images.find(reference).ok_or_else(|| Refusal {
            reason: "ErrImagePull",
            message: format!("failed to pull image {reference:?}: this lab has no such image"),
        })?;
        let refuse = |error| Refusal::new("CreateContainerConfigError", &error);
        let view = self.views.borrow().clone();
        let addresses = self.machine.addresses();
        let subject =
            Subject { client: &self.machine.client, pod: &self.pod, view: &view, host_addresses: &addresses };
        let (host, port) = &self.machine.api_service;
        let room = self.machine.network.families().first_room();
        let environment =
            variables(&subject, &self.container, (host.as_str(), port.as_str())).await.map_err(refuse)?;
        let spec = self.pod.spec.as_ref().ok_or_else(|| refuse(anyhow::anyhow!("a pod without a spec")))?;
        let privileges = privileges(spec, &self.container, image.uid()).map_err(refuse)?;
        let context = self.container.security_context.as_ref();

        // The node's own tree stands in for the kernel's.
        let mut mounts = vec![Mount {
            source: self.machine.sysfs.clone(),
            target: "/sys".into(),
            read_only: true,
            follows: true,
        }];
        mounts.extend(image.files().map(|(at, from)| Mount {
            source: from.to_owned(),
            target: at.to_owned(),
            read_only: true,
            follows: false,
        }));
        mounts.extend(self.volume_mounts().map_err(refuse)?);
        Ok(Plan {
            hostname: hostname(spec, &view, &self.machine.name),
            root: self.root(),
            read_only_root: context.and_then(|context| context.read_only_root_filesystem) == Some(true),
            mounts,
            files: files(spec, &view, &hostname(spec, &view, &self.machine.name), room),
            working_directory: self.container.working_dir.clone().unwrap_or_else(|| "/".to_owned()).into(),
            command: command(&self.container, image.command(), &environment),
            environment,
            privileges,
        })
    }

    /// Outer ones first.
    fn volume_mounts(&self) -> anyhow::Result<Vec<Mount>> {
        let Container { volume_mounts, .. } = &self.container;
        let mut mounts = Vec::new();
        for mount in volume_mounts.iter().flatten() {
            let sub_path = mount.sub_path.as_ref().or(mount.sub_path_expr.as_ref());
            anyhow::ensure!(sub_path.is_none(), "this lab knows no subPath");
            mounts.push(Mount {
                source: self.volumes.path(&mount.name)?,
                target: PathBuf::from(&mount.mount_path),
                read_only: mount.read_only == Some(true),
                follows: mount.mount_propagation.as_deref() == Some("HostToContainer"),
            });
        }
        mounts.sort_by_key(|mount| mount.target.components().count());
        Ok(mounts)
    }
}

fn hostname(spec: &PodSpec, view: &PodView, node: &str) -> String {
    let own = || spec.hostname.clone().unwrap_or_else(|| view.name.chars().take(63).collect());
    if spec.host_network == Some(true) { node.to_owned() } else { own() }
}

/// Small files of `/etc` that an image has, or that a kubelet puts there. `room` answers for names.
fn files(spec: &PodSpec, view: &PodView, hostname: &str, room: IpAddr) -> Vec<(PathBuf, String)> {
    let mut hosts = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    let own = view.addresses.iter().map(|address| format!("{address} {hostname}\n"));
    let aliases = spec.host_aliases.iter().flatten();
    let aliases = aliases
        .map(|alias| format!("{} {}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join(" ")));
    hosts.extend(own.chain(aliases));
    let resolver = format!(
        "nameserver {room}\nsearch {}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
        view.namespace
    );
    let file = |name: &str, text: String| (Path::new("/etc").join(name), text);
    vec![
        file("hosts", hosts),
        file("resolv.conf", resolver),
        file("hostname", format!("{hostname}\n")),
        file("nsswitch.conf", "hosts: files dns\n".to_owned()),
        file("passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n".to_owned()),
        file("group", "root:x:0:\nnobody:x:65534:\n".to_owned()),
    ]
}
