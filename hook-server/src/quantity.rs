//! Kubernetes quantities in the one spelling that the API server stores. Any other spelling would make Metacontroller
//! write the DaemonSet on every sync, for ever.

use serialfleet_api::meta::Quantity;

/// A quantity in units of 10^-9, as exact as the API server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nano(i128);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Binary,
    Decimal,
    Exponent,
}

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// The amount, for comparisons; `None` for what is no quantity.
pub fn amount(quantity: &Quantity) -> Option<Nano> {
    parse(&quantity.0).map(|(nano, _)| Nano(nano))
}

/// The quantity as the API server stores it. What is no quantity stays as it is: the API server says so.
pub fn canonical(quantity: &Quantity) -> String {
    let Some((nano, style)) = parse(&quantity.0) else { return quantity.0.clone() };
    if nano == 0 {
        return "0".to_owned();
    }
    let whole = nano % 1_000_000_000 == 0;
    // Binary suffixes cannot say fractions, and below 1 Ki there is nothing to gain.
    if style == Style::Binary && whole && nano.abs() >= 1024 * 1_000_000_000 {
        let mut number = nano / 1_000_000_000;
        let mut suffix = "";
        for (next, _) in BINARY {
            if number % 1024 != 0 {
                break;
            }
            number /= 1024;
            suffix = next;
        }
        return format!("{number}{suffix}");
    }
    let mut number = nano;
    let mut exponent = -9;
    while number % 1000 == 0 && exponent < 18 {
        number /= 1000;
        exponent += 3;
    }
    match style {
        Style::Exponent if exponent != 0 => format!("{number}e{exponent}"),
        _ => {
            let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(suffix, _)| suffix);
            format!("{number}{suffix}")
        }
    }
}

fn parse(text: &str) -> Option<(i128, Style)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() + fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (exponent, binary, style) = match suffix.strip_prefix(['e', 'E']) {
        Some(exponent) if !exponent.is_empty() => (exponent.parse().ok()?, 0, Style::Exponent),
        _ => match BINARY.iter().find(|(it, _)| *it == suffix) {
            Some((_, power)) => (0, *power, Style::Binary),
            None => (DECIMAL.iter().find(|(it, _)| *it == suffix)?.1, 0, Style::Decimal),
        },
    };
    let scaled = digits.checked_mul(1_i128.checked_shl(binary)?)?;
    let power = i32::checked_add(exponent, 9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let nano = if power >= 0 {
        scaled.checked_mul(10_i128.checked_pow(power.unsigned_abs())?)?
    } else {
        // Finer than the API server stores: it rounds up.
        let divisor = 10_i128.checked_pow(power.unsigned_abs())?;
        scaled / divisor + i128::from(scaled % divisor != 0)
    };
    Some((sign * nano, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_spelled_as_the_api_server_stores_them() {
        for (written, stored) in [
            ("0.5", "500m"),
            (".5", "500m"),
            ("1000m", "1"),
            ("1", "1"),
            ("1.0", "1"),
            ("10m", "10m"),
            ("0.0001", "100u"),
            ("1500m", "1500m"),
            ("0", "0"),
            ("0Mi", "0"),
            ("+1", "1"),
            ("1024Mi", "1Gi"),
            ("64Mi", "64Mi"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("65536Ki", "64Mi"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("67108864", "67108864"),
            ("64000000", "64M"),
            ("64M", "64M"),
            ("100000k", "100M"),
            ("1e3", "1e3"),
            ("1e2", "100"),
            ("0.064G", "64M"),
            ("1E", "1E"),
            ("0.0000000001", "1n"),
            ("12e6", "12e6"),
            ("0.0001Ki", "102400u"),
        ] {
            let quantity = Quantity(written.to_owned());
            assert_eq!(canonical(&quantity), stored, "{written}");
            assert_eq!(canonical(&Quantity(stored.to_owned())), stored, "{stored} again");
        }
    }

    #[test]
    fn what_is_no_quantity_stays_as_it_is() {
        for written in [
            "",
            "Mi",
            "1.2.3",
            "1 Mi",
            "64mb",
            "abc",
            "1e",
            "99999999999999999999",
            "9999999999999Ei",
            "1e2147483647",
            "1e-2147483648",
        ] {
            let quantity = Quantity(written.to_owned());
            assert_eq!((canonical(&quantity), amount(&quantity)), (written.to_owned(), None), "{written}");
        }
    }

    #[test]
    fn amounts_compare_across_spellings() {
        let amount = |text: &str| amount(&Quantity(text.to_owned())).unwrap();
        assert_eq!(amount("1Gi"), amount("1024Mi"));
        assert!(amount("64M") < amount("64Mi") && amount("999m") < amount("1"));
    }
}
