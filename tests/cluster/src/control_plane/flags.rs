//! The flags of the control plane's programs: the least that works for processes in one network namespace.
//!
//! Owner: the control plane. It starts nothing.

use std::path::Path;

use serde_json::json;

use super::{ControlPlane, Options, PORT};
use crate::credentials::User;
use crate::families::Families;

/// Where etcd serves the API server.
pub(super) const ETCD: &str = "127.0.0.1:2379";

/// In the control plane's directory.
pub(super) const AUDIT_POLICY: &str = "audit-policy.json";

/// What the API server's certificate is for: the machine room, itself, the Service's first address and its names.
pub(super) fn server_names(families: Families) -> Vec<String> {
    let addresses = families.room().into_iter().chain(families.api_service());
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    addresses.map(|address| address.to_string()).chain(names.map(str::to_owned)).collect()
}

pub(super) fn etcd(directory: &Path) -> Vec<String> {
    let (client, peer) = (format!("http://{ETCD}"), "http://127.0.0.1:2380");
    vec![
        "--name=lab".to_owned(),
        flag("data-dir", directory.join("etcd").display()),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", peer),
        flag("initial-advertise-peer-urls", peer),
        flag("initial-cluster", format!("lab={peer}")),
        // What is lost with the machine is lost with the scenario.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

pub(super) fn api_server(lab: &ControlPlane) -> Vec<String> {
    let toleration = lab.options.unreachable_toleration.as_secs();
    vec![
        flag("etcd-servers", format!("http://{ETCD}")),
        flag("secure-port", PORT),
        flag("bind-address", lab.options.families.any()),
        flag("advertise-address", lab.options.families.first_room()),
        flag("tls-cert-file", lab.credentials.certificate_file().display()),
        flag("tls-private-key-file", lab.credentials.key_file().display()),
        flag("client-ca-file", lab.credentials.authority_file().display()),
        flag("token-auth-file", lab.credentials.tokens_file().display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        flag("service-account-key-file", lab.credentials.checking_key_file().display()),
        flag("service-account-signing-key-file", lab.credentials.signing_key_file().display()),
        flag("service-cluster-ip-range", lab.options.families.services()),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        flag("default-not-ready-toleration-seconds", toleration),
        flag("default-unreachable-toleration-seconds", toleration),
        "--allow-privileged=true".to_owned(),
        "--shutdown-delay-duration=0s".to_owned(),
        flag("audit-policy-file", lab.directory.join(AUDIT_POLICY).display()),
        flag("audit-log-path", lab.log("audit").display()),
        // Not in batches: a write is in the log when its answer is out.
        "--audit-log-mode=blocking".to_owned(),
        "--audit-log-maxsize=0".to_owned(),
    ]
}

pub(super) fn controller_manager(lab: &ControlPlane) -> Vec<String> {
    let mut flags = as_user(lab, &User::ControllerManager);
    flags.extend([
        "--use-service-account-credentials=true".to_owned(),
        flag("service-account-private-key-file", lab.credentials.signing_key_file().display()),
        flag("root-ca-file", lab.credentials.authority_file().display()),
        flag("cluster-cidr", lab.options.families.pods()),
        flag("service-cluster-ip-range", lab.options.families.services()),
        flag("node-monitor-grace-period", format!("{}s", lab.options.node_monitor_grace_period.as_secs())),
        "--node-monitor-period=1s".to_owned(),
        // At its own 20 a second it makes the controllers' service accounts for four seconds.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]);
    flags
}

pub(super) fn scheduler(lab: &ControlPlane) -> Vec<String> {
    as_user(lab, &User::Scheduler)
}

/// Writes alone, each when it is answered; with bodies for the one user that the scenario asked for.
pub(super) fn audit_policy(options: &Options) -> String {
    let verbs = json!(["create", "update", "patch", "delete", "deletecollection"]);
    let mut rules = vec![json!({"level": "Metadata", "verbs": verbs})];
    if let Some(user) = &options.audit_bodies_of {
        rules.insert(0, json!({"level": "RequestResponse", "users": [user], "verbs": verbs}));
    }
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": rules,
    });
    policy.to_string()
}

fn as_user(lab: &ControlPlane, user: &User) -> Vec<String> {
    let kubeconfig = lab.kubeconfig(user);
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("authentication-kubeconfig", kubeconfig.display()),
        flag("authorization-kubeconfig", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        // Nobody asks it anything.
        "--secure-port=0".to_owned(),
    ]
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
