//! Budgets: how much of one is used, and where the period will end at this rate.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde::Serialize;
use store::{Figures, Filter, ReadError, Reader};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use toml::Value;

use crate::clock::now_ms;
use crate::config::ConfigError;
use crate::text;

/// Below this share of the period a rate says nothing.
const TELLING: f64 = 1.0 / 24.0;

/// What is to be spent at most, in a day or a calendar month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) period: Period,
    /// 1e-9 USD.
    pub(crate) nanousd: i64,
    /// Only this agent's.
    pub(crate) provider: Option<String>,
    /// Only this project's: its path, or its name.
    pub(crate) project: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Period {
    Day,
    Month,
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Standing {
    /// `month`, `day, codex`, `month, /home/ada/engine`.
    pub(crate) name: String,
    pub(crate) period: Period,
    pub(crate) provider: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) budget_nanousd: i64,
    pub(crate) used_nanousd: i64,
    /// Calls that no price is known for: they are not in what is used.
    pub(crate) unpriced_count: i64,
    /// 1 is all of it.
    pub(crate) used_share: f64,
    /// Nothing was ever counted for its agent or project: perhaps the name is another.
    pub(crate) is_unknown: bool,
    /// At the end of the period, at the rate so far; `None` at the beginning of a period.
    pub(crate) projected_nanousd: Option<i64>,
}

impl Standing {
    /// `budget (month): $123.45 of $200.00, 62 %; at this rate $210.00 at its end`.
    pub(crate) fn describe(&self) -> String {
        let (used, of) = (text::money(self.used_nanousd), text::money(self.budget_nanousd));
        let mut said =
            format!("budget ({}): {used} of {of}, {}", text::plain(&self.name), self.used());
        if let Some(projected) = self.projected_nanousd {
            said += &format!("; at this rate {} at its end", text::money(projected));
        }
        if self.is_exceeded() {
            said += "; exceeded";
        }
        if self.unpriced_count > 0 {
            let calls = text::counted(self.unpriced_count, "call");
            said += &format!("; {calls} without a price not in it");
        }
        if self.is_unknown {
            said += "; nothing was counted under this name yet";
        }
        said
    }

    /// The name where there is little room: `month, engine`.
    pub(crate) fn short_name(&self) -> String {
        let folder = self.project.as_deref().and_then(|path| Path::new(path).file_name());
        let project = folder.map(|name| name.to_string_lossy().into_owned());
        name_of(self.period, self.provider.as_ref(), project.as_ref())
    }

    /// `62 %`.
    pub(crate) fn used(&self) -> String {
        format!("{:.0} %", self.used_share * 100.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn projected_share(&self) -> Option<f64> {
        Some(self.projected_nanousd? as f64 / self.budget_nanousd as f64)
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.used_nanousd > self.budget_nanousd
    }
}

const KEYS: [&str; 4] = ["period", "project", "provider", "usd"];

/// `[[budgets]]` of a configuration file.
pub(crate) fn parse(value: &Value, home: &Path, place: &str) -> Result<Vec<Budget>, ConfigError> {
    let bad = |key: &str, reason: &str| ConfigError::BadValue {
        place: place.to_owned(),
        key: key.to_owned(),
        reason: reason.to_owned(),
    };
    let all = value.as_array().ok_or_else(|| bad("budgets", "must be written as [[budgets]]"))?;
    let parse_one = |(at, value): (usize, &Value)| {
        let name = |key: &str| format!("budgets[{}].{key}", at + 1);
        let table = value.as_table().ok_or_else(|| bad("budgets", "must be a table each"))?;
        for key in table.keys() {
            crate::config::check_key(place, &name(""), key, &KEYS)?;
        }
        let text = |key: &'static str| match table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            Some(_) => Err(bad(&name(key), "must be text")),
        };
        let period = match text("period")?.as_deref() {
            Some("day") => Period::Day,
            Some("month") => Period::Month,
            Some(_) => return Err(bad(&name("period"), "must be \"day\" or \"month\"")),
            None => return Err(bad(&name("period"), "is missing: \"day\" or \"month\"")),
        };
        let usd = table.get("usd").ok_or_else(|| bad(&name("usd"), "is missing: USD, like 200"))?;
        let nanousd = nanousd(usd).filter(|nanousd| *nanousd > 0).ok_or_else(|| {
            bad(&name("usd"), &format!("must be a number above 0, like 200, not `{usd}`"))
        })?;
        let provider = text("provider")?;
        let is_known = |id: &String| providers::ALL.iter().any(|known| known.id() == id);
        if let Some(id) = &provider
            && !is_known(id)
        {
            let ids: Vec<&str> = providers::ALL.iter().map(|known| known.id()).collect();
            let reason = format!("must be one of {}, not `{id}`", ids.join(", "));
            return Err(bad(&name("provider"), &reason));
        }
        let in_home = |path: String| match path.strip_prefix("~/") {
            Some(below) => home.join(below).to_string_lossy().into_owned(),
            None => path,
        };
        let project = text("project")?.map(in_home);
        Ok(Budget { period, nanousd, provider, project })
    };
    all.iter().enumerate().map(parse_one).collect()
}

/// An amount in USD, to the cent and below; at most a billion.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn nanousd(value: &Value) -> Option<i64> {
    let usd = match value {
        Value::Integer(usd) => f64::from(i32::try_from(*usd).ok()?),
        Value::Float(usd) => *usd,
        _ => return None,
    };
    (usd.is_finite() && (0.0..=1e9).contains(&usd)).then(|| (usd * 1e9).round() as i64)
}

