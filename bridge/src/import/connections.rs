//! ser2net 4: statements to entries, with the defaults and defines that hold where each one stands.
//!
//! Owner: [`super::import`]. Reads no files: an `include` is asked for.

use std::{collections::BTreeMap, path::Path};

use serialfleet_api::fleet::{Protocol, TlsMode, TlsSettings};

use super::{
    Include, MAX_TEXT, Source,
    entry::{Defaults, Entry, Reading, is_true},
    network,
    options::{self, Options},
    serial::Serial,
    stack::{Layer, Stack, stack, words},
    statements::{Kind, Statement, statements},
    tree,
};

/// What holds at some line.
#[derive(Default)]
struct Context {
    defaults: Defaults,
    defines: BTreeMap<String, String>,
    depth: usize,
}

/// Files that include files that include files.
const MAX_INCLUDES: usize = 8;
/// Longest text after all `*(name)` are replaced, in characters.
pub(super) const MAX_EXPANDED: usize = 1024;

/// All that the file and those that it includes say.
pub(super) fn read(source: &Source, include: Include<'_>, reading: &mut Reading) {
    read_with(source, &mut Context::default(), include, reading);
}

fn read_with(source: &Source, context: &mut Context, include: Include<'_>, reading: &mut Reading) {
    let documents = match tree::read(&source.text) {
        Ok(documents) => documents,
        Err((line, message)) => {
            return reading.say(format!("{} line {line}: this is no YAML: {message}", source.name));
        }
    };
    for statement in documents.iter().flat_map(statements) {
        let origin = format!("{} line {}", source.name, statement.line);
        let text = |name: &str| context.expand(statement.field(name).unwrap_or_default(), statement.mark);
        match &statement.kind {
            Kind::Connection => {
                let entry = context.entry(&statement, origin, stick(&source.name));
                reading.push(entry);
            }
            Kind::Define => {
                let value = text("value");
                if let Some(name) = &statement.name {
                    context.defines.insert(name.clone(), value);
                }
            }
            Kind::Default => {
                let (class, value) = (text("class"), text("value"));
                let name = statement.name.as_deref().filter(|_| statement.mark == '=');
                let name = name.map_or_else(|| text("name"), str::to_owned).to_ascii_lowercase();
                if !is_used(&class, &name) {
                    reading.say(format!("{origin}: default {class} {name}: {value} is not carried over"));
                }
                context.defaults.set(&class, &name, &value);
            }
            Kind::DeleteDefault => {
                let name = statement.name.as_deref().filter(|_| statement.mark == '=');
                let name = name.map_or_else(|| text("name"), str::to_owned);
                for (_, class) in statement.fields.iter().filter(|(key, _)| key == "class") {
                    context.defaults.delete(class.trim(), name.trim_end_matches(','));
                }
            }
            Kind::Include if context.depth >= MAX_INCLUDES => {
                reading.say(format!("{origin}: more than {MAX_INCLUDES} files deep, not included"));
            }
            Kind::Include => match include(&text("value")) {
                Ok(sources) => {
                    context.depth += 1;
                    for source in sources {
                        if source.text.len() > MAX_TEXT {
                            reading.say(format!("{}: larger than {MAX_TEXT} bytes, not read", source.name));
                        } else {
                            read_with(&source, context, include, reading);
                        }
                    }
                    context.depth -= 1;
                }
                Err(problem) => reading.say(format!("{origin}: include {}: {problem}", text("value"))),
            },
            Kind::Other(kind) => {
                let name = statement.name.as_deref().unwrap_or_default();
                let of = match (*kind, text("accepter")) {
                    ("rotator", accepter) => format!("on {accepter} (connect to the devices themselves)"),
                    ("admin", accepter) => {
                        format!("on {accepter} (see `serialfleet-bridge ports` and kubectl get sf)")
                    }
                    _ => String::new(),
                };
                let words: Vec<&str> =
                    [*kind, name, of.as_str()].into_iter().filter(|word| !word.is_empty()).collect();
                reading.say(format!("{origin}: {} is not carried over", words.join(" ")));
            }
            Kind::Unknown(word) => reading.say(format!("{origin}: {word:?} is not understood")),
        }
    }
}

