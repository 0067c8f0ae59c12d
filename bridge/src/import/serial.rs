//! The words after a serial device: `115200n81`, `local`, `dtr=off` (gensio(5), serialdev) and their forms of
//! ser2net 3, `8DATABITS`, `-RTSCTS` (ser2net.conf(5)), which gensio still takes.
//!
//! Owner: [`super::connections`] and [`super::conf`]. Knows no defaults files and no paths.

use serialfleet_api::fleet::{FlowControl, LineSettings, Rs485};

use super::entry::{Entry, is_true};

/// What the words have said so far; at the start what ser2net does without any.
#[derive(Debug)]
pub(super) struct Serial {
    baud_rate: u64,
    data_bits: char,
    parity: char,
    stop_bits: char,
    xonxoff: bool,
    rtscts: bool,
    local: bool,
    hangup: bool,
    no_break: bool,
    dtr: Option<bool>,
    rts: Option<bool>,
    rs485: Option<String>,
    /// Nothing is written to the device.
    pub(super) read_only: bool,
    write_only: bool,
}

impl Default for Serial {
    fn default() -> Self {
        Self {
            baud_rate: 9600,
            data_bits: '8',
            parity: 'N',
            stop_bits: '1',
            xonxoff: false,
            rtscts: false,
            local: false,
            hangup: false,
            no_break: false,
            dtr: None,
            rts: None,
            rs485: None,
            read_only: false,
            write_only: false,
        }
    }
}

impl Serial {
    /// Whether the word is one of these.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let word = word.trim().to_ascii_lowercase();
        let (key, value) = word.split_once('=').unwrap_or((&word, ""));
        // Only ser2net 3 and the forms kept from it have a dash in front.
        let (key, on) = match key.strip_prefix('-') {
            Some(key) => (key, false),
            None => (key, is_true(value)),
        };
        match key {
            "speed" => return self.take_speed(value),
            "xonxoff" => self.xonxoff = on,
            "rtscts" => self.rtscts = on,
            "local" => self.local = on,
            "hangup-when-done" | "hangup_when_done" => self.hangup = on,
            "nobreak" => self.no_break = on,
            "dtr" => self.dtr = Some(on),
            "rts" => self.rts = Some(on),
            "rs485" => self.rs485 = Some(value.to_owned()),
            "rdonly" => self.read_only = on,
            "wronly" => self.write_only = on,
            "1stopbit" | "1stopbits" => self.stop_bits = '1',
            "2stopbits" | "2stopbit" => self.stop_bits = '2',
            "5databits" => self.data_bits = '5',
            "6databits" => self.data_bits = '6',
            "7databits" => self.data_bits = '7',
            "8databits" => self.data_bits = '8',
            "none" | "even" | "odd" | "mark" | "space" => {
                self.parity = key.chars().next().unwrap_or('N').to_ascii_uppercase();
            }
            _ => return self.take_speed(&word),
        }
        true
    }

    /// `115200`, `115200n81`, `9600E7`.
    fn take_speed(&mut self, word: &str) -> bool {
        let digits = word.chars().take_while(char::is_ascii_digit).count();
        let (speed, format) = word.split_at_checked(digits).unwrap_or((word, ""));
        let Ok(speed @ 10..) = speed.parse() else { return false };
        let mut format = format.chars().map(|character| character.to_ascii_uppercase());
        let (parity, data_bits, stop_bits) = (format.next(), format.next(), format.next());
        if parity.is_some_and(|it| !"NEOMS".contains(it))
            || data_bits.is_some_and(|it| !"5678".contains(it))
            || stop_bits.is_some_and(|it| !"12".contains(it))
            || format.next().is_some()
        {
            return false;
        }
        self.baud_rate = speed;
        self.parity = parity.unwrap_or(self.parity);
        self.data_bits = data_bits.unwrap_or(self.data_bits);
        self.stop_bits = stop_bits.unwrap_or(self.stop_bits);
        true
    }

    /// Milliseconds that `tenths` of a character take on this line, rounded up.
    pub(super) fn milliseconds(&self, tenths: u64) -> u64 {
        tenths.saturating_mul(1000).div_ceil(self.baud_rate.max(1)).max(1)
    }

    /// The `line` that it amounts to, and what is to be said about it.
    pub(super) fn settle(&self, entry: &mut Entry) {
        let line = &mut entry.settings.line;
        match i32::try_from(self.baud_rate) {
            Ok(rate @ 50..=12_000_000) => line.baud_rate = Some(rate),
            _ => entry
                .left_out
                .get_or_insert_with(|| format!("{} is no rate from 50 to 12000000", self.baud_rate))
                .truncate(MAX_REASON),
        }
        let five_and_two = self.data_bits == '5' && self.stop_bits == '2';
        let stop_bits = if five_and_two { "1.5".to_owned() } else { self.stop_bits.to_string() };
        line.format = Some(format!("{}{}{stop_bits}", self.data_bits, self.parity));
        line.flow_control = match (self.rtscts, self.xonxoff) {
            (true, _) => Some(FlowControl::RtsCts),
            (false, true) => Some(FlowControl::XonXoff),
            (false, false) => None,
        };
        line.dtr = self.dtr;
        line.rts = self.rts;
        let notes = &mut entry.notes;
        if self.rtscts && self.xonxoff {
            notes.lost("xonxoff (one kind of flow control at a time)");
        }
        if self.local {
            notes.already("local");
        } else {
            notes.lost("ending clients when DCD drops (local was not set)");
        }
        if self.hangup {
            notes.lost("hangup-when-done (DTR and RTS stay as they are)");
        }
        if self.no_break {
            notes.already("nobreak");
        }
        if self.write_only {
            notes.lost("wronly (clients get what the device sends)");
        }
        if let Some(rs485) = &self.rs485 {
            set_rs485(rs485, line, notes);
        }
    }
}

