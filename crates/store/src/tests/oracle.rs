//! What the tables must hold, computed the plainest way: all events in a map, every mart from
//! scratch, no SQL.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::types::Value;
use usage::pricing::PriceBook;
use usage::{Batch, EventKey, Flags, Role, UsageEvent, merge, originality};

pub(super) type Row = Vec<Value>;

/// An event, its position in the log and its cost.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) event: UsageEvent,
    pub(super) usage_source: i64,
    cost_nanousd: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Oracle {
    pub(super) events: BTreeMap<EventKey, Known>,
    pub(super) seq: i64,
    /// The newest parser that retracted a key.
    retracted: BTreeMap<EventKey, u32>,
    prices: PriceBook,
    zone: TimeZone,
}

impl Oracle {
    pub(super) fn new(zone: &str) -> Self {
        let zone = TimeZone::get(zone).unwrap();
        let (events, retracted) = (BTreeMap::new(), BTreeMap::new());
        Self { events, seq: 0, retracted, prices: PriceBook::builtin(), zone }
    }

    pub(super) fn change_zone(&mut self, zone: &str) {
        self.zone = TimeZone::get(zone).unwrap();
    }

    pub(super) fn append(&mut self, batch: &Batch) {
        let mut statements: Vec<UsageEvent> = Vec::new();
        for event in &batch.events {
            match statements.iter_mut().find(|known| known.key == event.key) {
                Some(known) => *known = merge(known.clone(), event.clone()),
                None => statements.push(event.clone()),
            }
        }
        let mut stated: Vec<UsageEvent> = Vec::new();
        for statement in statements {
            let Some(statement) = self.not_yet_stored(statement) else { continue };
            let known = self.events.get(&statement.key);
            let is_newer = known.is_some_and(|k| statement.parser_version > k.event.parser_version);
            let is_newer = is_newer && batch.checkpoint.generation == 0;
            self.state(statement.clone(), is_newer || batch.amends);
            stated.push(statement);
        }
        let mut statements = stated;
        for key in &batch.retracted {
            let by = self.retracted.entry(key.clone()).or_default();
            *by = batch.checkpoint.parser_version.max(*by);
            self.retract(key);
        }
        for key in &batch.withdrawn {
            let source_id = batch.checkpoint.source_id;
            let is_its_own = |known: &Known| {
                (known.event.owner.source_id, known.usage_source) == (source_id, source_id)
            };
            if self.events.get(key).is_some_and(is_its_own) {
                self.retract(key);
            }
        }
        let Batch { checkpoint, complete, .. } = batch;
        if *complete && checkpoint.generation == 0 {
            statements.retain(|statement| self.events.contains_key(&statement.key));
            statements.sort_by(|a, b| a.key.cmp(&b.key));
            statements.into_iter().for_each(|statement| self.state(statement, true));
            let is_stale = |known: &&Known| {
                known.event.owner.source_id == checkpoint.source_id
                    && known.usage_source == checkpoint.source_id
                    && known.event.parser_version < checkpoint.parser_version
            };
            let mut stale: Vec<Known> = self.events.values().filter(is_stale).cloned().collect();
            stale.sort_by_key(|known| known.id);
            stale.iter().for_each(|known| self.retract(&known.event.key));
        }
    }

    /// Of a statement of a session's usage so far what no event has; `None` if that is nothing.
    fn not_yet_stored(&self, mut statement: UsageEvent) -> Option<UsageEvent> {
        if !statement.usage.flags.contains(Flags::SESSION_SO_FAR) {
            return Some(statement);
        }
        if let Some(known) = self.events.get(&statement.key) {
            statement.usage = known.event.usage.clone();
            return Some(statement);
        }
        let usage = &mut statement.usage;
        usage.flags = Flags::default();
        for known in self.events.values() {
            let event = &known.event;
            if (&event.provider, &event.owner.session_id)
                == (&statement.provider, &statement.owner.session_id)
            {
                let (left, stored) = (&mut usage.tokens, &event.usage.tokens);
                left.input = left.input.saturating_sub(stored.input);
                left.output = left.output.saturating_sub(stored.output);
                left.cache_read = left.cache_read.saturating_sub(stored.cache_read);
                let cost = known.cost_nanousd.unwrap_or(0);
                let left = usage.logged_cost_nanousd.as_mut();
                left.into_iter().for_each(|left| *left = (*left - cost).max(0));
            }
        }
        let is_nothing = usage.tokens.total() == 0 && usage.logged_cost_nanousd.unwrap_or(0) == 0;
        (!is_nothing).then_some(statement)
    }

