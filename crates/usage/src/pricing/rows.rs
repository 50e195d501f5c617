//! The price book as written, and what its rows mean.
//!
//! What is wrong with a row is said here, by row and key; the rest of the book trusts it.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use toml::value::Date;

use super::period::{Band, ONE, Period, Rates, Timeline};
use crate::Speed;

/// Rows by vendor: the section `[prices]` of a price book and of the user's configuration.
pub type PriceRows = BTreeMap<String, Vec<PriceRow>>;

/// One price row as written, see `config/prices.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceRow {
    model: String,
    from: Option<Date>,
    speed: Option<String>,
    above: Option<u64>,
    #[serde(rename = "in")]
    input: String,
    read: Option<String>,
    write: Option<String>,
    write_1h: Option<String>,
    #[serde(rename = "out")]
    output: String,
    search: Option<String>,
    fast: Option<String>,
    flex: Option<String>,
    batch: Option<String>,
    ultrafast: Option<String>,
    us: Option<String>,
}

impl PriceRow {
    /// The model as the row names it.
    pub fn model(&self) -> &str {
        &self.model
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PriceBookError {
    #[error("cannot read the price book: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("price row {row}: {key}: {problem}")]
    Row { row: String, key: &'static str, problem: String },
}

/// A whole price book as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: String,
    pub(super) first_party: Vec<String>,
    #[serde(default)]
    pub(super) resellers: Vec<String>,
    #[serde(default)]
    pub(super) hosted_elsewhere: Vec<String>,
    #[serde(default)]
    pub(super) vendors: HashMap<String, String>,
    pub(super) prices: PriceRows,
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, Vec<AliasRow>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AliasRow {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) from: Option<Date>,
    #[serde(default)]
    pub(super) estimated: bool,
}

impl AliasRow {
    pub(super) fn error(&self, vendor: &str, key: &'static str, problem: &str) -> PriceBookError {
        let row = format!("{vendor}/{} = {}", self.name, self.model);
        PriceBookError::Row { row, key, problem: problem.to_owned() }
    }
}

/// What the rows of one model mean.
pub(super) struct Model<'a> {
    pub(super) vendor: &'a str,
    pub(super) name: &'a str,
    pub(super) periods: Timeline<Period>,
}

pub(super) fn compile(rows: &PriceRows) -> Result<Vec<Model<'_>>, PriceBookError> {
    let mut compiled = Vec::new();
    for (vendor, rows) in rows {
        let mut models: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
        for row in rows {
            models.entry(&row.model).or_default().push(Row { vendor, row });
        }
        for (name, rows) in models {
            compiled.push(Model { vendor, name, periods: periods(&rows)? });
        }
    }
    Ok(compiled)
}

fn periods(rows: &[Row<'_>]) -> Result<Timeline<Period>, PriceBookError> {
    let mut bands = Vec::new();
    for row in rows {
        bands.push((start_ms(row.row.from), row.band()?, row));
    }
    // The row that a period begins with sorts before those that vary it.
    bands.sort_by_key(|(from_ms, band, _)| (*from_ms, band.speed, band.above));
    let mut periods: Vec<(i64, Period)> = Vec::new();
    for (from_ms, band, row) in bands {
        let begins = band.speed == Speed::Standard && band.above.is_none();
        let period = periods.last_mut().filter(|(other_ms, _)| *other_ms == from_ms);
        match (period, begins) {
            (None, true) => periods.push((from_ms, row.period(band.rates)?)),
            (Some((_, period)), false) => row.vary(period, band)?,
            (Some(_), true) => return Err(row.error("model", "stated twice")),
            (None, false) => {
                let problem = "no row without `speed` and `above` begins on this day";
                return Err(row.error("from", problem));
            }
        }
    }
    Ok(Timeline(periods))
}

/// A row with its vendor: all that an error names.
struct Row<'a> {
    vendor: &'a str,
    row: &'a PriceRow,
}

