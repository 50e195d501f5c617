//! Which usage is meant: days, agents, projects, models.

use jiff::civil::Date;
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::ReadError;
use crate::marts::Mart;
use crate::zone::Zone;

/// Narrows usage down. Several values of one kind mean any of them; none means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The first day, included.
    pub since: Option<Date>,
    /// The last day, included.
    pub until: Option<Date>,
    pub providers: Vec<String>,
    /// Each is the path of a project, its name, or its id.
    pub projects: Vec<String>,
    pub models: Vec<String>,
    /// Providers and projects that there are even if nothing was counted under their name yet.
    pub known: Vec<String>,
}

/// The id of no project.
const NONE: i64 = -1;

impl Filter {
    /// One day.
    pub fn day(day: Date) -> Self {
        Self::days(day, day)
    }

    /// All days from one to another.
    pub fn days(since: Date, until: Date) -> Self {
        Self { since: Some(since), until: Some(until), ..Self::default() }
    }

    /// Finds out what the names stand for.
    pub(crate) fn resolve(&self, db: &Connection) -> rusqlite::Result<Result<Resolved, ReadError>> {
        for name in self.providers.iter().filter(|name| !self.known.contains(name)) {
            if let Some(unknown) = unknown(db, "provider", KNOWN_PROVIDERS, name)? {
                return Ok(Err(unknown));
            }
        }
        for name in &self.models {
            if let Some(unknown) = unknown(db, "model", KNOWN_MODELS, name)? {
                return Ok(Err(unknown));
            }
        }
        let mut project_ids = Vec::new();
        for name in &self.projects {
            let mut ids = project_ids_of(db, name)?;
            if ids.is_empty() {
                if !self.known.contains(name) {
                    return Ok(Err(unknown_project(db, name)?));
                }
                ids.push(NONE);
            }
            project_ids.extend(ids);
        }
        Ok(Ok(Resolved {
            since: self.since,
            until: self.until,
            providers: self.providers.clone(),
            project_ids,
            models: self.models.clone(),
        }))
    }
}

/// A filter whose names are known to exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) since: Option<Date>,
    pub(crate) until: Option<Date>,
    providers: Vec<String>,
    pub(crate) project_ids: Vec<i64>,
    models: Vec<String>,
}

impl Resolved {
    /// Of the same agents, whatever they work on.
    pub(crate) fn only_providers(&self) -> Self {
        Self { providers: self.providers.clone(), ..Self::default() }
    }

    /// The same of any agent.
    pub(crate) fn but_providers(&self) -> Self {
        Self { providers: Vec::new(), ..self.clone() }
    }

    /// The columns that it looks at.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &'static str> {
        let by_day = self.since.is_some() || self.until.is_some();
        [
            ("day", by_day),
            ("provider", !self.providers.is_empty()),
            ("project_id", !self.project_ids.is_empty()),
            ("model", !self.models.is_empty()),
        ]
        .into_iter()
        .filter_map(|(column, is_asked)| is_asked.then_some(column))
    }

    /// Conditions on a table that has all these columns, and their values.
    pub(crate) fn conditions(&self) -> (Vec<String>, Vec<Value>) {
        let (mut conditions, mut values) = self.conditions_but_days();
        for (day, condition) in [(self.since, "day >= ?"), (self.until, "day <= ?")] {
            if let Some(day) = day {
                conditions.push(condition.to_owned());
                values.push(Value::Text(day.to_string()));
            }
        }
        (conditions, values)
    }

    /// Conditions on the rows of a mart. One without a day is asked what was active within the days; a
    /// session is found by the model that it mostly used.
    pub(crate) fn conditions_on(
        &self,
        mart: &'static Mart,
        zone: &Zone,
    ) -> Result<(Vec<String>, Vec<Value>), ReadError> {
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        let by_day = mart.has_column("day");
        if let Some(since) = self.since {
            conditions.push(if by_day { "day >= ?" } else { "last_ts_ms >= ?" }.to_owned());
            values.push(match by_day {
                true => Value::Text(since.to_string()),
                false => Value::Integer(start_of(since, zone)),
            });
        }
        if let Some(until) = self.until {
            conditions.push(if by_day { "day <= ?" } else { "first_ts_ms < ?" }.to_owned());
            values.push(match by_day {
                true => Value::Text(until.to_string()),
                false => Value::Integer(end_of(until, zone)),
            });
        }
        for (column, any_of) in self.values() {
            if any_of.is_empty() {
                continue;
            }
            let filter = column.trim_end_matches("_id");
            let column = if column == "model" && !mart.has_column(column) {
                "primary_model"
            } else {
                column
            };
            if !mart.has_column(column) {
                return Err(ReadError::NoSuchFilter { mart: mart.short_name(), filter });
            }
            conditions.push(one_of(column, any_of.len()));
            values.extend(any_of);
        }
        Ok((conditions, values))
    }

    pub(crate) fn conditions_but_days(&self) -> (Vec<String>, Vec<Value>) {
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        for (column, any_of) in self.values() {
            if !any_of.is_empty() {
                conditions.push(one_of(column, any_of.len()));
                values.extend(any_of);
            }
        }
        (conditions, values)
    }

    /// What a column has to be one of, unless it is nothing.
    pub(crate) fn values(&self) -> [(&'static str, Vec<Value>); 3] {
        [
            ("provider", self.providers.iter().cloned().map(Value::Text).collect()),
            ("project_id", self.project_ids.iter().copied().map(Value::Integer).collect()),
            ("model", self.models.iter().cloned().map(Value::Text).collect()),
        ]
    }
}

