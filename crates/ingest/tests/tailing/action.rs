//! What can happen to files and to the daemon, as text and as random values.
//!
//! One action a line: `append a0 2`, `move a0 b1`, `kill 3`. An action that makes no sense where it
//! stands (there is no such file) does nothing, so any list of actions is a case and stays one when
//! lines are taken out of it.

use std::fmt;
use std::str::FromStr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::record::Agent;
use crate::support::script::{lines, verbs};

/// A list of actions and the daemon they happen to.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) agent: Agent,
    /// Seconds between sweeps: an hour leaves everything to the watches.
    pub(crate) sweep: u64,
    pub(crate) actions: Vec<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The number says how much, each verb in its own way.
    File(FileVerb, Spot, u64),
    Pair(PairVerb, Spot, Spot),
    Folder(FolderVerb, Folder, u64),
    MoveFolder(Folder, Folder),
    Daemon(DaemonVerb, u64),
}

/// Where a file may be: a folder and one of a few names in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) folder: Folder,
    pub(crate) name: u64,
}

verbs! {
    /// Folders that files are in.
    Folder {
        /// Below the first root.
        A = "a",
        /// Below `a`.
        B = "b",
        /// Below the second root.
        C = "c",
        /// Below the first root, at first not there.
        D = "d",
        /// Outside of the roots.
        Outside = "o",
    }
}

verbs! {
    FileVerb {
        /// So many lines.
        Append = "append",
        /// A record that lacks its newline.
        Tail = "tail",
        /// So many hundredths of a record.
        Half = "half",
        /// What the last record lacks, and a newline.
        Rest = "rest",
        /// Two records on one line.
        Glue = "glue",
        /// An earlier call again, with more output.
        Correct = "correct",
        /// No JSON; with a newline if the number is odd.
        Garbage = "garbage",
        Nuls = "nuls",
        /// A record on a line over the limit; with a newline if the number is odd.
        Long = "long",
        /// Lines that no watch hears of. Only a sweep finds them.
        Silent = "silent",
        /// Lines that no watch hears of, and so many other events that some are lost.
        Flood = "flood",
        Truncate = "truncate",
        /// Down to so many hundredths.
        Cut = "cut",
        /// Truncate and write more than there was.
        Regrow = "regrow",
        /// Truncate, and a writer that goes on at its old offset.
        Stale = "stale",
        /// In place, so many hundredths of its lines as they were.
        Rewrite = "rewrite",
        /// The same by a new file that is renamed.
        Replace = "replace",
        Delete = "delete",
        Fifo = "fifo",
        /// A folder that is named like a log.
        Named = "named",
        Pack = "pack",
        Unpack = "unpack",
        Deny = "deny",
        Allow = "allow",
    }
}

verbs! {
    PairVerb {
        Move = "move",
        Copy = "copy",
        Link = "link",
        /// Move, and begin again under the old name.
        Rotate = "rotate",
        /// Delete the one and create the other, which likely gets the inode.
        Recreate = "recreate",
    }
}

verbs! {
    FolderVerb {
        /// A file so deep below a new folder, all at once.
        Deep = "deep",
        /// Links to the folder above, to a file, and to nothing.
        Loop = "loop",
        Remove = "rmdir",
        /// Remove the whole root that the folder is below; its parent too if the number is odd.
        RemoveRoot = "rmroot",
        /// Move the root away, or back.
        MoveRoot = "mvroot",
    }
}

verbs! {
    DaemonVerb {
        Stop = "stop",
        /// After so many more batches, or when it is to start again.
        Kill = "kill",
        Start = "start",
        Reload = "reload",
        /// Wait until everything is counted.
        Settle = "settle",
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.folder.word(), self.name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(verb, spot, n) => write!(f, "{} {spot} {n}", verb.word()),
            Self::Pair(verb, from, to) => write!(f, "{} {from} {to}", verb.word()),
            Self::Folder(verb, folder, n) => write!(f, "{} {} {n}", verb.word(), folder.word()),
            Self::MoveFolder(from, to) => write!(f, "mvdir {} {}", from.word(), to.word()),
            Self::Daemon(verb, n) => write!(f, "{} {n}", verb.word()),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agent = if self.agent == Agent::Codex { "codex" } else { "claude" };
        writeln!(f, "agent {agent}\nsweep {}", self.sweep)?;
        self.actions.iter().try_for_each(|action| writeln!(f, "{action}"))
    }
}

impl FromStr for Case {
    type Err = String;

    /// Numbers may be left out; so may the agent and the sweep.
    fn from_str(script: &str) -> Result<Self, String> {
        let mut case = Self { agent: Agent::Claude, sweep: 3600, actions: Vec::new() };
        for line in lines(script) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["agent", "codex"] => case.agent = Agent::Codex,
                ["agent", "claude"] => case.agent = Agent::Claude,
                ["sweep", seconds] => case.sweep = seconds.parse().map_err(|e| format!("{e}"))?,
                _ => case.actions.push(action(&words).ok_or(format!("no such action: {line}"))?),
            }
        }
        Ok(case)
    }
}

