//! `serialfleet-hook diff`, `explain` and `doctor`: what a captured request or a CompositeController has to say, without
//! a cluster and without a server. Reads files, prints text; everything else is the library's.
//!
//! As with `diff` of old, the exit code says whether there was anything: 0 no, 1 yes, 64 wrong use.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::Value;
use serialfleet_hook::{doctor, explain::explain, predict::predict, request::SyncRequest, sync::respond};

use crate::{BridgeArgs, config, read};

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// File with a captured request of the sync hook, or - for standard input.
    request: PathBuf,
    /// File with the answer that was given. Default: the answer that this version and these flags give.
    #[arg(long, env = "SERIALFLEET_ANSWER")]
    answer: Option<PathBuf>,
    /// Image of the bridge pods. Default: that of the request's DaemonSet.
    #[arg(long, env = "SERIALFLEET_BRIDGE_IMAGE")]
    bridge_image: Option<String>,
    #[command(flatten)]
    bridge: BridgeArgs,
}

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// File with a captured request of the sync hook, or - for standard input.
    request: PathBuf,
    /// Name of the device.
    device: String,
}

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// File with CompositeControllers as YAML or JSON, or with a captured request; - for standard input.
    file: PathBuf,
}

/// Prints what Metacontroller will change.
pub(crate) fn run_diff(args: DiffArgs) -> anyhow::Result<ExitCode> {
    let DiffArgs { request: path, answer, bridge_image, bridge } = args;
    let request = read(&path)?;
    let of = |path: &Path| path.display().to_string();
    let given = match &answer {
        Some(path) => read(path)?,
        None => {
            let image =
                bridge_image.or_else(|| observed_image(&request)).unwrap_or_else(|| "serialfleet".to_owned());
            let request = SyncRequest::parse(request.as_bytes()).with_context(|| of(&path))?;
            serde_json::to_string(&respond(&request, &config(image, bridge), SystemTime::now()))?
        }
    };
    let prediction = predict(request.as_bytes(), given.as_bytes()).with_context(|| match &answer {
        Some(answer) => format!("{} with {}", of(&path), of(answer)),
        None => of(&path),
    })?;
    print(&prediction.to_string())?;
    Ok(ExitCode::from(u8::from(!prediction.is_at_rest())))
}

/// Whoever gives no image does not want to hear of it.
fn observed_image(request: &str) -> Option<String> {
    let request: Value = serde_json::from_str(request).ok()?;
    let sets = request["children"]["DaemonSet.apps/v1"].as_object()?;
    let image = &sets.values().next()?["spec"]["template"]["spec"]["containers"][0]["image"];
    Some(image.as_str()?.to_owned())
}

/// Prints why a device is served where it is, or what to do.
pub(crate) fn run_explain(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let ExplainArgs { request, device } = args;
    let text = read(&request)?;
    let parsed = SyncRequest::parse(text.as_bytes()).with_context(|| request.display().to_string())?;
    print(&explain(&parsed, &device)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what is wrong with each CompositeController.
pub(crate) fn run_doctor(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let DoctorArgs { file } = args;
    let controllers = doctor::read(&read(&file)?).with_context(|| file.display().to_string())?;
    let mut text = String::new();
    let mut healthy = true;
    for controller in &controllers {
        let name = if controller.name().is_empty() { "(no name)" } else { controller.name() };
        let findings = doctor::doctor(controller);
        healthy &= findings.is_empty();
        let verdict = if findings.is_empty() { "nothing is wrong" } else { "this is wrong" };
        text.push_str(&format!("CompositeController {name}: {verdict}\n"));
        for finding in &findings {
            text.push_str(&format!("  {finding}\n"));
        }
    }
    print(&text)?;
    Ok(ExitCode::from(u8::from(!healthy)))
}

fn print(text: &str) -> anyhow::Result<()> {
    // Whoever reads only the head of it has seen enough.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| anyhow!(error).context("standard output")),
    }
}
