//! Days as people name them: `2026-05-31`, `today`, `yesterday`, the last `7d`.

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};

/// A day on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Day {
    On(Date),
    Today,
    Yesterday,
}

impl Day {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "today" => Ok(Self::Today),
            "yesterday" => Ok(Self::Yesterday),
            _ => parse_day(text)
                .map(Self::On)
                .map_err(|_| "write it as 2026-05-31, today or yesterday".to_owned()),
        }
    }

    pub(crate) fn date(self, today: Date) -> Date {
        match self {
            Self::On(date) => date,
            Self::Today => today,
            Self::Yesterday => today.saturating_sub(1.day()),
        }
    }
}

/// A day, in the one way to write it.
pub(crate) fn parse_day(text: &str) -> Result<Date, String> {
    let day: Result<Date, _> = text.parse();
    day.ok()
        .filter(|day| day.to_string() == text)
        .ok_or_else(|| "not a day, write it as 2026-05-31".to_owned())
}

/// The last days, weeks or months, today included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last(Length);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Days(u16),
    Months(u16),
}

impl Last {
    /// `7d`, `4w`, `3m`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write it as 7d, 4w or 3m: days, weeks or months".to_owned();
        let unit = text.chars().last().ok_or_else(wrong)?;
        let number = text.strip_suffix(unit).unwrap_or_default();
        if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(wrong());
        }
        match (number.parse().unwrap_or(u16::MAX), unit) {
            (0, 'd' | 'w' | 'm') => Err("that is nothing: today alone is 1d".to_owned()),
            (number @ ..=36_500, 'd') => Ok(Self(Length::Days(number))),
            (number @ ..=5_200, 'w') => Ok(Self(Length::Days(7 * number))),
            (number @ ..=1_200, 'm') => Ok(Self(Length::Months(number))),
            (_, 'd' | 'w' | 'm') => Err("that is more than a hundred years".to_owned()),
            _ => Err(wrong()),
        }
    }

    fn first(self, today: Date) -> Date {
        let before: Span = match self.0 {
            Length::Days(days) => i32::from(days).days(),
            Length::Months(months) => i32::from(months).months(),
        };
        today.saturating_sub(before).saturating_add(1.day())
    }
}

/// The days that are asked for. None of the three: all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) since: Option<Day>,
    pub(crate) until: Option<Day>,
    pub(crate) last: Option<Last>,
}

impl Range {
    /// First and last day. An error if the one comes after the other.
    pub(crate) fn days(self, today: Date) -> Result<(Option<Date>, Option<Date>), String> {
        if let Some(last) = self.last {
            return Ok((Some(last.first(today)), Some(today)));
        }
        let [since, until] = [self.since, self.until].map(|day| day.map(|day| day.date(today)));
        match (since, until) {
            (Some(since), Some(until)) if since > until => {
                Err(format!("--since {since} is after --until {until}"))
            }
            days => Ok(days),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 5, 31);

    fn last(text: &str) -> Option<Date> {
        Last::parse(text).ok().map(|last| last.first(TODAY))
    }

    #[test]
    fn the_last_days_include_today() {
        assert_eq!(last("1d"), Some(TODAY));
        assert_eq!(last("7d"), Some(date(2026, 5, 25)));
        assert_eq!(last("2w"), Some(date(2026, 5, 18)));
        assert_eq!(last("1m"), Some(date(2026, 5, 1)));
        assert_eq!(last("3m"), Some(date(2026, 3, 1)));
        let long = Last::parse("99999999999d").unwrap_err();
        assert!(long.contains("more than a hundred years"), "{long}");
        for wrong in ["", "d", "7", "0d", "-1d", "7y", "7 d", "1.5d", "70000d", "7dd", "७d"] {
            assert_eq!(last(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_have_one_way_to_be_written_and_two_have_names() {
        assert_eq!(Day::parse("2026-05-31"), Ok(Day::On(TODAY)));
        assert_eq!(Day::parse("yesterday").map(|day| day.date(TODAY)), Ok(date(2026, 5, 30)));
        for wrong in ["", "2026-5-31", "20260531", "2026-02-30", "Today", "2026-05-31T00:00:00"] {
            assert!(Day::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_goes_forward() {
        let range =
            |since, until| Range { since: Some(since), until: Some(until), last: None }.days(TODAY);
        assert!(range(Day::Yesterday, Day::Today).is_ok());
        assert!(range(Day::Today, Day::Today).is_ok());
        assert!(range(Day::Today, Day::Yesterday).is_err());
        assert_eq!(Range::default().days(TODAY), Ok((None, None)));
    }
}
