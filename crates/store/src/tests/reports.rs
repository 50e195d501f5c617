//! Reports and blocks, held to plain sums over the events.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, date};
use rusqlite::Connection;
use rusqlite::types::Value;
use usage::{EventKey, Speed, UsageEvent};

use super::{HOUR_MS, Home, NOW_MS, batch, event, prompt, rows};
use crate::{
    Block, Dimension, Figures, Filter, ReadError, Report, ReportQuery, SortBy, Store,
    blocks::BLOCK_MS,
};

const ALL: [Dimension; 8] = [
    Dimension::Day,
    Dimension::Week,
    Dimension::Month,
    Dimension::Provider,
    Dimension::Project,
    Dimension::Model,
    Dimension::Speed,
    Dimension::Session,
];

/// The same numbers in every run, as random as need be.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}

/// Forty days of a busy home.
fn events() -> Vec<UsageEvent> {
    let mut dice = Dice(7);
    let call = |n: u64| {
        let mut call =
            if dice.roll(8) == 0 { prompt(&format!("k{n}")) } else { event(&format!("k{n}")) };
        call.key = EventKey::new(&format!("k{n}"));
        call.provider = dice.pick(&["claude-code", "codex", "pi"]).into();
        call.ts_ms = NOW_MS - i64::try_from(dice.roll(40 * 24 * 60)).unwrap() * 60_000;
        call.owner.session_id = format!("s{}", dice.roll(30)).into();
        call.owner.project = dice.pick(&["/w/a", "/w/b", "/v/b"]).into();
        if call.role == usage::Role::Assistant {
            call.usage.model = dice.pick(&["gpt-5.5", "claude-opus-5", "unheard-of"]).into();
            call.usage.tokens.input = dice.roll(1_000);
            call.usage.tokens.output = dice.roll(1_000);
            if dice.roll(4) == 0 {
                call.usage.speed = Speed::Fast;
            }
        }
        call
    };
    (0..600).map(call).collect()
}

fn store(home: &Home) -> Store {
    let mut store = home.open();
    store.append(&mut [batch(events())]).unwrap();
    store.refresh().unwrap();
    store
}

fn filters() -> Vec<Filter> {
    let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let days = Filter::days(date(2026, 5, 1), date(2026, 5, 11));
    vec![
        Filter::default(),
        days.clone(),
        Filter { until: None, ..days.clone() },
        Filter { providers: texts(&["codex", "pi"]), ..Filter::default() },
        Filter { models: texts(&["gpt-5.5"]), ..Filter::default() },
        // Two have this name.
        Filter { projects: texts(&["b"]), ..days.clone() },
        Filter { projects: texts(&["/w/b", "/w/a"]), ..Filter::default() },
        Filter { providers: texts(&["pi"]), models: texts(&["gpt-5.5", "unheard-of"]), ..days },
    ]
}

fn query(by: &[Dimension], filter: &Filter) -> ReportQuery {
    ReportQuery {
        by: by.to_vec(),
        filter: filter.clone(),
        sort: SortBy::Key,
        descending: false,
        limit: None,
    }
}

/// What a filter means, on events.
fn condition(filter: &Filter) -> String {
    let list =
        |of: &[String]| of.iter().map(|one| format!("'{one}'")).collect::<Vec<_>>().join(", ");
    let mut all = "role = 'assistant'".to_owned();
    for (day, sign) in [(filter.since, ">="), (filter.until, "<=")] {
        all += &day.map_or(String::new(), |day| format!(" AND day {sign} '{day}'"));
    }
    for (column, of) in [("provider", &filter.providers), ("model", &filter.models)] {
        if !of.is_empty() {
            all += &format!(" AND {column} IN ({})", list(of));
        }
    }
    if !filter.projects.is_empty() {
        let of = list(&filter.projects);
        all += &format!(" AND (path IN ({of}) OR display_name IN ({of}))");
    }
    all
}