    /// `again`: the statement takes the place of what its source said before.
    fn state(&mut self, statement: UsageEvent, again: bool) {
        let source_id = statement.owner.source_id;
        let (event, usage_source) = match self.events.get_mut(&statement.key) {
            None => {
                let by = self.retracted.get(&statement.key);
                if by.is_some_and(|by| *by >= statement.parser_version) {
                    return;
                }
                (statement, source_id)
            }
            Some(old) => {
                let mut base = old.event.clone();
                if again && base.owner.source_id == source_id {
                    base.owner = statement.owner.clone();
                    if old.usage_source == source_id {
                        base = statement.clone();
                        if base.parser_version == old.event.parser_version {
                            base.ts_ms = old.event.ts_ms;
                        }
                    }
                } else if again && old.usage_source == source_id {
                    base.usage = statement.usage.clone();
                }
                let event = merge(base, statement.clone());
                let kept = (&event.usage, originality(&event));
                let mut sources = vec![];
                if kept == (&statement.usage, originality(&statement)) {
                    sources.push(source_id);
                }
                if kept == (&old.event.usage, originality(&old.event)) {
                    sources.push(old.usage_source);
                }
                let usage_source = sources.into_iter().min().unwrap_or(old.usage_source);
                let mut same = event.clone();
                same.owner.source_id = old.event.owner.source_id;
                same.parser_version = old.event.parser_version;
                if same == old.event {
                    (old.event, old.usage_source) = (event, usage_source);
                    return;
                }
                (event, usage_source)
            }
        };
        self.seq += 1;
        let cost_nanousd = self.prices.price(&event).cost_nanousd;
        let known = Known { id: self.seq, event, usage_source, cost_nanousd };
        self.events.insert(known.event.key.clone(), known);
    }

    fn retract(&mut self, key: &EventKey) {
        if self.events.remove(key).is_some() {
            self.seq += 1;
        }
    }

    fn day(&self, known: &Known) -> String {
        let time = Timestamp::from_millisecond(known.event.ts_ms).unwrap();
        time.to_zoned(self.zone.clone()).date().to_string()
    }

    fn groups<K: Ord>(
        &self,
        key: impl Fn(&Known) -> K,
        calls_only: bool,
    ) -> BTreeMap<K, Group<'_>> {
        let mut groups: BTreeMap<K, Group<'_>> = BTreeMap::new();
        for known in self.events.values() {
            if known.event.role == Role::Assistant || !calls_only {
                groups.entry(key(known)).or_default().0.push(known);
            }
        }
        groups
    }

    /// The stored columns of a mart's rows in the order of its key, given the ids of projects.
    pub(super) fn mart(&self, name: &str, ids: &BTreeMap<String, i64>) -> Vec<Row> {
        let project_id = |known: &Known| ids[&*known.event.owner.project];
        let provider = |known: &Known| known.event.provider.to_string();
        let model = |known: &Known| known.event.usage.model.to_string();
        let speed = |known: &Known| known.event.usage.speed.as_str();
        match name {
            "daily_mart" => {
                let key = |k: &Known| (self.day(k), project_id(k), provider(k), model(k), speed(k));
                let row = |((day, project, provider, model, speed), group): (_, Group<'_>)| {
                    let mut row = vec![text(day), Value::Integer(project), text(provider)];
                    row.extend([text(model), text(speed), group.sessions(), group.calls()]);
                    row.extend(group.totals());
                    row
                };
                self.groups(key, true).into_iter().map(row).collect()
            }
            "model_day_mart" => {
                let key = |k: &Known| (self.day(k), model(k), speed(k));
                let row = |((day, model, speed), group): (_, Group<'_>)| {
                    let mut row = vec![text(day), text(model), text(speed)];
                    row.extend([group.sessions(), group.calls()]);
                    row.extend(group.totals());
                    row
                };
                self.groups(key, true).into_iter().map(row).collect()
            }
            "provider_day_mart" => {
                let key = |k: &Known| (self.day(k), provider(k));
                let row = |((day, provider), group): (_, Group<'_>)| {
                    let projects = group.distinct(|k| k.event.owner.project.to_string());
                    let mut row = vec![text(day), text(provider), group.sessions(), projects];
                    row.extend([group.calls(), group.prompts()]);
                    row.extend(group.totals());
                    row
                };
                self.groups(key, false).into_iter().map(row).collect()
            }
            "project_mart" => {
                let key = |k: &Known| (project_id(k), k.event.owner.project.to_string());
                let groups = self.groups(key, false).into_iter();
                groups.map(|((id, path), group)| self.project_row(id, &path, &group)).collect()
            }
            "session_mart" => {
                let key = |k: &Known| (provider(k), k.event.owner.session_id.to_string());
                let groups = self.groups(key, false).into_iter();
                let row = |((provider, session), group): ((String, String), Group<'_>)| {
                    session_row(&provider, &session, &group, ids)
                };
                groups.map(row).collect()
            }
            _ => panic!("no oracle for {name}"),
        }
    }

    fn project_row(&self, id: i64, path: &str, group: &Group<'_>) -> Row {
        let days = || group.0.iter().map(|known| self.day(known));
        let (first_day, last_day) = (days().min().unwrap(), days().max().unwrap());
        let times = |day: String| {
            let on_day = group.0.iter().filter(move |known| self.day(known) == day);
            on_day.map(|known| known.event.ts_ms)
        };
        let name = path.rsplit(['/', ':']).next().unwrap();
        let mut row = vec![Value::Integer(id), text(path), text(name)];
        row.push(Value::Integer(times(first_day).min().unwrap()));
        row.push(Value::Integer(times(last_day).max().unwrap()));
        row.push(group.sessions());
        row.push(group.distinct(|known| known.event.provider.to_string()));
        row.extend([group.calls(), group.prompts()]);
        row.extend(group.totals());
        row
    }
}