impl Row<'_> {
    fn band(&self) -> Result<Band, PriceBookError> {
        let row = self.row;
        if row.model.is_empty() {
            return Err(self.error("model", "is empty"));
        }
        let speed = match &row.speed {
            None => Speed::Standard,
            Some(name) => Speed::parse(name)
                .ok_or_else(|| self.error("speed", &format!("`{name}` is not a speed")))?,
        };
        let input = self.decimal("in", &row.input)?;
        let output = self.decimal("out", &row.output)?;
        let read = self.optional("read", &row.read)?;
        let write = self.optional("write", &row.write)?;
        let write_1h = self.optional("write_1h", &row.write_1h)?;
        let rates = match self.vendor {
            "anthropic" => Rates {
                input_picousd: input,
                read_picousd: read.unwrap_or(input / 10),
                write_picousd: write.unwrap_or(input * 5 / 4),
                write_1h_picousd: write_1h.unwrap_or(input * 2),
                output_picousd: output,
            },
            _ => Rates {
                input_picousd: input,
                read_picousd: read.unwrap_or(input),
                write_picousd: write.unwrap_or(input),
                write_1h_picousd: write_1h.or(write).unwrap_or(input),
                output_picousd: output,
            },
        };
        Ok(Band { speed, above: row.above, rates })
    }

    /// The period that begins with this row.
    fn period(&self, base: Rates) -> Result<Period, PriceBookError> {
        let row = self.row;
        Ok(Period {
            base,
            bands: Vec::new(),
            fast: self.optional("fast", &row.fast)?,
            flex: self.optional("flex", &row.flex)?,
            batch: self.optional("batch", &row.batch)?,
            ultrafast: self.optional("ultrafast", &row.ultrafast)?,
            us: self.optional("us", &row.us)?.unwrap_or(ONE),
            search_microusd: self.optional("search", &row.search)?.unwrap_or(0),
        })
    }

    /// Adds this row to the period it varies. Rows come by speed, thresholds ascending.
    fn vary(&self, period: &mut Period, band: Band) -> Result<(), PriceBookError> {
        let row = self.row;
        let of_whole_period = [
            ("search", &row.search),
            ("fast", &row.fast),
            ("flex", &row.flex),
            ("batch", &row.batch),
            ("ultrafast", &row.ultrafast),
            ("us", &row.us),
        ];
        if let Some((key, _)) = of_whole_period.into_iter().find(|(_, value)| value.is_some()) {
            return Err(self.error(key, "belongs on the row without `speed` and `above`"));
        }
        let last = period.bands.last().filter(|last| last.speed == band.speed);
        if last.is_some_and(|last| last.above == band.above) {
            return Err(self.error("model", "stated twice"));
        }
        if last.is_none() && band.speed != Speed::Standard && band.above.is_some() {
            return Err(self.error("above", "this speed has no row without it"));
        }
        period.bands.push(band);
        Ok(())
    }

    fn optional(
        &self,
        key: &'static str,
        text: &Option<String>,
    ) -> Result<Option<u64>, PriceBookError> {
        text.as_deref().map(|text| self.decimal(key, text)).transpose()
    }

    /// A decimal number in millionths.
    fn decimal(&self, key: &'static str, text: &str) -> Result<u64, PriceBookError> {
        millionths(text).ok_or_else(|| {
            let problem = "is not a decimal number of at most six digits on either side";
            self.error(key, &format!("`{text}` {problem}"))
        })
    }

    fn error(&self, key: &'static str, problem: &str) -> PriceBookError {
        let mut row = format!("{}/{}", self.vendor, self.row.model);
        if let Some(from) = self.row.from {
            row += &format!(", from {from}");
        }
        if let Some(speed) = &self.row.speed {
            row += &format!(", speed {speed}");
        }
        if let Some(above) = self.row.above {
            row += &format!(", above {above}");
        }
        PriceBookError::Row { row, key, problem: problem.to_owned() }
    }
}

