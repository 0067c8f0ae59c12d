//! kubectl, as a person would use it.
//!
//! Owner: scenarios. It must not change what it is given: what is applied is applied as shipped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::capability;

/// The program and a user's kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    home: PathBuf,
}

/// What a call has printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line.
    pub call: String,
    /// What it found, or did.
    pub stdout: String,
    /// Warnings and errors.
    pub stderr: String,
    /// Whether it ended with 0.
    pub ok: bool,
}

impl Output {
    /// What it printed, if it went well.
    ///
    /// # Errors
    /// If it did not: what it said.
    pub fn success(self) -> Result<String> {
        ensure!(self.ok, "{}: {}{}", self.call, self.stdout, self.stderr);
        Ok(self.stdout)
    }
}

impl Kubectl {
    /// With the credentials of that file; its cache goes into `directory`.
    #[must_use]
    pub fn new(kubeconfig: &Path, directory: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), home: directory.join("kubectl") }
    }

    /// One call.
    ///
    /// # Errors
    /// If it cannot be started or does not end; that it fails is in the [`Output`].
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_with_input(arguments, "").await
    }

    /// One call with something at its standard input.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let line = format!("kubectl {}", arguments.join(" "));
        let mut child = Command::new(capability::control_plane_program("kubectl"))
            // Proxies and settings of the caller's environment are not for it.
            .env_clear()
            .env("HOME", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| line.clone())?;
        let mut stdin = child.stdin.take().context("its standard input was asked for")?;
        let call = async {
            let (written, output) = tokio::join!(
                async move { stdin.write_all(input.as_bytes()).await },
                child.wait_with_output()
            );
            // One that does not read all of it has failed, and says why itself.
            written.ok();
            output
        };
        let output = timeout(LIMIT, call)
            .await
            .with_context(|| format!("{line}: no end"))?
            .with_context(|| line.clone())?;
        Ok(Output {
            call: line,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            ok: output.status.success(),
        })
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// If anything in it is refused.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let output = self.run_with_input(&["apply", "-f", "-"], yaml).await?;
        output.success().context("kubectl apply")
    }

    /// `kubectl apply -k DIRECTORY`, server-side or not as `kubectl` does by itself: as the README says.
    ///
    /// # Errors
    /// If anything in it is refused.
    pub async fn apply_kustomize(&self, directory: &Path) -> Result<String> {
        let directory = directory.to_str().context("a path in UTF-8")?;
        let output = self.run(&["apply", "-k", directory]).await?;
        output.success().with_context(|| format!("kubectl apply -k {directory}"))
    }
}

/// `kubectl wait` and deletions in the foreground included.
const LIMIT: Duration = Duration::from_secs(120);
