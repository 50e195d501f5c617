//! Sums over the marts: what reports, summaries and budgets are made of.
//!
//! Each is read from the smallest table that tells apart what is asked for; all of them add up to the
//! same totals. The finest, the cells, is what marts are made from.

use std::ops::AddAssign;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::filter::{Filter, Resolved};
use crate::{ReadError, Reader, meta};

/// What usage is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    Day,
    /// From Monday to Sunday, named by its Monday.
    Week,
    /// `2026-05`.
    Month,
    Provider,
    Project,
    Model,
    Speed,
    /// A session of one agent.
    Session,
}

/// What the rows of a report are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// What they are grouped by.
    Key,
    Calls,
    Input,
    Output,
    CacheRead,
    CacheCreate,
    Tokens,
    Cost,
    /// The time of a session's last event. Only where they are grouped by session first.
    Last,
}

#[derive(Clone, Debug)]
pub struct ReportQuery {
    /// From the outermost group in. Without any there are no rows, and the total is all.
    pub by: Vec<Dimension>,
    pub filter: Filter,
    pub sort: SortBy,
    pub descending: bool,
    /// Rows beyond it are left out; the total has them.
    pub limit: Option<usize>,
}

/// Sums over billable calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls.
    pub message_count: i64,
    /// Uncached input.
    pub input_tokens: i64,
    /// Reasoning included.
    pub output_tokens: i64,
    pub cache_read_tokens: i64,
    pub cache_create_tokens: i64,
    /// 1e-9 USD; calls without a price count as nothing.
    pub cost_nanousd: i64,
    /// Calls that no price is known for.
    pub unpriced_count: i64,
}

impl Figures {
    /// All four kinds of tokens.
    pub fn tokens(&self) -> i64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_create_tokens
    }

    /// USD.
    #[expect(clippy::cast_precision_loss, reason = "for people; sums are kept as integers")]
    pub fn cost_usd(&self) -> f64 {
        self.cost_nanousd as f64 / 1e9
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.message_count += other.message_count;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_create_tokens += other.cache_create_tokens;
        self.cost_nanousd += other.cost_nanousd;
        self.unpriced_count += other.unpriced_count;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub rows: Vec<ReportRow>,
    /// Of all groups, also those beyond the limit.
    pub total: Figures,
    /// How many groups there are.
    pub groups: u64,
    /// The position in the log of events up to which the marts are refreshed.
    pub watermark: i64,
    pub epoch: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// One name for each dimension: a project's is its path, a session's its id.
    pub key: Vec<String>,
    /// Where projects are told apart.
    pub project_name: Option<String>,
    /// Where sessions are told apart.
    pub session: Option<SessionFacts>,
    pub figures: Figures,
}

/// What is known of a session beside its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    pub provider: String,
    /// Of its first event; `None` if it is not in the marts yet.
    pub project: Option<String>,
    pub primary_model: Option<String>,
    /// UTC milliseconds, of the events that are counted here.
    pub first_ts_ms: i64,
    pub last_ts_ms: i64,
}

/// Tables that hold the same sums, the smallest first, and what each tells apart.
const TABLES: [(&str, &[&str]); 6] = [
    ("project_mart", &["project_id"]),
    ("provider_day_mart", &["day", "provider"]),
    ("model_day_mart", &["day", "model", "speed"]),
    ("daily_mart", &["day", "project_id", "provider", "model", "speed"]),
    ("session_mart", &["provider", "session_id"]),
    ("usage_cells", &["day", "project_id", "provider", "model", "speed", "session_id"]),
];

const COLUMNS: &str = "message_count, input_tokens, output_tokens, cache_read_tokens,
    cache_create_tokens, cost_nanousd, unpriced_count";
const SUMS: &str = "sum(message_count) AS message_count, sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens, sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_create_tokens) AS cache_create_tokens, sum(cost_nanousd) AS cost_nanousd,
    sum(unpriced_count) AS unpriced_count";

