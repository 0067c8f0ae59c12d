//! One container: started, probed, restarted, stopped.
//!
//! Owner: the pod's task starts one task per container and awaits it. It tells the pod what happens by the pod's
//! view; nothing is said to the API server from here.

mod plan;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use k8s_openapi::jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use self::plan::Refusal;
use super::pod::Places;
use super::probe::{Prober, Verdict};
use super::view::{ContainerView, Ended, PodView, State};
use super::volumes::Volumes;
use super::{Machine, launcher};
use crate::process::Process;

/// When a container has to be gone; `None`: not at all.
pub(super) type Stop = Option<Instant>;

/// Whether a container that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// All that a container's task needs.
pub(super) struct Job {
    pub(super) machine: Arc<Machine>,
    pub(super) pod: Arc<Pod>,
    pub(super) container: Container,
    pub(super) volumes: Arc<Volumes>,
    pub(super) views: Arc<watch::Sender<PodView>>,
    /// The pod's network namespace.
    pub(super) network: PathBuf,
    pub(super) places: Places,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) restart: Restart,
}

impl Job {
    /// Until it has ended for good; whether that was as it should be.
    pub(super) async fn run(mut self) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let Some(end) = self.one_life().await else { return false };
            self.tell(|view| view.state = State::Ended(end.clone()));
            let again = match self.restart {
                Restart::Always => true,
                Restart::OnFailure => end.code != 0,
                Restart::Never => false,
            };
            if !again || self.stop.borrow().is_some() {
                return end.code == 0;
            }
            if began.elapsed() > FORGIVEN {
                pause = FIRST_PAUSE;
            }
            self.tell(|view| {
                view.last = Some(end.clone());
                let message = format!("back-off {pause:?} restarting failed container={}", view.name);
                view.state = State::Waiting { reason: "CrashLoopBackOff", message };
            });
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped(&mut self.stop) => {
                    self.tell(|view| view.state = State::Ended(end.clone()));
                    return false;
                }
            }
            pause = (pause * 2).min(LAST_PAUSE);
            self.tell(|view| view.restarts += 1);
        }
    }

    /// `None`: it was stopped before it could be started.
    async fn one_life(&mut self) -> Option<Ended> {
        let (mut process, pid) = loop {
            let refusal = match self.start().await {
                Ok(started) => break started,
                Err(refusal) => refusal,
            };
            self.machine.log.line(&format!("{}: {}: {}", self.title(), refusal.reason, refusal.message));
            self.tell(|view| {
                view.state = State::Waiting { reason: refusal.reason, message: refusal.message.clone() };
            });
            tokio::select! {
                () = sleep(TRY_AGAIN) => {}
                () = stopped(&mut self.stop) => return None,
            }
        };
        let started = Timestamp::now();
        self.tell(|view| {
            view.state = State::Running(started);
            view.pid = Some(pid.as_raw_nonzero().get());
            view.log = process.log().to_owned();
        });
        let result = self.supervise(&mut process, pid).await;
        // What it has started and left behind.
        kill_process_group(pid, Signal::KILL).ok();
        let (code, message) = match result {
            Ok((status, message)) => (exit_code(status), message),
            Err(error) => (255, format!("{error:#}")),
        };
        let (reason, message) = match code {
            0 => ("Completed", message),
            launcher::FAILED => ("StartError", process.last_words(3)),
            _ => ("Error", message),
        };
        self.machine.log.line(&format!("{}: ended with {code} {message}", self.title()));
        self.tell(|view| (view.ready, view.started, view.pid) = (false, false, None));
        Some(Ended { code, reason, message, started, finished: Timestamp::now() })
    }

    async fn start(&self) -> Result<(Process, Pid), Refusal> {
        let plan = self.plan().await?;
        let attempt = self.view().map_or(0, |view| view.restarts);
        self.spawn(&plan, attempt).map_err(|error| Refusal::new("CreateContainerError", &error))
    }

    fn spawn(&self, plan: &launcher::Plan, attempt: i32) -> Result<(Process, Pid)> {
        std::fs::create_dir_all(&plan.root)?;
        let file = self.places.directory.join(format!("{}.json", self.container.name));
        let log = self.places.logs.join(format!("{}.{attempt}.log", self.container.name));
        std::fs::write(&file, serde_json::to_vec(plan)?)?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.network.display()))
            // A slave hears of what is mounted on the node later, and tells nothing.
            .args(["unshare", "--mount", "--uts", "--propagation", "slave", "--"])
            .arg(std::env::current_exe()?)
            .arg(launcher::ARGUMENT)
            .arg(file);
        let process = Process::start(&self.title(), command, &log)?;
        let pid = process.pid().context("ended at once")?;
        self.machine.log.line(&format!("{}: started as process {pid:?}", self.title()));
        Ok((process, pid))
    }

    /// Until it has ended, by itself or because it had to.
    async fn supervise(&self, process: &mut Process, pid: Pid) -> Result<(ExitStatus, String)> {
        let node = self.machine.network.namespace();
        let address = *self.views.borrow().addresses.first().context("the pod has no address")?;
        let prober = Prober { container: &self.container, node, address, pid: pid.as_raw_nonzero().get() };
        let tell = |verdict| self.hear(verdict);
        let mut stop = self.stop.clone();
        let why = tokio::select! {
            status = process.wait() => return Ok((status?, String::new())),
            why = prober.watch(&tell) => why,
            () = stopped(&mut stop) => String::new(),
        };
        self.machine.log.line(&format!("{}: is stopped {why}", self.title()));
        let deadline = stop.borrow_and_update().unwrap_or_else(|| Instant::now() + self.grace());
        tokio::select! {
            status = self.terminate(process, &prober, stop, deadline) => Ok((status?, why)),
            () = prober.readiness(&tell) => unreachable!("it goes on until the container has ended"),
        }
    }

    async fn terminate(
        &self,
        process: &mut Process,
        prober: &Prober<'_>,
        mut stop: watch::Receiver<Stop>,
        mut deadline: Instant,
    ) -> Result<ExitStatus> {
        let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        if let Some(hook) = hook {
            tokio::select! {
                status = process.wait() => return status,
                result = timeout_at(deadline, run_hook(hook, prober)) => {
                    if let Ok(Err(error)) = result {
                        self.machine.log.line(&format!("{}: preStop: {error:#}", self.title()));
                    }
                }
            }
        }
        process.signal(Signal::TERM);
        loop {
            tokio::select! {
                status = process.wait() => return status,
                () = sleep_until(deadline) => return process.kill().await,
                Ok(()) = stop.changed() => {
                    let sooner = *stop.borrow_and_update();
                    deadline = sooner.map_or(deadline, |sooner| sooner.min(deadline));
                }
            }
        }
    }

    fn hear(&self, verdict: Verdict) {
        match verdict {
            Verdict::Started => self.tell(|view| view.started = true),
            Verdict::Ready(ready) => self.tell(|view| view.ready = ready),
            Verdict::Failed(probe, error) => {
                self.machine.log.line(&format!("{}: {probe} probe: {error}", self.title()));
            }
        }
    }

    fn tell(&self, change: impl FnOnce(&mut ContainerView)) {
        self.views.send_modify(|view| {
            if let Some(container) = view.container_mut(&self.container.name) {
                change(container);
            }
        });
    }

    fn view(&self) -> Option<ContainerView> {
        self.views.borrow().container(&self.container.name).cloned()
    }

    fn grace(&self) -> Duration {
        let seconds = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30))
    }

    fn title(&self) -> String {
        format!("{}/{}", self.views.borrow().name, self.container.name)
    }

    fn root(&self) -> PathBuf {
        self.places.directory.join("roots").join(&self.container.name)
    }
}

/// Returns when the pod has to go.
pub(super) async fn stopped(stop: &mut watch::Receiver<Stop>) {
    // Its sender outlives every task that listens.
    stop.wait_for(Option::is_some).await.ok();
}

async fn run_hook(hook: &LifecycleHandler, prober: &Prober<'_>) -> Result<()> {
    if let Some(action) = &hook.sleep {
        sleep(Duration::from_secs(u64::try_from(action.seconds)?)).await;
        Ok(())
    } else if let Some(action) = &hook.http_get {
        prober.http(action).await
    } else if let Some(action) = &hook.exec {
        prober.exec(action.command.as_deref().unwrap_or_default()).await
    } else {
        Ok(())
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A kubelet begins with 10 s and ends at 300 s; nobody wants to wait for that here.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// After a life of this length a container's earlier ends are forgotten.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Between two attempts to start what cannot be started yet.
const TRY_AGAIN: Duration = Duration::from_secs(1);
