//! ser2net's own options of a connection (ser2net.yaml(5), "CONNECTION SPECIFICATION OPTIONS").
//!
//! Owner: [`super::connections`] and [`super::conf`], which spells them as ser2net 4 does. Knows nothing of gensios.

use serialfleet_api::fleet::{ClientPolicy, Writers};

use super::{
    entry::{Defaults, Entry, is_true},
    network,
    serial::Serial,
};

/// The options of one connection.
#[derive(Debug, Default)]
pub(super) struct Options {
    kick_old_user: bool,
    max_connections: i64,
    nothing_to_device: bool,
    remote_addresses: String,
    timeout: Option<String>,
    char_delay: Option<bool>,
    char_delay_scale: Option<u64>,
    send_on: bool,
}

/// Those that a `default` can set.
const WITH_DEFAULT: [&str; 25] = [
    "telnet-brk-on-sync",
    "kickolduser",
    "chardelay",
    "chardelay-scale",
    "chardelay-min",
    "chardelay-max",
    "dev-to-net-bufsize",
    "net-to-dev-bufsize",
    "max-connections",
    "connector-retry-time",
    "accepter-retry-time",
    "remaddr",
    "connback",
    "authdir",
    "pamauth",
    "allowed-users",
    "signature",
    "openstr",
    "closestr",
    "closeon",
    "banner",
    "sendon",
    "mdns",
    "mdns-sysattrs",
    "timeout-on-os-queue",
];

/// Whether `default` sets an option by this name.
pub(super) fn has_default(name: &str) -> bool {
    WITH_DEFAULT.contains(&name) || name.starts_with("mdns-")
}

impl Options {
    /// What the defaults say.
    pub(super) fn with_defaults(defaults: &Defaults, entry: &mut Entry) -> Self {
        let mut options = Self { max_connections: 1, ..Self::default() };
        for name in WITH_DEFAULT {
            if let Some(value) = defaults.get("ser2net", name) {
                options.take(name, value, entry);
            }
        }
        options
    }

    /// Seconds without traffic, as written.
    pub(super) fn set_timeout(&mut self, text: &str) {
        self.timeout = Some(text.trim().to_owned());
    }

    /// One option; what is not known is said.
    pub(super) fn take(&mut self, name: &str, value: &str, entry: &mut Entry) {
        let notes = &mut entry.notes;
        let on = is_true(value);
        match name {
            "kickolduser" => self.kick_old_user = on,
            "max-connections" => match value.trim().parse() {
                Ok(max) => self.max_connections = max,
                Err(_) => notes.lost(format!("max-connections: {value} (no number)")),
            },
            "remaddr" if self.remote_addresses.len() > MAX_ADDRESSES => notes.lost("further remaddr"),
            "remaddr" => {
                self.remote_addresses.push(';');
                self.remote_addresses.push_str(value);
            }
            "no-acc-to-con" => self.nothing_to_device = on,
            "no-con-to-acc" if on => notes.lost("no-con-to-acc (clients get what the device sends)"),
            "chardelay" => self.char_delay = Some(on),
            "chardelay-scale" => self.char_delay_scale = value.trim().parse().ok(),
            "chardelay-min" | "chardelay-max" => notes.lost(name),
            "sendon" if !value.is_empty() => self.send_on = true,
            "dev-to-net-bufsize" | "net-to-dev-bufsize" => notes.already("large buffers"),
            "accepter-retry-time" | "connector-retry-time" => notes.already("retrying"),
            "timeout-on-os-queue" if on => notes.lost(name),
            "telnet-brk-on-sync" if on => notes.lost(name),
            "mdns" if on => notes.lost("mdns"),
            "mdns" | "no-con-to-acc" | "timeout-on-os-queue" | "telnet-brk-on-sync" | "sendon" => {}
            "banner" | "openstr" | "closestr" | "closeon" | "signature" | "connback" | "connback-timeout"
            | "authdir" | "pamauth" | "allowed-users" | "led-rx" | "led-tx" | "led-conn" => {
                if !value.is_empty() {
                    notes.lost(name);
                }
            }
            _ if name.starts_with("trace-") => {
                // `trace-hexdump: false`
                if !value.is_empty() && value != "false" {
                    notes.lost(name);
                }
            }
            // They say how, where `mdns` says whether.
            _ if name.starts_with("mdns-") => {}
            _ => notes.lost(format!("{name} (not understood)")),
        }
    }

