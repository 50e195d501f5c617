//! How old figures are, and whether they are whole.

use serde_json::Value;
use store::{DataDir, ReadError, Reader};

use super::layout::utc;
use crate::commands::status::still_reading;
use crate::config::Config;
use crate::text;

/// Whether figures move, and since when they do not.
#[derive(Clone, Debug)]
pub(crate) struct Freshness {
    is_running: bool,
    /// What a running service is still at, before its figures are whole.
    reading: Option<String>,
    /// When the marts were last refreshed, if ever.
    refreshed_ms: Option<i64>,
}

impl Freshness {
    pub(crate) fn of(config: &Config, reader: &Reader) -> Result<Self, ReadError> {
        let is_running = DataDir::holder(&config.data_dir)
            .is_some_and(|holder| holder.starts_with("tallyd run "));
        let refreshed = reader.watermarks()?.into_iter().map(|of| of.last_refresh_ts).max();
        let time = refreshed.and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let reading = if is_running { still_reading(config) } else { None };
        Ok(Self { is_running, reading, refreshed_ms: time.map(jiff::Timestamp::as_millisecond) })
    }

    /// The same for a line: `2 h old`, `still reading`.
    pub(crate) fn in_short(&self, now_ms: i64) -> Option<String> {
        match (&self.reading, self.refreshed_ms) {
            (Some(_), _) => Some("still reading".to_owned()),
            (None, _) if self.is_running => None,
            (None, Some(then)) => Some(format!("as of {}", text::ago(now_ms, then))),
            (None, None) => Some("nothing read yet".to_owned()),
        }
    }

    pub(crate) fn columns(&self) -> [(&'static str, Value); 3] {
        [
            ("running", self.is_running.into()),
            ("reading", self.reading.clone().into()),
            ("refreshed_ts", self.refreshed_ms.map(utc).into()),
        ]
    }

    /// Said where the figures may be old or not whole.
    pub(super) fn as_text(&self, now_ms: i64) -> Option<String> {
        if let Some(reading) = &self.reading {
            return Some(format!("not all is counted yet: {reading}"));
        }
        if self.is_running {
            return None;
        }
        let age = self.refreshed_ms.map_or_else(
            || "nothing was read yet".to_owned(),
            |then| format!("last read {}", text::ago(now_ms, then)),
        );
        Some(format!("the service is not running, {age}; `tallyd backfill` reads what is new"))
    }
}
