//! `/plain`: the figures as a page without a script, which every browser shows.
//!
//! Where the full page was not built this one stands at `/`, too, and says how to get the other.

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use jiff::ToSpan as _;
use jiff::civil::Date;
use maud::{DOCTYPE, Markup, html};
use store::{Block, Dimension, Figures, Filter, ReadError, Reader, Report, ReportQuery, SortBy};

use super::assets::File;
use super::error::Problem;
use super::health::{self, Verdict};
use super::{App, Response, probes, summary, with_body};
use crate::budgets::Standing;
use crate::commands::blocks;
use crate::text;

pub(super) const STYLE: File = File {
    path: "/plain.css",
    kind: "text/css; charset=utf-8",
    plain: include_bytes!("../../assets/plain.css"),
    gzip: None,
    brotli: None,
};

const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Days that are told apart.
const DAYS: usize = 14;
/// The most agents, projects or models that are.
const ROWS: usize = 15;

/// How often the page is asked for again.
const REFRESH_S: u32 = 60;

pub(super) async fn get(app: &App) -> Result<Response, Problem> {
    let has_page = app.assets.has("/");
    if app.live.store.get().is_none() {
        let opening = html! { p.note { "The database is being opened." } };
        let page = around("tallyd starts", 2, has_page, &opening);
        let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, page);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return Ok(response);
    }
    let now_ms = (app.live.now_ms)();
    let usage = app.readers.ask(move |reader| Ok(Usage::read(reader, now_ms)?)).await?;
    let budgets = app.live.budgets.borrow().clone();
    let told = html! {
        (notes(probes::describe(&app.live).as_deref(), &health::Report::of(&app.live)))
        (usage.sums(&budgets))
        (usage.by_day())
        (usage.by("agent", &usage.providers))
        (usage.by("project", &usage.projects))
        (usage.by("model", &usage.models))
    };
    let today = usage.spans.first().map(|(_, _, figures)| format!("{} today", cost(figures)));
    let title = format!("{} - tallyd", today.unwrap_or_default());
    Ok(answer(StatusCode::OK, around(&title, REFRESH_S, has_page, &told)))
}

fn answer(status: StatusCode, page: Markup) -> Response {
    let mut response = with_body(status, page.into_string());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn around(title: &str, refresh_s: u32, has_page: bool, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(refresh_s);
                title { (title) }
                link rel="stylesheet" href=(STYLE.path);
            }
            body {
                main {
                    h1 { "tallyd" }
                    @if !has_page { (how_to_build()) }
                    (content)
                }
                footer {
                    @if has_page { a href="/" { "The full page" } " · " }
                    a href="/health" { "Health" }
                    " · tallyd " (env!("CARGO_PKG_VERSION"))
                    " · read again every minute"
                }
            }
        }
    }
}

/// Cargo does not notice that Node.js has come, so it is shown a file that seems to be new.
fn how_to_build() -> Markup {
    html! {
        p.faint {
            "This is the plain page. The full one is built where Node.js 20.19 or newer is there, \
             with npm; once it is, in the folder of tallyd's sources: "
            code { "touch web/package.json && cargo run --release -- run" }
        }
    }
}

/// What must be known before the figures are believed.
fn notes(reading: Option<&str>, report: &health::Report) -> Markup {
    let verdict = match report.status {
        Verdict::Pass => "all is well",
        Verdict::Warn => "something needs a look",
        Verdict::Fail => "something does not work",
    };
    html! {
        @if let Some(reading) = reading {
            p.note { "Not all is counted yet: " (reading) "." }
        }
        p { "Health: " (verdict) "." }
        ul {
            @for concern in report.concerns() { li { (outside(&concern)) } }
            @for said in report.said_by("sources:found") {
                li {
                    (outside(said)) ". What an agent writes is counted at once; "
                    code { "tallyd providers" } " lists all places."
                }
            }
            @for said in report.said_by("prices:unpriced") { li { (outside(said)) } }
        }
    }
}

/// Text with names from logs or settings in it, which may hold anything.
fn outside(text: &str) -> Markup {
    let harmless: String = text.chars().map(text::harmless).collect();
    html! { bdi { (harmless) } }
}

/// A name from a log, in bounded length.
fn name(name: &str) -> Markup {
    html! { bdi { @if name.is_empty() { "-" } @else { (text::plain(name)) } } }
}

fn cost(figures: &Figures) -> String {
    text::cost(figures.cost_nanousd, figures.message_count, figures.unpriced_count)
}