/// The stick that a file is named after: `10c4:ea60.yaml`, `0403_6001.yaml`.
fn stick(file_name: &str) -> Option<String> {
    let stem = Path::new(file_name).file_name()?.to_str()?.split('.').next()?.to_ascii_lowercase();
    let (vendor, product) = stem.split_once([':', '_', '-'])?;
    let is_id = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id(vendor) && is_id(product)).then(|| format!("{vendor}:{product}"))
}

/// What a connection has beside `options`.
const FIELDS: [&str; 5] = ["accepter", "connector", "timeout", "enable", "name"];

/// Defaults that this module or [`options`] asks for.
fn is_used(class: &str, name: &str) -> bool {
    let name = name.replace('_', "-");
    match class {
        "" => SERIAL_DEFAULTS.contains(&name.as_str()) || options::has_default(&name),
        "serialdev" => SERIAL_DEFAULTS.contains(&name.as_str()),
        "ser2net" => options::has_default(&name),
        "ssl" => matches!(name.as_str(), "clientauth" | "key" | "cert" | "ca"),
        "telnet" => name == "rfc2217",
        "tcp" => matches!(name.as_str(), "nodelay" | "reuseaddr"),
        _ => false,
    }
}

const SERIAL_DEFAULTS: [&str; 7] =
    ["speed", "xonxoff", "rtscts", "local", "hangup-when-done", "rs485", "nobreak"];

/// What a `default` says about the line.
pub(super) fn serial_defaults(defaults: &Defaults) -> Serial {
    let mut serial = Serial::default();
    for name in SERIAL_DEFAULTS {
        if let Some(value) = defaults.get("serialdev", name) {
            serial.take(&format!("{name}={value}"));
        }
    }
    serial
}

impl Context {
    /// The text with `*(name)` replaced; `*(*` is a plain `*(`. `*{file}` stays: files named so hold passwords.
    fn expand(&self, text: &str, mark: char) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once(mark) {
            out.push_str(before);
            let name = behind.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            if let Some(escaped) = ["(", "{"].into_iter().find_map(|open| {
                let behind = behind.strip_prefix(open)?.strip_prefix(mark)?;
                Some((open, behind))
            }) {
                out.push(mark);
                out.push_str(escaped.0);
                rest = escaped.1;
            } else if let Some(behind) = behind.strip_prefix(mark) {
                out.push(mark);
                rest = behind;
            } else if let Some((name, behind)) = name {
                // The name of a connection or of an LED stands for itself.
                out.push_str(self.defines.get(name).map_or(name, String::as_str));
                rest = behind;
            } else {
                out.push(mark);
                rest = behind;
            }
            if out.len() > MAX_EXPANDED {
                break;
            }
        }
        out.push_str(rest);
        out.chars().take(MAX_EXPANDED).collect()
    }

    fn entry(&self, statement: &Statement, origin: String, stick: Option<String>) -> Entry {
        let text = |name: &str| statement.field(name).map(|text| self.expand(text, statement.mark));
        let mut entry = Entry { origin, name: statement.name.clone(), stick, ..Entry::default() };
        let mut options = Options::with_defaults(&self.defaults, &mut entry);
        for (name, value) in &statement.options {
            let name = self.expand(name, statement.mark).trim().to_ascii_lowercase();
            options.take(&name, self.expand(value, statement.mark).trim(), &mut entry);
        }
        for (name, value) in &statement.fields {
            match name.as_str() {
                field if FIELDS.contains(&field) => {}
                "options" if value.is_empty() => {}
                other => entry.notes.lost(format!("{other} (not understood)")),
            }
        }
        for name in statement.repeated().filter(|name| FIELDS.contains(name)) {
            entry.notes.lost(format!("another {name} (the last one counts)"));
        }
        if let Some(timeout) = text("timeout") {
            options.set_timeout(&timeout);
        }
        entry.suspend = text("enable").is_some_and(|enable| !is_true(&enable));
        match text("accepter") {
            Some(accepter) => self.accept(&stack(&accepter), &mut entry),
            None => entry.leave_out("it has no accepter"),
        }
        let mut serial = serial_defaults(&self.defaults);
        match text("connector") {
            Some(connector) => connect(&stack(&connector), &mut serial, &mut entry),
            None => entry.leave_out("it has no connector"),
        }
        serial.settle(&mut entry);
        options.settle(&serial, &mut entry);
        entry
    }

    /// From the client to TCP.
    fn accept(&self, stack: &Stack, entry: &mut Entry) {
        for layer in &stack.layers {
            let on = |name: &str| {
                let value = layer.argument(name).or_else(|| self.defaults.get(&layer.name, name));
                value.is_some_and(is_true)
            };
            match layer.name.as_str() {
                "tcp" => {
                    network::listen(&stack.rest, entry);
                    tcp_arguments(layer, entry);
                }
                "telnet" => {
                    entry.settings.protocol = Some(Protocol::Rfc2217);
                    if !on("rfc2217") {
                        entry.notes.say(TELNET);
                    }
                    let others = layer.arguments.iter().filter(|(name, _)| name != "rfc2217");
                    others.for_each(|(name, _)| entry.notes.lost(format!("{name} of telnet")));
                }
                "ssl" => {
                    let mode = if on("clientauth") { TlsMode::Mutual } else { TlsMode::Server };
                    // What certauth asked for stays.
                    entry.settings.tls.get_or_insert(TlsSettings { mode });
                    entry.notes.say(CERTIFICATES);
                }
                "certauth" => {
                    entry.settings.tls = Some(TlsSettings { mode: TlsMode::Mutual });
                    entry.notes.say("certauth asked for a login; here a client certificate does, and nobody gets in without.");
                }
                "keepopen" => entry.notes.already("keepopen"),
                "trace" | "perf" => entry.notes.lost(layer.name.as_str()),
                other => {
                    entry.leave_out(format!("clients came by {other:?}, and the bridge does not speak that"))
                }
            }
        }
    }
}

