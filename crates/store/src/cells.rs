//! The roll-ups that move with every event: `usage_cells`, and `project_cells` above them.
//!
//! While a transaction appends, the moves are gathered here by cell; [`Moves::flush`] applies them
//! before it commits. A cell that falls to zero stays as a row, so that the mart rows it fed are
//! found dirty.

use std::collections::{BTreeMap, HashMap};
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, ToSql, params, params_from_iter};

use crate::row::StoredEvent;

/// What a cell adds up, in the order of its columns: the two kinds of events, seven counts, cost
/// and unpriced calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measures(pub(crate) [i64; 11]);

impl Measures {
    /// Calls and prompts: a cell is live while it has any.
    fn events(&self) -> i64 {
        self.0[0] + self.0[1]
    }
}

impl AddAssign for Measures {
    fn add_assign(&mut self, other: Self) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum += value;
        }
    }
}

impl SubAssign for Measures {
    fn sub_assign(&mut self, other: Self) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum -= value;
        }
    }
}

/// The finest grain, in the order of the primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CellKey {
    pub(crate) day: Arc<str>,
    pub(crate) provider: Arc<str>,
    pub(crate) session_id: Arc<str>,
    pub(crate) project_id: i64,
    pub(crate) model: Arc<str>,
    pub(crate) speed: &'static str,
}

/// What the cells of a session add up to.
pub(crate) fn of_session(
    db: &Connection,
    provider: &str,
    session_id: &str,
) -> rusqlite::Result<Measures> {
    const SUM: &str = "SELECT sum(message_count), sum(user_message_count), sum(input_tokens),
            sum(output_tokens), sum(cache_read_tokens), sum(cache_create_tokens),
            sum(cache_create_1h_tokens), sum(reasoning_tokens), sum(web_search_requests),
            sum(cost_nanousd), sum(unpriced_count)
        FROM usage_cells INDEXED BY usage_cells_session WHERE provider = ?1 AND session_id = ?2";
    db.prepare_cached(SUM)?.query_row([provider, session_id], |row| {
        let mut measures = Measures::default();
        for (column, measure) in measures.0.iter_mut().enumerate() {
            *measure = row.get::<_, Option<i64>>(column)?.unwrap_or(0);
        }
        Ok(measures)
    })
}

/// How one cell changes in one transaction.
#[derive(Clone, Debug)]
struct Move {
    measures: Measures,
    /// Earliest and latest time of the events that came, if any did.
    came: Option<(i64, i64)>,
    /// The same of the events that went.
    went: Option<(i64, i64)>,
    last_event_id: i64,
}

/// How the cells change in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Moves(HashMap<CellKey, Move>);

impl Moves {
    /// An event was added.
    pub(crate) fn enter(&mut self, event: &StoredEvent) {
        let cell = self.touch(event.cell(), event.id);
        cell.measures += event.measures();
        widen(&mut cell.came, event.event.ts_ms);
    }

    /// An event went, at the log's position `position`.
    pub(crate) fn leave(&mut self, event: &StoredEvent, position: i64) {
        let cell = self.touch(event.cell(), position);
        cell.measures -= event.measures();
        widen(&mut cell.went, event.event.ts_ms);
    }

    /// An event took another's place.
    pub(crate) fn replace(&mut self, old: &StoredEvent, new: &StoredEvent) {
        let cell = new.cell();
        if old.event.ts_ms == new.event.ts_ms && old.cell() == cell {
            let cell = self.touch(cell, new.id);
            cell.measures += new.measures();
            cell.measures -= old.measures();
        } else {
            self.leave(old, new.id);
            self.enter(new);
        }
    }

    fn touch(&mut self, key: CellKey, position: i64) -> &mut Move {
        let unmoved =
            Move { measures: Measures::default(), came: None, went: None, last_event_id: position };
        let cell = self.0.entry(key).or_insert(unmoved);
        cell.last_event_id = position;
        cell
    }

