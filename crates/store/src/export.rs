//! All rows of the events or of marts, one after the other, as they were at one moment.
//!
//! A row is handed on as it is read, in the order of an index: nothing is sorted and nothing kept,
//! however many there are.

use std::borrow::Cow;
use std::io;

use jiff::civil::{Date, date};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Row, params_from_iter};

use crate::filter::{Filter, Resolved};
use crate::marts::Mart;
use crate::zone::{DAY_MS, Zone};
use crate::{ReadError, Reader, meta};

/// What is exported.
#[derive(Clone, Debug)]
pub enum Exported {
    Events,
    Marts(Vec<&'static Mart>),
}

/// Takes what is exported.
pub trait ExportSink {
    /// Rows of this table come next, with these columns.
    fn begin(&mut self, table: &str, columns: &[&str]) -> io::Result<()>;
    fn row(&mut self, values: &[Field<'_>]) -> io::Result<()>;
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Field<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
}

/// An export that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The sink takes no more.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// The public columns of an event; what stands behind them is how they are stored.
pub(crate) const EVENT_COLUMNS: [&str; 27] = [
    "id",
    "event_key",
    "provider",
    "account",
    "project_id",
    "session_id",
    "ts_ms",
    "ts",
    "day",
    "role",
    "model",
    "speed",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_create_tokens",
    "cache_create_1h_tokens",
    "reasoning_tokens",
    "web_search_requests",
    "cost_nanousd",
    "cost_usd",
    "cost_source",
    "is_sidechain",
    "copy_rank",
    "source_id",
    "parser_version",
    "raw_extras",
];

impl Reader {
    /// Hands every row that passes the filter to `sink`, all from one moment and without a deadline.
    /// Nothing is handed on if the filter names what is not there.
    pub fn export(
        &self,
        what: &Exported,
        filter: &Filter,
        sink: &mut dyn ExportSink,
    ) -> Result<(), ExportError> {
        let moment = self.moment()?;
        let sqlite = |source| self.error(source);
        let filter = filter.resolve(&moment).map_err(sqlite)??;
        let zone: Option<String> = meta::get(&moment, meta::TIME_ZONE).map_err(sqlite)?;
        let zone = Zone::new(zone.as_deref().unwrap_or("UTC")).map_err(ReadError::from)?;
        let selects = match what {
            Exported::Events => vec![("events", Select::of_events(&filter))],
            Exported::Marts(marts) => {
                let select = |mart: &&'static Mart| Select::of_mart(mart, &filter, &zone);
                let names = marts.iter().map(|mart| mart.short_name());
                let selects = marts.iter().map(select).collect::<Result<Vec<_>, _>>()?;
                names.zip(selects).collect()
            }
        };
        for (table, select) in selects {
            let mut statement = moment.prepare(&select.sql()).map_err(sqlite)?;
            let columns: Vec<String> =
                statement.column_names().into_iter().map(str::to_owned).collect();
            sink.begin(table, &columns.iter().map(String::as_str).collect::<Vec<_>>())?;
            let mut rows = statement.query(params_from_iter(&select.values)).map_err(sqlite)?;
            while let Some(row) = rows.next().map_err(sqlite)? {
                sink.row(&fields(row, columns.len()).map_err(sqlite)?)?;
            }
        }
        Ok(())
    }
}

fn fields<'a>(row: &'a Row<'_>, columns: usize) -> rusqlite::Result<Vec<Field<'a>>> {
    let field = |column| {
        Ok(match row.get_ref(column)? {
            ValueRef::Null | ValueRef::Blob(_) => Field::Null,
            ValueRef::Integer(number) => Field::Integer(number),
            ValueRef::Real(number) => Field::Real(number),
            ValueRef::Text(text) => Field::Text(String::from_utf8_lossy(text)),
        })
    };
    (0..columns).map(field).collect()
}

/// A SELECT whose rows come in the order of an index.
pub(crate) struct Select {
    columns: String,
    from: String,
    order: String,
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Select {
    /// Events in the order of their time.
    pub(crate) fn of_events(filter: &Resolved) -> Self {
        let mut select = Self {
            columns: EVENT_COLUMNS.map(with_project).join(", "),
            from: "usage_events INDEXED BY usage_events_ts_ms".into(),
            order: "ts_ms, id".into(),
            conditions: Vec::new(),
            values: Vec::new(),
        };
        // A day is what the row says; the times around it, in any time zone, are found by the index.
        let since = filter.since.map(number);
        let until = filter.until.map(number);
        let earliest = since.map_or(i64::MIN, |day| (day - 1) * DAY_MS);
        let latest = until.map_or(i64::MAX, |day| (day + 2) * DAY_MS);
        select.push("ts_ms >= ?", Value::Integer(earliest));
        select.push("ts_ms <= ?", Value::Integer(latest));
        if let Some(day) = since {
            select.push("day_number >= ?", Value::Integer(day));
        }
        if let Some(day) = until {
            select.push("day_number <= ?", Value::Integer(day));
        }
        let (conditions, values) = filter.conditions_but_days();
        select.conditions.extend(conditions);
        select.values.extend(values);
        select
    }

    /// Rows of a mart in the order of its key.
    pub(crate) fn of_mart(
        mart: &'static Mart,
        filter: &Resolved,
        zone: &Zone,
    ) -> Result<Self, ReadError> {
        let columns = mart.columns().map(|column| match column {
            // This one has the path itself.
            _ if mart.has_column("path") => column.to_owned(),
            _ => with_project(column),
        });
        let mut select = Self {
            columns: columns.collect::<Vec<_>>().join(", "),
            from: mart.name.into(),
            order: mart.grain.join(", "),
            conditions: Vec::new(),
            values: Vec::new(),
        };
        (select.conditions, select.values) = filter.conditions_on(mart, zone)?;
        Ok(select)
    }

    fn push(&mut self, condition: &str, value: Value) {
        self.conditions.push(condition.into());
        self.values.push(value);
    }

    pub(crate) fn sql(&self) -> String {
        let Self { columns, from, order, .. } = self;
        let mut sql = format!("SELECT {columns} FROM {from}");
        if !self.conditions.is_empty() {
            sql += &format!(" WHERE {}", self.conditions.join(" AND "));
        }
        sql + &format!(" ORDER BY {order}")
    }
}

/// The path of a project beside its id, which says little elsewhere.
fn with_project(column: &str) -> String {
    match column {
        "project_id" => "project_id, \
            (SELECT path FROM projects WHERE projects.id = project_id) AS project_path"
            .into(),
        _ => column.into(),
    }
}

/// A day as the number of days since 1970.
fn number(day: Date) -> i64 {
    day.duration_since(date(1970, 1, 1)).as_hours() / 24
}