fn name_of(period: Period, provider: Option<&String>, project: Option<&String>) -> String {
    let period = match period {
        Period::Day => "day",
        Period::Month => "month",
    };
    let of = [provider, project].into_iter().flatten().map(String::as_str);
    std::iter::once(period).chain(of).collect::<Vec<_>>().join(", ")
}

impl Budget {
    /// What it is called: period, agent, project.
    pub(crate) fn name(&self) -> String {
        name_of(self.period, self.provider.as_ref(), self.project.as_ref())
    }

    fn days(&self, today: Date) -> (Date, Date) {
        match self.period {
            Period::Day => (today, today),
            Period::Month => (today.first_of_month(), today.last_of_month()),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "shares and projections are estimates"
    )]
    pub(crate) fn standing(&self, reader: &Reader, now_ms: i64) -> Result<Standing, ReadError> {
        let today = reader.day(now_ms)?;
        let (first, last) = self.days(today);
        let filter = Filter {
            providers: self.provider.iter().cloned().collect(),
            projects: self.project.iter().cloned().collect(),
            ..Filter::days(first, last)
        };
        let (used, is_unknown) = match reader.figures(&filter) {
            Err(ReadError::Unknown { .. }) => (Figures::default(), true),
            figures => (figures?, false),
        };
        let elapsed = elapsed(first, last, &reader.time_zone()?, now_ms);
        let projected = (used.cost_nanousd as f64 / elapsed).round() as i64;
        Ok(Standing {
            name: self.name(),
            period: self.period,
            provider: self.provider.clone(),
            project: self.project.clone(),
            budget_nanousd: self.nanousd,
            used_nanousd: used.cost_nanousd,
            unpriced_count: used.unpriced_count,
            used_share: used.cost_nanousd as f64 / self.nanousd as f64,
            is_unknown,
            projected_nanousd: (elapsed >= TELLING).then_some(projected),
        })
    }
}

/// Keeps the standings at hand for those who must not ask the database.
#[derive(Debug)]
pub(crate) struct Keeper {
    standings: watch::Sender<Vec<Standing>>,
    looked: Option<Looked>,
    under_way: Option<JoinHandle<()>>,
}

/// The last look.
#[derive(Clone, Copy, Debug)]
struct Looked {
    /// The position in the log of events.
    seq: i64,
    /// Since the epoch.
    minute: i64,
    at: Instant,
}

/// How often they are looked up while something is added. While nothing is, they are whenever a minute
/// begins: time passes, too, and days begin with one in every zone.
const OFTEN: Duration = Duration::from_secs(1);
const MINUTE_MS: i64 = 60_000;

impl Keeper {
    pub(crate) fn new() -> (Self, watch::Receiver<Vec<Standing>>) {
        let (standings, seen) = watch::channel(Vec::new());
        (Self { standings, looked: None, under_way: None }, seen)
    }

    /// Looks the standings up if it is time to, on a thread that may wait for the disk.
    pub(crate) fn tick(&mut self, budgets: &[Budget], data_dir: &Path, seq: i64) {
        let minute = now_ms().div_euclid(MINUTE_MS);
        let is_due = self.looked.is_none_or(|looked| {
            looked.minute != minute || looked.seq != seq && looked.at.elapsed() >= OFTEN
        });
        let is_busy = self.under_way.as_ref().is_some_and(|task| !task.is_finished());
        if !is_due || is_busy || (budgets.is_empty() && self.standings.borrow().is_empty()) {
            return;
        }
        self.looked = Some(Looked { seq, minute, at: Instant::now() });
        let (budgets, data_dir) = (budgets.to_owned(), data_dir.to_owned());
        let sender = self.standings.clone();
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            let look = || standings(&budgets, &Reader::open(&data_dir)?, now_ms());
            match look() {
                Ok(found) => _ = sender.send_replace(found),
                Err(e) => tracing::warn!("cannot look up the budgets: {e}"),
            }
        }));
    }

    /// The budgets are others now.
    pub(crate) fn forget(&mut self) {
        self.looked = None;
    }
}

