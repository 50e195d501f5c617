//! Appends what was read to `usage_events`, once per call, whatever order it arrives in.
//!
//! The cells move and the checkpoints are saved in the transaction of the caller. What says nothing
//! new changes nothing.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use rusqlite::Connection;
use rusqlite::types::Value;
use usage::pricing::PriceBook;
use usage::{Batch, Checkpoint, EventKey, Flags, Usage, UsageEvent, merge, originality};

use crate::cells::Moves;
use crate::extras::Extras;
use crate::projects::Projects;
use crate::row::{self, StoredEvent};
use crate::zone::Zone;
use crate::{checkpoints, meta, so_far};

/// What a number of statements did to the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls not known before.
    pub appended: u64,
    /// Rows that a later statement changed.
    pub corrected: u64,
    /// Rows that had to go.
    pub retracted: u64,
    /// Statements that said nothing new.
    pub unchanged: u64,
}

impl Tally {
    /// Whether any row came, changed or went.
    pub fn changed(&self) -> bool {
        self.appended + self.corrected + self.retracted > 0
    }

    pub fn add(&mut self, other: Self) {
        self.appended += other.appended;
        self.corrected += other.corrected;
        self.retracted += other.retracted;
        self.unchanged += other.unchanged;
    }

    /// What was done since it was `before`.
    fn since(self, before: Self) -> Self {
        Self {
            appended: self.appended - before.appended,
            corrected: self.corrected - before.corrected,
            retracted: self.retracted - before.retracted,
            unchanged: self.unchanged - before.unchanged,
        }
    }
}

/// What a committed transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub tally: Tally,
    /// The same by provider.
    pub providers: BTreeMap<String, Tally>,
    /// When the batches that changed anything were heard of.
    pub heard: Vec<Instant>,
    /// The newest position in the log of events.
    pub seq: i64,
}

/// What appending remembers between transactions. To be cleared when one fails.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    projects: Projects,
    /// The rows that parsers older than the given one left, by source.
    stale: HashMap<(String, u32), HashMap<i64, Vec<i64>>>,
    /// What each source that is being read anew has stated so far.
    restated: HashMap<i64, Statements>,
    /// The same of the transaction under way.
    restating: HashMap<i64, Reading>,
}

/// All that one source has stated of each call, joined.
type Statements = BTreeMap<EventKey, UsageEvent>;

#[derive(Debug, Default)]
struct Reading {
    /// An earlier reading ended in the same transaction: what that stated is of no concern.
    is_next: bool,
    statements: Statements,
}

impl Caches {
    /// The transaction is gone, and what it taught with it.
    pub(crate) fn clear(&mut self) {
        self.projects.clear();
        self.stale.clear();
        self.restating.clear();
    }

    pub(crate) fn committed(&mut self) {
        for (source_id, reading) in self.restating.drain() {
            if reading.is_next {
                self.restated.remove(&source_id);
            }
            if !reading.statements.is_empty() {
                add(self.restated.entry(source_id).or_default(), reading.statements);
            }
        }
    }

    fn restate(&mut self, statement: UsageEvent) {
        let reading = self.restating.entry(statement.owner.source_id).or_default();
        add(&mut reading.statements, [(statement.key.clone(), statement)]);
    }

    /// All that a source has stated in the reading that ends now.
    fn end_reading(&mut self, source_id: i64) -> Statements {
        let ended = Reading { is_next: true, ..Reading::default() };
        let reading = self.restating.insert(source_id, ended).unwrap_or_default();
        let mut statements = match self.restated.get(&source_id) {
            Some(before) if !reading.is_next => before.clone(),
            _ => Statements::new(),
        };
        add(&mut statements, reading.statements);
        statements
    }
}

fn add(known: &mut Statements, more: impl IntoIterator<Item = (EventKey, UsageEvent)>) {
    for (key, statement) in more {
        let joined = match known.remove(&key) {
            Some(known) => merge(known, statement),
            None => statement,
        };
        known.insert(key, joined);
    }
}

/// Brings a batch's statements into range and joins those of one call, so that the table is asked
/// once for each. Doing it again changes nothing.
pub(crate) fn condense(batch: &mut Batch) {
    let mut places: HashMap<EventKey, usize> = HashMap::with_capacity(batch.events.len());
    let mut events: Vec<UsageEvent> = Vec::with_capacity(batch.events.len());
    for mut event in batch.events.drain(..) {
        row::bound(&mut event);
        match places.entry(event.key.clone()) {
            Entry::Vacant(place) => {
                place.insert(events.len());
                events.push(event);
            }
            Entry::Occupied(place) => {
                let same = &mut events[*place.get()];
                *same = merge(same.clone(), event);
            }
        }
    }
    batch.events = events;
}