/// The plain sums, by key.
fn oracle(home: &Home, by: &[Dimension], filter: &Filter) -> BTreeMap<Vec<String>, Figures> {
    let keys = by.iter().map(|by| match by {
        Dimension::Day => "day",
        Dimension::Week => "date(day, '-' || ((strftime('%w', day) + 6) % 7) || ' days')",
        Dimension::Month => "strftime('%Y-%m', day)",
        Dimension::Provider => "provider",
        Dimension::Project => "path",
        Dimension::Model => "model",
        Dimension::Speed => "speed",
        Dimension::Session => "provider || '/' || session_id",
    });
    let keys: Vec<&str> = keys.collect();
    let sql = format!(
        "SELECT count(*), ifnull(sum(input_tokens), 0), ifnull(sum(output_tokens), 0),
            ifnull(sum(cache_read_tokens), 0), ifnull(sum(cache_create_tokens), 0),
            ifnull(sum(cost_nanousd), 0), ifnull(sum(cost_nanousd IS NULL), 0) {comma} {keys}
        FROM usage_events JOIN projects ON projects.id = project_id
        WHERE {condition} {group} {keys}",
        comma = if keys.is_empty() { "" } else { "," },
        group = if keys.is_empty() { "" } else { "GROUP BY" },
        keys = keys.join(", "),
        condition = condition(filter),
    );
    let found = rows(&Connection::open(home.database()).unwrap(), &sql);
    found
        .into_iter()
        .map(|row| {
            let number = |at: usize| match row[at] {
                Value::Integer(n) => n,
                _ => panic!("{row:?}"),
            };
            let figures = Figures {
                message_count: number(0),
                input_tokens: number(1),
                output_tokens: number(2),
                cache_read_tokens: number(3),
                cache_create_tokens: number(4),
                cost_nanousd: number(5),
                unpriced_count: number(6),
            };
            let key = row[7..].iter().map(|part| match part {
                Value::Text(text) => text.clone(),
                _ => panic!("{row:?}"),
            });
            (key.collect(), figures)
        })
        .collect()
}

fn key_of(report: &Report, by: &[Dimension], at: usize) -> Vec<String> {
    let row = &report.rows[at];
    let part = |(by, part): (&Dimension, &String)| match by {
        Dimension::Session => format!("{}/{part}", row.session.as_ref().unwrap().provider),
        _ => part.clone(),
    };
    by.iter().zip(&row.key).map(part).collect()
}

#[test]
fn every_report_is_the_sum_of_its_events() {
    let home = Home::new();
    let store = store(&home);
    let reader = store.reader().unwrap();
    let pairs = ALL.iter().flat_map(|first| ALL.iter().map(move |second| vec![*first, *second]));
    let by: Vec<Vec<Dimension>> = ALL
        .iter()
        .map(|by| vec![*by])
        .chain(pairs.filter(|pair| pair[0] != pair[1]))
        .chain([vec![Dimension::Day, Dimension::Provider, Dimension::Model]])
        .collect();
    for filter in filters() {
        let total = oracle(&home, &[], &filter)[&Vec::new()];
        assert_eq!(reader.figures(&filter).unwrap(), total, "{filter:?}");
        for by in &by {
            let report = reader.report(&query(by, &filter)).unwrap();
            let got: BTreeMap<_, _> = (0..report.rows.len())
                .map(|at| (key_of(&report, by, at), report.rows[at].figures))
                .collect();
            assert_eq!(got, oracle(&home, by, &filter), "{by:?} {filter:?}");
            assert_eq!(got.len(), report.rows.len());
            assert_eq!((report.total, report.groups), (total, got.len() as u64), "{by:?}");
        }
    }
}

/// Cells are ahead of marts for a moment, and longer if a refresh fails.
#[test]
fn rows_and_total_are_of_the_same_moment() {
    let home = Home::new();
    let mut store = store(&home);
    let mut late = event("late");
    late.owner.project = "/w/a".into();
    store.append(&mut [batch([late])]).unwrap();
    let reader = store.reader().unwrap();
    for filter in filters() {
        for by in ALL {
            let report = reader.report(&query(&[by], &filter)).unwrap();
            let sum: i64 = report.rows.iter().map(|row| row.figures.tokens()).sum();
            assert_eq!(sum, report.total.tokens(), "{by:?} {filter:?}");
        }
    }
}

#[test]
fn rows_are_sorted_and_cut_and_the_total_has_them_all() {
    let home = Home::new();
    let store = store(&home);
    let reader = store.reader().unwrap();
    let all = reader.report(&query(&[Dimension::Session], &Filter::default())).unwrap();
    for (sort, of) in [
        (SortBy::Calls, (|f| f.message_count) as fn(&Figures) -> i64),
        (SortBy::Input, |f| f.input_tokens),
        (SortBy::Output, |f| f.output_tokens),
        (SortBy::CacheRead, |f| f.cache_read_tokens),
        (SortBy::CacheCreate, |f| f.cache_create_tokens),
        (SortBy::Tokens, Figures::tokens),
        (SortBy::Cost, |f| f.cost_nanousd),
    ] {
        for descending in [false, true] {
            let query = ReportQuery {
                sort,
                descending,
                limit: Some(7),
                ..query(&[Dimension::Session], &Filter::default())
            };
            let report = reader.report(&query).unwrap();
            let mut expect: Vec<i64> = all.rows.iter().map(|row| of(&row.figures)).collect();
            expect.sort_unstable();
            if descending {
                expect.reverse();
            }
            let got: Vec<i64> = report.rows.iter().map(|row| of(&row.figures)).collect();
            assert_eq!(got, expect[..7], "{sort:?}");
            assert_eq!((report.total, report.groups), (all.total, all.groups));
        }
    }
    let last = ReportQuery {
        sort: SortBy::Last,
        descending: true,
        ..query(&[Dimension::Session], &Filter::default())
    };
    let report = reader.report(&last).unwrap();
    let times: Vec<i64> =
        report.rows.iter().map(|row| row.session.as_ref().unwrap().last_ts_ms).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
}