    /// What they amount to.
    pub(super) fn settle(self, serial: &Serial, entry: &mut Entry) {
        let clients = &mut entry.settings.clients;
        let notes = &mut entry.notes;
        if serial.read_only || self.nothing_to_device {
            clients.policy = Some(ClientPolicy::Share);
            clients.writers = Some(Writers::None);
            if self.kick_old_user {
                notes.say("Nobody writes, so a newcomer joins the others instead of ending them.");
            }
        } else if self.max_connections > 1 {
            clients.policy = Some(ClientPolicy::Share);
        } else {
            let policy = if self.kick_old_user { ClientPolicy::Takeover } else { ClientPolicy::Refuse };
            clients.policy = Some(policy);
        }
        if clients.policy == Some(ClientPolicy::Share) {
            let max = self.max_connections.clamp(1, MAX_CLIENTS);
            if max < self.max_connections {
                notes.lost(format!("max-connections: {} (at most {MAX_CLIENTS})", self.max_connections));
            }
            if self.kick_old_user && self.max_connections > 1 {
                notes.lost("kickolduser (one above max-connections is refused)");
            }
            // With kickolduser nobody was refused.
            let joins = self.kick_old_user && self.max_connections <= 1;
            clients.max = (!joins).then(|| i32::try_from(max).ok()).flatten();
        }
        network::remote_addresses(&self.remote_addresses, clients, notes);
        match self.timeout.as_deref().map(parse_timeout) {
            None | Some(Some(0)) => {}
            Some(Some(seconds @ 1..=MAX_IDLE)) => clients.idle_timeout_seconds = i32::try_from(seconds).ok(),
            Some(Some(seconds)) => {
                clients.idle_timeout_seconds = i32::try_from(MAX_IDLE).ok();
                notes.lost(format!("timeout: {seconds} (at most {MAX_IDLE})"));
            }
            Some(None) => notes.lost(format!("timeout: {} (no number)", self.timeout.unwrap_or_default())),
        }
        if self.char_delay == Some(false) {
            notes.already("chardelay: false");
        } else if let Some(scale) = self.char_delay_scale {
            let gap = serial.milliseconds(scale).min(1000);
            notes.lost(format!(
                "chardelay-scale: {scale} (if the client needs whole frames: frameGapMilliseconds: {gap})"
            ));
        }
        if self.send_on {
            notes.lost("sendon (if the client needs whole frames: frameGapMilliseconds)");
        }
    }
}

/// Longest text of all `remaddr` of a connection, in bytes.
const MAX_ADDRESSES: usize = 1 << 16;
/// Most clients of a device.
const MAX_CLIENTS: i64 = 64;
/// Longest idle timeout, in seconds.
const MAX_IDLE: u64 = 604_800;

/// Decimal, or as C writes numbers: ser2net reads both.
fn parse_timeout(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(options: &[(&str, &str)], words: &[&str]) -> Entry {
        let mut entry = Entry::default();
        let mut serial = Serial::default();
        words.iter().for_each(|word| assert!(serial.take(word)));
        let mut taken = Options::with_defaults(&Defaults::default(), &mut entry);
        for (name, value) in options {
            taken.take(name, value, &mut entry);
        }
        taken.settle(&serial, &mut entry);
        entry
    }

    #[test]
    fn who_may_connect_at_once_is_carried_over() {
        use ClientPolicy::{Refuse, Share, Takeover};
        for (options, words, policy, max, writers) in [
            (&[][..], &[][..], Refuse, None, None),
            (&[("kickolduser", "true")], &[], Takeover, None, None),
            (&[("kickolduser", "")], &[], Takeover, None, None),
            (&[("max-connections", "3")], &[], Share, Some(3), None),
            (&[("max-connections", "300"), ("kickolduser", "true")], &[], Share, Some(64), None),
            (&[], &["rdonly"], Share, Some(1), Some(Writers::None)),
            (&[("no-acc-to-con", "true"), ("kickolduser", "on")], &[], Share, None, Some(Writers::None)),
        ] {
            let clients = settled(options, words).settings.clients;
            assert_eq!(
                (clients.policy, clients.max, clients.writers),
                (Some(policy), max, writers),
                "{options:?}"
            );
        }
    }

    #[test]
    fn nothing_is_dropped_in_silence() {
        let all = [
            ("banner", "x"),
            ("trace-both", "/tmp/x"),
            ("led-tx", "l"),
            ("sendon", "x"),
            ("chardelay-scale", "35"),
            ("no-con-to-acc", "true"),
            ("mdns", "true"),
            ("whatever", "1"),
        ];
        for option in all {
            assert_eq!(settled(&[option], &[]).notes.lost.len(), 1, "{option:?}");
        }
        let lost = settled(&[("chardelay-scale", "35")], &["19200"]).notes.lost;
        assert!(lost.iter().any(|note| note.contains("frameGapMilliseconds: 2")), "{lost:?}");
    }
}
