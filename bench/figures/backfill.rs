//! The first backfill: its speed and its size, and what the service answers meanwhile.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::corpus::Corpus;
use crate::program::{Client, MS, Place, Service, Spent, millis, pause};
use crate::table::{Table, Wanted};

/// 1.25 GB in 1.3 s: the first report of the fastest peer, which stores nothing, on two shared cores.
const FASTEST_PEER: f64 = 960.0;

pub(crate) fn first(corpus: &Corpus, data: &Path, table: &mut Table, times: usize) {
    let figures: [(&str, &str, &[Wanted]); 6] = [
        ("wall", "s", &[]),
        ("rate", "MB/s", &[Wanted::AtLeast(FASTEST_PEER)]),
        ("events", "1/s", &[]),
        ("user + system", "s", &[]),
        ("peak memory", "MiB", &[Wanted::Most(60.0)]),
        ("database", "B/event", &[Wanted::Most(300.0)]),
    ];
    let mut samples = [const { Vec::new() }; 6];
    let megabytes = corpus.bytes as f64 / 1e6;
    let place = Place { home: corpus.home.clone(), data: data.to_owned() };
    for _ in 0..times {
        _ = fs::remove_dir_all(data);
        let Spent { wall_s, cpu_s, peak_mib } = place.backfill();
        let bytes = fs::metadata(data.join("tallyd.db")).unwrap().len() as f64;
        let db = place.database();
        table.check("first backfill", corpus.totals.check(&db));
        const EVENTS: &str = "SELECT count(*) FROM usage_events";
        let events: f64 = db.query_row(EVENTS, [], |row| row.get(0)).unwrap();
        let found = [wall_s, megabytes / wall_s, events / wall_s, cpu_s, peak_mib, bytes / events];
        samples.iter_mut().zip(found).for_each(|(samples, found)| samples.push(found));
    }
    for ((what, unit, wanted), samples) in figures.into_iter().zip(samples) {
        let figure = format!("first backfill of {megabytes:.0} MB: {what}");
        table.add(figure, unit, wanted, samples);
    }
}

/// The first answer and the slowest until the service is ready.
pub(crate) fn answers(corpus: &Corpus, data: &Path, table: &mut Table, times: usize) {
    let place = Place { home: corpus.home.clone(), data: data.to_owned() };
    let mut first = [const { Vec::new() }; ASKED.len()];
    let mut all = [const { Vec::new() }; ASKED.len()];
    let mut ready = Vec::new();
    for _ in 0..times {
        _ = fs::remove_dir_all(data);
        let service = Service::launch(&place);
        std::thread::scope(|scope| {
            let service = &service;
            let asking =
                ASKED.map(|(path, stays, ..)| scope.spawn(move || ask(service, path, stays)));
            for (i, asked) in asking.into_iter().enumerate() {
                let Asked { first_ms, times_ms, failed } = asked.join().unwrap();
                first[i].push(first_ms);
                all[i].extend(times_ms);
                if failed > 0 {
                    table.notes.push(format!("{failed} times {} was refused", ASKED[i].0));
                }
            }
        });
        service.wait_ready();
        ready.push(millis(service.begun.elapsed()));
        service.stop();
        table.check("first run", corpus.totals.check(&place.database()));
    }
    table.add("first run: start to ready", "ms", &[], ready);
    for ((path, stays, wanted, _), samples) in ASKED.into_iter().zip(all) {
        let how = if stays { "" } else { ", each time by a new connection" };
        table.add(format!("while it reads: GET {path}{how}"), "ms", wanted, samples);
    }
    for ((path, stays, _, wanted), samples) in ASKED.into_iter().zip(first) {
        if stays {
            table.add(format!("first run: start to answer of {path}"), "ms", wanted, samples);
        }
    }
}

const AT_ONCE: &[Wanted] = &[Wanted::Most(100.0)];

/// A path, whether the connection stays, and what is wanted of an answer and of the first one. The
/// marts are there only once the database is.
const ASKED: [(&str, bool, &[Wanted], &[Wanted]); 5] = [
    ("/livez", true, AT_ONCE, AT_ONCE),
    ("/health", true, &[Wanted::P99(5.0), Wanted::Most(100.0)], AT_ONCE),
    ("/health", false, &[Wanted::P99(5.0), Wanted::Most(100.0)], AT_ONCE),
    ("/metrics", true, &[Wanted::P99(5.0), Wanted::Most(100.0)], AT_ONCE),
    ("/api/v1/marts/daily", true, &[Wanted::Most(20.0)], &[]),
];

struct Asked {
    /// From the start of the program to the first answer.
    first_ms: f64,
    /// Of every request from then on until the service was ready.
    times_ms: Vec<f64>,
    /// Those of them that got no answer, or another one than it.
    failed: usize,
}

/// What comes before the database is there to be asked is no answer. A connection that does not stay is
/// part of the time.
fn ask(service: &Service, path: &str, stays: bool) -> Asked {
    let (mut first_ms, mut times_ms, mut failed) = (None, Vec::new(), 0);
    let mut client = None;
    loop {
        let begun = Instant::now();
        let Some(open) = client.as_mut() else {
            client = Client::of(&service.address).ok();
            pause(MS / 2);
            continue;
        };
        if !stays && let Ok(anew) = Client::of(&service.address) {
            *open = anew;
        }
        let answer = open.get(path);
        let took_ms = millis(begun.elapsed());
        if matches!(answer, Ok(200)) {
            first_ms.get_or_insert_with(|| millis(service.begun.elapsed()));
        } else if first_ms.is_some() {
            failed += 1;
        }
        if let Some(first_ms) = first_ms {
            times_ms.push(took_ms);
            if open.get("/readyz").is_ok_and(|status| status == 200) {
                return Asked { first_ms, times_ms, failed };
            }
        }
        if answer.is_err() {
            client = None;
        }
        pause(2 * MS);
    }
}