/// The condition that a column has one of so many values.
pub(crate) fn one_of(column: &str, values: usize) -> String {
    format!("{column} IN ({})", vec!["?"; values].join(", "))
}

/// The first millisecond of a day.
pub(crate) fn start_of(day: Date, zone: &Zone) -> i64 {
    zone.start_ms(day).unwrap_or(i64::MIN)
}

/// The first millisecond after a day.
pub(crate) fn end_of(day: Date, zone: &Zone) -> i64 {
    day.tomorrow().ok().and_then(|next| zone.start_ms(next)).unwrap_or(i64::MAX)
}

const KNOWN_PROVIDERS: &str = "SELECT DISTINCT provider FROM project_cells ORDER BY 1";
const KNOWN_MODELS: &str = "SELECT DISTINCT model FROM model_day_mart ORDER BY 1";
const KNOWN_PROJECTS: &str = "SELECT path FROM projects ORDER BY 1";
/// Names offered instead of one that does not exist.
const OFFERED: usize = 8;

fn names(db: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut names = db.prepare_cached(sql)?;
    names.query_map([], |row| row.get(0))?.collect()
}

fn unknown(
    db: &Connection,
    kind: &'static str,
    sql: &str,
    name: &str,
) -> rusqlite::Result<Option<ReadError>> {
    let known = names(db, sql)?;
    let is_known = known.iter().any(|known| known == name);
    Ok((!is_known).then(|| unknown_of(kind, known, name)))
}

/// By id, by path, or by name, which several may have.
fn project_ids_of(db: &Connection, name: &str) -> rusqlite::Result<Vec<i64>> {
    const BY_PATH: &str = "SELECT id FROM projects WHERE path = ?1";
    const BY_ID: &str = "SELECT id FROM projects WHERE id = ?1";
    const BY_NAME: &str = "SELECT id FROM projects WHERE display_name = ?1";
    let ids = |sql: &str, value: Value| -> rusqlite::Result<Vec<i64>> {
        db.prepare_cached(sql)?.query_map([value], |row| row.get(0))?.collect()
    };
    // A folder may be named with a slash at its end.
    let path = Some(name.trim_end_matches('/')).filter(|path| !path.is_empty()).unwrap_or(name);
    let text = || Value::Text(path.to_owned());
    let mut found = ids(BY_PATH, text())?;
    if found.is_empty() {
        found = ids(BY_NAME, text())?;
    }
    if found.is_empty()
        && let Ok(id) = name.parse()
    {
        found = ids(BY_ID, Value::Integer(id))?;
    }
    Ok(found)
}

fn unknown_project(db: &Connection, name: &str) -> rusqlite::Result<ReadError> {
    Ok(unknown_of("project", names(db, KNOWN_PROJECTS)?, name))
}

/// An error that offers names: those that contain what was asked for, or that it contains; if there is
/// none, some of all.
fn unknown_of(kind: &'static str, known: Vec<String>, name: &str) -> ReadError {
    let asked = name.to_lowercase();
    let is_like = |known: &&String| {
        let known = known.to_lowercase();
        !asked.is_empty() && (known.contains(&asked) || asked.contains(&known))
    };
    let mut alike: Vec<String> = known.iter().filter(is_like).cloned().collect();
    if alike.is_empty() {
        alike = known;
    }
    let more = alike.len().saturating_sub(OFFERED);
    alike.truncate(OFFERED);
    ReadError::Unknown { kind, value: name.to_owned(), known: alike, more }
}
