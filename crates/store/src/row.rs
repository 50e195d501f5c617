//! A row of `usage_events`, and the statement it was made from: each gives back the other exactly.

use std::error::Error;
use std::sync::{Arc, LazyLock};

use jiff::civil::{self, Date};
use rusqlite::types::{Type, Value};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use usage::{CostSource, EventKey, Flags, Owner, Role, Speed, Tokens, Usage, UsageEvent};

use crate::cells::{CellKey, Measures};
use crate::extras::Extras;
use crate::reprice::Which;

/// The latest time the text form of a time can show, to the last millisecond of year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

/// No call has ten thousand million tokens; thousands of such counts still add up in 64 bits.
const MAX_COUNT: u64 = 10_000_000_000;

/// A million dollars for one call.
const MAX_COST_NANOUSD: i64 = 1_000_000_000_000_000;

/// An event as it stands in the table.
#[derive(Clone, Debug)]
pub(crate) struct StoredEvent {
    pub(crate) id: i64,
    pub(crate) event: UsageEvent,
    /// The source that stated the usage; the one in `event` stated the owner.
    pub(crate) usage_source: i64,
    pub(crate) project_id: i64,
    pub(crate) day: Arc<str>,
    pub(crate) cost_nanousd: Option<i64>,
    pub(crate) cost_source: CostSource,
}

impl StoredEvent {
    pub(crate) fn cell(&self) -> CellKey {
        CellKey {
            day: Arc::clone(&self.day),
            provider: Arc::clone(&self.event.provider),
            session_id: Arc::clone(&self.event.owner.session_id),
            project_id: self.project_id,
            model: Arc::clone(&self.event.usage.model),
            speed: self.event.usage.speed.as_str(),
        }
    }

    pub(crate) fn measures(&self) -> Measures {
        let [input, output, cache_read, cache_create, cache_create_1h, reasoning, searches] =
            counts(&self.event.usage);
        let assistant = i64::from(self.event.role == Role::Assistant);
        let cost_nanousd = self.cost_nanousd.unwrap_or(0);
        let unpriced = assistant * i64::from(self.cost_nanousd.is_none());
        Measures([
            assistant,
            1 - assistant,
            input,
            output,
            cache_read,
            cache_create,
            cache_create_1h,
            reasoning,
            searches,
            cost_nanousd,
            unpriced,
        ])
    }
}

/// Brings a statement into the range that the table and its sums can hold. Parsers keep to it;
/// a record that slips through must not stop the marts with an overflow for good.
pub(crate) fn bound(event: &mut UsageEvent) {
    event.ts_ms = event.ts_ms.clamp(0, LAST_MS);
    let Usage { tokens, web_search_requests, logged_cost_nanousd, flags, .. } = &mut event.usage;
    let Tokens { input, output, cache_read, cache_create, cache_create_1h, reasoning } = tokens;
    for count in
        [input, output, cache_read, cache_create, cache_create_1h, reasoning, web_search_requests]
    {
        if *count > MAX_COUNT {
            *count = 0;
            flags.insert(Flags::CLAMPED);
        }
    }
    if logged_cost_nanousd.is_some_and(|cost| !(0..=MAX_COST_NANOUSD).contains(&cost)) {
        *logged_cost_nanousd = None;
        flags.insert(Flags::CLAMPED);
    }
}

/// The counts of a call in the order of their columns.
fn counts(usage: &Usage) -> [i64; 7] {
    let Tokens { input, output, cache_read, cache_create, cache_create_1h, reasoning } =
        usage.tokens;
    [input, output, cache_read, cache_create, cache_create_1h, reasoning, usage.web_search_requests]
        .map(u64::cast_signed)
}

/// Adds rows, thousands in a transaction: the statement is looked up once for all of them.
pub(crate) struct Insert<'a>(CachedStatement<'a>);

impl<'a> Insert<'a> {
    const SQL: &'static str = "INSERT INTO usage_events
        (id, event_key, provider, account, project_id, session_id, ts_ms, day_number, other_role,
         model, other_speed, input_tokens, output_tokens, cache_read_tokens, cache_create_tokens,
         cache_create_1h_tokens, reasoning_tokens, web_search_requests, cost_nanousd,
         other_cost_source, is_sidechain, copy_rank, source_id, parser_version, price_version,
         extras)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)
        ON CONFLICT (event_key) DO NOTHING";

    pub(crate) fn prepare(db: &'a Connection) -> rusqlite::Result<Self> {
        db.prepare_cached(Self::SQL).map(Self)
    }

    /// Adds a row unless its key stands there already, and says whether it did. Its id must not.
    pub(crate) fn row(
        &mut self,
        stored: &StoredEvent,
        day_number: i64,
        price_version: Option<&Value>,
        extras: Option<&str>,
    ) -> rusqlite::Result<bool> {
        let StoredEvent { id, event, project_id, cost_nanousd, cost_source, .. } = stored;
        let UsageEvent { key, provider, role, ts_ms, copy_rank, owner, usage, parser_version } =
            event;
        let [input, output, cache_read, cache_create, cache_create_1h, reasoning, searches] =
            counts(usage);
        let inserted = self.0.execute(params![
            id,
            key.as_str(),
            provider,
            owner.account,
            project_id,
            owner.session_id,
            ts_ms,
            day_number,
            (*role != Role::Assistant).then(|| role.as_str()),
            usage.model,
            (usage.speed != Speed::Standard).then(|| usage.speed.as_str()),
            input,
            output,
            cache_read,
            cache_create,
            cache_create_1h,
            reasoning,
            searches,
            cost_nanousd,
            (*cost_source != CostSource::RateCard).then(|| cost_source.as_str()),
            owner.is_sidechain,
            copy_rank,
            owner.source_id,
            parser_version,
            price_version,
            extras,
        ])?;
        Ok(inserted == 1)
    }
}