#[test]
fn the_rows_of_a_session_stay_together_where_it_is_told_apart_further() {
    let home = Home::new();
    let store = store(&home);
    let reader = store.reader().unwrap();
    // All of both are read from the cells, which tell of calls alone.
    let since = Filter { since: Some(date(2026, 1, 1)), ..Filter::default() };
    let last_first = |by: &[Dimension], descending| {
        let query = ReportQuery { sort: SortBy::Last, descending, ..query(by, &since) };
        reader.report(&query).unwrap()
    };
    let name = |row: &crate::ReportRow| {
        (row.session.as_ref().unwrap().provider.clone(), row.key[0].clone())
    };
    for descending in [false, true] {
        let sessions = last_first(&[Dimension::Session], descending);
        let sessions: Vec<_> = sessions.rows.iter().map(name).collect();
        let report = last_first(&[Dimension::Session, Dimension::Model], descending);
        let mut order: Vec<_> = report.rows.iter().map(name).collect();
        assert!(order.len() > sessions.len());
        order.dedup();
        assert_eq!(order, sessions);
        let of_one = |a: &&[crate::ReportRow]| name(&a[0]) == name(&a[1]);
        for pair in report.rows.windows(2).filter(of_one) {
            let [one, next] = [&pair[0], &pair[1]].map(|row| row.figures.cost_nanousd);
            assert!(if descending { one <= next } else { one >= next }, "{pair:?}");
        }
    }
}

#[test]
fn a_name_that_is_known_has_no_usage_yet() {
    let home = Home::new();
    let store = store(&home);
    let reader = store.reader().unwrap();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let known = names(&["goose", "/w/new"]);
    let of = |providers: &[&str], projects: &[&str]| {
        let (providers, projects) = (names(providers), names(projects));
        Filter { providers, projects, known: known.clone(), ..Filter::default() }
    };
    for filter in [of(&["goose"], &[]), of(&[], &["/w/new"])] {
        assert_eq!(reader.figures(&filter).unwrap(), Figures::default(), "{filter:?}");
        assert!(reader.report(&query(&[Dimension::Day], &filter)).unwrap().rows.is_empty());
        assert!(reader.blocks(&filter, NOW_MS).unwrap().is_empty());
    }
    let pi = reader.figures(&of(&["pi"], &[])).unwrap();
    assert_eq!(reader.figures(&of(&["pi", "goose"], &[])).unwrap(), pi);
    assert!(pi.message_count > 0);
    for filter in [of(&["gose"], &[]), of(&[], &["/w/old"])] {
        assert!(matches!(reader.figures(&filter), Err(ReadError::Unknown { .. })), "{filter:?}");
    }
}

#[test]
fn a_name_that_nobody_has_is_an_error_that_offers_others() {
    let home = Home::new();
    let store = store(&home);
    let reader = store.reader().unwrap();
    let refused = |filter: Filter| match reader.figures(&filter) {
        Err(ReadError::Unknown { kind, known, .. }) => (kind, known),
        other => panic!("{other:?}"),
    };
    let one = |name: &str| vec![name.to_owned()];
    let provider = refused(Filter { providers: one("Codex"), ..Filter::default() });
    assert_eq!(provider, ("provider", one("codex")));
    let model = refused(Filter { models: one("opus"), ..Filter::default() });
    assert_eq!(model, ("model", one("claude-opus-5")));
    let project = refused(Filter { projects: one("/w/"), ..Filter::default() });
    assert_eq!(project, ("project", vec!["/w/a".to_owned(), "/w/b".to_owned()]));
    let other = refused(Filter { projects: one("nowhere"), ..Filter::default() });
    assert_eq!(other.1.len(), 3, "all there are, as none is like it");
}

/// The same blocks by another way: event by event, from the very first.
fn plain_blocks(all: &[UsageEvent], provider: &str) -> Vec<(i64, i64, i64, i64)> {
    let mut calls: Vec<(i64, i64)> = all
        .iter()
        .filter(|call| &*call.provider == provider && call.role == usage::Role::Assistant)
        .map(|call| (call.ts_ms, i64::try_from(call.usage.tokens.input).unwrap()))
        .collect();
    calls.sort_unstable();
    let mut blocks: Vec<(i64, i64, i64, i64)> = Vec::new();
    for (ts_ms, input) in calls {
        match blocks.last_mut() {
            Some((start, count, sum, last)) if ts_ms < *start + BLOCK_MS => {
                *count += 1;
                *sum += input;
                *last = ts_ms;
            }
            _ => blocks.push((ts_ms / HOUR_MS * HOUR_MS, 1, input, ts_ms)),
        }
    }
    blocks
}