impl Dimension {
    /// The columns it is made of.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Day | Self::Week | Self::Month => &["day"],
            Self::Provider => &["provider"],
            Self::Project => &["project_id"],
            Self::Model => &["model"],
            Self::Speed => &["speed"],
            Self::Session => &["provider", "session_id"],
        }
    }

    fn expressions(self) -> &'static [&'static str] {
        match self {
            // The next Sunday, or this one, and back to its Monday.
            Self::Week => &["date(day, 'weekday 0', '-6 days')"],
            Self::Month => &["substr(day, 1, 7)"],
            _ => self.columns(),
        }
    }
}

impl SortBy {
    fn expression(self) -> Option<&'static str> {
        Some(match self {
            Self::Key => return None,
            Self::Calls => "message_count",
            Self::Input => "input_tokens",
            Self::Output => "output_tokens",
            Self::CacheRead => "cache_read_tokens",
            Self::CacheCreate => "cache_create_tokens",
            Self::Tokens => {
                "input_tokens + output_tokens + cache_read_tokens + cache_create_tokens"
            }
            Self::Cost => "cost_nanousd",
            Self::Last => "last_ts_ms",
        })
    }
}

impl Reader {
    /// Sums by what is asked for. An unknown name in the filter is an error.
    pub fn report(&self, query: &ReportQuery) -> Result<Report, ReadError> {
        self.read(|db| {
            Ok(match query.filter.resolve(db)? {
                Ok(filter) => Ok(Plan::of(query, &filter).run(db)?),
                Err(unknown) => Err(unknown),
            })
        })?
    }

    /// The sum of all that a filter lets through.
    pub fn figures(&self, filter: &Filter) -> Result<Figures, ReadError> {
        self.read(|db| figures_of(db, filter))?
    }
}

pub(crate) fn figures_of(
    db: &Connection,
    filter: &Filter,
) -> rusqlite::Result<Result<Figures, ReadError>> {
    Ok(match filter.resolve(db)? {
        Ok(filter) => {
            let plan = Plan::over(&[], &filter);
            Ok(plan.total(db, plan.table)?)
        }
        Err(unknown) => Err(unknown),
    })
}

/// The SQL of a report.
pub(crate) struct Plan<'a> {
    query: Option<&'a ReportQuery>,
    table: &'static str,
    /// The smallest one that the total can be read from.
    smallest: &'static str,
    condition: String,
    values: Vec<Value>,
}

impl<'a> Plan<'a> {
    pub(crate) fn of(query: &'a ReportQuery, filter: &Resolved) -> Self {
        Self { query: Some(query), ..Self::over(&query.by, filter) }
    }

    fn over(by: &[Dimension], filter: &Resolved) -> Self {
        let table_of = |needed: &[&str]| {
            let has_all = |(_, columns): &&(&str, &[&str])| {
                needed.iter().all(|column| columns.contains(column))
            };
            TABLES.iter().find(has_all).map_or("usage_cells", |(table, _)| table)
        };
        let mut needed: Vec<&str> = filter.columns().collect();
        let smallest = table_of(&needed);
        needed.extend(by.iter().flat_map(|by| by.columns()).copied());
        let table = table_of(&needed);
        let (mut conditions, values) = filter.conditions();
        conditions.push("message_count > 0".to_owned());
        Self { query: None, table, smallest, condition: conditions.join(" AND "), values }
    }

    fn run(&self, db: &Connection) -> rusqlite::Result<Report> {
        const WATERMARK: &str = "SELECT min(last_event_id) FROM mart_watermark";
        let rows = self.rows(db)?;
        let is_limited = self.query.is_some_and(|query| query.limit == Some(rows.len()));
        let table = if self.is_as_fresh(db, self.smallest)? { self.smallest } else { self.table };
        Ok(Report {
            groups: if is_limited { self.groups(db)? } else { rows.len() as u64 },
            total: self.total(db, table)?,
            watermark: db.query_row(WATERMARK, [], |row| row.get(0))?,
            epoch: meta::epoch(db)?,
            rows,
        })
    }

    /// Whether a mart holds the same events as the one that rows are read from.
    fn is_as_fresh(&self, db: &Connection, mart: &str) -> rusqlite::Result<bool> {
        const AS_FRESH: &str = "SELECT count(*) = 2 AND min(last_event_id) = max(last_event_id)
            FROM mart_watermark WHERE mart_name IN (?1, ?2)";
        db.prepare_cached(AS_FRESH)?.query_row([self.table, mart], |row| row.get(0))
    }

