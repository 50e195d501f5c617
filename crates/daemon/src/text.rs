//! Figures as people read them: separators, units.

/// `1234567` as `1,234,567`.
pub(crate) fn count(n: impl Into<i128>) -> String {
    let n: i128 = n.into();
    let digits = n.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if n < 0 {
        text.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1234567` as `1.23M`: where there is no room.
pub(crate) fn short_count(n: i64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let sign = if n < 0 { "-" } else { "" };
    let n = u128::from(n.unsigned_abs());
    let (mut unit, mut scale) = (0, 1);
    let rounded = |scale: u128, digits: u128| (n * digits + scale / 2) / scale;
    while rounded(scale, 1) >= 1_000 && unit + 1 < UNITS.len() {
        unit += 1;
        scale *= 1_000;
    }
    let (tenths, hundredths) = (rounded(scale, 10), rounded(scale, 100));
    let digits = if unit > 0 && hundredths < 1_000 {
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    } else if unit > 0 && tenths < 1_000 {
        format!("{}.{}", tenths / 10, tenths % 10)
    } else {
        count(i128::try_from(rounded(scale, 1)).unwrap_or(i128::MAX))
    };
    format!("{sign}{digits}{}", UNITS[unit])
}

/// Nano-dollars as `$1,234.56`.
pub(crate) fn money(nanousd: i64) -> String {
    let cents = (i128::from(nanousd) + 5_000_000 * i128::from(nanousd.signum())) / 10_000_000;
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    let dollars = i128::try_from(cents / 100).unwrap_or(i128::MAX);
    format!("{sign}${}.{:02}", count(dollars), cents % 100)
}

/// `1 call`, `1,234 calls`.
pub(crate) fn counted(n: impl Into<i128>, thing: &str) -> String {
    let n = n.into();
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

/// What `calls` cost of which `unpriced` have no known price: an amount that lacks some says so.
pub(crate) fn cost(nanousd: i64, calls: i64, unpriced: i64) -> String {
    let [amount, lack] = cost_cells(nanousd, calls, unpriced);
    if lack.is_empty() { amount } else { format!("{amount} {lack}") }
}

/// The same for two columns, so that amounts stand below each other.
pub(crate) fn cost_cells(nanousd: i64, calls: i64, unpriced: i64) -> [String; 2] {
    match unpriced {
        0 => [money(nanousd), String::new()],
        _ if unpriced == calls => ["unpriced".to_owned(), String::new()],
        _ => [money(nanousd), format!("+ {} unpriced", count(unpriced))],
    }
}

/// The same where there is no room: what lacks some is at least so much.
pub(crate) fn short_cost(nanousd: i64, calls: i64, unpriced: i64) -> String {
    match unpriced {
        0 => money(nanousd),
        _ if unpriced == calls => "unpriced".to_owned(),
        _ => format!("≥ {}", money(nanousd)),
    }
}

/// Text from a log, fit for a terminal: a name there can hold anything, and be of any length.
pub(crate) fn plain(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    let mut plain: String = text.chars().map(harmless).take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        plain.push('…');
    }
    plain
}

/// What neither steers a terminal nor turns the direction of the text around it.
pub(crate) fn harmless(c: char) -> char {
    let is_turning = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || is_turning { char::REPLACEMENT_CHARACTER } else { c }
}

/// Bytes as `1.2 GB`: powers of ten, as disks are sold.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if n < 1_000 {
        return format!("{n} B");
    }
    let (mut whole, mut unit) = (n, 0);
    while whole >= 999_950 && unit + 1 < units.len() {
        whole /= 1_000;
        unit += 1;
    }
    let tenths = (whole + 50) / 100;
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

/// A duration as `0.4 ms`, `12 ms`, `3.2 s`, `4 min 10 s`.
pub(crate) fn duration(d: std::time::Duration) -> String {
    let micros = d.as_micros();
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..120_000_000 => {
            format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000)
        }
        _ => format!("{} min {} s", d.as_secs() / 60, d.as_secs() % 60),
    }
}

/// How long ago something was: `just now`, `5 s ago`, `3 min ago`, `2 h ago`, `4 days ago`.
pub(crate) fn ago(now_ms: i64, then_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1_000;
    match seconds {
        ..2 => "just now".to_owned(),
        2..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", count(seconds / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_have_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(-1_234_567), "-1,234,567");
    }

    #[test]
    fn money_has_two_digits() {
        assert_eq!(money(0), "$0.00");
        assert_eq!(money(4_999_999), "$0.00");
        assert_eq!(money(5_000_000), "$0.01");
        assert_eq!(money(1_234_567_890_000), "$1,234.57");
        assert_eq!(money(-5_000_000), "-$0.01");
    }

    #[test]
    fn things_are_counted() {
        assert_eq!(counted(1, "call"), "1 call");
        assert_eq!(counted(0, "call"), "0 calls");
        assert_eq!(counted(1_234, "call"), "1,234 calls");
    }

    #[test]
    fn a_cost_says_what_it_lacks() {
        assert_eq!(cost(5_000_000, 3, 0), "$0.01");
        assert_eq!(cost(0, 3, 3), "unpriced");
        assert_eq!(cost(5_000_000, 3, 1), "$0.01 + 1 unpriced");
        assert_eq!(cost(0, 0, 0), "$0.00");
        assert_eq!(short_cost(5_000_000, 3, 0), "$0.01");
        assert_eq!(short_cost(0, 3, 3), "unpriced");
        assert_eq!(short_cost(5_000_000, 3, 1), "≥ $0.01");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(plain("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(plain(&"é".repeat(301)), "é".repeat(300) + "…");
        assert_eq!(plain(&"é".repeat(300)), "é".repeat(300));
    }

    #[test]
    fn bytes_have_one_digit_and_a_unit() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_000), "1.0 kB");
        assert_eq!(bytes(1_252_000_000), "1.3 GB");
        assert_eq!(bytes(999_950), "1.0 MB");
    }

    #[test]
    fn durations_keep_two_or_three_digits() {
        assert_eq!(duration(Duration::from_micros(420)), "0.4 ms");
        assert_eq!(duration(Duration::from_millis(42)), "42 ms");
        assert_eq!(duration(Duration::from_millis(3_210)), "3.2 s");
        assert_eq!(duration(Duration::from_secs(250)), "4 min 10 s");
    }

    #[test]
    fn large_counts_have_three_digits_and_a_unit() {
        assert_eq!(short_count(999), "999");
        assert_eq!(short_count(1_000), "1.00k");
        assert_eq!(short_count(12_345), "12.3k");
        assert_eq!(short_count(999_499), "999k");
        assert_eq!(short_count(999_500), "1.00M");
        assert_eq!(short_count(1_234_567_890), "1.23G");
        assert_eq!(short_count(-12_345), "-12.3k");
        assert_eq!(short_count(i64::MAX), "9,223,372T");
    }
}