/// Few digits, so that a rate times any count fits 128 bits.
fn millionths(text: &str) -> Option<u64> {
    const DIGITS: usize = 6;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| {
        (1..=DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<DIGITS$}").parse().ok()
}

/// When a day begins, UTC; the beginning of time where none is named.
pub(super) fn start_ms(day: Option<Date>) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    // From 0000-03-01 to 1970-01-01.
    const EPOCH_DAYS: i64 = 719_468;
    let Some(day) = day else { return i64::MIN };
    // Counted from March, a year ends with its leap day, and 153 days are five months.
    let month = (i64::from(day.month) + 9) % 12;
    let year = i64::from(day.year) - i64::from(month >= 10);
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + i64::from(day.day) - 1;
    (days - EPOCH_DAYS) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pricing::PriceBook;

    const HEAD: &str = "version = 'v'\nfirst_party = ['v']\n";

    /// `expect` is what the message says after `price row`.
    #[track_caller]
    fn check_error(rows: &str, expect: &str) {
        let error = PriceBook::parse(&format!("{HEAD}[prices]\nv = [{rows}]")).unwrap_err();
        assert_eq!(error.to_string(), format!("price row {expect}"));
    }

    #[test]
    fn errors_name_row_and_key() {
        let decimal = "is not a decimal number of at most six digits on either side";
        check_error("{ model = 'm', in = '1,5', out = '2' }", &format!("v/m: in: `1,5` {decimal}"));
        check_error(
            "{ model = 'm', in = '1', out = '2', from = 2026-08-21, write_1h = '-1' }",
            &format!("v/m, from 2026-08-21: write_1h: `-1` {decimal}"),
        );
        check_error(
            "{ model = 'm', in = '1', out = '2', us = '1.1.1' }",
            &format!("v/m: us: `1.1.1` {decimal}"),
        );
        check_error("{ model = '', in = '1', out = '2' }", "v/: model: is empty");
        check_error(
            "{ model = 'm', in = '1', out = '2', speed = 'priority' }",
            "v/m, speed priority: speed: `priority` is not a speed",
        );
    }

    #[test]
    fn rows_that_contradict_or_miss_each_other() {
        let base = "{ model = 'm', in = '1', out = '2' }";
        check_error(&format!("{base}, {base}"), "v/m: model: stated twice");
        let long = "{ model = 'm', in = '1', out = '2', above = 9 }";
        check_error(&format!("{base}, {long}, {long}"), "v/m, above 9: model: stated twice");
        check_error(
            &format!(
                "{base}, {{ model = 'm', in = '1', out = '2', from = 2026-08-21, above = 9 }}"
            ),
            "v/m, from 2026-08-21, above 9: from: \
             no row without `speed` and `above` begins on this day",
        );
        check_error(
            &format!("{base}, {{ model = 'm', in = '1', out = '2', speed = 'fast', above = 9 }}"),
            "v/m, speed fast, above 9: above: this speed has no row without it",
        );
        check_error(
            &format!("{base}, {{ model = 'm', in = '1', out = '2', speed = 'fast', us = '2' }}"),
            "v/m, speed fast: us: belongs on the row without `speed` and `above`",
        );
    }

    #[test]
    fn aliases_name_one_model_with_rows() {
        let check_alias = |rows: &str, expect: &str| {
            let prices = "[prices]\nv = [{ model = 'm', in = '1', out = '2' }]\n";
            let book = PriceBook::parse(&format!("{HEAD}{prices}[aliases]\nv = [{rows}]"));
            assert_eq!(book.unwrap_err().to_string(), format!("price row {expect}"));
        };
        let good = "{ name = 'a', model = 'm' }";
        check_alias(&format!("{good}, {good}"), "v/a = m: from: stated twice");
        check_alias("{ name = 'm', model = 'm' }", "v/m = m: name: a model has this name");
        check_alias("{ name = 'b', model = 'a' }", "v/b = a: model: no price row has this model");
    }

    #[test]
    fn a_syntax_error_shows_the_line() {
        for (row, key) in [
            ("{ model = 'm', in = '1' }", "`out`"),
            ("{ model = 'm', in = '1', out = '2', cached = '3' }", "`cached`"),
            ("{ model = 'm', in = '1', out = 2.5 }", "`2.5`"),
            ("{ model = 'm', in = '1', out = '2', from = 2026-02-30 }", "2026-02-30"),
        ] {
            let error = PriceBook::parse(&format!("{HEAD}[prices]\nv = [{row}]")).unwrap_err();
            let message = error.to_string();
            assert!(matches!(error, PriceBookError::Syntax(_)), "{message}");
            assert!(message.contains(row) && message.contains(key), "{message}");
        }
    }

    #[test]
    fn a_missing_cache_price_follows_the_input_price() {
        let rates = |vendor: &str, row: &str| {
            let row: PriceRow = toml::from_str(row).unwrap();
            let Rates { read_picousd, write_picousd, write_1h_picousd, .. } =
                Row { vendor, row: &row }.band().unwrap().rates;
            [read_picousd, write_picousd, write_1h_picousd]
        };
        let bare = "model = 'm'\nin = '4'\nout = '20'\n";
        assert_eq!(rates("anthropic", bare), [400_000, 5_000_000, 8_000_000]);
        assert_eq!(rates("openai", bare), [4_000_000; 3]);
        let write = format!("{bare}read = '0.2'\nwrite = '7'");
        assert_eq!(rates("anthropic", &write), [200_000, 7_000_000, 8_000_000]);
        assert_eq!(rates("openai", &write), [200_000, 7_000_000, 7_000_000]);
    }

    #[test]
    fn decimals() {
        assert_eq!(millionths("0.0625"), Some(62_500));
        assert_eq!(millionths("75"), Some(75_000_000));
        assert_eq!(millionths("999999.999999"), Some(999_999_999_999));
        for text in ["", ".", "1.", ".5", "+1", "-1", "1e3", " 1", "1.0000001", "1000000", "1.-5"] {
            assert_eq!(millionths(text), None, "{text:?}");
        }
    }

    #[test]
    fn days() {
        let ms = |year, month, day| start_ms(Some(Date { year, month, day }));
        assert_eq!(ms(1970, 1, 1), 0);
        assert_eq!(ms(1969, 12, 31), -86_400_000);
        assert_eq!(ms(2024, 2, 29), 1_709_164_800_000);
        assert_eq!(ms(2026, 3, 13), 1_773_360_000_000);
        assert_eq!(ms(2000, 3, 1) - ms(2000, 2, 28), 2 * 86_400_000);
        assert_eq!(ms(2100, 3, 1) - ms(2100, 2, 28), 86_400_000);
    }
}