    /// Whether each row of the table is a group already: sessions are many, and summing up one by one
    /// takes its time.
    fn has_a_row_for_each(&self) -> bool {
        self.table == "session_mart" && self.by() == [Dimension::Session]
    }

    fn total(&self, db: &Connection, table: &str) -> rusqlite::Result<Figures> {
        let Self { condition, values, .. } = self;
        let sql = format!("SELECT {SUMS} FROM {table} WHERE {condition}");
        db.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| figures(row, 0))
    }

    fn by(&self) -> &[Dimension] {
        self.query.map_or(&[], |query| &query.by)
    }

    fn expressions(&self) -> Vec<&'static str> {
        self.by().iter().flat_map(|by| by.expressions()).copied().collect()
    }

    fn group(&self) -> String {
        self.expressions().join(", ")
    }

    fn grouping(&self) -> String {
        if self.has_a_row_for_each() {
            return String::new();
        }
        // An index in the order of the groups would be followed to every row there is: what was
        // narrowed down by days or names is less to sort than that is to read.
        let group = match self.table {
            "usage_cells" => format!("+{}", self.expressions().join(", +")),
            _ => self.group(),
        };
        format!("GROUP BY {group}")
    }

    pub(crate) fn groups_sql(&self) -> String {
        let Self { table, condition, .. } = self;
        let grouping = self.grouping();
        format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {condition} {grouping})")
    }

    fn groups(&self, db: &Connection) -> rusqlite::Result<u64> {
        let mut count = db.prepare_cached(&self.groups_sql())?;
        let count: i64 = count.query_row(params_from_iter(&self.values), |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    fn rows(&self, db: &Connection) -> rusqlite::Result<Vec<ReportRow>> {
        let Some(query) = self.query.filter(|query| !query.by.is_empty()) else {
            return Ok(Vec::new());
        };
        let places = Places::of(&query.by);
        let mut statement = db.prepare_cached(&self.rows_sql(query))?;
        let mut found = statement.query(params_from_iter(&self.values))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(places.row(db, row)?);
        }
        Ok(rows)
    }

    pub(crate) fn rows_sql(&self, query: &ReportQuery) -> String {
        let Self { table, condition, .. } = self;
        let group = self.group();
        let times = match query.by.contains(&Dimension::Session) {
            true if self.has_a_row_for_each() => ", first_ts_ms, last_ts_ms",
            true => ", min(first_ts_ms) AS first_ts_ms, max(last_ts_ms) AS last_ts_ms",
            false => "",
        };
        let direction = if query.descending { "DESC" } else { "ASC" };
        let order = order(query, direction);
        let limit = query.limit.map_or(String::new(), |limit| format!(" LIMIT {limit}"));
        if self.has_a_row_for_each() && query.limit.is_some() {
            let index = match query.sort {
                SortBy::Last => "session_mart_last_ts",
                _ => "sqlite_autoindex_session_mart_1",
            };
            // Only what is shown is read whole.
            return format!(
                "SELECT {group}, {COLUMNS}{times} FROM {table}
                 INDEXED BY sqlite_autoindex_session_mart_1 WHERE ({group}) IN (
                    SELECT {group} FROM {table} INDEXED BY {index} WHERE {condition}
                    ORDER BY {order}{limit})
                 ORDER BY {order}"
            );
        }
        // Sorted outside: inside, the name of a sum is that of the column it sums up.
        let sums = if self.has_a_row_for_each() { COLUMNS } else { SUMS };
        format!(
            "SELECT * FROM (SELECT {group}, {sums}{times} FROM {table} WHERE {condition}
             {}) ORDER BY {order}{limit}",
            self.grouping()
        )
    }
}

/// The time of a session's last event, where it has several rows.
const LAST_OF_SESSION: &str = "max(last_ts_ms) OVER (PARTITION BY provider, session_id)";

