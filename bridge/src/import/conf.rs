//! ser2net 3: `ser2net.conf`, a line for each port, `3001:raw:600:/dev/ttyS0:115200 8DATABITS NONE 1STOPBIT`, and
//! definitions before it (ser2net(8) of version 3).
//!
//! Owner: [`super::import`]. Must not know YAML.

use std::collections::BTreeMap;

use serialfleet_api::fleet::Protocol;

use super::{
    Source,
    connections::{MAX_EXPANDED, TELNET, serial_defaults},
    entry::{Defaults, Entry, Reading, is_true},
    network,
    options::Options,
};

/// Whether the file is one of these. ser2net itself goes by the name, and by `%YAML` at the start.
pub(super) fn is_conf(source: &Source) -> bool {
    let named = |ends: &[&str]| ends.iter().any(|end| source.name.to_ascii_lowercase().ends_with(end));
    if named(&[".yaml", ".yml"]) || source.text.starts_with("%YAML") {
        return false;
    }
    named(&[".conf"])
        || logical_lines(&source.text).any(|(_, line)| definition(&line).is_some() || state(&line).is_some())
}

/// Lines that a backslash at the end joins, without comments and empty ones, with their numbers.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        loop {
            let (number, first) = lines.next()?;
            let mut line = first.trim_end().to_owned();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            while line.ends_with('\\') {
                line.pop();
                let Some((_, next)) = lines.next() else { break };
                line.push_str(next.trim_end());
            }
            return Some((number + 1, line));
        }
    })
}

const DEFINITIONS: [&str; 12] = [
    "BANNER",
    "SIGNATURE",
    "OPENSTR",
    "CLOSESTR",
    "CLOSEON",
    "DEVICE",
    "TRACEFILE",
    "CONTROLPORT",
    "RS485CONF",
    "DEFAULT",
    "ROTATOR",
    "LED",
];

/// `BANNER:name:text`: its kind, and what follows.
fn definition(line: &str) -> Option<(&'static str, &str)> {
    DEFINITIONS.into_iter().find_map(|kind| Some((kind, line.strip_prefix(kind)?.strip_prefix(':')?)))
}

/// What stands before the state, the state, and what follows. The first part may have colons: IPv6.
fn state(line: &str) -> Option<(&str, &str, &str)> {
    let states = [":raw:", ":rawlp:", ":telnet:", ":off:"];
    let (at, state) = states.into_iter().filter_map(|state| Some((line.find(state)?, state))).min()?;
    Some((line.get(..at)?, state.trim_matches(':'), line.get(at + state.len()..)?))
}

/// What the lines before defined.
#[derive(Default)]
struct Definitions {
    /// Kind by name, of texts that an option names.
    texts: BTreeMap<String, &'static str>,
    devices: BTreeMap<String, String>,
    rs485: BTreeMap<String, String>,
    defaults: Defaults,
}

/// All that the file says.
pub(super) fn read(source: &Source, reading: &mut Reading) {
    let mut known = Definitions::default();
    for (number, line) in logical_lines(&source.text) {
        let origin = format!("{} line {number}", source.name);
        if let Some((kind, rest)) = definition(&line) {
            known.define(kind, rest, &origin, reading);
        } else if let Some((port, state, rest)) = state(&line) {
            reading.push(known.entry(port, state, rest, origin));
        } else {
            reading.say(format!("{origin}: not understood: {line}"));
        }
    }
}

