//! What owners do with documents and databases and what happens to the daemon, as text and as random
//! values.
//!
//! One action a line: `save d0 2`, `fork d0 d1`, `kill 3`. An action that makes no sense where it
//! stands does nothing, so any list of actions is a case and stays one when lines are taken out of
//! it.

use std::fmt;
use std::str::FromStr;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::script::{lines, verbs};

/// A list of actions and the daemon they happen to.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Seconds between sweeps: an hour leaves everything to the watches.
    pub(crate) sweep: u64,
    pub(crate) actions: Vec<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The number says how much, each verb in its own way.
    Document(DocumentVerb, u64, u64),
    /// The one document begins with what the other one holds.
    Fork(u64, u64),
    Database(DatabaseVerb, u64, u64),
    Daemon(DaemonVerb, u64),
}

verbs! {
    DocumentVerb {
        /// So many more calls, by a new file that is renamed.
        Save = "save",
        /// The same in place.
        Write = "write",
        /// The same in steps: half of it is missing for so many hundredths of a tenth of a second.
        Steps = "steps",
        /// So many hundredths are written in place, and nothing more.
        Half = "half",
        /// Saved as it was.
        Again = "again",
        /// Other figures of one call, in place if the number is odd.
        Change = "change",
        /// The last messages go, so many hundredths stay.
        Drop = "drop",
        Delete = "delete",
        /// What was there before the last deletion.
        Restore = "restore",
        Deny = "deny",
        Allow = "allow",
    }
}

verbs! {
    DatabaseVerb {
        /// So many calls, each in a transaction of its own.
        Insert = "insert",
        /// Calls that are not complete yet.
        Begin = "begin",
        /// The oldest of them is completed.
        Fill = "fill",
        /// A call that was read is written to once more, and says the same.
        Touch = "touch",
        /// So many of the last calls.
        Remove = "remove",
        /// The last call, and another one at its rowid.
        Swap = "swap",
        Vacuum = "vacuum",
        /// Passive, or truncating if the number is odd.
        Checkpoint = "ckpt",
        Close = "close",
        /// From a write-ahead log to a rollback journal, or back.
        Mode = "mode",
        /// An exclusive transaction that lasts until something else is done with the database.
        Hold = "hold",
        Backup = "backup",
        /// The backup takes the place of the database: another file.
        Restore = "unback",
        /// The owner is killed. Then, by the number: nothing; its files are replaced by copies; the
        /// same without the index.
        Crash = "crash",
        /// All files of it are removed, and it is made anew.
        Anew = "anew",
    }
}

verbs! {
    DaemonVerb {
        Stop = "stop",
        /// After so many more batches, or when it is to start again.
        Kill = "kill",
        Start = "start",
        Reload = "reload",
        /// Start with one of the two agents switched off.
        Without = "without",
        /// A single run over what is there: no event tells where to look.
        Once = "once",
        /// Wait until everything is counted.
        Settle = "settle",
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(verb, spot, n) => write!(f, "{} d{spot} {n}", verb.word()),
            Self::Fork(from, to) => write!(f, "fork d{from} d{to}"),
            Self::Database(verb, spot, n) => write!(f, "{} b{spot} {n}", verb.word()),
            Self::Daemon(verb, n) => write!(f, "{} {n}", verb.word()),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sweep {}", self.sweep)?;
        self.actions.iter().try_for_each(|action| writeln!(f, "{action}"))
    }
}

impl FromStr for Case {
    type Err = String;

    /// Numbers may be left out; so may the sweep.
    fn from_str(script: &str) -> Result<Self, String> {
        let mut case = Self { sweep: 3600, actions: Vec::new() };
        for line in lines(script) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["sweep", seconds] => case.sweep = seconds.parse().map_err(|e| format!("{e}"))?,
                _ => case.actions.push(action(&words).ok_or(format!("no such action: {line}"))?),
            }
        }
        Ok(case)
    }
}