/// All that is shown of it.
struct Usage {
    today: Date,
    time_zone: String,
    now_ms: i64,
    /// Name, first day and sums.
    spans: Vec<(&'static str, Date, Figures)>,
    block: Option<Block>,
    days: Report,
    providers: Report,
    projects: Report,
    models: Report,
}

impl Usage {
    fn read(reader: &Reader, now_ms: i64) -> Result<Self, ReadError> {
        let today = reader.day(now_ms)?;
        let days_ago = |days: usize| today.saturating_sub(i64::try_from(days).unwrap_or(0).days());
        let query = |by, since, sort, limit| ReportQuery {
            by: vec![by],
            filter: Filter::days(since, today),
            sort,
            descending: true,
            limit,
        };
        let by = |by| reader.report(&query(by, days_ago(29), SortBy::Cost, Some(ROWS)));
        let names = ["today", "last 7 days", "last 30 days", "this month"];
        let spans = names.into_iter().zip(summary::spans(today)).map(|(name, (_, since))| {
            Ok((name, since, reader.figures(&Filter::days(since, today))?))
        });
        Ok(Self {
            today,
            time_zone: reader.time_zone()?,
            now_ms,
            spans: spans.collect::<Result<_, ReadError>>()?,
            block: blocks::running(reader, &Filter::default(), now_ms)?,
            days: reader.report(&query(Dimension::Day, days_ago(DAYS - 1), SortBy::Key, None))?,
            providers: by(Dimension::Provider)?,
            projects: by(Dimension::Project)?,
            models: by(Dimension::Model)?,
        })
    }

    fn sums(&self, budgets: &[Standing]) -> Markup {
        let from = |since: &Date| html! { " " span.faint { "from " time { (since) } } };
        let rows = self.spans.iter().map(|(name, since, figures)| {
            (html! { (name) @if *since != self.today { (from(since)) } }, figures)
        });
        html! {
            h2 { "Usage on " (self.today) " (" (self.time_zone) ")" }
            (table("", rows))
            @if let Some(block) = &self.block { p { (self.running(block)) } }
            @if !budgets.is_empty() {
                ul { @for standing in budgets { li { (outside(&standing.describe())) } } }
            }
        }
    }

    fn running(&self, block: &Block) -> String {
        let (left, figures) = (blocks::left(block, self.now_ms), &block.figures);
        let mut said = format!(
            "The running five-hour block of Claude Code: {}, {} tokens, {left} left",
            cost(figures),
            text::count(figures.tokens()),
        );
        if let Some(burn) = block.burn(self.now_ms) {
            let projected = text::money(burn.projected_cost_nanousd);
            said += &format!("; at this rate {projected} at its end");
        }
        said + "."
    }

    /// Days without usage, too.
    fn by_day(&self) -> Markup {
        let figures_of = |day: &Date| {
            let day = day.to_string();
            let mut rows = self.days.rows.iter();
            rows.find(|row| row.key[0] == day).map(|row| row.figures).unwrap_or_default()
        };
        let days = self.today.series(-1.day()).take(DAYS);
        let rows: Vec<_> = days.map(|day| (html! { time { (day) } }, figures_of(&day))).collect();
        html! {
            h2 { "By day" }
            (table("day", rows.iter().map(|(day, figures)| (day.clone(), figures))))
        }
    }

