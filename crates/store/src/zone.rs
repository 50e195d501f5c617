//! Which day a time belongs to, in the configured time zone.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::StoreError;

pub(crate) const DAY_MS: i64 = 86_400_000;

/// A time zone, and the names of the days seen so far.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    name: String,
    rules: TimeZone,
    days: HashMap<i64, Arc<str>>,
}

impl Zone {
    pub(crate) fn new(name: &str) -> Result<Self, StoreError> {
        let rules =
            TimeZone::get(name).map_err(|_| StoreError::TimeZone { name: name.to_owned() })?;
        Ok(Self { name: name.to_owned(), rules, days: HashMap::new() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The civil date of a time, found by offset: where clocks go back over midnight, a date comes
    /// twice and a day is no interval.
    pub(crate) fn day(&mut self, ts_ms: i64) -> Arc<str> {
        self.name_of(self.number(ts_ms))
    }

    /// The same as a number of days since 1970.
    pub(crate) fn number(&self, ts_ms: i64) -> i64 {
        (ts_ms + self.offset_ms(ts_ms)).div_euclid(DAY_MS)
    }

    /// The name of a day by its [number](Self::number).
    pub(crate) fn name_of(&mut self, number: i64) -> Arc<str> {
        let day = self.days.entry(number).or_insert_with(|| {
            let since_1970 = Span::new().try_days(number).unwrap_or_default();
            date(1970, 1, 1).saturating_add(since_1970).to_string().into()
        });
        Arc::clone(day)
    }

    /// The first millisecond of a day; `None` where the calendar ends.
    pub(crate) fn start_ms(&self, day: Date) -> Option<i64> {
        Some(day.to_zoned(self.rules.clone()).ok()?.timestamp().as_millisecond())
    }

    fn offset_ms(&self, ts_ms: i64) -> i64 {
        let time = Timestamp::from_millisecond(ts_ms).unwrap_or(Timestamp::MAX);
        i64::from(self.rules.to_offset(time).seconds()) * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(zone: &str, time: &str, expect: &str) {
        let ts_ms = time.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(&*Zone::new(zone).unwrap().day(ts_ms), expect, "{time} in {zone}");
    }

    #[test]
    fn h29_a_day_is_the_civil_date_also_where_clocks_change() {
        check("UTC", "2026-05-05T23:59:59.999Z", "2026-05-05");
        check("UTC", "2026-05-06T00:00:00Z", "2026-05-06");
        check("America/Los_Angeles", "2026-05-06T06:59:59.999Z", "2026-05-05");
        check("Asia/Kathmandu", "2026-05-05T18:15:00Z", "2026-05-06");
        check("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29");
        check("Europe/Berlin", "2026-03-29T21:59:59Z", "2026-03-29");
        check("Europe/Berlin", "2026-10-25T22:59:59Z", "2026-10-25");
        // Clocks went from 00:01 back to 23:01 of the day before.
        check("America/St_Johns", "2006-10-29T02:30:30Z", "2006-10-29");
        check("America/St_Johns", "2006-10-29T02:31:30Z", "2006-10-28");
        check("America/St_Johns", "2006-10-29T03:30:00Z", "2006-10-29");
    }

    #[test]
    fn the_ends_of_time_have_days() {
        let mut utc = Zone::new("UTC").unwrap();
        assert_eq!(&*utc.day(0), "1970-01-01");
        assert_eq!(&*utc.day(253_402_300_799_999), "9999-12-31");
        assert_eq!(
            &*Zone::new("Pacific/Kiritimati").unwrap().day(253_402_300_799_999),
            "9999-12-31"
        );
        assert_eq!(&*Zone::new("America/Los_Angeles").unwrap().day(0), "1969-12-31");
    }

    #[test]
    fn an_unknown_zone_is_refused() {
        assert!(Zone::new("Mars/Olympus").is_err());
    }
}
