//! The database, and what it says of clock, zone, prices, budgets and sources.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use store::{ReadError, Reader};
use usage::pricing::PriceBook;

use super::look::Look;
use super::processes;
use super::{Finding, Mark, list, parts};
use crate::budgets;
use crate::http::LARGE_WAL;
use crate::text;

const LIST_BACKUPS: &str = "stop the service; `tallyd restore` lists the backups there are, \
                            `tallyd restore FILE` puts one in its place";

/// What a check finds out by asking; that it could not ask is a finding, too.
fn ask(
    look: &Look,
    about: &'static str,
    question: impl FnOnce(&Reader) -> Result<Vec<Finding>, ReadError>,
) -> Vec<Finding> {
    let (Ok(reader), Ok(())) = (&look.database, &look.soundness) else { return Vec::new() };
    question(reader).unwrap_or_else(|error| {
        let error = error.to_string();
        let (wrong, hint) = parts(&error);
        vec![Finding::new(about, Mark::Problem, wrong, hint)]
    })
}

pub(super) fn file(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "database";
    let error = match (&look.database, &look.soundness) {
        (Ok(_), Ok(())) => {
            let path = look.database_path();
            let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
            let seen = format!("{}, {}, whole", path.display(), text::bytes(bytes));
            return vec![Finding::ok(ABOUT, seen)];
        }
        (Err(error), _) | (_, Err(error)) => error,
    };
    let said = error.to_string();
    let (wrong, hint) = parts(&said);
    vec![match error {
        ReadError::Missing { .. } => Finding::new(ABOUT, Mark::Note, wrong, hint),
        ReadError::OldSchema { .. } => {
            let more = format!("{hint}, and makes a backup first");
            Finding::new(ABOUT, Mark::Note, wrong, more)
        }
        ReadError::Damaged { .. } => Finding::new(ABOUT, Mark::Problem, wrong, LIST_BACKUPS),
        ReadError::Store(error) if error.is_damage() => {
            Finding::new(ABOUT, Mark::Problem, wrong, LIST_BACKUPS)
        }
        _ => Finding::new(ABOUT, Mark::Problem, wrong, hint),
    }]
}

pub(super) fn write_ahead_log(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "write-ahead log";
    let size = text::bytes(look.wal_bytes);
    if look.wal_bytes <= LARGE_WAL {
        return vec![Finding::ok(ABOUT, size)];
    }
    let mut holders = processes::holders(&look.database_path());
    let service = look.service.process.as_ref().map(|process| process.id);
    holders.retain(|process| Some(process.id) != service);
    vec![if holders.is_empty() {
        let seen = format!("{size}, and no program of yours but the service has the database open");
        let remedy = "close what reads it (`sudo fuser -v` on the file names it), or, if nothing \
                      does, start the service: it empties it";
        Finding::new(ABOUT, Mark::Warning, seen, remedy)
    } else {
        let names = list(&holders, |process| process.name());
        let seen = format!("{size}: the database is held open by {names}");
        let remedy = "close that program, or let it end its query: the log shrinks once it has";
        Finding::new(ABOUT, Mark::Warning, seen, remedy)
    }]
}

pub(super) fn marts(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "marts";
    ask(look, ABOUT, |reader| {
        let seq = reader.seq()?;
        let lags = reader.watermarks()?.into_iter().map(|mart| seq - mart.last_event_id);
        Ok(vec![match lags.max().unwrap_or(0) {
            0 => Finding::ok(ABOUT, "all five up to date"),
            // The running service is about to; if it fails to, its health says so.
            lag if look.is_running() => {
                Finding::ok(ABOUT, format!("{} changes behind at this moment", text::count(lag)))
            }
            lag => Finding::new(
                ABOUT,
                Mark::Note,
                format!("{} changes behind", text::count(lag)),
                "the next start brings them up to date, or `tallyd backfill`",
            ),
        }])
    })
}

fn day_of(unix_ms: i64) -> Option<Date> {
    let time = Timestamp::from_millisecond(unix_ms).ok()?;
    Some(time.to_zoned(TimeZone::UTC).date())
}

pub(super) fn clock(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "clock";
    /// A program is rarely used for longer than this.
    const YEARS: i16 = 5;
    /// As long as a time may be ahead and be believed.
    const AHEAD_MS: i64 = 2 * 86_400_000;
    let Some(today) = day_of(look.now_ms) else { return Vec::new() };
    // The program is not older than the prices in it.
    let book = PriceBook::builtin();
    let made = book.version().parse().unwrap_or(Date::MIN);
    let set = "set the clock: `timedatectl set-ntp true`";
    let mut findings = Vec::new();
    if today < made.saturating_sub(jiff::Span::new().days(1)) {
        let seen = format!("it says {today}, and this program was made after {made}");
        findings.push(Finding::new(ABOUT, Mark::Problem, seen, set));
    } else if today.year() > made.year() + YEARS {
        let seen = format!("it says {today}, years after this program was made ({made})");
        let remedy = format!("{set}, or, if it is right, install a newer tallyd");
        findings.push(Finding::new(ABOUT, Mark::Warning, seen, remedy));
    }
    findings.extend(ask(look, ABOUT, |reader| {
        let newest = reader.newest_ts_ms()?.filter(|newest| *newest > look.now_ms + AHEAD_MS);
        let day = newest.and_then(day_of);
        Ok(day
            .into_iter()
            .map(|day| {
                let seen = format!("the newest event is of {day}, which is still to come");
                let remedy =
                    format!("a clock was wrong, this one or that of an agent's machine; {set}");
                Finding::new(ABOUT, Mark::Warning, seen, remedy)
            })
            .collect())
    }));
    if findings.is_empty() {
        findings.push(Finding::ok(ABOUT, format!("it says {today}")));
    }
    findings
}

