//! How long a line takes from being written to being shown by all five marts.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::history::History;
use crate::program::{MS, Place, millis, pause, pause_until};
use crate::table::{Table, Wanted};

/// Between two lines that are written alone: each meets an idle service.
const ALONE: Duration = Duration::from_millis(500);
/// Two bursts further apart than this are refreshed on their own.
const APART: Duration = Duration::from_millis(150);
const FILES: usize = 20;
const LINES_A_SECOND: u32 = 200;
/// After which a line is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What each mart has counted of some sessions, all read at the same moment.
const SEEN: &str = "
    SELECT 0, session_id, message_count FROM session_mart
     WHERE provider = 'claude-code' AND session_id BETWEEN ?1 || '-00' AND ?1 || '-99'
    UNION ALL SELECT 1, '', ifnull(sum(message_count), 0) FROM project_mart WHERE project_id IN
        (SELECT id FROM projects WHERE path BETWEEN '/p/' || ?1 || '-00' AND '/p/' || ?1 || '-99')
    UNION ALL SELECT 1, '', ifnull(sum(message_count), 0) FROM daily_mart
     WHERE day = ?2 AND project_id IN
        (SELECT id FROM projects WHERE path BETWEEN '/p/' || ?1 || '-00' AND '/p/' || ?1 || '-99')
    UNION ALL SELECT 2, '', ifnull(sum(message_count), 0) FROM provider_day_mart
     WHERE day = ?2 AND provider = 'claude-code'
    UNION ALL SELECT 2, '', ifnull(sum(message_count), 0) FROM model_day_mart WHERE day = ?2";

/// Another program that reads the marts.
struct Reader {
    db: Connection,
    probe: String,
    day: String,
    /// What the newest day had before.
    before: i64,
}

impl Reader {
    fn new(history: &History, probe: &str) -> Self {
        let (db, day) = (history.place.database(), history.newest_day());
        const BEFORE: &str = "SELECT sum(message_count) FROM model_day_mart WHERE day = ?1";
        let before = db.query_row(BEFORE, [&day], |row| row.get(0)).unwrap();
        Self { db, probe: probe.to_owned(), day, before }
    }

    /// Calls by session, if all five marts show the same number of them.
    fn seen(&self) -> Option<BTreeMap<String, usize>> {
        let (mut sessions, mut totals, mut sum) = (BTreeMap::new(), Vec::new(), 0);
        let mut select = self.db.prepare_cached(SEEN).unwrap();
        let mut rows = select.query([&self.probe, &self.day]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let count: i64 = row.get(2).unwrap();
            match row.get(0).unwrap() {
                0 => {
                    sum += count;
                    sessions.insert(row.get(1).unwrap(), usize::try_from(count).unwrap());
                }
                1 => totals.push(count),
                _ => totals.push(count - self.before),
            }
        }
        totals.iter().all(|total| *total == sum).then_some(sessions)
    }
}

/// Writes `lines` lines at once, `times` times, and waits each time until they are shown.
fn in_turn(
    history: &mut History,
    (times, lines, rest): (usize, usize, Duration),
    table: &mut Table,
) -> Vec<f64> {
    let probe = history.probe();
    let session = format!("{probe}-00");
    let reader = Reader::new(history, &probe);
    let mut samples = Vec::new();
    for time in 1..=times {
        let text = history.lines(lines, &session);
        pause(rest);
        let begun = Instant::now();
        history.place.append(&History::log_of(&session), &text);
        while reader.seen().is_none_or(|seen| seen.get(&session) != Some(&(time * lines))) {
            if begun.elapsed() > PATIENCE {
                table.check("lost", Err(format!("lines of burst {time} were never shown")));
                return samples;
            }
            std::thread::park_timeout(MS / 10);
        }
        samples.push(millis(begun.elapsed()));
    }
    samples
}

pub(crate) fn alone(history: &mut History, table: &mut Table, times: usize) {
    history.serve(table, |history, table, _| {
        let samples = in_turn(history, (times, 1, ALONE), table);
        let wanted = [Wanted::P50(5.0), Wanted::P99(25.0)];
        table.add("a line alone, written to shown in five marts", "ms", &wanted, samples);
    });
}

/// Ten lines at a time; the name of the figure says over how much history.
pub(crate) fn tens(history: &mut History, table: &mut Table, times: usize, figure: String) {
    history.serve(table, |history, table, _| {
        let samples = in_turn(history, (times, 10, APART), table);
        table.add(figure, "ms", &[], samples);
    });
}

pub(crate) fn under_load(history: &mut History, table: &mut Table, seconds: u32) {
    history.serve(table, |history, table, _| {
        let samples = load(history, table, LINES_A_SECOND * seconds);
        let figure = "the same under 200 lines/s over 20 files";
        table.add(figure, "ms", &[Wanted::P99(300.0)], samples);
    });
}

fn load(history: &mut History, table: &mut Table, count: u32) -> Vec<f64> {
    let probe = history.probe();
    let reader = Reader::new(history, &probe);
    let names: Vec<String> = (0..FILES).map(|file| format!("{probe}-{file:02}")).collect();
    let lines: Vec<(String, String)> = (0..count as usize)
        .map(|i| (names[i % FILES].clone(), history.lines(1, &names[i % FILES])))
        .collect();
    let place = &history.place;
    let (sender, written) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || write(place, &lines, &sender));
        follow(&reader, &written, count as usize, table)
    })
}

/// Tells of each line before it is written.
fn write(place: &Place, lines: &[(String, String)], sender: &mpsc::Sender<(String, Instant)>) {
    let begun = Instant::now();
    for (i, (session, line)) in (0..).zip(lines) {
        pause_until(begun + i * Duration::from_secs(1) / LINES_A_SECOND);
        if sender.send((session.clone(), Instant::now())).is_err() {
            return;
        }
        place.append(&History::log_of(session), line);
    }
}

/// The lines of a log are shown in their order.
fn follow(
    reader: &Reader,
    written: &mpsc::Receiver<(String, Instant)>,
    count: usize,
    table: &mut Table,
) -> Vec<f64> {
    let mut waiting: BTreeMap<String, (usize, Vec<Instant>)> = BTreeMap::new();
    let mut samples = Vec::new();
    let mut last = Instant::now();
    while samples.len() < count {
        let seen = reader.seen().unwrap_or_default();
        let now = Instant::now();
        for (session, at) in written.try_iter() {
            waiting.entry(session).or_default().1.push(at);
        }
        for (session, (shown, at)) in &mut waiting {
            let found = seen.get(session).map_or(*shown, |found| at.len().min(*found));
            samples.extend(at[*shown..found].iter().map(|at| millis(now - *at)));
            if found > *shown {
                last = now;
            }
            *shown = found;
        }
        if last.elapsed() > PATIENCE {
            let lost = count - samples.len();
            table.check("lost", Err(format!("{lost} of {count} lines were never shown")));
            break;
        }
        std::thread::park_timeout(MS);
    }
    samples
}