/// Appends batches that [`condense`] has seen, in order, inside the caller's transaction.
pub(crate) fn append(
    db: &Connection,
    caches: &mut Caches,
    zone: &mut Zone,
    prices: &PriceBook,
    batches: &[Batch],
) -> rusqlite::Result<Appended> {
    let mut log = Log::begin(db, caches, zone, prices)?;
    let (mut providers, mut heard) = (BTreeMap::<String, Tally>::new(), Vec::new());
    for batch in batches {
        let before = log.tally;
        for statement in &batch.events {
            let statement = &*log.with_first_model(statement)?;
            if statement.usage.flags.contains(Flags::SESSION_SO_FAR) {
                log.state_so_far(statement, batch)?;
            } else {
                log.state(statement, batch)?;
            }
        }
        for key in &batch.retracted {
            log.retract_key(key, batch.checkpoint.parser_version)?;
        }
        for key in &batch.withdrawn {
            log.withdraw(key, batch.checkpoint.source_id)?;
        }
        checkpoints::save(db, &batch.checkpoint)?;
        if batch.complete {
            log.end_reading(&batch.checkpoint)?;
        }
        let done = log.tally.since(before);
        providers.entry(batch.checkpoint.provider.clone()).or_default().add(done);
        heard.extend(batch.heard.filter(|_| done.changed()));
    }
    let (tally, seq) = log.finish()?;
    Ok(Appended { tally, providers, heard, seq })
}

/// The table while one transaction appends to it.
pub(crate) struct Log<'a> {
    db: &'a Connection,
    caches: &'a mut Caches,
    zone: &'a mut Zone,
    prices: &'a PriceBook,
    /// That of the prices, as it is stored.
    price_version: Value,
    insert: row::Insert<'a>,
    /// The newest position given out.
    seq: i64,
    /// The table counts one more: it counts before it looks for the key.
    is_counted_too_far: bool,
    moves: Moves,
    tally: Tally,
    /// Whether any key was retracted, ever; `None` before that matters.
    any_retracted: Option<bool>,
}