const MAX_REASON: usize = 80;

/// `off`, or `2:3:rts_on_send:rx_during_tx`: milliseconds before and after, and flags.
fn set_rs485(text: &str, line: &mut LineSettings, notes: &mut super::entry::Notes) {
    if text == "off" {
        return notes.already("rs485=off");
    }
    let mut parts = text.split(':');
    let mut delay = || {
        let delay: i32 = parts.next()?.trim().parse().ok()?;
        Some(delay.clamp(0, 100))
    };
    let (Some(before), Some(after)) = (delay(), delay()) else {
        return notes.lost(format!("rs485={text} (not understood)"));
    };
    if !text.starts_with(&format!("{before}:{after}")) {
        notes.lost(format!("the delays of rs485={text} (at most 100 ms)"));
    }
    let flags: Vec<&str> = parts.collect();
    let known = ["rts_on_send", "rts_after_send", "rx_during_tx"];
    for flag in flags.iter().filter(|flag| !flag.is_empty() && !known.contains(flag)) {
        notes.lost(format!("{flag} of rs485"));
    }
    let has = |flag: &str| Some(flags.contains(&flag));
    line.rs485 = Some(Rs485 {
        delay_before_milliseconds: Some(before),
        delay_after_milliseconds: Some(after),
        rts_on_send: has("rts_on_send"),
        rts_after_send: has("rts_after_send"),
        rx_during_tx: has("rx_during_tx"),
        mandatory: None,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(words: &[&str]) -> Entry {
        let mut serial = Serial::default();
        for word in words {
            assert!(serial.take(word), "{word}");
        }
        let mut entry = Entry::default();
        serial.settle(&mut entry);
        entry
    }

    #[test]
    fn speeds_and_formats_are_read_in_any_case() {
        for (words, rate, format) in [
            (&[][..], 9600, "8N1"),
            (&["115200n81"], 115_200, "8N1"),
            (&["19200E72"], 19_200, "7E2"),
            (&["speed=300O5"], 300, "5O1"),
            (&["50n52"], 50, "5N1.5"),
            (&["2400", "EVEN", "7DATABITS", "2STOPBITS"], 2400, "7E2"),
            (&["9600", "8DATABITS", "NONE", "1STOPBIT", "-RTSCTS", "LOCAL"], 9600, "8N1"),
        ] {
            let line = settled(words).settings.line;
            assert_eq!((line.baud_rate, line.format.as_deref()), (Some(rate), Some(format)), "{words:?}");
            assert_eq!(line.flow_control, None);
        }
        for word in
            ["9600X81", "9600n9", "9600n813", "5", "", "n81", "8n1", "fast", "99999999999999999999999"]
        {
            assert!(!Serial::default().take(word), "{word}");
        }
        assert!(settled(&["49"]).left_out.is_some());
    }

    #[test]
    fn lines_and_flow_control_are_carried_over() {
        let entry =
            settled(&["local=true", "dtr=off", "rts", "rtscts", "xonxoff", "rs485=2:300:rts_on_send:x"]);
        let line = entry.settings.line;
        assert_eq!(
            (line.dtr, line.rts, line.flow_control),
            (Some(false), Some(true), Some(FlowControl::RtsCts))
        );
        let rs485 = line.rs485.unwrap();
        assert_eq!((rs485.delay_before_milliseconds, rs485.delay_after_milliseconds), (Some(2), Some(100)));
        assert_eq!((rs485.rts_on_send, rs485.rts_after_send), (Some(true), Some(false)));
        assert_eq!(entry.notes.lost.len(), 3, "{:?}", entry.notes.lost);
    }
}