pub(super) const TELNET: &str =
    "Telnet is spoken with RFC 2217 only: clients may now change baud rate and format while connected.";
const CERTIFICATES: &str = "Certificates come from a Secret in serialfleet-system, named after the fleet (<fleet>-bridge-tls): \
     tls.crt, tls.key, for client certificates ca.crt.";

fn tcp_arguments(layer: &Layer, entry: &mut Entry) {
    for (name, _) in &layer.arguments {
        match name.as_str() {
            "nodelay" | "readbuf" | "reuseaddr" => entry.notes.already(format!("tcp({name})")),
            other => entry.notes.lost(format!("{other} of tcp")),
        }
    }
}

/// From the stick to the connection.
fn connect(stack: &Stack, serial: &mut Serial, entry: &mut Entry) {
    for layer in &stack.layers {
        match layer.name.as_str() {
            "serialdev" | "sdev" | "termios" => {
                let (device, parameters) = stack.rest.split_once(',').unwrap_or((&stack.rest, ""));
                entry.device = device.trim().to_owned();
                let in_brackets = layer.arguments.iter().map(|(name, value)| match value.as_str() {
                    "" => name.clone(),
                    value => format!("{name}={value}"),
                });
                for word in in_brackets {
                    let name = word.split('=').next().unwrap_or_default();
                    if matches!(
                        name,
                        "nouucplock"
                            | "uucplock"
                            | "flock"
                            | "readbuf"
                            | "drain_time"
                            | "char_drain_wait"
                            | "custspeed"
                    ) {
                        entry.notes.already(format!("serialdev({name})"));
                    } else if !serial.take(&word) {
                        entry.notes.lost(format!("{word} (not understood)"));
                    }
                }
                for word in words(parameters) {
                    if !serial.take(&word) {
                        entry.notes.lost(format!("{word} (not understood)"));
                    }
                }
            }
            "keepopen" => entry.notes.already("keepopen"),
            "trace" | "perf" | "ratelimit" | "script" | "chardelay" => entry.notes.lost(layer.name.as_str()),
            // Its arguments may hold a password.
            other => entry.leave_out(format!("the connector is {other:?}, no serial device of a node")),
        }
    }
}
