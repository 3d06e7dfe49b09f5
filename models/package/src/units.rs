//! Sizes as people write them: `64MiB`, `1.5GB`, `4096`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write a number and a unit, such as `64MiB` or `1GiB`")]
pub struct ParseByteSizeError(String);

const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(s: &str) -> Result<Self, ParseByteSizeError> {
        let refuse = || ParseByteSizeError(s.chars().take(32).collect());
        let (number, unit) =
            UNITS.iter().find_map(|(name, unit)| s.strip_suffix(name).map(|number| (number, *unit))).unwrap_or((s, 1));
        let number: u64 = number.trim().parse().map_err(|_| refuse())?;
        number.checked_mul(unit).map(ByteSize).ok_or_else(refuse)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that divides it: `64 MiB`, `100 bytes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS[..3].iter().rev().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match unit {
            Some((name, unit)) => write!(f, "{} {name}", self.0 / unit),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl<'de> serde::Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_as_people_write_them() {
        for (text, bytes, shown) in [
            ("64MiB", 64 << 20, "64 MiB"),
            ("1 GiB", 1 << 30, "1 GiB"),
            ("100", 100, "100 bytes"),
            ("2kB", 2000, "2000 bytes"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "-1MiB", "99999999999GiB", "64 mib"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
