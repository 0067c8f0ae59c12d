//! What a plain YAML scalar is, as kubectl reads it: YAML 1.1 in the dialect of go-yaml v2 (`resolve.go`). `off` is
//! false, `0403` is octal, `08` is eight, `0658:0200` and dates are text.

use serde_json::{Number, Value};

/// The value of a plain scalar without a tag; `None`: not a number and infinite numbers, which JSON has not.
pub(crate) fn resolve(text: &str) -> Option<Value> {
    if let Some(word) = word(text) {
        return Some(word);
    }
    match text.bytes().next() {
        Some(b'.') => match text {
            ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" => None,
            _ => Some(float(&text.replace('_', "")).unwrap_or_else(|| text.into())),
        },
        Some(b'+' | b'-') if matches!(text.get(1..), Some(".inf" | ".Inf" | ".INF")) => None,
        Some(b'+' | b'-' | b'0'..=b'9') => Some(number(text).unwrap_or_else(|| text.into())),
        _ => Some(text.into()),
    }
}

fn word(text: &str) -> Option<Value> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => true.into(),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => false.into(),
        _ => return None,
    })
}

fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain)).or_else(|| {
        // Go takes a sign behind the prefix as well.
        let digits = plain.strip_prefix("0b")?;
        i64::from_str_radix(digits, 2).ok().map(Value::from)
    })
}

/// Go's `strconv.ParseInt(text, 0, 64)`, then `ParseUint`.
fn integer(text: &str) -> Option<Value> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, unsigned.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, unsigned.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, unsigned.get(2..)?),
        [b'0', _, ..] => (8, unsigned.get(1..)?),
        _ => (10, unsigned),
    };
    if !digits.bytes().next()?.is_ascii_alphanumeric() {
        return None;
    }
    let amount = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(amount).map(Value::from);
    }
    // `ParseUint` takes no sign.
    (!text.starts_with('+') || i64::try_from(amount).is_ok()).then(|| amount.into())
}

/// A decimal fraction. Whole ones become integers: on its way to the API server JSON writes them so.
fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_float = digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent));
    if !is_float {
        return None;
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    let is_whole = number.fract() == 0.0 && number.abs() < 9.0e18;
    #[allow(clippy::cast_possible_truncation, reason = "whole and in range")]
    let whole = is_whole.then_some(number as i64);
    whole.map(Value::from).or_else(|| Number::from_f64(number).map(Value::Number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_what_kubectl_reads() {
        for (text, value) in [
            ("yes", json!(true)),
            ("off", json!(false)),
            ("y", json!(true)),
            ("N", json!(false)),
            ("oFF", json!("oFF")),
            ("", json!(null)),
            ("~", json!(null)),
            ("0403", json!(259)),
            ("08", json!(8)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("-0x1F", json!(-31)),
            ("0b101", json!(5)),
            ("-0b101", json!(-5)),
            ("1_000", json!(1000)),
            ("+12", json!(12)),
            ("115200.0", json!(115_200)),
            ("1.4", json!(1.4)),
            ("1.4.2", json!("1.4.2")),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("-.5", json!(-0.5)),
            ("0658:0200", json!("0658:0200")),
            ("10c4:ea60", json!("10c4:ea60")),
            ("1e10:0001", json!("1e10:0001")),
            ("12345678", json!(12_345_678)),
            ("1e5", json!(100_000)),
            ("0c8b3f2e", json!("0c8b3f2e")),
            ("64Mi", json!("64Mi")),
            ("10m", json!("10m")),
            ("2024-01-01", json!("2024-01-01")),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("0x", json!("0x")),
            ("+-1", json!("+-1")),
            ("-", json!("-")),
            ("1e999", json!("1e999")),
        ] {
            assert_eq!(resolve(text), Some(value), "{text:?}");
        }
        assert_eq!(resolve(".nan"), None);
        assert_eq!(resolve("-.inf"), None);
    }
}
