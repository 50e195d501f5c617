//! Rows of a mart, filtered, in any order, and in pages.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde_json::Value as Json;

use crate::filter::{Filter, Resolved};
use crate::marts::Mart;
use crate::zone::Zone;
use crate::{ReadError, meta};

/// Rows of a mart, narrowed down.
#[derive(Clone, Debug)]
pub struct MartQuery {
    pub mart: &'static Mart,
    pub filter: Filter,
    /// `None` is the order of the key.
    pub order: Option<Order>,
    pub limit: usize,
    /// [`MartPage::next`] of the page before.
    pub cursor: Option<String>,
}

impl MartQuery {
    /// The first `limit` rows of a mart.
    pub fn new(mart: &'static Mart, limit: usize) -> Self {
        Self { mart, filter: Filter::default(), order: None, limit, cursor: None }
    }
}

/// Rows by one of their columns; equal ones by the key of the mart, in the same direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub column: String,
    pub descending: bool,
}

impl Order {
    /// As it is written: `cost_nanousd`, or `-cost_nanousd` for the largest first.
    pub fn parse(text: &str) -> Self {
        let (column, descending) =
            text.strip_prefix('-').map_or((text, false), |column| (column, true));
        Self { column: column.to_owned(), descending }
    }

    fn written(&self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.column)
    }
}

/// Rows of a mart in the order that was asked for.
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

pub(crate) fn page(
    db: &Connection,
    query: &MartQuery,
    zone: &Zone,
) -> rusqlite::Result<Result<MartPage, ReadError>> {
    let select = query.filter.resolve(db)?.and_then(|filter| Select::of(query, &filter, zone));
    Ok(match select {
        Ok(select) => Ok(select.page(db, query)?),
        Err(error) => Err(error),
    })
}

/// A [`MartQuery`] in SQL.
#[derive(Debug)]
pub(crate) struct Select {
    conditions: Vec<String>,
    values: Vec<Value>,
    /// The columns that rows are sorted by.
    sorted_by: Vec<&'static str>,
    descending: bool,
}

impl Select {
    pub(crate) fn of(query: &MartQuery, filter: &Resolved, zone: &Zone) -> Result<Self, ReadError> {
        let mut select = Self::ordered(query)?;
        (select.conditions, select.values) = filter.conditions_on(query.mart, zone)?;
        if let Some(cursor) = &query.cursor {
            select.after(query, cursor)?;
        }
        Ok(select)
    }

    fn ordered(query: &MartQuery) -> Result<Self, ReadError> {
        let mart = query.mart;
        let mut sorted_by = mart.grain.to_vec();
        let mut descending = false;
        if let Some(order) = &query.order {
            let column = mart.columns().find(|column| *column == order.column);
            let column = column.ok_or_else(|| ReadError::NoSuchColumn {
                mart: mart.short_name(),
                column: order.column.clone(),
                columns: mart.columns().collect(),
            })?;
            // The same order by what is stored: no rounded number in the cursor, no time to write.
            let column = match column {
                "cost_usd" => "cost_nanousd",
                "first_ts" => "first_ts_ms",
                "last_ts" => "last_ts_ms",
                column => column,
            };
            sorted_by.insert(0, column);
            descending = order.descending;
        }
        Ok(Self { conditions: Vec::new(), values: Vec::new(), sorted_by, descending })
    }

    /// A cursor is the values that the last row was sorted by. One of another order than the key's
    /// begins with the order: it would lead somewhere in any other.
    fn after(&mut self, query: &MartQuery, cursor: &str) -> Result<(), ReadError> {
        let bad = || ReadError::BadCursor { value: cursor.into() };
        let mut parts: Vec<Json> = serde_json::from_str(cursor).map_err(|_| bad())?;
        if let Some(order) = &query.order {
            if parts.first() != Some(&Json::from(order.written())) {
                return Err(bad());
            }
            parts.remove(0);
        }
        if parts.len() != self.sorted_by.len() {
            return Err(bad());
        }
        for (part, column) in parts.into_iter().zip(&self.sorted_by) {
            self.values.push(match (part, query.mart.is_text(column)) {
                (Json::String(text), true) => Value::Text(text),
                (Json::Number(number), false) => Value::Integer(number.as_i64().ok_or_else(bad)?),
                _ => return Err(bad()),
            });
        }
        let places = vec!["?"; self.sorted_by.len()].join(", ");
        let beyond = if self.descending { "<" } else { ">" };
        self.conditions.push(format!("({}) {beyond} ({places})", self.keys().join(", ")));
        Ok(())
    }