fn action(words: &[&str]) -> Option<Action> {
    let word = |at: usize| words.get(at).copied();
    let number = |at: usize| word(at).map_or(Some(1), |n| n.parse().ok());
    let verb = word(0)?;
    if verb == "mvdir" {
        return Some(Action::MoveFolder(Folder::parse(word(1)?)?, Folder::parse(word(2)?)?));
    }
    if let Some(verb) = DaemonVerb::parse(verb) {
        return Some(Action::Daemon(verb, number(1)?));
    }
    if let Some(verb) = FolderVerb::parse(verb) {
        return Some(Action::Folder(verb, Folder::parse(word(1)?)?, number(2)?));
    }
    if let Some(verb) = PairVerb::parse(verb) {
        return Some(Action::Pair(verb, spot(word(1)?)?, spot(word(2)?)?));
    }
    Some(Action::File(FileVerb::parse(verb)?, spot(word(1)?)?, number(2)?))
}

fn spot(text: &str) -> Option<Spot> {
    let (folder, name) = text.split_at_checked(1)?;
    Some(Spot { folder: Folder::parse(folder)?, name: name.parse().ok()? })
}

/// Random cases: one to four files in one to three folders, five to forty actions.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    use Folder::{A, B, C, D, Outside};
    let folders = prop_oneof![
        2 => Just(vec![A, Outside]),
        3 => Just(vec![A, B, D]),
        3 => Just(vec![A, C, Outside]),
        2 => Just(vec![A, B, C, D, Outside]),
    ];
    let agent = prop_oneof![Just(Agent::Claude), Just(Agent::Codex)];
    let sweep = prop_oneof![24 => Just(3600_u64), 1 => Just(1)];
    (folders, 1..=2_u64, agent, sweep).prop_flat_map(|(folders, names, agent, sweep)| {
        vec(actions(&folders, names, agent, sweep), 5..=40).prop_map(move |actions| Case {
            agent,
            sweep,
            actions,
        })
    })
}

fn actions(folders: &[Folder], names: u64, agent: Agent, sweep: u64) -> BoxedStrategy<Action> {
    let folder = select(folders.to_vec());
    let spot = (folder.clone(), 0..names).prop_map(|(folder, name)| Spot { folder, name });
    let on_file = (file_verbs(agent, sweep), spot.clone(), 1..100_u64);
    let on_pair = (select(verbs(PairVerb::ALL)), spot.clone(), spot);
    let on_folder = (select(verbs(FolderVerb::ALL)), folder.clone(), 1..10_u64);
    let on_daemon = prop_oneof![
        2 => Just(DaemonVerb::Stop),
        3 => Just(DaemonVerb::Kill),
        6 => Just(DaemonVerb::Start),
        1 => Just(DaemonVerb::Reload),
        4 => Just(DaemonVerb::Settle),
    ];
    prop_oneof![
        56 => on_file.prop_map(|(verb, spot, n)| Action::File(verb, spot, amount(verb, n))),
        14 => on_pair.prop_map(|(verb, from, to)| Action::Pair(verb, from, to)),
        6 => on_folder.prop_map(|(verb, folder, n)| Action::Folder(verb, folder, n)),
        6 => (folder.clone(), folder).prop_map(|(from, to)| Action::MoveFolder(from, to)),
        18 => (on_daemon, 0..4_u64).prop_map(|(verb, n)| Action::Daemon(verb, n)),
    ]
    .boxed()
}

fn verbs<T: Copy>(all: &[(T, &str)]) -> Vec<T> {
    all.iter().map(|(verb, _)| *verb).collect()
}

/// Few lines, any hundredth.
fn amount(verb: FileVerb, n: u64) -> u64 {
    if matches!(verb, FileVerb::Append | FileVerb::Silent | FileVerb::Flood) {
        n % 3 + 1
    } else {
        n
    }
}

fn file_verbs(agent: Agent, sweep: u64) -> impl Strategy<Value = FileVerb> + use<> {
    use FileVerb::*;
    let mut weighted = vec![(600, Append), (3, Flood)];
    for verb in [Tail, Half, Rest, Correct] {
        weighted.push((120, verb));
    }
    for verb in [Glue, Garbage, Nuls, Truncate, Cut, Regrow, Stale, Rewrite, Replace, Delete] {
        weighted.push((60, verb));
    }
    for verb in [Long, Fifo, Named, Deny, Allow] {
        weighted.push((25, verb));
    }
    if agent == Agent::Codex {
        weighted.extend([(100, Pack), (40, Unpack)]);
    }
    if sweep < 60 {
        weighted.push((100, Silent));
    }
    let weighted = weighted.into_iter().map(|(weight, verb)| (weight, Just(verb))).collect();
    proptest::strategy::Union::new_weighted(weighted)
}

#[test]
fn a_case_is_what_it_is_printed_as() {
    let script = "agent codex\nsweep 1\nappend a0 2\nmove a0 b1\nmvdir a d\ndeep c 5\nkill 3\n";
    assert_eq!(script.parse::<Case>().unwrap().to_string(), script);
    assert!("bend a0".parse::<Case>().is_err());
}