    /// Applies the moves. All events of the transaction must be in the table by now.
    pub(crate) fn flush(self, db: &Connection) -> rusqlite::Result<()> {
        let mut moves: Vec<_> = self.0.into_iter().collect();
        moves.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut born: BTreeMap<SessionInProject, i64> = BTreeMap::new();
        let mut projects: BTreeMap<(i64, Arc<str>), ProjectMove> = BTreeMap::new();
        for (key, cell) in &moves {
            let events = apply(db, key, cell)?;
            let lived = events != cell.measures.events();
            let lives = events != 0;
            *born.entry(SessionInProject::of(key)).or_default() +=
                i64::from(lives) - i64::from(lived);
            let project = projects.entry((key.project_id, Arc::clone(&key.provider))).or_default();
            project.measures += cell.measures;
            project.last_event_id = project.last_event_id.max(cell.last_event_id);
        }
        for (session, born) in born.into_iter().filter(|(_, born)| *born != 0) {
            let live = session.live_cells(db)?;
            let lived = live != born;
            let lives = live != 0;
            let project = projects.entry((session.project_id, session.provider)).or_default();
            project.sessions += i64::from(lives) - i64::from(lived);
        }
        for ((project_id, provider), project) in &projects {
            project.apply(db, *project_id, provider)?;
        }
        Ok(())
    }
}

fn widen(range: &mut Option<(i64, i64)>, ts_ms: i64) {
    let (first, last) = range.unwrap_or((ts_ms, ts_ms));
    *range = Some((first.min(ts_ms), last.max(ts_ms)));
}

/// A session as far as it happened in one project.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SessionInProject {
    provider: Arc<str>,
    session_id: Arc<str>,
    project_id: i64,
}

impl SessionInProject {
    fn of(key: &CellKey) -> Self {
        Self {
            provider: Arc::clone(&key.provider),
            session_id: Arc::clone(&key.session_id),
            project_id: key.project_id,
        }
    }

    fn live_cells(&self, db: &Connection) -> rusqlite::Result<i64> {
        const LIVE: &str = "SELECT count(*) FROM usage_cells INDEXED BY usage_cells_session
            WHERE provider = ?1 AND session_id = ?2 AND project_id = ?3
              AND message_count + user_message_count > 0";
        let key = params![self.provider, self.session_id, self.project_id];
        db.prepare_cached(LIVE)?.query_row(key, |row| row.get(0))
    }
}

/// Moves one cell; answers how many events it then has.
fn apply(db: &Connection, key: &CellKey, cell: &Move) -> rusqlite::Result<i64> {
    // Bounds that no time exceeds stand in where no event came: min() and max() then keep the old.
    const UPSERT: &str = "INSERT INTO usage_cells
        (day, provider, session_id, project_id, model, speed,
         message_count, user_message_count, input_tokens, output_tokens, cache_read_tokens,
         cache_create_tokens, cache_create_1h_tokens, reasoning_tokens, web_search_requests,
         cost_nanousd, unpriced_count, first_ts_ms, last_ts_ms, last_event_id)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                ?19, ?20)
        ON CONFLICT DO UPDATE SET
            message_count = message_count + excluded.message_count,
            user_message_count = user_message_count + excluded.user_message_count,
            input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
            cache_create_tokens = cache_create_tokens + excluded.cache_create_tokens,
            cache_create_1h_tokens = cache_create_1h_tokens + excluded.cache_create_1h_tokens,
            reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
            web_search_requests = web_search_requests + excluded.web_search_requests,
            cost_nanousd = cost_nanousd + excluded.cost_nanousd,
            unpriced_count = unpriced_count + excluded.unpriced_count,
            first_ts_ms = CASE WHEN message_count + user_message_count = 0
                THEN excluded.first_ts_ms ELSE min(first_ts_ms, excluded.first_ts_ms) END,
            last_ts_ms = CASE WHEN message_count + user_message_count = 0
                THEN excluded.last_ts_ms ELSE max(last_ts_ms, excluded.last_ts_ms) END,
            last_event_id = excluded.last_event_id
        RETURNING message_count + user_message_count, first_ts_ms, last_ts_ms";
    let (first, last) = cell.came.unwrap_or((i64::MAX, i64::MIN));
    let tail = [first, last, cell.last_event_id];
    let values = key.values().into_iter();
    let values = values.chain(cell.measures.0.iter().chain(&tail).map(|value| value as &dyn ToSql));
    let (events, first, last) = db
        .prepare_cached(UPSERT)?
        .query_row(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if let Some((went_first, went_last)) = cell.went {
        settle(db, key, events, (first, last), (went_first <= first, went_last >= last))?;
    }
    Ok(events)
}

