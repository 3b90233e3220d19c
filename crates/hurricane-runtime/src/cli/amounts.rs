//! Amounts as people write them on a command line: memory, named resources, durations.

use std::time::Duration;

use hurricane_core::resources::{Amount, MAX_NAME_BYTES, PARTS};

/// An invitation for longer is forgotten, and stands open to whoever finds it.
const MAX_TTL: Duration = Duration::from_hours(30 * 24);

/// By the thousand and by 1024; the places in the list are the powers.
const PREFIXES: [&str; 5] = ["k", "m", "g", "t", "p"];

/// Some of a resource that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Of which.
    pub name: Box<str>,
    /// How much.
    pub amount: Amount,
}

/// Bytes: a number, or one with a unit, such as `8GB`, `1.5GiB` or `512M`.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    let text = text.trim().to_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let bytes = unit_bytes(unit.trim()).and_then(|unit| times(number, unit));
    bytes.ok_or_else(|| "memory is a number of bytes, or like `8GB` or `512MiB`".to_owned())
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let (prefix, base) = match unit.strip_suffix("ib") {
        Some(prefix) => (prefix, 1024),
        None => (unit.strip_suffix('b').unwrap_or(unit), 1000),
    };
    if prefix.is_empty() {
        return (base == 1000).then_some(1);
    }
    let place = PREFIXES.iter().position(|known| *known == prefix)?;
    (0..=place).try_fold(1, |bytes: u64, _| bytes.checked_mul(base))
}

/// So many units, and the part after the point rounded down.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // More digits than this say nothing about bytes, and do not fit.
    let fraction = &fraction[..fraction.len().min(15)];
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    if number.trim_matches('.').is_empty() {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = u64::try_from(u128::from(part) * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(part)
}

/// `name=number`, exact to four digits after the point.
pub(super) fn named(text: &str) -> Result<Named, String> {
    let (name, number) =
        text.split_once('=').ok_or("a resource is a name and a number, like `license=2`")?;
    if matches!(name, "cpus" | "gpus" | "memory") {
        return Err(format!("`{name}` has an option of its own: `--{name}`"));
    }
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("a resource's name has 1 to {MAX_NAME_BYTES} bytes"));
    }
    let amount = amount(number).ok_or_else(|| {
        format!("`{number}` is not an amount: a number, with at most four digits after the point")
    })?;
    Ok(Named { name: name.into(), amount })
}

fn amount(text: &str) -> Option<Amount> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 4 {
        return None;
    }
    let parts: u64 = format!("{fraction:0<4}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(PARTS)?.checked_add(parts).map(Amount)
}

/// For how long a ticket is good: `90s`, `15m`, `2h 30m`.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text)
        .map_err(|_| "a time is a number with a unit, like `90s`, `15m` or `2h`".to_owned())?;
    if ttl < Duration::from_secs(1) || ttl > MAX_TTL {
        return Err("a ticket is good for 1 second to 30 days".to_owned());
    }
    Ok(ttl)
}

/// A duration for people, in its two largest units: `15 minutes`, `3 hours 12 minutes`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units =
        [("day", 86_400, u64::MAX), ("hour", 3600, 24), ("minute", 60, 60), ("second", 1, 60)];
    let counts = units.map(|(unit, length, most)| (seconds / length % most, unit));
    let first = counts.iter().position(|(count, _)| *count > 0).unwrap_or(counts.len() - 1);
    let shown = counts[first..].iter().take(2);
    let shown = shown.filter(|(count, unit)| *count > 0 || *unit == "second" && seconds == 0);
    let words: Vec<_> = shown.map(|(count, unit)| counted(*count, unit)).collect();
    words.join(" ")
}

/// `1 node`, `2 nodes`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_as_in_python() {
        let cases = [
            ("64", 64),
            ("64b", 64),
            ("8GB", 8_000_000_000),
            ("8G", 8_000_000_000),
            ("1.5 GiB", 1_610_612_736),
            (".5k", 500),
            ("2kib", 2048),
            ("1TB", 1_000_000_000_000),
            ("0.0000001", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "8 apples", "-1", "1.2.3", ".", "8ib", "99999999999TB", "1e9"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn resources_are_exact() {
        let read = |text: &str| named(text).map(|named| (named.name.to_string(), named.amount.0));
        assert_eq!(read("license=2"), Ok(("license".to_owned(), 20_000)));
        assert_eq!(read("rack 7=0.5"), Ok(("rack 7".to_owned(), 5_000)));
        assert_eq!(read("x=0.0001"), Ok(("x".to_owned(), 1)));
        for text in ["license", "=2", "x=", "x=-1", "x=0.00001", "x=1e3", "x=.5", "cpus=2"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ticket_has_its_time() {
        assert_eq!(ttl("15m"), Ok(Duration::from_mins(15)));
        assert_eq!(ttl("2h 30m"), Ok(Duration::from_mins(150)));
        for text in ["", "15", "0s", "1 year", "soon", "-5m", "31d"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        let told = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(told(0), "0 seconds");
        assert_eq!(told(1), "1 second");
        assert_eq!(told(900), "15 minutes");
        assert_eq!(told(11_545), "3 hours 12 minutes");
        assert_eq!(told(86_400 * 400 + 59), "400 days");
    }
}
