//! Durations as Go reads and prints them, for flags and for `webhook.timeout`. Pure.

use std::time::Duration;

/// Reads `300ms`, `1.5h`, `1m30s`; none if it is no duration. Negative ones are zero: nothing here takes them.
pub fn parse(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, after) = rest.split_at_checked(number)?;
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit)?;
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += digits.parse::<f64>().ok()? * factor;
        rest = after;
    }
    if negative { Some(Duration::ZERO) } else { Duration::try_from_secs_f64(seconds).ok() }
}

/// As Go prints it: `10s`, `1m30s`, `1h0m0s`, `500ms`.
pub fn print(duration: Duration) -> String {
    let fraction = |value: f64, unit: &str| {
        let text = format!("{value:.9}");
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    let nanos = duration.as_nanos();
    let total = duration.as_secs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if total == 0 {
        return match nanos {
            0..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => fraction(duration.as_secs_f64() * 1e6, "µs"),
            _ => fraction(duration.as_secs_f64() * 1e3, "ms"),
        };
    }
    let (hours, minutes) = (total / 3600, total / 60 % 60);
    let below = Duration::new(total % 60, duration.subsec_nanos()).as_secs_f64();
    let seconds = fraction(below, "s");
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for (text, millis, printed) in [
            ("10s", 10_000, "10s"),
            ("500ms", 500, "500ms"),
            ("1m30s", 90_000, "1m30s"),
            ("1h", 3_600_000, "1h0m0s"),
            ("1.5s", 1_500, "1.5s"),
            ("90s", 90_000, "1m30s"),
            ("0", 0, "0s"),
            ("-3s", 0, "0s"),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!((parsed.as_millis(), print(parsed).as_str()), (millis, printed), "{text}");
        }
        for text in ["", "10", "s", "1x", "-", "1s2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