/// By what is asked for, then by key. Within days, sessions or names what costs most comes first.
fn order(query: &ReportQuery, direction: &str) -> String {
    let mut place = 0;
    let mut keys = Vec::new();
    for by in &query.by {
        for _ in by.expressions() {
            place += 1;
            keys.push(match by {
                Dimension::Project => {
                    "(SELECT path FROM projects WHERE id = project_id)".to_owned()
                }
                _ => place.to_string(),
            });
        }
    }
    // As rows may be turned round afterwards, so is this.
    let by_cost = if direction == "ASC" { "cost_nanousd DESC" } else { "cost_nanousd ASC" };
    if query.sort == SortBy::Last {
        // All in the direction of the index.
        let is_alone = query.by.len() == 1;
        let mut order: Vec<String> = keys.iter().map(|key| format!("{key} {direction}")).collect();
        let last = if is_alone { "last_ts_ms" } else { LAST_OF_SESSION };
        order.insert(0, format!("{last} {direction}"));
        if !is_alone {
            // The rows of a session stay together.
            order.insert(1 + Dimension::Session.columns().len(), by_cost.to_owned());
        }
        return order.join(", ");
    }
    let first = match query.sort.expression() {
        Some(by) => format!("{by} {direction}"),
        None => {
            let first = format!("{} {direction}", keys.remove(0));
            if query.by.len() > 1 { format!("{first}, {by_cost}") } else { first }
        }
    };
    std::iter::once(first).chain(keys).collect::<Vec<_>>().join(", ")
}

/// Where in a row of the result the parts of a key stand.
struct Places<'a> {
    by: &'a [Dimension],
    width: usize,
}

impl<'a> Places<'a> {
    fn of(by: &'a [Dimension]) -> Self {
        Self { by, width: by.iter().map(|by| by.expressions().len()).sum() }
    }

    fn row(&self, db: &Connection, row: &Row<'_>) -> rusqlite::Result<ReportRow> {
        let (mut key, mut project_name, mut session) = (Vec::new(), None, None);
        let mut place = 0;
        for by in self.by {
            match by {
                Dimension::Project => {
                    let (path, name) = project(db, row.get(place)?)?;
                    key.push(path);
                    project_name = Some(name);
                }
                Dimension::Session => {
                    let (provider, id): (String, String) = (row.get(place)?, row.get(place + 1)?);
                    let first_ts_ms = row.get("first_ts_ms")?;
                    let last_ts_ms = row.get("last_ts_ms")?;
                    let (project, primary_model) = facts(db, &provider, &id)?;
                    session = Some(SessionFacts {
                        provider,
                        project,
                        primary_model,
                        first_ts_ms,
                        last_ts_ms,
                    });
                    key.push(id);
                }
                _ => key.push(row.get(place)?),
            }
            place += by.expressions().len();
        }
        Ok(ReportRow { key, project_name, session, figures: figures(row, self.width)? })
    }
}

fn project(db: &Connection, id: i64) -> rusqlite::Result<(String, String)> {
    const PROJECT: &str = "SELECT path, display_name FROM projects WHERE id = ?1";
    db.prepare_cached(PROJECT)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Project and model of a session.
fn facts(
    db: &Connection,
    provider: &str,
    session_id: &str,
) -> rusqlite::Result<(Option<String>, Option<String>)> {
    const FACTS: &str = "SELECT path, primary_model
        FROM session_mart JOIN projects ON id = project_id
        WHERE provider = ?1 AND session_id = ?2";
    let mut facts = db.prepare_cached(FACTS)?;
    let mut rows = facts.query([provider, session_id])?;
    Ok(match rows.next()? {
        Some(row) => (row.get(0)?, row.get(1)?),
        None => (None, None),
    })
}

/// The sums, from a column on. Over no rows they are null.
pub(crate) fn figures(row: &Row<'_>, from: usize) -> rusqlite::Result<Figures> {
    let sum = |place: usize| -> rusqlite::Result<i64> {
        Ok(row.get::<_, Option<i64>>(from + place)?.unwrap_or(0))
    };
    Ok(Figures {
        message_count: sum(0)?,
        input_tokens: sum(1)?,
        output_tokens: sum(2)?,
        cache_read_tokens: sum(3)?,
        cache_create_tokens: sum(4)?,
        cost_nanousd: sum(5)?,
        unpriced_count: sum(6)?,
    })
}
