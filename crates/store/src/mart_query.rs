//! Rows of a mart, filtered and in pages.

use jiff::civil::Date;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde_json::Value as Json;

use crate::marts::Mart;
use crate::zone::Zone;
use crate::{ReadError, meta};

/// Rows of a mart, narrowed down. Days are inclusive.
#[derive(Clone, Debug)]
pub struct MartQuery {
    pub mart: &'static Mart,
    pub since: Option<String>,
    pub until: Option<String>,
    pub provider: Option<String>,
    /// A project's path, or its id.
    pub project: Option<String>,
    pub model: Option<String>,
    pub limit: usize,
    /// [`MartPage::next`] of the page before.
    pub cursor: Option<String>,
}

impl MartQuery {
    /// The first `limit` rows of a mart.
    pub fn new(mart: &'static Mart, limit: usize) -> Self {
        Self {
            mart,
            since: None,
            until: None,
            provider: None,
            project: None,
            model: None,
            limit,
            cursor: None,
        }
    }
}

/// Rows of a mart in the order of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct MartPage {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Json>>,
    /// The position in the log of events that the mart is correct up to.
    pub watermark: i64,
    pub epoch: i64,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// The conditions of a [`MartQuery`] in SQL.
#[derive(Default)]
pub(crate) struct Select {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Select {
    pub(crate) fn of(query: &MartQuery, zone: &Zone) -> Result<Self, ReadError> {
        let mut select = Self::default();
        select.days(query, zone)?;
        if let Some(provider) = &query.provider {
            select.column(query.mart, "provider", &["provider"], provider)?;
        }
        if let Some(model) = &query.model {
            select.column(query.mart, "model", &["model", "primary_model"], model)?;
        }
        if let Some(project) = &query.project {
            select.project(query.mart, project)?;
        }
        if let Some(cursor) = &query.cursor {
            select.after(query.mart, cursor)?;
        }
        Ok(select)
    }

    /// Marts without a day are asked what was active in the range.
    fn days(&mut self, query: &MartQuery, zone: &Zone) -> Result<(), ReadError> {
        let by_day = query.mart.grain.contains(&"day");
        if let Some(value) = &query.since {
            let day = parse_day(value)?;
            if by_day {
                self.push("day >= ?", Value::Text(day.to_string()));
            } else {
                let start_ms = zone.start_ms(day).unwrap_or(i64::MIN);
                self.push("last_ts_ms >= ?", Value::Integer(start_ms));
            }
        }
        if let Some(value) = &query.until {
            let day = parse_day(value)?;
            if by_day {
                self.push("day <= ?", Value::Text(day.to_string()));
            } else {
                let next = day.tomorrow().ok().and_then(|next| zone.start_ms(next));
                self.push("first_ts_ms < ?", Value::Integer(next.unwrap_or(i64::MAX)));
            }
        }
        Ok(())
    }

    fn column(
        &mut self,
        mart: &'static Mart,
        filter: &'static str,
        columns: &[&str],
        value: &str,
    ) -> Result<(), ReadError> {
        let column = columns.iter().find(|column| mart.has_column(column));
        let Some(column) = column else {
            return Err(ReadError::NoSuchFilter { mart: mart.short_name(), filter });
        };
        self.push(&format!("{column} = ?"), Value::Text(value.into()));
        Ok(())
    }

    fn project(&mut self, mart: &'static Mart, project: &str) -> Result<(), ReadError> {
        if !mart.has_column("project_id") {
            return Err(ReadError::NoSuchFilter { mart: mart.short_name(), filter: "project" });
        }
        match project.parse() {
            Ok(id) => self.push("project_id = ?", Value::Integer(id)),
            Err(_) => self.push(
                "project_id = (SELECT id FROM projects WHERE projects.path = ?)",
                Value::Text(project.into()),
            ),
        }
        Ok(())
    }

    fn after(&mut self, mart: &Mart, cursor: &str) -> Result<(), ReadError> {
        let bad = || ReadError::BadCursor { value: cursor.into() };
        let key: Vec<Json> = serde_json::from_str(cursor).map_err(|_| bad())?;
        if key.len() != mart.grain.len() {
            return Err(bad());
        }
        for part in key {
            self.values.push(match part {
                Json::String(text) => Value::Text(text),
                Json::Number(number) => Value::Integer(number.as_i64().ok_or_else(bad)?),
                _ => return Err(bad()),
            });
        }
        let places = vec!["?"; mart.grain.len()].join(", ");
        self.conditions.push(format!("({}) > ({places})", mart.grain.join(", ")));
        Ok(())
    }

    fn push(&mut self, condition: &str, value: Value) {
        self.conditions.push(condition.into());
        self.values.push(value);
    }

    pub(crate) fn page(&self, db: &Connection, query: &MartQuery) -> rusqlite::Result<MartPage> {
        const WATERMARK: &str = "SELECT last_event_id FROM mart_watermark WHERE mart_name = ?1";
        let mart = query.mart;
        let mut sql = format!("SELECT * FROM {}", mart.name);
        if !self.conditions.is_empty() {
            sql += &format!(" WHERE {}", self.conditions.join(" AND "));
        }
        // One row more than asked for tells whether there is a next page.
        sql +=
            &format!(" ORDER BY {} LIMIT {}", mart.grain.join(", "), query.limit.saturating_add(1));
        let mut statement = db.prepare_cached(&sql)?;
        let columns: Vec<String> =
            statement.column_names().into_iter().map(str::to_owned).collect();
        let rows =
            statement.query_map(params_from_iter(&self.values), |row| json(row, columns.len()))?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| {
            let key = mart.grain.iter().map(|name| {
                let place = columns.iter().position(|column| column == name);
                place.map_or(Json::Null, |place| row[place].clone())
            });
            Json::Array(key.collect()).to_string()
        });
        let watermark = db.prepare_cached(WATERMARK)?.query_row([mart.name], |row| row.get(0))?;
        Ok(MartPage { columns, rows, watermark, epoch: meta::epoch(db)?, next })
    }
}

fn parse_day(value: &str) -> Result<Date, ReadError> {
    value.parse().map_err(|_| ReadError::BadDay { value: value.into() })
}

fn json(row: &Row<'_>, columns: usize) -> rusqlite::Result<Vec<Json>> {
    let value = |column| {
        Ok(match row.get_ref(column)? {
            ValueRef::Null | ValueRef::Blob(_) => Json::Null,
            ValueRef::Integer(number) => Json::from(number),
            ValueRef::Real(number) => Json::from(number),
            ValueRef::Text(text) => Json::from(String::from_utf8_lossy(text)),
        })
    };
    (0..columns).map(value).collect()
}
