//! Numbers as people write and read them: sizes with units, offsets in hex, counts with thousands, durations.

use std::time::Duration;

/// Reads a size in bytes: digits, then perhaps a unit (`K`, `M`, `G`, `T`, with or without `iB`), a power of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => {
            return Err(
                "give bytes, or a number and K, M, G or T (powers of 1024), for instance 4M".to_owned()
            );
        }
    };
    let number: u64 = number.parse().map_err(|_| "it does not begin with a number of bytes".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "it is too large".to_owned())
}

/// Reads a number: decimal, or hex after `0x`.
pub(crate) fn parse_offset(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "give a decimal number, or a hex one after 0x".to_owned())
}

/// Reads file permissions in octal.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("give octal permissions from 0 to 777, for instance 660".to_owned()),
    }
}

/// 1234567 as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 block`, `2 blocks`, `3 entries`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let noun = match noun.strip_suffix('y') {
        _ if number == 1 => noun.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    };
    format!("{} {noun}", count(number))
}

/// A size to be grasped at a glance: `4.0 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return counted(bytes, "byte");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A duration with two or three digits that count.
pub(crate) fn duration(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..100.0 => format!("{micros:.1} µs"),
        ..10_000.0 => format!("{:.2} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

/// 16 bytes as 32 hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64k"), Ok(65536));
        assert_eq!(parse_size("4MiB"), Ok(4 << 20));
        assert_eq!(parse_size("1T"), Ok(1 << 40));
        for bad in ["", "M", "4X", "-1", "4.5M", "99999999999T", "99999999999999999999"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn offsets_are_read() {
        assert_eq!(parse_offset("4096"), Ok(4096));
        assert_eq!(parse_offset("0x40F0"), Ok(0x40f0));
        for bad in ["", "0x", "x", "-1", "0x1_0", "1e3", "0x10000000000000000"] {
            assert!(parse_offset(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_read() {
        assert_eq!(parse_mode("0640"), Ok(0o640));
        assert_eq!(parse_mode("0o600"), Ok(0o600));
        for bad in ["", "8", "1777", "rw"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_written() {
        assert_eq!([count(7), count(999), count(1000), count(1234567)], ["7", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [size(1), size(1023), size(1024), size(5 << 30)],
            ["1 byte", "1,023 bytes", "1.0 KiB", "5.0 GiB"]
        );
        assert_eq!(size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(size(u64::MAX), "16.0 EiB");
        assert_eq!(duration(Duration::from_nanos(1500)), "1.5 µs");
        assert_eq!(duration(Duration::from_millis(12)), "12 ms");
        assert_eq!(hex(&[0, 0xAF]), "00af");
    }
}
