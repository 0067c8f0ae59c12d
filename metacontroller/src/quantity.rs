//! Amounts of cpu and memory: what a [`Quantity`] is worth.

use crate::meta::Quantity;

/// Nanounits in a unit.
pub(crate) const NANO: i128 = 1_000_000_000;

/// What can follow the digits, and what it is worth in nanounits.
const SUFFIXES: [(&str, i128); 10] = [
    ("", NANO),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("k", NANO * 1_000),
    ("M", NANO * 1_000_000),
    ("G", NANO * 1_000_000_000),
    ("Ki", NANO << 10),
    ("Mi", NANO << 20),
    ("Gi", NANO << 30),
];

impl Quantity {
    /// The spellings that a SerialFleet may use: no sign, no exponent, at most gigabytes.
    pub const PATTERN: &str = "^[0-9]{1,12}([.][0-9]{1,9})?(n|u|m|k|M|G|Ki|Mi|Gi)?$";

    /// The amount in units of 10⁻⁹, rounded up; `None` for a spelling outside [`Self::PATTERN`].
    pub fn nano_units(&self) -> Option<i128> {
        let end = self.0.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.0.len());
        let (number, suffix) = self.0.split_at_checked(end)?;
        let (_, unit) = SUFFIXES.iter().find(|(name, _)| *name == suffix)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if !(1..=12).contains(&whole.len()) || !(1..=9).contains(&fraction.len()) {
            return None;
        }
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        let mantissa = whole.parse::<i128>().ok()? * scale + fraction.parse::<i128>().ok()?;
        Some((mantissa * unit + scale - 1) / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_are_none() {
        for text in
            ["", "Mi", ".5", "1.", "1e3", "-1", "+1", "1mi", "1 Mi", "1.2.3", "1Ti", "١", "9999999999999"]
        {
            assert_eq!(Quantity(text.to_owned()).nano_units(), None, "{text:?}");
        }
    }

    #[test]
    fn amounts_compare_across_suffixes() {
        let nano = |text: &str| Quantity(text.to_owned()).nano_units().unwrap();
        assert!(nano("512Mi") > nano("512M"));
        assert_eq!(nano("0.25"), nano("250m"));
        assert_eq!(nano("33554432"), nano("32Mi"));
    }
}