impl Definitions {
    fn define(&mut self, kind: &'static str, rest: &str, origin: &str, reading: &mut Reading) {
        let (name, value) = rest.split_once(':').unwrap_or((rest, ""));
        let value: String = value.trim().chars().take(MAX_EXPANDED).collect();
        match kind {
            "DEVICE" => {
                self.devices.insert(name.to_owned(), value);
            }
            "DEFAULT" => self.defaults.set("", name, &value),
            "RS485CONF" => {
                self.rs485.insert(name.to_owned(), rs485(&value));
            }
            "CONTROLPORT" => reading.say(format!(
                "{origin}: the control port {rest} is not carried over (see `serialfleet-bridge ports` and kubectl get sf)"
            )),
            "ROTATOR" => reading.say(format!(
                "{origin}: rotator {name} is not carried over (connect to the devices themselves)"
            )),
            "LED" => reading.say(format!("{origin}: LED {name} is not carried over")),
            _ => {
                self.texts.insert(name.to_owned(), kind);
            }
        }
    }

    fn entry(&self, port: &str, state: &str, rest: &str, origin: String) -> Entry {
        let mut parts = rest.splitn(3, ':');
        let mut part = || parts.next().unwrap_or_default().trim();
        let (timeout, device, words) = (part(), part(), part());
        let mut entry = Entry { origin, suspend: state == "off", ..Entry::default() };
        entry.device = self.devices.get(device).map_or(device, String::as_str).to_owned();
        if entry.device.starts_with("sol.") {
            // It may hold a password.
            entry.device.clear();
            entry.leave_out("serial over LAN is no serial device of a node");
        }
        if port.trim().bytes().all(|byte| byte == b'0') {
            entry.leave_out("port 0 is standard input and output");
        }
        network::listen(port, &mut entry);
        let mut options = Options::with_defaults(&self.defaults, &mut entry);
        options.set_timeout(timeout);
        let mut serial = serial_defaults(&self.defaults);
        for (name, unit) in [("databits", "databits"), ("stopbits", "stopbits"), ("parity", "")] {
            if let Some(value) = self.defaults.get("", name) {
                serial.take(&format!("{value}{unit}"));
            }
        }
        let mut remote_control = self.defaults.get("", "remctl").is_some_and(is_true);
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let (name, on) = match name.strip_prefix('-') {
                Some(name) => (name, false),
                None => (name, true),
            };
            match (name, self.texts.get(word)) {
                ("remctl", _) => remote_control = on,
                ("rs485", _) => match self.rs485.get(value) {
                    Some(conf) => {
                        serial.take(&format!("rs485={conf}"));
                    }
                    None => entry.notes.lost(format!("{word} (not defined)")),
                },
                (_, Some(kind)) => entry.notes.lost(kind.to_ascii_lowercase()),
                _ if serial.take(word) => {}
                ("tr" | "tw" | "tb", _) => entry.notes.lost("traces"),
                _ if name.ends_with("hexdump") || name.ends_with("timestamp") => entry.notes.lost("traces"),
                _ => {
                    let value = if value.is_empty() && !on { "false" } else { value };
                    let name = name.replace('_', "-").replace("-tcp-", "-net-").replace("tcp-to", "net-to");
                    options.take(&name, value, &mut entry);
                }
            }
        }
        match state {
            "telnet" => {
                entry.settings.protocol = Some(Protocol::Rfc2217);
                if !remote_control {
                    entry.notes.say(TELNET);
                }
            }
            "off" => entry.notes.say("It was off, so whether it spoke telnet is not known: protocol."),
            "rawlp" => {
                entry.notes.lost("rawlp (the line is set as written, and clients get what the device sends)")
            }
            _ => {}
        }
        serial.settle(&mut entry);
        options.settle(&serial, &mut entry);
        entry
    }
}

/// `before:after:rts_on_send:rx_during_tx` as ser2net 4 writes it. Without the third, RTS is raised after sending.
fn rs485(text: &str) -> String {
    let parts: Vec<&str> = text.trim().split(':').collect();
    let [before, after, rts, rx] = parts.as_slice() else { return text.trim().to_owned() };
    let rts = if *rts == "1" { "rts_on_send" } else { "rts_after_send" };
    let rx = if *rx == "1" { ":rx_during_tx" } else { "" };
    format!("{before}:{after}:{rts}{rx}")
}