pub(super) fn time_zone(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "time zone";
    ask(look, ABOUT, |reader| {
        let stored = reader.time_zone()?;
        let (configured, system) = (&look.config.time_zone, &look.config.system_time_zone);
        let days = format!("days are counted in {stored}");
        Ok(vec![match (configured, system) {
            (Some(zone), _) if *zone != stored => Finding::new(
                ABOUT,
                Mark::Note,
                format!("{days}; configured is {zone}"),
                "it holds from the next start of the service",
            ),
            (None, Some(zone)) if *zone != stored => Finding::new(
                ABOUT,
                Mark::Note,
                format!("{days}; the system is in {zone}"),
                format!(
                    "on purpose, so that days stay what they were; to change it: \
                     time_zone = \"{zone}\" in {}",
                    look.config.file.display()
                ),
            ),
            _ => Finding::ok(ABOUT, days),
        }])
    })
}

pub(super) fn prices(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "prices";
    let named = |models: &[(String, i64)]| {
        list(models, |(model, calls)| {
            let name = if model.is_empty() { "(no name)" } else { model };
            format!("{} ({})", text::plain(name), text::counted(*calls, "call"))
        })
    };
    ask(look, ABOUT, |reader| {
        let (unpriced, estimated) = (reader.unpriced_models()?, reader.estimated_models()?);
        let mut findings = Vec::new();
        if !unpriced.is_empty() {
            let seen = format!("no price is known of {}", named(&unpriced));
            let remedy = format!(
                "after an update, or with prices of your own in {}: stop the service, then\n\
                 tallyd reprice --unpriced",
                look.config.file.display()
            );
            findings.push(Finding::new(ABOUT, Mark::Note, seen, remedy));
        }
        if !estimated.is_empty() {
            let calls =
                text::counted(estimated.iter().map(|(_, calls)| calls).sum::<i64>(), "call");
            let seen = format!("{calls} at a price that is an estimate: {}", named(&estimated));
            let remedy = "docs/accuracy.md says which prices are estimates, and why";
            findings.push(Finding::new(ABOUT, Mark::Note, seen, remedy));
        }
        if findings.is_empty() {
            findings.push(Finding::ok(ABOUT, "every call has one, and none is an estimate"));
        }
        Ok(findings)
    })
}

pub(super) fn budgets(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "budgets";
    if look.config.budgets.is_empty() {
        return Vec::new();
    }
    ask(look, ABOUT, |reader| {
        let standings = budgets::standings(&look.config.budgets, reader, look.now_ms)?;
        let finding = |standing: &budgets::Standing| {
            let said = standing.describe();
            if standing.is_unknown {
                let remedy = "`tallyd report project` and `tallyd report provider` list the names";
                Finding::new(ABOUT, Mark::Warning, said, remedy)
            } else if standing.is_exceeded() {
                Finding::new(ABOUT, Mark::Note, said, "`tallyd report daily --by project`")
            } else {
                Finding::ok(ABOUT, said)
            }
        };
        Ok(standings.iter().map(finding).collect())
    })
}

pub(super) fn reading(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "reading";
    ask(look, ABOUT, |reader| {
        let mut findings = Vec::new();
        let failing: Vec<String> =
            reader.checkpoints()?.into_iter().filter_map(|source| source.last_error).collect();
        if !failing.is_empty() {
            let seen = format!("could not be read: {}", list(&failing, |error| text::plain(error)));
            let remedy =
                "tried again at every sweep; if it stays, look at the permissions of the file";
            findings.push(Finding::new(ABOUT, Mark::Warning, seen, remedy));
        }
        if let Some((_, said)) = look.concern("sources:degraded") {
            let remedy = "the agent may write a form that is not known yet: update tallyd";
            findings.push(Finding::new(ABOUT, Mark::Warning, said, remedy));
        }
        if findings.is_empty() {
            findings.push(Finding::ok(ABOUT, "every log could be read when it was last looked at"));
        }
        Ok(findings)
    })
}

pub(super) fn skipped(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "skipped records";
    ask(look, ABOUT, |reader| {
        let mut findings = Vec::new();
        for provider in reader.providers(look.now_ms)? {
            if provider.skips.faults() == 0 {
                continue;
            }
            let faults = provider.skips.0.iter().filter(|(reason, _)| reason.is_fault());
            let faults: Vec<_> = faults.collect();
            let why =
                list(&faults, |(reason, n)| format!("{} {}", text::count(**n), reason.describe()));
            let seen = format!("{}: {why}", provider.usage.provider);
            let remedy = "a few are lines cut by a crash; if they grow, update tallyd";
            findings.push(Finding::new(ABOUT, Mark::Note, seen, remedy));
        }
        if findings.is_empty() {
            findings.push(Finding::ok(ABOUT, "none that could not be understood"));
        }
        Ok(findings)
    })
}

pub(super) fn sqlite(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "SQLite";
    vec![match &look.sqlite {
        Ok(version) => Finding::ok(ABOUT, version),
        Err(error) => Finding::new(ABOUT, Mark::Problem, error, "update tallyd"),
    }]
}