fn action(words: &[&str]) -> Option<Action> {
    let number = |at: usize| words.get(at).map_or(Some(1), |n| n.parse().ok());
    let spot = |at: usize, kind: char| words.get(at)?.strip_prefix(kind)?.parse().ok();
    let verb = *words.first()?;
    if verb == "fork" {
        return Some(Action::Fork(spot(1, 'd')?, spot(2, 'd')?));
    }
    if let Some(verb) = DaemonVerb::parse(verb) {
        return Some(Action::Daemon(verb, number(1)?));
    }
    if let (Some(verb), Some(spot)) = (DocumentVerb::parse(verb), spot(1, 'd')) {
        return Some(Action::Document(verb, spot, number(2)?));
    }
    Some(Action::Database(DatabaseVerb::parse(verb)?, spot(1, 'b')?, number(2)?))
}

/// Random cases: up to three documents and two databases, five to thirty actions.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let sweep = prop_oneof![9 => Just(3600_u64), 1 => Just(1)];
    let kinds = prop_oneof![2 => Just((1, 0)), 4 => Just((0, 1)), 4 => Just((1, 2))];
    (sweep, kinds, 1..=3_u64, 1..=2_u64).prop_flat_map(|(sweep, kinds, documents, databases)| {
        vec(actions(kinds, documents, databases), 5..=30)
            .prop_map(move |actions| Case { sweep, actions })
    })
}

fn actions(kinds: (u32, u32), documents: u64, databases: u64) -> BoxedStrategy<Action> {
    let document = (weighted(&DOCUMENT_VERBS), 0..documents, 1..100_u64);
    let database = (weighted(&DATABASE_VERBS), 0..databases, 1..100_u64);
    let few = |n: u64| n % 3 + 1;
    let document = document.prop_map(move |(verb, spot, n)| {
        let is_few = matches!(verb, DocumentVerb::Save | DocumentVerb::Write);
        Action::Document(verb, spot, if is_few { few(n) } else { n })
    });
    let database = database.prop_map(move |(verb, spot, n)| Action::Database(verb, spot, few(n)));
    let fork = (0..documents, 0..documents).prop_map(|(from, to)| Action::Fork(from, to));
    let daemon = (weighted(&DAEMON_VERBS), 0..4_u64);
    prop_oneof![
        60 * kinds.0 => document,
        6 * kinds.0 => fork,
        66 * kinds.1 => database,
        20 * (kinds.0 + kinds.1) => daemon.prop_map(|(verb, n)| Action::Daemon(verb, n)),
    ]
    .boxed()
}

const DOCUMENT_VERBS: [(u32, DocumentVerb); 11] = {
    use DocumentVerb::*;
    [
        (30, Save),
        (20, Write),
        (8, Steps),
        (4, Half),
        (6, Again),
        (12, Change),
        (6, Drop),
        (4, Delete),
        (6, Restore),
        (2, Deny),
        (4, Allow),
    ]
};

const DATABASE_VERBS: [(u32, DatabaseVerb); 15] = {
    use DatabaseVerb::*;
    [
        (40, Insert),
        (14, Begin),
        (14, Fill),
        (8, Touch),
        (6, Remove),
        (6, Swap),
        (4, Vacuum),
        (8, Checkpoint),
        (8, Close),
        (8, Mode),
        (6, Hold),
        (4, Backup),
        (4, Restore),
        (8, Crash),
        (3, Anew),
    ]
};

const DAEMON_VERBS: [(u32, DaemonVerb); 7] = {
    use DaemonVerb::*;
    [(2, Stop), (3, Kill), (6, Start), (1, Reload), (1, Without), (2, Once), (3, Settle)]
};

fn weighted<T: Copy + fmt::Debug>(verbs: &[(u32, T)]) -> impl Strategy<Value = T> + use<T> {
    let all = verbs.iter().flat_map(|(n, verb)| (0..*n).map(|_| *verb)).collect::<Vec<T>>();
    (0..all.len()).prop_map(move |at| all[at])
}

#[test]
fn a_case_is_what_it_is_printed_as() {
    let script = "sweep 1\nsave d0 2\nfork d0 d1\ninsert b1 1\nrestore d0 5\nunback b0 1\nkill 3\n";
    assert_eq!(script.parse::<Case>().unwrap().to_string(), script);
    assert!("bend d0".parse::<Case>().is_err());
    assert!("save b0".parse::<Case>().is_err());
}
