//! The mart property: whatever happens to events, and whenever refreshes run or fail, refreshing
//! gives what rebuilding gives, and both give what a plain oracle says.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rusqlite::TransactionBehavior;
use rusqlite::types::Value;
use usage::{Batch, EventKey, Flags, Owner, Role, Speed, Tokens, Usage, UsageEvent};

use super::oracle::{Oracle, Row};
use super::{HOUR_MS, Memory, NOW_MS, cases, checkpoint, rows, value};
use crate::ledger::change_zone;
use crate::marts::{self, ALL, Mart};
use crate::zone::Zone;
use crate::{check, meta, row};

const ZONES: [&str; 3] = ["UTC", "America/New_York", "Asia/Tokyo"];

/// Something that happens to a database.
#[derive(Clone, Debug)]
enum Step {
    /// Batches in one transaction, which is rolled back or not.
    Append {
        batches: Vec<Input>,
        commit: bool,
    },
    Refresh {
        commit: bool,
    },
    Rebuild {
        mart: usize,
    },
    RebuildAll,
    ChangeZone {
        zone: &'static str,
    },
    /// The parsers change: statements are of a newer version from now on.
    Upgrade,
}

#[derive(Clone, Debug)]
struct Input {
    source_id: i64,
    statements: Vec<UsageEvent>,
    retracted: Vec<EventKey>,
    withdrawn: Vec<EventKey>,
    complete: bool,
    generation: u32,
    amends: bool,
}

impl Input {
    fn batch(&self, parser_version: u32) -> Batch {
        let mut checkpoint = checkpoint(self.source_id);
        checkpoint.parser_version = parser_version;
        checkpoint.generation = self.generation;
        // A source has records of one provider.
        checkpoint.provider = if self.source_id == 3 { "codex" } else { "claude-code" }.into();
        let own = |event: &&UsageEvent| *event.provider == *checkpoint.provider;
        let events = self.statements.iter().filter(own).cloned().map(|mut event| {
            event.owner.source_id = self.source_id;
            event.parser_version = parser_version;
            event
        });
        let events = events.collect();
        Batch {
            events,
            retracted: self.retracted.clone(),
            withdrawn: self.withdrawn.clone(),
            checkpoint,
            bytes: 0,
            lines: 0,
            complete: self.complete,
            restates: self.complete && !self.amends,
            amends: self.amends,
            heard: None,
        }
    }
}

/// So few keys, and so few values of everything else, that events meet and move all the time.
fn statement() -> impl Strategy<Value = UsageEvent> {
    let owner = (0..3_usize, select(&["/w/a", "/w/b", "own"][..]), 0..4_u8);
    let usage = (
        select(&["claude-opus-5", "claude-haiku-4-5", "mystery"][..]),
        select(&[Speed::Standard, Speed::Standard, Speed::Fast][..]),
        (0..3_u64, 0..4_u64, 0..2_u64),
        proptest::option::weighted(0.2, 1..3_i64),
        prop::bool::weighted(0.3),
    );
    (0..8_u64, 0..10_i64, owner, usage).prop_map(|(key, hour, owner, usage)| {
        let (session, project, rank) = owner;
        let (model, speed, (input, output, cached), logged, is_so_far) = usage;
        let is_prompt = key >= 6;
        // Sessions of two providers share their ids; a project without a folder belongs to one.
        let provider = if key % 3 == 2 { "codex" } else { "claude-code" };
        let own_project = format!("{provider}:own");
        let mut flags = Flags::default();
        if is_so_far && !is_prompt {
            flags.insert(Flags::SESSION_SO_FAR);
        }
        UsageEvent {
            key: EventKey::new(&format!("k{key}")),
            provider: provider.into(),
            role: if is_prompt { Role::User } else { Role::Assistant },
            ts_ms: NOW_MS + hour * 5 * HOUR_MS,
            copy_rank: rank / 2,
            owner: Owner {
                session_id: format!("s{session}").into(),
                project: if project == "own" { own_project.into() } else { project.into() },
                is_sidechain: false,
                account: None,
                agent: None,
                client: [None, Some("1.0".into())][usize::from(rank % 2)].clone(),
                source_id: 0,
            },
            usage: Usage {
                model: if is_prompt { "" } else { model }.into(),
                speed: if is_prompt { Speed::Standard } else { speed },
                tokens: if is_prompt {
                    Tokens::default()
                } else {
                    Tokens { input, output, cache_read: cached, ..Tokens::default() }
                },
                web_search_requests: 0,
                vendor: None,
                tier: None,
                geo: None,
                logged_cost_nanousd: logged.filter(|_| !is_prompt),
                flags,
            },
            parser_version: 0,
        }
    })
}

