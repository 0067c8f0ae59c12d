//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes of the scenario's own network
//! namespace: the machine room.
//!
//! Owner: one scenario, whose directory it fills. It must not know of nodes, nor of the product. The addresses of
//! [`Families::room`] have to exist before it starts; who makes them is the network's matter.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::GetParams;
use kube::core::Request;
use kube::{Api, Client, Config};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::audit::Audit;
use crate::capability;
use crate::credentials::{Credentials, User};
use crate::families::Families;
use crate::kubectl::Kubectl;
use crate::process::Process;
use crate::wait;

mod flags;

/// The API server's port in the machine room.
pub const PORT: u16 = 6443;

/// What may differ between scenarios.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a node may be silent before it counts as lost. Kubernetes' own default is 50 s.
    pub node_monitor_grace_period: Duration,
    /// How long pods that tolerate nothing stay on a lost node. Kubernetes' own default is 300 s.
    pub unreachable_toleration: Duration,
    /// Whose writes are logged with what was sent and what was answered, as the audit log calls that user.
    pub audit_bodies_of: Option<String>,
    /// The network's, too.
    pub families: Families,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_monitor_grace_period: Duration::from_secs(16),
            unreachable_toleration: Duration::from_secs(300),
            audit_bodies_of: None,
            families: Families::default(),
        }
    }
}

/// Where it is for nodes and for the scenario.
fn url(families: Families) -> String {
    format!("https://{}", SocketAddr::new(families.first_room(), PORT))
}

/// A control plane that runs, or parts of which have been stopped on purpose.
#[derive(Debug)]
pub struct ControlPlane {
    directory: PathBuf,
    options: Options,
    credentials: Credentials,
    // In the order in which they are dropped: who asks first, who answers last.
    scheduler: Option<Process>,
    controller_manager: Option<Process>,
    api_server: Option<Process>,
    etcd: Option<Process>,
}

impl ControlPlane {
    /// Starts all of it with its data in `directory`, and its logs in `logs` there.
    ///
    /// # Errors
    /// If a part ends or does not get ready; with its last words.
    pub async fn start(directory: &Path) -> Result<Self> {
        Self::start_with(directory, Options::default()).await
    }