    /// What rows are sorted by: a text that is missing sorts as an empty one, since nothing lies
    /// before or after null.
    fn keys(&self) -> Vec<String> {
        let key = |column: &&'static str| match *column {
            "cwd" | "primary_model" => format!("ifnull({column}, '')"),
            column => column.to_owned(),
        };
        self.sorted_by.iter().map(key).collect()
    }

    pub(crate) fn sql(&self, query: &MartQuery) -> String {
        let table = query.mart.name;
        let mut which = String::new();
        if !self.conditions.is_empty() {
            which = format!(" WHERE {}", self.conditions.join(" AND "));
        }
        let direction = if self.descending { " DESC" } else { "" };
        let directed = |columns: &[&str]| {
            let columns: Vec<_> = columns.iter().map(|of| format!("{of}{direction}")).collect();
            columns.join(", ")
        };
        let keys = self.keys();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let order = format!("ORDER BY {}", directed(&keys));
        // One row more than asked for tells whether there is a next page.
        let limit = format!("LIMIT {}", query.limit.saturating_add(1));
        if query.order.is_none() {
            return format!("SELECT * FROM {table}{which} {order} {limit}");
        }
        // Only the rows of the page are read whole.
        let (grain, by_key) = (query.mart.grain.join(", "), query.mart.key_index());
        let of_page = match query.mart.index_on(self.sorted_by[0]) {
            Some(index) => {
                format!("SELECT {grain} FROM {table} INDEXED BY {index}{which} {order} {limit}")
            }
            // The first rows of an order are kept while all are gone through: in the direction of
            // the order, so that not each of many equal ones takes the place of the one before.
            None => format!(
                "SELECT {grain} FROM (
                    SELECT {grain}, {key} AS sorted FROM {table} INDEXED BY {by_key}{which}
                    ORDER BY {by_grain} LIMIT -1)
                 ORDER BY sorted{direction}, {by_grain} {limit}",
                key = keys[0],
                by_grain = directed(query.mart.grain),
            ),
        };
        format!("SELECT * FROM {table} INDEXED BY {by_key} WHERE ({grain}) IN ({of_page}) {order}")
    }

    fn page(&self, db: &Connection, query: &MartQuery) -> rusqlite::Result<MartPage> {
        const WATERMARK: &str = "SELECT last_event_id FROM mart_watermark WHERE mart_name = ?1";
        let (columns, mut rows) = rows(db, &self.sql(query), &self.values)?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let next = rows.last().filter(|_| more).map(|row| self.cursor(query, &columns, row));
        let watermark =
            db.prepare_cached(WATERMARK)?.query_row([query.mart.name], |row| row.get(0))?;
        Ok(MartPage { columns, rows, watermark, epoch: meta::epoch(db)?, next })
    }

    fn cursor(&self, query: &MartQuery, columns: &[String], row: &[Json]) -> String {
        let order = query.order.iter().map(|order| Json::from(order.written()));
        let values = self.sorted_by.iter().map(|name| {
            let place = columns.iter().position(|column| column == name);
            match place.map_or(&Json::Null, |place| &row[place]) {
                Json::Null => Json::from(""),
                value => value.clone(),
            }
        });
        Json::Array(order.chain(values).collect()).to_string()
    }
}

/// The names of the columns, and all rows as JSON.
pub(crate) fn rows(
    db: &Connection,
    sql: &str,
    values: &[Value],
) -> rusqlite::Result<(Vec<String>, Vec<Vec<Json>>)> {
    let mut statement = db.prepare_cached(sql)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let rows = statement.query_map(params_from_iter(values), |row| {
        columns.iter().enumerate().map(|(place, name)| json(row, place, name)).collect()
    })?;
    let rows = rows.collect::<rusqlite::Result<_>>()?;
    Ok((columns, rows))
}

fn json(row: &Row<'_>, place: usize, name: &str) -> rusqlite::Result<Json> {
    Ok(match row.get_ref(place)? {
        ValueRef::Null | ValueRef::Blob(_) => Json::Null,
        // A whole number that SQLite has sorted is an integer to it, whatever its column is.
        ValueRef::Integer(_) if name == "cost_usd" => Json::from(row.get::<_, f64>(place)?),
        ValueRef::Integer(number) => Json::from(number),
        ValueRef::Real(number) => Json::from(number),
        ValueRef::Text(text) => Json::from(String::from_utf8_lossy(text)),
    })
}