impl CellKey {
    fn values(&self) -> [&dyn ToSql; 6] {
        [&self.day, &self.provider, &self.session_id, &self.project_id, &self.model, &self.speed]
    }
}

/// Finds a cell's first or last time again after the event that held it went.
fn settle(
    db: &Connection,
    key: &CellKey,
    events: i64,
    (first, last): (i64, i64),
    (find_first, find_last): (bool, bool),
) -> rusqlite::Result<()> {
    const SETTLE: &str = "UPDATE usage_cells SET first_ts_ms = ?7, last_ts_ms = ?8
        WHERE day = ?1 AND provider = ?2 AND session_id = ?3 AND project_id = ?4 AND model = ?5
          AND speed = ?6";
    let range = if events == 0 {
        (0, 0)
    } else if find_first || find_last {
        let found_first = if find_first { find_time(db, key, (first, last), "ASC")? } else { None };
        let found_last = if find_last { find_time(db, key, (first, last), "DESC")? } else { None };
        (found_first.unwrap_or(first), found_last.unwrap_or(last))
    } else {
        return Ok(());
    };
    let values = key.values().into_iter().chain([&range.0 as &dyn ToSql, &range.1]);
    db.prepare_cached(SETTLE)?.execute(params_from_iter(values))?;
    Ok(())
}

/// The first event of a cell in the given order, looked for inside the cell's range only.
fn find_time(
    db: &Connection,
    key: &CellKey,
    (first, last): (i64, i64),
    order: &str,
) -> rusqlite::Result<Option<i64>> {
    let sql = format!(
        "SELECT ts_ms FROM usage_events INDEXED BY usage_events_ts_ms
         WHERE ts_ms BETWEEN ?7 AND ?8 AND day = ?1 AND provider = ?2 AND session_id = ?3
           AND project_id = ?4 AND model = ?5 AND speed = ?6
         ORDER BY ts_ms {order} LIMIT 1"
    );
    let values = key.values().into_iter().chain([&first as &dyn ToSql, &last]);
    db.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0)).optional()
}

/// How one project cell changes in one transaction.
#[derive(Default)]
struct ProjectMove {
    measures: Measures,
    sessions: i64,
    last_event_id: i64,
}

impl ProjectMove {
    fn apply(&self, db: &Connection, project_id: i64, provider: &str) -> rusqlite::Result<()> {
        const UPSERT: &str = "INSERT INTO project_cells
            (project_id, provider,
             message_count, user_message_count, input_tokens, output_tokens, cache_read_tokens,
             cache_create_tokens, cache_create_1h_tokens, reasoning_tokens, web_search_requests,
             cost_nanousd, unpriced_count, session_count, last_event_id)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
            ON CONFLICT DO UPDATE SET
                message_count = message_count + excluded.message_count,
                user_message_count = user_message_count + excluded.user_message_count,
                input_tokens = input_tokens + excluded.input_tokens,
                output_tokens = output_tokens + excluded.output_tokens,
                cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
                cache_create_tokens = cache_create_tokens + excluded.cache_create_tokens,
                cache_create_1h_tokens = cache_create_1h_tokens + excluded.cache_create_1h_tokens,
                reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
                web_search_requests = web_search_requests + excluded.web_search_requests,
                cost_nanousd = cost_nanousd + excluded.cost_nanousd,
                unpriced_count = unpriced_count + excluded.unpriced_count,
                session_count = session_count + excluded.session_count,
                last_event_id = excluded.last_event_id";
        let key: [&dyn ToSql; 2] = [&project_id, &provider];
        let tail = [self.sessions, self.last_event_id];
        let sums = self.measures.0.iter().chain(&tail).map(|value| value as &dyn ToSql);
        db.prepare_cached(UPSERT)?.execute(params_from_iter(key.into_iter().chain(sums)))?;
        Ok(())
    }
}