/// A version of prices as it is stored: a date as the days since 1970.
pub(crate) fn short_version(version: &str) -> Value {
    let date = version.parse::<Date>().ok().filter(|date| date.to_string() == version);
    let days = date.and_then(|date| date.since(civil::date(1970, 1, 1)).ok());
    days.map_or_else(|| version.to_owned().into(), |days| i64::from(days.get_days()).into())
}

pub(crate) fn delete(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM usage_events WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Notes which sources and parser state a row, in place: nothing that anyone adds up has changed.
pub(crate) fn set_origin(
    db: &Connection,
    id: i64,
    event: &UsageEvent,
    usage_source: i64,
) -> rusqlite::Result<()> {
    // Null takes the field out.
    const SET_ORIGIN: &str = "UPDATE usage_events SET source_id = ?2, parser_version = ?3,
            extras = nullif(
                json_patch(coalesce(extras, '{}'), json_object('usage_source', ?4)), '{}')
        WHERE id = ?1";
    let source_id = event.owner.source_id;
    let usage_source = Some(usage_source).filter(|source| *source != source_id);
    let values = params![id, source_id, event.parser_version, usage_source];
    db.prepare_cached(SET_ORIGIN)?.execute(values)?;
    Ok(())
}

const SELECT: &str = "SELECT event_key, provider, account, projects.path, session_id, ts_ms, role,
        model, speed, input_tokens, output_tokens, cache_read_tokens, cache_create_tokens,
        cache_create_1h_tokens, reasoning_tokens, web_search_requests, cost_nanousd, cost_source,
        is_sidechain, copy_rank, source_id, parser_version, usage_events.id, project_id, day, extras
    FROM usage_events CROSS JOIN projects ON projects.id = project_id";

pub(crate) fn find_by_key(
    db: &Connection,
    key: &EventKey,
) -> rusqlite::Result<Option<StoredEvent>> {
    static BY_KEY: LazyLock<String> = LazyLock::new(|| format!("{SELECT} WHERE event_key = ?1"));
    db.prepare_cached(&BY_KEY)?.query_row([key.as_str()], read).optional()
}

pub(crate) fn find_by_id(db: &Connection, id: i64) -> rusqlite::Result<Option<StoredEvent>> {
    static BY_ID: LazyLock<String> =
        LazyLock::new(|| format!("{SELECT} WHERE usage_events.id = ?1"));
    db.prepare_cached(&BY_ID)?.query_row([id], read).optional()
}

/// The calls at positions from `after` to `end` that `which` asks for, at most `most` of them.
pub(crate) fn calls(
    db: &Connection,
    which: &Which,
    (after, end): (i64, i64),
    most: usize,
) -> rusqlite::Result<Vec<StoredEvent>> {
    static CALLS: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{SELECT} WHERE usage_events.id > ?1 AND usage_events.id <= ?2 AND role = 'assistant'
                AND day >= ?3 AND (cost_source = 'unknown' OR NOT ?4)
             ORDER BY usage_events.id LIMIT ?5"
        )
    });
    let since = which.since.map(|day| day.to_string()).unwrap_or_default();
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    db.prepare_cached(&CALLS)?
        .query_map(params![after, end, since, which.unpriced, most], read)?
        .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let cost_nanousd: Option<i64> = row.get(16)?;
    let extras = Extras::from_json(row.get_ref(25)?.as_str_or_null()?)
        .map_err(|error| conversion(25, error.into()))?;
    let cost_source = named(row, 17, |name| CostSource::parse(name?))?;
    let owner = Owner {
        session_id: row.get(4)?,
        project: row.get(3)?,
        is_sidechain: row.get(18)?,
        account: row.get(2)?,
        agent: extras.agent,
        client: extras.client,
        source_id: row.get(20)?,
    };
    let usage = Usage {
        model: row.get(7)?,
        speed: named(row, 8, |name| Speed::parse(name?))?,
        tokens: Tokens {
            input: count(row, 9)?,
            output: count(row, 10)?,
            cache_read: count(row, 11)?,
            cache_create: count(row, 12)?,
            cache_create_1h: count(row, 13)?,
            reasoning: count(row, 14)?,
        },
        web_search_requests: count(row, 15)?,
        vendor: extras.vendor,
        tier: extras.tier,
        geo: extras.geo,
        logged_cost_nanousd: extras
            .logged_cost_nanousd
            .or(cost_nanousd.filter(|_| cost_source == CostSource::Live)),
        flags: Flags::from_names(extras.flags.iter().map(String::as_str)),
    };
    let event = UsageEvent {
        key: EventKey::stored(row.get_ref(0)?.as_str()?),
        provider: row.get(1)?,
        role: named(row, 6, |name| Role::parse(name?))?,
        ts_ms: row.get(5)?,
        copy_rank: row.get(19)?,
        owner,
        usage,
        parser_version: row.get(21)?,
    };
    Ok(StoredEvent {
        id: row.get(22)?,
        usage_source: extras.usage_source.unwrap_or(event.owner.source_id),
        event,
        project_id: row.get(23)?,
        day: row.get(24)?,
        cost_nanousd,
        cost_source,
    })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A text column read by name; `None` from `parse` is a value this program does not know.
fn named<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(Option<&str>) -> Option<T>,
) -> rusqlite::Result<T> {
    let value = row.get_ref(column)?.as_str_or_null()?;
    parse(value).ok_or_else(|| conversion(column, format!("unknown value {value:?}").into()))
}

fn conversion(column: usize, error: Box<dyn Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error)
}