impl<'a> Log<'a> {
    pub(crate) fn begin(
        db: &'a Connection,
        caches: &'a mut Caches,
        zone: &'a mut Zone,
        prices: &'a PriceBook,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            db,
            caches,
            zone,
            prices,
            price_version: row::short_version(prices.version()),
            insert: row::Insert::prepare(db)?,
            seq: meta::seq(db)?,
            is_counted_too_far: false,
            moves: Moves::default(),
            tally: Tally::default(),
            any_retracted: None,
        })
    }

    /// Moves the cells by all that happened to the rows; the newest position.
    pub(crate) fn finish(self) -> rusqlite::Result<(Tally, i64)> {
        if self.is_counted_too_far {
            meta::set_seq(self.db, self.seq)?;
        }
        self.moves.flush(self.db)?;
        Ok((self.tally, self.seq))
    }

    /// A statement whose model is the one that is set now keeps the one that was set at first.
    fn with_first_model<'s>(
        &self,
        statement: &'s UsageEvent,
    ) -> rusqlite::Result<Cow<'s, UsageEvent>> {
        if !statement.usage.flags.contains(Flags::MODEL_AS_SET) {
            return Ok(Cow::Borrowed(statement));
        }
        let mut statement = statement.clone();
        statement.usage.flags.remove(Flags::MODEL_AS_SET);
        let stored = row::find_by_key(self.db, &statement.key)?.map(|row| row.event.usage.model);
        if let Some(model) = stored.filter(|model| **model != *Usage::UNKNOWN_MODEL) {
            statement.usage.model = model;
        }
        Ok(Cow::Owned(statement))
    }

    /// What a session has used so far is stated as what is not stored of it yet.
    fn state_so_far(&mut self, statement: &UsageEvent, batch: &Batch) -> rusqlite::Result<()> {
        if let Some(rest) = so_far::rest(self.db, &mut self.moves, statement)? {
            self.state(&rest, batch)
        } else {
            self.tally.unchanged += 1;
            Ok(())
        }
    }

    fn state(&mut self, statement: &UsageEvent, batch: &Batch) -> rusqlite::Result<()> {
        if batch.restates {
            self.caches.restate(statement.clone());
        }
        // Most are new: the row is not looked for first. A project that only a statement which
        // loses names must not come into being by it.
        let is_simple = self.caches.projects.knows(&statement.owner.project);
        if is_simple && !self.was_retracted(statement)? && self.enter(statement)? {
            return Ok(());
        }
        let Some(old) = row::find_by_key(self.db, &statement.key)? else {
            if self.was_retracted(statement)? || !self.enter(statement)? {
                self.tally.unchanged += 1;
            }
            return Ok(());
        };
        // A newer parser knows better, but only what the source itself has said before. One that
        // was cut or rewritten since may no longer hold that, unless each of its records says all
        // there is to say of its call.
        let knows_better = statement.parser_version > old.event.parser_version;
        let base = if batch.amends || (knows_better && batch.checkpoint.generation == 0) {
            without_its_own(&old, statement)
        } else {
            old.event.clone()
        };
        self.join(&old, base, statement)
    }

    /// Adds a row unless there is one of that key.
    fn enter(&mut self, statement: &UsageEvent) -> rusqlite::Result<bool> {
        let Some(new) = self.insert(statement.clone(), statement.owner.source_id)? else {
            return Ok(false);
        };
        self.moves.enter(&new);
        self.tally.appended += 1;
        Ok(true)
    }

    /// Writes what a statement makes of a row, where it makes a difference. `base` is the row, or
    /// what other sources have said of it.
    fn join(
        &mut self,
        old: &StoredEvent,
        base: UsageEvent,
        statement: &UsageEvent,
    ) -> rusqlite::Result<()> {
        let source_id = statement.owner.source_id;
        let event = merge(base, statement.clone());
        // A lesser copy may repeat what is kept, or be behind it: that depends on what came first.
        let states_it =
            |by: &UsageEvent| by.usage == event.usage && originality(by) == originality(&event);
        let usage_source = match (states_it(statement), states_it(&old.event)) {
            (true, true) => old.usage_source.min(source_id),
            (true, false) => source_id,
            (false, _) => old.usage_source,
        };
        if event == old.event && usage_source == old.usage_source {
            self.tally.unchanged += 1;
        } else if says_the_same(&event, &old.event) {
            row::set_origin(self.db, old.id, &event, usage_source)?;
            self.tally.unchanged += 1;
        } else {
            self.correct(old, event, usage_source)?;
        }
        Ok(())
    }

    /// Whether a later record has shown this statement to be wrong, in whatever copy of its source.
    fn was_retracted(&mut self, statement: &UsageEvent) -> rusqlite::Result<bool> {
        const ANY: &str = "SELECT EXISTS (SELECT 1 FROM retracted_keys)";
        const RETRACTED: &str = "SELECT EXISTS (SELECT 1 FROM retracted_keys
            WHERE event_key = ?1 AND parser_version >= ?2)";
        let db = self.db;
        let any = match self.any_retracted {
            Some(any) => any,
            None => db.prepare_cached(ANY)?.query_row([], |row| row.get(0))?,
        };
        self.any_retracted = Some(any);
        if !any {
            return Ok(false);
        }
        let key = rusqlite::params![statement.key.as_str(), statement.parser_version];
        db.prepare_cached(RETRACTED)?.query_row(key, |row| row.get(0))
    }

    /// Appends a row again, with what it should say now.
    pub(crate) fn correct(
        &mut self,
        old: &StoredEvent,
        event: UsageEvent,
        usage_source: i64,
    ) -> rusqlite::Result<()> {
        row::delete(self.db, old.id)?;
        if let Some(new) = self.insert(event, usage_source)? {
            self.moves.replace(old, &new);
            self.tally.corrected += 1;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        event: UsageEvent,
        usage_source: i64,
    ) -> rusqlite::Result<Option<StoredEvent>> {
        let price = self.prices.price(&event);
        let project_id = self.caches.projects.id(self.db, &event.owner.project, &event.provider)?;
        let day_number = self.zone.number(event.ts_ms);
        let day = self.zone.name_of(day_number);
        let extras = Extras::of(&event, &price, usage_source).to_json()?;
        let (cost_nanousd, cost_source) = (price.cost_nanousd, price.source);
        let id = self.seq + 1;
        let stored =
            StoredEvent { id, event, usage_source, project_id, day, cost_nanousd, cost_source };
        let version = price.version.map(|_| &self.price_version);
        let inserted = self.insert.row(&stored, day_number, version, extras.as_deref())?;
        self.is_counted_too_far = !inserted;
        self.seq += i64::from(inserted);
        Ok(inserted.then_some(stored))
    }

    /// Retracts a row that a later record of its source has proved wrong, for good: a copy of the
    /// source that ends before that record must not bring it back.
    fn retract_key(&mut self, key: &EventKey, parser_version: u32) -> rusqlite::Result<()> {
        const REMEMBER: &str = "INSERT INTO retracted_keys VALUES (?1, ?2)
            ON CONFLICT DO UPDATE SET parser_version = max(parser_version, excluded.parser_version)";
        let row = rusqlite::params![key.as_str(), parser_version];
        self.db.prepare_cached(REMEMBER)?.execute(row)?;
        self.any_retracted = Some(true);
        match row::find_by_key(self.db, key)? {
            Some(stored) => self.retract(&stored),
            None => Ok(()),
        }
    }

    /// Retracts a row that its source alone has stated and does not state now. It may state it again.
    fn withdraw(&mut self, key: &EventKey, source_id: i64) -> rusqlite::Result<()> {
        match row::find_by_key(self.db, key)? {
            Some(stored) if is_of(&stored, source_id) => self.retract(&stored),
            _ => Ok(()),
        }
    }

    fn retract(&mut self, stored: &StoredEvent) -> rusqlite::Result<()> {
        row::delete(self.db, stored.id)?;
        self.seq += 1;
        meta::set_seq(self.db, self.seq)?;
        self.moves.leave(stored, self.seq);
        self.tally.retracted += 1;
        Ok(())
    }

    /// A source has been read from its start to its end: what it said before and does not say any
    /// more goes. One that was cut or rewritten meanwhile is believed for ever: nothing counted is
    /// lost with its lines.
    fn end_reading(&mut self, read: &Checkpoint) -> rusqlite::Result<()> {
        let statements = self.caches.end_reading(read.source_id);
        if read.generation > 0 {
            return Ok(());
        }
        statements.values().try_for_each(|statement| self.replace(statement))?;
        self.retract_stale(read)
    }

    /// Puts all that a source says of a call in the place of what it said before.
    fn replace(&mut self, statement: &UsageEvent) -> rusqlite::Result<()> {
        let Some(old) = row::find_by_key(self.db, &statement.key)? else { return Ok(()) };
        let unchanged = self.tally.unchanged;
        self.join(&old, without_its_own(&old, statement), statement)?;
        // What says nothing new was counted when it was read.
        self.tally.unchanged = unchanged;
        Ok(())
    }

    /// Retracts the rows of a source, read whole just now, that an older parser stated and this one
    /// did not state again.
    fn retract_stale(&mut self, read: &Checkpoint) -> rusqlite::Result<()> {
        let version = read.parser_version;
        let oldest = checkpoints::oldest_parser(self.db, read.source_id)?;
        if oldest.is_none_or(|oldest| oldest >= version) {
            return Ok(());
        }
        let stale = match self.caches.stale.entry((read.provider.clone(), version)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(stale_rows(self.db, &read.provider, version)?),
        };
        for id in stale.remove(&read.source_id).unwrap_or_default() {
            let Some(stored) = row::find_by_id(self.db, id)? else { continue };
            if is_of(&stored, read.source_id) && stored.event.parser_version < version {
                self.retract(&stored)?;
            }
        }
        checkpoints::set_read_whole(self.db, read.source_id)
    }
}