/// How all budgets stand.
pub(crate) fn standings(
    budgets: &[Budget],
    reader: &Reader,
    now_ms: i64,
) -> Result<Vec<Standing>, ReadError> {
    budgets.iter().map(|budget| budget.standing(reader, now_ms)).collect()
}

/// Which share of the days is over.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn elapsed(first: Date, last: Date, zone: &str, now_ms: i64) -> f64 {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let start = |day: Date| {
        let start = day.to_zoned(zone.clone()).map(|zoned| zoned.timestamp());
        start.unwrap_or(Timestamp::MIN).as_millisecond() as f64
    };
    let (from, to) = (start(first), start(last.saturating_add(1.day())));
    ((now_ms as f64 - from) / (to - from)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<Budget>, String> {
        let table: toml::Table = text.parse().unwrap();
        parse(&table["budgets"], Path::new("/home/ada"), "config.toml").map_err(|e| e.to_string())
    }

    #[test]
    fn budgets_are_read_from_the_configuration() {
        let budgets = parsed(
            "[[budgets]]\nperiod = \"month\"\nusd = 200\n\
             [[budgets]]\nperiod = \"day\"\nusd = 0.5\nprovider = \"codex\"\nproject = \"~/w\"\n",
        );
        let all = Budget {
            period: Period::Month,
            nanousd: 200_000_000_000,
            provider: None,
            project: None,
        };
        let one = Budget {
            period: Period::Day,
            nanousd: 500_000_000,
            provider: Some("codex".into()),
            project: Some("/home/ada/w".into()),
        };
        assert_eq!(one.name(), "day, codex, /home/ada/w");
        assert_eq!(budgets, Ok(vec![all, one]));
    }

    #[test]
    fn what_is_wrong_with_a_budget_is_named() {
        for (text, expect) in [
            ("[[budgets]]\nusd = 1", "`budgets[1].period` is missing"),
            ("[[budgets]]\nperiod = \"week\"\nusd = 1", "`budgets[1].period` must be"),
            ("[[budgets]]\nperiod = \"day\"", "`budgets[1].usd` is missing"),
            ("[[budgets]]\nperiod = \"day\"\nusd = 0", "`budgets[1].usd` must be"),
            ("[[budgets]]\nperiod = \"day\"\nusd = -5", "`budgets[1].usd` must be"),
            ("[[budgets]]\nperiod = \"day\"\nusd = nan", "`budgets[1].usd` must be"),
            ("[[budgets]]\nperiod = \"day\"\nusd = \"5\"", "`budgets[1].usd` must be"),
            ("[[budgets]]\nperiod = \"day\"\nusd = 5\nproject = 1", "`budgets[1].project` must be"),
            ("[[budgets]]\nperiod = \"day\"\nusd = 5\nprovider = \"x\"", "must be one of"),
            ("[[budgets]]\nperiod = \"day\"\nusd = 5\nmodel = \"x\"", "unknown key"),
            ("budgets = 5", "must be written as [[budgets]]"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn a_period_passes_in_the_time_of_its_zone() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap().as_millisecond();
        let day = date(2026, 5, 5);
        let share = |zone, time| elapsed(day, day, zone, at(time));
        assert!((share("UTC", "2026-05-05T06:00:00Z") - 0.25).abs() < 1e-9);
        assert!((share("Europe/Berlin", "2026-05-05T04:00:00Z") - 0.25).abs() < 1e-9);
        assert!((share("UTC", "2026-05-09T06:00:00Z") - 1.0).abs() < 1e-9);
        let (first, last) = (date(2026, 4, 1), date(2026, 4, 30));
        let month = elapsed(first, last, "UTC", at("2026-04-16T00:00:00Z"));
        assert!((month - 0.5).abs() < 1e-9);
        // A day of 23 hours.
        let short = date(2026, 3, 29);
        let share = elapsed(short, short, "Europe/Berlin", at("2026-03-29T10:30:00Z"));
        assert!((share - 0.5).abs() < 1e-9);
    }
}