#[test]
fn blocks_are_those_of_the_whole_history_wherever_one_begins_to_look() {
    let home = Home::new();
    let store = store(&home);
    let reader = store.reader().unwrap();
    for provider in ["codex", "claude-code"] {
        let expect = plain_blocks(&events(), provider);
        assert!(expect.len() > 50);
        let of = Filter { providers: vec![provider.to_owned()], ..Filter::default() };
        let told = |block: &Block| {
            let Block { start_ms, figures, last_ts_ms, .. } = block;
            (*start_ms, figures.message_count, figures.input_tokens, *last_ts_ms)
        };
        let all = reader.blocks(&of, NOW_MS).unwrap();
        assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expect);
        let models: BTreeSet<&String> = all.iter().flat_map(|block| &block.models).collect();
        assert_eq!(models.len(), 3);
        for day in (20..=30).map(|day| date(2026, 4, day)) {
            let some = reader.blocks(&Filter { since: Some(day), ..of.clone() }, NOW_MS).unwrap();
            let start_ms = start(day);
            let after: Vec<_> =
                expect.iter().filter(|block| block.3 >= start_ms).copied().collect();
            assert_eq!(some.iter().map(told).collect::<Vec<_>>(), after, "{day}");
            // One that begins with this hour has no call yet.
            let is_of = |block: &&(i64, i64, i64, i64)| {
                (block.0 + 1..block.0 + BLOCK_MS).contains(&start_ms)
            };
            let running = reader.running_block(&of, start_ms).unwrap();
            let start = running.map(|block| block.start_ms);
            assert_eq!(start, expect.iter().find(is_of).map(|block| block.0), "{day}");
        }
    }
}

#[test]
fn a_project_or_model_has_its_share_of_its_agents_blocks() {
    let home = Home::new();
    let store = store(&home);
    let reader = store.reader().unwrap();
    let of = Filter { providers: vec!["codex".to_owned()], ..Filter::default() };
    let all = reader.blocks(&of, NOW_MS).unwrap();
    let starts: Vec<i64> = all.iter().map(|block| block.start_ms).collect();
    let mut sum = 0;
    for project in ["/w/a", "/w/b/", "/v/b"] {
        let filter = Filter { projects: vec![project.to_owned()], ..of.clone() };
        let own = reader.blocks(&filter, NOW_MS).unwrap();
        assert!(own.len() < all.len() && own.iter().all(|b| starts.contains(&b.start_ms)));
        sum += own.iter().map(|block| block.figures.tokens()).sum::<i64>();
        let running = reader.running_block(&filter, NOW_MS).unwrap();
        let expect = reader.running_block(&of, NOW_MS).unwrap();
        assert_eq!(running.map(|b| b.start_ms), expect.map(|b| b.start_ms));
    }
    assert_eq!(sum, all.iter().map(|block| block.figures.tokens()).sum::<i64>());
}

fn start(day: Date) -> i64 {
    day.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond()
}

#[test]
fn a_running_block_has_a_rate_and_leads_somewhere() {
    let home = Home::new();
    let mut store = home.open();
    let hour = NOW_MS / HOUR_MS * HOUR_MS;
    let mut calls = [event("a"), event("b"), event("c")];
    for (call, minute) in calls.iter_mut().zip([0, 30, 60]) {
        call.ts_ms = hour + minute * 60_000;
    }
    store.append(&mut [batch(calls)]).unwrap();
    store.refresh().unwrap();
    let reader = store.reader().unwrap();
    let at = |minute: i64| {
        let now_ms = hour + minute * 60_000;
        let block = reader.blocks(&Filter::default(), now_ms).unwrap().pop().unwrap();
        let running = reader.running_block(&Filter::default(), now_ms).unwrap();
        assert_eq!(running, Some(block.clone()).filter(|block| block.is_running));
        (block.clone(), block.burn(now_ms))
    };
    let (block, burn) = at(60);
    assert!(block.is_running);
    let (tokens, cost) = (block.figures.tokens(), block.figures.cost_nanousd);
    let burn = burn.unwrap();
    // Used within an hour, and four are left.
    assert_eq!((burn.projected_tokens, burn.projected_cost_nanousd), (5 * tokens, 5 * cost));
    assert!((burn.tokens_per_minute - tokens as f64 / 60.0).abs() < 1e-6);
    assert!((burn.cost_nanousd_per_hour - cost as f64).abs() < 1e-3);
    let (block, burn) = at(300);
    assert_eq!((block.is_running, burn), (false, None), "it is over");
}