/// A row without what the statement's source said of it before: a part that another source stated
/// stays, be that source still there or not.
fn without_its_own(old: &StoredEvent, statement: &UsageEvent) -> UsageEvent {
    let source_id = statement.owner.source_id;
    let mut event = old.event.clone();
    match (event.owner.source_id == source_id, old.usage_source == source_id) {
        // Who stated the earliest time is not known. The same parser would take it back in vain.
        (true, true) if statement.parser_version == event.parser_version => {
            return UsageEvent { ts_ms: event.ts_ms, ..statement.clone() };
        }
        (true, true) => return statement.clone(),
        (true, false) => event.owner = statement.owner.clone(),
        (false, true) => event.usage = statement.usage.clone(),
        (false, false) => {}
    }
    event
}

/// Whether all that a row says was said by this source.
fn is_of(stored: &StoredEvent, source_id: i64) -> bool {
    (stored.event.owner.source_id, stored.usage_source) == (source_id, source_id)
}

/// Whether two events differ in nothing but who said so.
fn says_the_same(a: &UsageEvent, b: &UsageEvent) -> bool {
    let mut a = a.clone();
    a.parser_version = b.parser_version;
    a.owner.source_id = b.owner.source_id;
    a == *b
}

/// The rows of a provider that parsers older than `version` stated, by source. One look at the whole
/// table serves all sources of the provider: no row can become stale while a parser runs.
fn stale_rows(
    db: &Connection,
    provider: &str,
    version: u32,
) -> rusqlite::Result<HashMap<i64, Vec<i64>>> {
    let mut stale: HashMap<i64, Vec<i64>> = HashMap::new();
    let mut rows = db.prepare(
        "SELECT source_id, id FROM usage_events WHERE provider = ?1 AND parser_version < ?2",
    )?;
    let mut rows = rows.query(rusqlite::params![provider, version])?;
    while let Some(row) = rows.next()? {
        stale.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(stale)
}