    fn by(&self, what: &str, report: &Report) -> Markup {
        let rows = report.rows.iter().map(|row| (name(&row.key[0]), &row.figures));
        let more = report.groups - report.rows.len() as u64;
        html! {
            @if report.groups > 0 {
                h2 { "By " (what) ", last 30 days" }
                (table(what, rows))
                @if more > 0 { p.faint { "and " (text::counted(more, &format!("more {what}"))) } }
            }
        }
    }
}

fn table<'a>(what: &str, rows: impl Iterator<Item = (Markup, &'a Figures)>) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { (what) }
                    @for heading in ["cost", "calls", "tokens"] { th scope="col" { (heading) } }
                }
            }
            tbody {
                @for (name, figures) in rows {
                    tr {
                        th scope="row" { (name) }
                        td { (cost(figures)) }
                        td { (text::count(figures.message_count)) }
                        td { (text::count(figures.tokens())) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, OnceLock};

    use super::super::assets::Assets;
    use super::super::testing::{Database, Parts, Reply, Server, daemon};
    use super::*;
    use crate::live::{Live, Phase};

    const PAGE: File = File {
        path: "/",
        kind: "text/html; charset=utf-8",
        plain: b"the full page",
        gzip: None,
        brotli: None,
    };

    /// Of a program that was built with the full page, or without it.
    async fn start(has_page: bool, live: Live) -> Server {
        let page = has_page.then_some(PAGE);
        Server::start_with(Assets::of(page.into_iter().chain([STYLE])), live).await
    }

    async fn plain(database: &Database, change: impl FnOnce(&Parts)) -> Reply {
        let (parts, live) = daemon(database.data_dir());
        change(&parts);
        let server = start(true, live).await;
        let reply = server.get("/plain").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        server.stop().await;
        reply
    }

    /// A row of a table: cost, calls, tokens.
    fn row<'a>(reply: &'a Reply, name: &str) -> Vec<&'a str> {
        let (_, row) = reply.body.split_once(&format!("<th scope=\"row\">{name}")).unwrap();
        let (row, _) = row.split_once("</tr>").unwrap();
        row.split("<td>").skip(1).map(|cell| cell.split_once("</td>").unwrap().0).collect()
    }

    #[tokio::test]
    async fn the_last_days_the_month_and_what_was_used_are_shown() {
        let mut database = Database::new();
        // It is 2026-05-28.
        for day in ["2026-05-28", "2026-05-22", "2026-05-21", "2026-05-01", "2026-04-30"] {
            database.add(&[(day, "gpt-5")]);
        }
        database.add(&[("2026-05-28", "b"), ("2026-04-29", "c"), ("2026-04-28", "b")]);
        let reply = plain(&database, |_| {}).await;
        assert_eq!(row(&reply, "today"), ["$0.00 + 1 unpriced", "2", "220"]);
        assert_eq!(row(&reply, "last 7 days")[1..], ["3", "330"]);
        assert_eq!(row(&reply, "last 30 days")[1..], ["7", "770"]);
        assert_eq!(row(&reply, "this month")[1..], ["5", "550"]);
        assert_eq!(row(&reply, "<time>2026-05-28</time>")[1..], ["2", "220"]);
        assert_eq!(row(&reply, "<time>2026-05-15</time>")[1..], ["0", "0"]);
        assert!(!reply.body.contains("<time>2026-05-14</time>"), "{reply:?}");
        for name in ["codex", "/home/ada/engine"] {
            assert_eq!(row(&reply, &format!("<bdi>{name}</bdi>"))[1..], ["7", "770"]);
        }
        assert_eq!(row(&reply, "<bdi>b</bdi>"), ["unpriced", "1", "110"]);
        assert!(reply.body.contains("<title>$0.00 + 1 unpriced today - tallyd</title>"));
        assert!(reply.body.contains("Health: all is well."), "{reply:?}");
    }

    #[tokio::test]
    async fn of_many_the_most_expensive_are_shown_and_the_rest_is_counted() {
        let mut database = Database::new();
        let models: Vec<String> = (0..17).map(|n| format!("model-{n}")).collect();
        let calls = models.iter().map(|model| ("2026-05-28", &**model));
        database.add(&calls.chain([("2026-05-28", "gpt-5")]).collect::<Vec<_>>());
        let reply = plain(&database, |_| {}).await;
        assert_eq!(row(&reply, "<bdi>gpt-5</bdi>")[1..], ["1", "110"]);
        assert_eq!(reply.body.matches("<bdi>model-").count(), 14);
        assert!(reply.body.contains("and 3 more models"), "{reply:?}");
    }

    #[tokio::test]
    async fn names_are_text_whatever_they_hold() {
        let mut database = Database::new();
        let name = "<b>\"&'</b>\u{202e}\u{1b}x";
        let long = "é".repeat(400);
        database.add(&[("2026-05-28", name), ("2026-05-28", ""), ("2026-05-28", &long)]);
        let unpriced = vec![(name.to_owned(), 1)];
        let standing = Standing {
            name: format!("day, {name}"),
            period: crate::budgets::Period::Day,
            provider: None,
            project: Some(name.to_owned()),
            budget_nanousd: 1_000_000_000,
            used_nanousd: 2_000_000_000,
            unpriced_count: 0,
            used_share: 2.0,
            is_unknown: false,
            projected_nanousd: None,
        };
        let reply = plain(&database, |parts| {
            parts.writer.send_modify(|writer| writer.unpriced = unpriced.into());
            parts.budgets.send_replace(vec![standing]);
        });
        let reply = reply.await;
        let escaped = "&lt;b&gt;&quot;&amp;'&lt;/b&gt;\u{fffd}\u{fffd}x";
        assert_eq!(row(&reply, &format!("<bdi>{escaped}</bdi>"))[1..], ["1", "110"]);
        for said in [
            format!("<bdi>no price is known for {escaped} (1 call)</bdi>"),
            format!("<li><bdi>budget (day, {escaped}): $2.00 of $1.00, 200 %; exceeded</bdi>"),
            format!("<bdi>budgets:used (day, {escaped}): budget (day"),
        ] {
            assert!(reply.body.contains(&said), "{said}: {reply:?}");
        }
        assert!(!reply.body.contains("<b>"), "{reply:?}");
        assert!(!reply.body.contains(['\u{202e}', '\u{1b}']), "{reply:?}");
        assert_eq!(row(&reply, "<bdi>-</bdi>")[1..], ["1", "110"]);
        assert_eq!(row(&reply, &format!("<bdi>{}…</bdi>", "é".repeat(300)))[1..], ["1", "110"]);
    }

    #[tokio::test]
    async fn a_machine_without_logs_is_told_where_they_are_looked_for() {
        let database = Database::new();
        let roots = ["/home/ada/.codex", "/home/ada/<i>"].map(|path| ingest::RootStatus {
            provider: "codex",
            path: PathBuf::from(path),
            place: PathBuf::from(path),
            state: ingest::RootState::Awaited,
        });
        let ingest = |i: &mut ingest::Status| (i.roots, i.sweeps) = (roots.to_vec(), 1);
        let reply = plain(&database, |parts| parts.ingest.send_modify(ingest)).await;
        let said = "no agent logs found yet; looked in: /home/ada/.codex, /home/ada/&lt;i&gt;";
        assert!(reply.body.contains(said), "{reply:?}");
        assert_eq!(row(&reply, "today"), ["$0.00", "0", "0"]);
        assert!(!reply.body.contains("By project"), "{reply:?}");
    }

    #[tokio::test]
    async fn what_is_not_as_it_should_be_stands_above_the_figures() {
        let database = Database::new();
        let reply = plain(&database, |parts| {
            parts.phase.send_replace(Phase::Backfilling);
            parts.ingest.send_modify(|i| i.watch_refused = Some("out of <watches>".to_owned()));
        });
        let reply = reply.await;
        let (above, _) = reply.body.split_once("<table>").unwrap();
        for said in [
            "Not all is counted yet: reading logs: 0 B done",
            "Health: something needs a look.",
            "<li><bdi>watcher:folders: out of &lt;watches&gt;</bdi></li>",
        ] {
            assert!(above.contains(said), "{said}: {above}");
        }
    }

    #[tokio::test]
    async fn the_plain_page_stands_at_the_root_where_the_full_one_was_not_built() {
        let database = Database::new();
        let how = "touch web/package.json &amp;&amp; cargo run --release -- run";
        for has_page in [true, false] {
            let (_parts, live) = daemon(database.data_dir());
            let server = start(has_page, live).await;
            let root = server.get("/?view=sessions").await;
            assert_eq!(root.body.contains("the full page"), has_page);
            assert_eq!(root.body.contains(how), !has_page);
            assert_eq!(root.header("content-type"), Some("text/html; charset=utf-8"));
            let plain = server.get("/plain").await;
            assert_eq!(plain.body.contains("<a href=\"/\">"), has_page);
            assert_eq!(plain.body.contains(how), !has_page);
            let policy = plain.header("content-security-policy");
            assert_eq!(policy, Some(POLICY), "{plain:?}");
            assert!(!plain.body.contains("<script") && !plain.body.contains("style="));
            let style = server.get("/plain.css").await;
            assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
            let refused = server.get("/plain?since=2026-05-01").await;
            assert_eq!(refused.refusal(), (400, "unknown_parameter".to_owned()));
            let head = server.ask("HEAD", "/plain", "").await;
            assert_eq!((head.status, &*head.body), (200, ""));
            server.stop().await;
        }
    }

    #[tokio::test]
    async fn the_plain_page_says_that_the_database_is_being_opened() {
        for has_page in [true, false] {
            let (parts, live) = daemon(Path::new("/nonexistent"));
            parts.phase.send_replace(Phase::Starting);
            let live = Live { store: Arc::new(OnceLock::new()), ..live };
            let server = start(has_page, live).await;
            let reply = server.get("/plain").await;
            assert_eq!(reply.status, 503, "{reply:?}");
            assert_eq!(reply.header("retry-after"), Some("1"));
            assert!(reply.body.contains("The database is being opened."), "{reply:?}");
            assert!(reply.body.contains("http-equiv=\"refresh\" content=\"2\""), "{reply:?}");
            let root = server.get("/").await;
            assert_eq!(root.status, if has_page { 200 } else { 503 });
            assert_eq!(server.get("/plain.css").await.status, 200);
            server.stop().await;
        }
    }
}