    /// The same, where something has to differ.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_with(directory: &Path, options: Options) -> Result<Self> {
        // Else it would look like an API server that never gets ready.
        let families = options.families;
        for address in families.room() {
            TcpListener::bind((address, 0))
                .await
                .with_context(|| format!("{address} does not exist here yet"))?;
        }
        let credentials = Credentials::create(
            &directory.join("credentials"),
            &url(families),
            &flags::server_names(families),
        )?;
        fs::write(directory.join(flags::AUDIT_POLICY), flags::audit_policy(&options))?;
        let mut control_plane = Self {
            directory: directory.to_owned(),
            options,
            credentials,
            scheduler: None,
            controller_manager: None,
            api_server: None,
            etcd: None,
        };
        control_plane.start_all().await?;
        Ok(control_plane)
    }

    /// Where the API server is, for nodes and for the scenario. Pods go through the Service `kubernetes`.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.options.families)
    }

    /// A client with its own connections.
    ///
    /// # Errors
    /// Never with this lab's own credentials.
    pub fn client(&self, user: &User) -> Result<Client> {
        // Not from the kubeconfig file: reading that also looks for proxies in the environment.
        let mut config = Config::new(self.url().parse()?);
        config.root_cert = Some(vec![self.credentials.authority_der().to_vec()]);
        config.auth_info.token = Some(Credentials::token(user).into());
        Client::try_from(config).context("a client of the API server")
    }

    /// For programs that are started on a node or in the machine room.
    #[must_use]
    pub fn kubeconfig(&self, user: &User) -> PathBuf {
        self.credentials.kubeconfig_file(user)
    }

    /// What pods get as `ca.crt`, too.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.credentials.authority_file()
    }

    /// kubectl as the scenario's own user.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.kubeconfig(&User::Admin), &self.directory)
    }

    /// The lab's own: nodes have theirs in there, too.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Everything that is written to the API server.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::new(&self.log("audit"))
    }

    /// Stops the API server alone: every connection to it breaks, etcd keeps the data.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn stop_api_server(&mut self) -> Result<()> {
        stop(&mut self.api_server, API_SERVER_GRACE).await
    }

    /// Starts it again at the same address, and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or does not get ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        let client = self.client(&User::Admin)?;
        let process = self.api_server.insert(self.spawn("kube-apiserver", flags::api_server(self))?);
        let ready = wait::until("the API server is ready", PATIENCE, async || {
            let request = Request::new("").get("readyz", &GetParams::default())?;
            Ok((client.request_text(request).await? == "ok").then_some(()))
        });
        unless_ended(process, ready).await
    }

    /// Stop and start.
    ///
    /// # Errors
    /// As these.
    pub async fn restart_api_server(&mut self) -> Result<()> {
        self.stop_api_server().await?;
        self.start_api_server().await
    }

    /// Stops everything, from who asks to who answers. What etcd holds stays.
    ///
    /// # Errors
    /// If a part cannot be waited for.
    pub async fn stop_all(&mut self) -> Result<()> {
        stop(&mut self.scheduler, GRACE).await?;
        stop(&mut self.controller_manager, GRACE).await?;
        self.stop_api_server().await?;
        stop(&mut self.etcd, GRACE).await
    }

    /// Starts everything, and waits until pods can be made.
    ///
    /// # Errors
    /// If a part ends or does not get ready.
    pub async fn start_all(&mut self) -> Result<()> {
        let etcd = self.etcd.insert(self.spawn("etcd", flags::etcd(&self.directory))?);
        let accepts = wait::until("etcd accepts connections", PATIENCE, async || {
            TcpStream::connect(flags::ETCD).await?;
            Ok(Some(()))
        });
        unless_ended(etcd, accepts).await?;

        self.start_api_server().await?;

        // Not before: without the roles that the API server makes, the controller manager ends.
        self.scheduler = Some(self.spawn("kube-scheduler", flags::scheduler(self))?);
        let client = self.client(&User::Admin)?;
        let controller_manager = self
            .controller_manager
            .insert(self.spawn("kube-controller-manager", flags::controller_manager(self))?);
        // What every pod mounts; both are made by controllers, which shows that these run.
        let accounts = Api::<ServiceAccount>::default_namespaced(client.clone());
        let authorities = Api::<ConfigMap>::default_namespaced(client);
        let made = wait::until("the default namespace is ready for pods", PATIENCE, async || {
            let account = accounts.get_opt("default").await?;
            let authority = authorities.get_opt("kube-root-ca.crt").await?;
            Ok(account.zip(authority).map(|_| ()))
        });
        unless_ended(controller_manager, made).await
    }

    /// That no part has ended by itself.
    ///
    /// # Errors
    /// Names the part that has, with its last words.
    pub fn check(&mut self) -> Result<()> {
        let parts = [&mut self.scheduler, &mut self.controller_manager, &mut self.api_server, &mut self.etcd];
        for part in parts.into_iter().flatten() {
            if let Some(status) = part.ended() {
                bail!("{} has ended ({status}):\n{}", part.name(), part.last_words(10));
            }
        }
        Ok(())
    }

    fn spawn(&self, name: &str, flags: Vec<String>) -> Result<Process> {
        let mut command = Command::new(capability::control_plane_program(name));
        // Proxies and settings of the caller's environment are not for these.
        command.env_clear().env("HOME", &self.directory).args(flags);
        Process::start(name, command, &self.log(name))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join("logs").join(name).with_extension("log")
    }
}

async fn stop(part: &mut Option<Process>, grace: Duration) -> Result<()> {
    if let Some(mut process) = part.take() {
        process.stop(grace).await?;
    }
    Ok(())
}

/// Waiting for a program that has ended would only hide why.
async fn unless_ended(process: &mut Process, waiting: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        waited = waiting => waited,
        error = process.unexpected_end() => Err(error),
    }
}

/// How long a part may take to get ready: ten times what it does on two idle cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a part may take to end in good order.
const GRACE: Duration = Duration::from_secs(20);

/// With watches open it would take a minute, and answer nobody new meanwhile.
const API_SERVER_GRACE: Duration = Duration::from_secs(2);
