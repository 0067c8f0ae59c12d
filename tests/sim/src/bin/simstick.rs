//! A simulated stick for people and for tests in other languages: commands on standard input, JSON lines on standard
//! output.
//!
//! Owner: nobody's production. Thin over the library.

use std::io::{self, BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use serialfleet_sim::{Event, Host, Mode, Scene, Stick, StickSpec};

/// A PTY that looks like a USB serial stick in a sysfs tree and a device directory.
///
/// Commands, one a line: plug, unplug, replug [SECONDS], move PATH (next plug), set KEY=VALUE (next plug),
/// mode echo|silent|zstack|modbus, send HEX [PORT], freeze, thaw, quit. Ends with its standard input.
#[derive(Debug, Parser)]
#[command(name = "simstick")]
struct Args {
    /// Made if it is not there; several sticks may share it
    #[arg(long)]
    sysfs_root: PathBuf,
    /// Made if it is not there; several sticks may share it
    #[arg(long)]
    dev_root: PathBuf,
    /// A kind of stick
    #[arg(long, value_enum, default_value = "ftdi")]
    scene: Scene,
    /// USB socket, e.g. 1-1 or, behind a hub, 1-1.4
    #[arg(long)]
    path: Option<String>,
    /// vendor:product
    #[arg(long)]
    usb: Option<String>,
    /// Empty: none
    #[arg(long)]
    serial: Option<String>,
    /// Empty: none
    #[arg(long)]
    manufacturer: Option<String>,
    /// Empty: none
    #[arg(long)]
    product: Option<String>,
    /// The interface's string; empty: none
    #[arg(long)]
    interface: Option<String>,
    /// Another kind of tty, e.g. ttyAMA with the scene uart
    #[arg(long)]
    tty: Option<String>,
    /// What it answers
    #[arg(long, value_enum, default_value = "echo")]
    mode: Mode,
    /// Start cooked and with ECHO, as hardware does
    #[arg(long)]
    cooked: bool,
    /// Send the kernel's events into this network namespace (never the initial one)
    #[arg(long)]
    uevents: bool,
    /// Bind-mount the PTY as the node; default: a symlink
    #[arg(long)]
    bind: bool,
    /// Start unplugged
    #[arg(long)]
    unplugged: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut host = Host::at(&args.sysfs_root, &args.dev_root)?;
    if args.uevents {
        host = host.with_uevents()?;
    }
    if args.bind {
        host = host.with_bind_mounts();
    }
    let stick = Arc::new(host.stick(spec(&args)?)?);
    let printer = Arc::new(Printer { start: Instant::now(), printed: Mutex::new(0) });
    let (followed, following) = (Arc::clone(&stick), Arc::clone(&printer));
    // Ends with the process: it only ever waits and prints.
    std::thread::spawn(move || following.follow(&followed));
    if !args.unplugged {
        stick.plug()?;
    }
    let result = obey(&stick, &printer);
    // Unplugging is the point of ending in good order; there may be nothing to unplug.
    drop(stick.unplug());
    printer.print(&stick)?;
    result
}

/// Carries out what is typed until there is no more.
fn obey(stick: &Stick, printer: &Printer) -> Result<()> {
    for line in stdin().lock().lines() {
        let line = line?;
        let (verb, rest) = line.trim().split_once(' ').unwrap_or_else(|| (line.trim(), ""));
        match verb {
            "" => continue,
            "quit" => break,
            _ => {}
        }
        let result = command(stick, verb, rest.trim());
        printer.print(stick)?;
        match result {
            Ok(()) => printer.say(json!({"event": "done", "command": line}))?,
            Err(error) => {
                printer.say(json!({"event": "error", "text": format!("{error:#}"), "command": line}))?
            }
        }
    }
    Ok(())
}

fn command(stick: &Stick, verb: &str, rest: &str) -> Result<()> {
    match verb {
        "plug" => stick.plug(),
        "unplug" => stick.unplug(),
        "replug" => {
            stick.unplug()?;
            if !rest.is_empty() {
                std::thread::sleep(Duration::try_from_secs_f64(rest.parse()?)?);
            }
            stick.plug()
        }
        "move" => {
            let path = rest.to_owned();
            stick.change(move |spec| spec.usb_path = path)
        }
        "set" => {
            let (key, value) = rest.split_once('=').context("set KEY=VALUE")?;
            let (key, value) = (key.to_owned(), value.to_owned());
            stick.change(move |spec| spec.set(&key, &value))?
        }
        "mode" => stick.set_mode(Mode::from_str(rest, true).map_err(anyhow::Error::msg)?),
        "send" => {
            let (hex, port) = rest.split_once(' ').unwrap_or((rest, "0"));
            stick.send(port.trim().parse()?, &bytes(hex)?)
        }
        "freeze" => stick.freeze(),
        "thaw" => stick.thaw(),
        _ => bail!("no such command: {verb}"),
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    anyhow::ensure!(hex.is_ascii() && hex.len().is_multiple_of(2), "an even number of hex digits");
    let digits = hex.as_bytes().chunks_exact(2);
    digits.map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?)).collect()
}

/// Prints the journal, each entry once, whoever comes first.
struct Printer {
    start: Instant,
    printed: Mutex<usize>,
}

impl Printer {
    fn follow(&self, stick: &Stick) {
        loop {
            let printed = *self.lock();
            let more = stick.wait_for(FOLLOW, |record| (record.entries.len() > printed).then_some(()));
            if more.is_ok() && self.print(stick).is_err() {
                return;
            }
        }
    }

    fn print(&self, stick: &Stick) -> Result<()> {
        let mut printed = self.lock();
        for entry in stick.record()?.entries.iter().skip(*printed) {
            let mut value = serde_json::to_value(&entry.event)?;
            if let Event::Plugged { .. } = entry.event {
                value["nodes"] = (0..).map_while(|port| stick.node(port).ok()).map(|n| json!(n)).collect();
            }
            value["t"] = json!(entry.at.duration_since(self.start).as_secs_f64());
            write_line(&value)?;
            *printed += 1;
        }
        Ok(())
    }

    fn say(&self, mut value: Value) -> Result<()> {
        let _order = self.lock();
        value["t"] = json!(self.start.elapsed().as_secs_f64());
        Ok(write_line(&value)?)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_line(value: &Value) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

fn spec(args: &Args) -> Result<StickSpec> {
    let mut spec = StickSpec::new(args.scene).mode(args.mode);
    spec.cooked = args.cooked;
    let overrides = [
        ("path", &args.path),
        ("usb", &args.usb),
        ("serial", &args.serial),
        ("manufacturer", &args.manufacturer),
        ("product", &args.product),
        ("interface", &args.interface),
        ("tty", &args.tty),
    ];
    for (key, value) in overrides {
        if let Some(value) = value {
            spec.set(key, value).with_context(|| format!("--{key}"))?;
        }
    }
    Ok(spec)
}

/// How long one wait for news lasts; another one follows.
const FOLLOW: Duration = Duration::from_secs(3600);