fn session_row(
    provider: &str,
    session: &str,
    group: &Group<'_>,
    ids: &BTreeMap<String, i64>,
) -> Row {
    let times = || group.0.iter().map(|known| known.event.ts_ms);
    let earliest = group.0.iter().min_by_key(|k| (k.event.ts_ms, &k.event.owner.project)).unwrap();
    let project = &*earliest.event.owner.project;
    let own_name = project.starts_with(&format!("{provider}:"));
    let mut models: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
    for known in group.0.iter().filter(|known| known.event.role == Role::Assistant) {
        let model = models.entry(&known.event.usage.model).or_default();
        model.0 += 1;
        model.1 += known.event.usage.tokens.total();
    }
    let primary = models
        .iter()
        .min_by_key(|(name, (calls, tokens))| (std::cmp::Reverse((*calls, *tokens)), **name));
    let one_shot = group.prompts() == Value::Integer(1) && group.calls() != Value::Integer(0);
    let mut row = vec![text(provider), text(session), Value::Integer(ids[project])];
    row.push(if own_name { Value::Null } else { text(project) });
    row.push(primary.map_or(Value::Null, |(name, _)| text(*name)));
    row.push(Value::Integer(times().min().unwrap()));
    row.push(Value::Integer(times().max().unwrap()));
    row.extend([group.calls(), group.prompts(), Value::Integer(one_shot.into())]);
    row.extend(group.totals());
    row
}

/// Events of one key.
#[derive(Default)]
struct Group<'a>(Vec<&'a Known>);

impl Group<'_> {
    fn distinct(&self, of: impl Fn(&Known) -> String) -> Value {
        let distinct: BTreeSet<String> = self.0.iter().map(|known| of(known)).collect();
        Value::Integer(distinct.len().try_into().unwrap())
    }

    fn sessions(&self) -> Value {
        self.distinct(|k| format!("{}\u{1f}{}", k.event.provider, k.event.owner.session_id))
    }

    fn count(&self, role: Role) -> Value {
        let count = self.0.iter().filter(|known| known.event.role == role).count();
        Value::Integer(count.try_into().unwrap())
    }

    fn calls(&self) -> Value {
        self.count(Role::Assistant)
    }

    fn prompts(&self) -> Value {
        self.count(Role::User)
    }

    /// The four token columns, cost and unpriced calls.
    fn totals(&self) -> [Value; 6] {
        let sum = |of: fn(&Known) -> i64| Value::Integer(self.0.iter().map(|k| of(k)).sum());
        [
            sum(|k| k.event.usage.tokens.input.cast_signed()),
            sum(|k| k.event.usage.tokens.output.cast_signed()),
            sum(|k| k.event.usage.tokens.cache_read.cast_signed()),
            sum(|k| k.event.usage.tokens.cache_create.cast_signed()),
            sum(|k| k.cost_nanousd.unwrap_or(0)),
            sum(|k| (k.cost_nanousd.is_none() && k.event.role == Role::Assistant).into()),
        ]
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}