fn input() -> impl Strategy<Value = Input> {
    let keys = || vec((0..8_u64).prop_map(|key| EventKey::new(&format!("k{key}"))), 0..2);
    let kind = (any::<bool>(), 0..2_u32, any::<bool>());
    (1..4_i64, vec(statement(), 0..7), (keys(), keys()), kind).prop_map(
        |(source_id, statements, (retracted, withdrawn), (complete, generation, amends))| Input {
            source_id,
            statements,
            retracted,
            withdrawn,
            complete,
            generation,
            amends,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let commit = || prop::bool::weighted(0.8);
    prop_oneof![
        10 => (vec(input(), 1..4), commit()).prop_map(|(batches, commit)| Step::Append { batches, commit }),
        5 => commit().prop_map(|commit| Step::Refresh { commit }),
        1 => (0..ALL.len()).prop_map(|mart| Step::Rebuild { mart }),
        1 => Just(Step::RebuildAll),
        1 => select(&ZONES[..]).prop_map(|zone| Step::ChangeZone { zone }),
        1 => Just(Step::Upgrade),
    ]
}

struct World {
    memory: Memory,
    oracle: Oracle,
    zone: &'static str,
    parser_version: u32,
}

impl World {
    fn new() -> Self {
        let zone = ZONES[0];
        Self { memory: Memory::new(zone), oracle: Oracle::new(zone), zone, parser_version: 1 }
    }

    fn take(&mut self, step: &Step) {
        let Self { memory: Memory { db, ledger }, oracle, .. } = self;
        match step {
            Step::Append { batches, commit } => {
                let mut batches: Vec<Batch> =
                    batches.iter().map(|input| input.batch(self.parser_version)).collect();
                db.commit_hook(Some(|| false)).unwrap();
                if *commit {
                    batches.iter().for_each(|batch| oracle.append(batch));
                } else {
                    db.commit_hook(Some(|| true)).unwrap();
                }
                let appended = ledger.append(db, &mut batches);
                assert_eq!(appended.is_ok(), *commit, "{appended:?}");
                assert!(appended.is_ok_and(|appended| appended.seq == oracle.seq) || !*commit);
            }
            Step::Refresh { commit } => {
                let cancel = !*commit;
                db.commit_hook(Some(move || cancel)).unwrap();
                assert_eq!(ledger.refresh(db).is_ok(), *commit);
            }
            Step::Rebuild { mart } => {
                ledger.rebuild(db, &[&ALL[*mart]]).unwrap();
            }
            Step::RebuildAll => {
                ledger.rebuild_all(db).unwrap();
            }
            Step::ChangeZone { zone } => {
                self.zone = zone;
                change_zone(db, Zone::new(zone).unwrap(), NOW_MS).unwrap();
                oracle.change_zone(zone);
                *ledger = Memory::new(zone).ledger;
            }
            Step::Upgrade => {
                self.parser_version += 1;
                ledger.clear_caches();
            }
        }
        db.commit_hook(None::<fn() -> bool>).unwrap();
    }

    /// Everything stands as the oracle says; what is not refreshed yet would be by a refresh.
    fn check(&mut self) {
        self.check_events();
        let ids = self.project_ids();
        let tx =
            &mut self.memory.db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        assert_no_error(&marts::refresh_within(tx, &ALL, NOW_MS).unwrap());
        let refreshed = ALL.each_ref().map(|mart| stored(tx, mart));
        for (mart, found) in ALL.iter().zip(&refreshed) {
            assert_eq!(*found, self.oracle.mart(mart.name, &ids), "{}", mart.name);
        }
        let report = check::check(tx, &mut Zone::new(self.zone).unwrap(), 5).unwrap();
        assert!(report.is_sound(), "{report:#?}");
        assert!(report.pending.is_empty(), "{report:#?}");
        marts::rebuild_within(tx, &ALL, NOW_MS).unwrap();
        assert_eq!(ALL.each_ref().map(|mart| stored(tx, mart)), refreshed);
    }

    fn check_events(&self) {
        let db = &self.memory.db;
        assert_eq!(meta::seq(db).unwrap(), self.oracle.seq);
        let count: u32 = value(db, "SELECT count(*) FROM usage_events");
        assert_eq!(count as usize, self.oracle.events.len());
        for (key, known) in &self.oracle.events {
            let found = row::find_by_key(db, key).unwrap().unwrap();
            let found = (found.id, found.usage_source, &found.event);
            assert_eq!(found, (known.id, known.usage_source, &known.event));
        }
    }

    fn project_ids(&self) -> BTreeMap<String, i64> {
        let rows = rows(&self.memory.db, "SELECT path, id FROM projects");
        let pair = |row: Row| match <[Value; 2]>::try_from(row) {
            Ok([Value::Text(path), Value::Integer(id)]) => (path, id),
            other => panic!("{other:?}"),
        };
        rows.into_iter().map(pair).collect()
    }
}

fn stored(db: &rusqlite::Connection, mart: &Mart) -> Vec<Row> {
    rows(db, &mart.stored_sql(db).unwrap())
}

fn assert_no_error(refresh: &marts::Refresh) {
    for mart in &refresh.marts {
        assert!(mart.error.is_none(), "{mart:?}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn refresh_equals_rebuild_and_the_oracle_after_every_step(steps in vec(step(), 1..20)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
    }
}
