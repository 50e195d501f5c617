//! Any history of a database: what was complete at some read is counted once, whatever the owner of
//! the database does between two reads.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Small enough that every limit is met, but for those beyond which something may be lost.
const FEW: Limits = Limits { new: 3, again: 4, waiting: 200, events: 30, searches: 1_000 };

#[derive(Clone, Debug)]
enum Action {
    /// Of a session with either kind of messages.
    NewSession,
    /// A model begins to answer.
    Begin(Index),
    /// A step of an answer ends.
    Step(Index),
    /// An answer ends.
    Complete(Index),
    /// A person's message, whose parts come a moment later.
    Prompt(Index),
    /// Something changes in a row that does not matter.
    Touch(Index),
    Delete(Index),
    /// The newest messages go: their rowids are given again.
    Revert(usize),
    DeleteSession(Index),
    Fork(Index),
    Vacuum,
    /// The tables are made anew: rows are numbered without gaps.
    Rebuild,
    Read,
}

fn action() -> impl Strategy<Value = Action> {
    let index = || any::<Index>();
    prop_oneof![
        1 => Just(Action::NewSession),
        5 => index().prop_map(Action::Begin),
        3 => index().prop_map(Action::Step),
        5 => index().prop_map(Action::Complete),
        2 => index().prop_map(Action::Prompt),
        1 => index().prop_map(Action::Touch),
        1 => index().prop_map(Action::Delete),
        1 => (1..8_usize).prop_map(Action::Revert),
        1 => index().prop_map(Action::DeleteSession),
        1 => index().prop_map(Action::Fork),
        1 => Just(Action::Vacuum),
        1 => Just(Action::Rebuild),
        4 => Just(Action::Read),
    ]
}

/// A message as the model of this test knows it.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    session: usize,
    created_ms: i64,
    /// What it counts as: the input of each call, which no other call has, or a prompt's time, negative.
    says: Vec<i64>,
    is_prompt: bool,
    is_complete: bool,
    is_copy: bool,
}

struct History {
    world: World,
    /// Whether each session has messages of the newest kind.
    sessions: Vec<bool>,
    messages: Vec<Known>,
    /// What was complete at some read.
    seen: BTreeSet<i64>,
    clock: i64,
    next: i64,
}

impl History {
    fn new() -> Self {
        let mut history = Self {
            world: World::new(),
            sessions: Vec::new(),
            messages: Vec::new(),
            seen: BTreeSet::new(),
            clock: 0,
            next: 0,
        };
        history.act(&Action::NewSession);
        history.act(&Action::NewSession);
        history
    }

    fn act(&mut self, action: &Action) {
        self.clock += 10;
        match action {
            Action::NewSession => {
                let id = format!("ses_{:03}", 999 - self.sessions.len());
                self.world.session(&id, None, self.clock);
                self.sessions.push(self.sessions.len() % 2 == 1);
            }
            Action::Begin(at) => self.begin(at.index(self.sessions.len()), false),
            Action::Prompt(at) => self.begin(at.index(self.sessions.len()), true),
            Action::Step(at) => self.step(*at),
            Action::Complete(at) => self.complete(*at),
            Action::Touch(at) => {
                if let Some(at) = self.pick(*at, |_| true) {
                    let (table, id) = (self.table(&self.messages[at]), &self.messages[at].id);
                    let sql = format!("UPDATE {table} SET time_updated = ?1 WHERE id = ?2");
                    self.world.db.execute(&sql, (self.clock, id)).unwrap();
                }
            }
            Action::Delete(at) => {
                if let Some(at) = self.pick(*at, |_| true) {
                    self.delete(at);
                }
            }
            Action::Revert(n) => {
                for _ in 0..*n {
                    self.delete(self.messages.len().wrapping_sub(1));
                }
            }
            Action::DeleteSession(at) => {
                let session = at.index(self.sessions.len());
                while let Some(at) = self.messages.iter().position(|m| m.session == session) {
                    self.delete(at);
                }
            }
            Action::Fork(at) => self.fork(at.index(self.sessions.len())),
            Action::Vacuum => self.world.run("VACUUM"),
            Action::Rebuild => {
                for table in ["message", "session_message"] {
                    self.world.run(&format!(
                        "ALTER TABLE {table} RENAME TO old_{table}; CREATE TABLE new AS SELECT * FROM old_{table}
                            ORDER BY rowid; DROP TABLE old_{table};"
                    ));
                    self.world.run(if table == "message" {
                        SCHEMA_OF_MESSAGE
                    } else {
                        NEXT_SCHEMA
                    });
                    self.world.run(&format!(
                        "INSERT INTO {table} SELECT * FROM new ORDER BY rowid; DROP TABLE new;"
                    ));
                }
            }
            Action::Read => self.read(),
        }
    }

    fn pick(&self, at: Index, is_wanted: impl Fn(&Known) -> bool) -> Option<usize> {
        let wanted = |at: &usize| is_wanted(&self.messages[*at]);
        let wanted: Vec<usize> = (0..self.messages.len()).filter(wanted).collect();
        (!wanted.is_empty()).then(|| wanted[at.index(wanted.len())])
    }

    fn table(&self, message: &Known) -> &'static str {
        if self.sessions[message.session] { "session_message" } else { "message" }
    }

    fn begin(&mut self, session: usize, is_prompt: bool) {
        self.finish_prompts(session);
        let id = format!("msg_{}", self.clock);
        let session_id = format!("ses_{:03}", 999 - session);
        let is_next = self.sessions[session];
        match (is_next, is_prompt) {
            (true, true) => {
                self.world.session_message(&id, &session_id, "user", &prompt(self.clock));
            }
            (true, false) => {
                let mut begun = next(self.clock, 0);
                begun["time"]["completed"] = json!(null);
                self.world.session_message(&id, &session_id, "assistant", &begun);
            }
            (false, true) => self.world.message(&id, &session_id, &prompt(self.clock)),
            (false, false) => self.world.message(&id, &session_id, &begun(self.clock)),
        }
        self.messages.push(Known {
            id,
            session,
            created_ms: self.clock,
            says: if is_prompt { vec![-self.clock] } else { Vec::new() },
            is_prompt,
            is_complete: is_prompt && is_next,
            is_copy: false,
        });
    }

    /// The agent writes the parts of a prompt before it writes another message.
    fn finish_prompts(&mut self, session: usize) {
        for message in &mut self.messages {
            if message.session == session && message.is_prompt && !message.is_complete {
                message.is_complete = true;
                let id = format!("prt_{}", message.id);
                self.world.part(&id, &message.id, &text(json!({})));
            }
        }
    }

    fn step(&mut self, at: Index) {
        let can_step =
            |message: &Known| !message.is_prompt && !message.is_complete && !message.is_copy;
        let Some(at) = self.pick(at, |m| can_step(m) && !self.sessions[m.session]) else { return };
        self.next += 1;
        let message = &mut self.messages[at];
        message.says.push(self.next);
        let id = format!("prt_{}_{}", message.id, message.says.len());
        self.world.part(&id, &message.id, &step(self.next.unsigned_abs(), 1, 0.0));
    }

    fn complete(&mut self, at: Index) {
        let can_end =
            |message: &Known| !message.is_prompt && !message.is_complete && !message.is_copy;
        let Some(at) = self.pick(at, can_end) else { return };
        let message = &mut self.messages[at];
        message.is_complete = true;
        if message.says.is_empty() {
            self.next += 1;
            message.says.push(self.next);
        }
        let input = message.says.last().copied().unwrap_or_default().unsigned_abs();
        let mut data = if self.sessions[message.session] {
            next(message.created_ms, input)
        } else {
            call(message.created_ms, input, json!({}))
        };
        data["time"]["completed"] = json!(self.clock);
        let message = &self.messages[at];
        let sql = format!(
            "UPDATE {} SET data = ?1, time_updated = ?2 WHERE id = ?3",
            self.table(message)
        );
        self.world.db.execute(&sql, (data.to_string(), self.clock, &message.id)).unwrap();
    }

    fn delete(&mut self, at: usize) {
        if at >= self.messages.len() {
            return;
        }
        let sql = format!("DELETE FROM {} WHERE id = ?1", self.table(&self.messages[at]));
        let message = self.messages.remove(at);
        self.world.db.execute(&sql, [&message.id]).unwrap();
        self.world.db.execute("DELETE FROM part WHERE message_id = ?1", [&message.id]).unwrap();
    }

    fn fork(&mut self, session: usize) {
        self.finish_prompts(session);
        let fork = self.sessions.len();
        let [from, to] = [session, fork].map(|session| format!("ses_{:03}", 999 - session));
        self.sessions.push(self.sessions[session]);
        self.world.fork(&from, &to, self.clock);
        let copies = self.messages.iter().filter(|m| m.session == session).cloned();
        let copies = copies.map(|m| Known { id: m.id + &to, session: fork, is_copy: true, ..m });
        self.messages.extend(copies.collect::<Vec<_>>());
    }

    /// What a read of the database can see.
    fn complete_now(&self) -> BTreeSet<i64> {
        let complete = self.messages.iter().filter(|message| message.is_complete);
        complete.flat_map(|message| message.says.iter().copied()).collect()
    }

    fn read(&mut self) {
        self.seen.extend(self.complete_now());
        self.world.read_within(&FEW);
        assert!(self.world.state.len() < 100_000);
    }

    fn check(mut self) -> Result<(), TestCaseError> {
        self.read();
        prop_assert_eq!(says(&self.world.rows), self.seen.iter().copied().collect::<Vec<_>>());
        for message in
            self.messages.iter().filter(|message| message.is_complete && !message.is_copy)
        {
            let said = self.world.rows.values().filter(|row| message.says.contains(&said(row)));
            for row in said {
                prop_assert_eq!(row.copy_rank, 0, "{:?} {:?}", message, row);
            }
        }
        let complete: Vec<_> = self.complete_now().into_iter().collect();
        let once = (self.world.rows.clone(), self.world.skips.clone());
        self.world.read_within(&FEW);
        prop_assert_eq!(once, (self.world.rows.clone(), self.world.skips.clone()), "read twice");
        let mut fresh = World { db: self.world.db, ..World::empty() };
        fresh.read();
        prop_assert_eq!(says(&fresh.rows), complete, "read afresh");
        Ok(())
    }
}

/// What the rows say, each once.
fn says(rows: &BTreeMap<EventKey, UsageEvent>) -> Vec<i64> {
    let mut says: Vec<i64> = rows.values().map(said).collect();
    says.sort_unstable();
    says
}

fn said(row: &UsageEvent) -> i64 {
    match row.role {
        Role::User => -row.ts_ms,
        Role::Assistant => i64::try_from(row.usage.tokens.input).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_is_lost_or_doubled_whatever_happens_between_two_reads(
        actions in prop::collection::vec(action(), 0..60),
    ) {
        let mut history = History::new();
        for action in &actions {
            history.act(action);
        }
        history.check()?;
    }
}
