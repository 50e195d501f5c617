//! `/api/v1/providers`: what is supported, where it is looked for, what was found and counted.
//!
//! What the service sees is told from memory, what is counted by one look at the marts. The disk is
//! not looked at.

use hyper::StatusCode;
use ingest::{ProviderStatus, RootState, RootStatus};
use providers::Provider;
use serde_json::{Value, json};
use store::ProviderUsage;

use super::error::Problem;
use super::{App, Response, probes, query};
use crate::commands::{AWAITED, DENIED, FOUND, figure_columns, object, skips_json, state, utc};
use crate::live::Live;

pub(super) async fn get(app: &App, query: Option<&str>) -> Result<Response, Problem> {
    query::parse(query, &[])?;
    let now_ms = (app.live.now_ms)();
    let counted = app.readers.ask(move |reader| Ok(reader.usage_by_provider(now_ms)?)).await?;
    let row = |provider: &&dyn Provider| {
        let usage = counted.providers.iter().find(|usage| usage.provider == provider.id());
        row(&app.live, provider.id(), usage)
    };
    let document = json!({
        "watermark": counted.watermark,
        "epoch": counted.epoch,
        // Before all was found once, what is not found may still be.
        "reading": probes::describe(&app.live),
        "rows": providers::ALL.iter().map(row).collect::<Vec<_>>(),
    });
    Ok(super::json(StatusCode::OK, &document))
}

fn row(live: &Live, id: &str, usage: Option<&ProviderUsage>) -> Value {
    let is_switched_off = live.switched_off.borrow().contains(&id);
    let status = live.ingest.borrow();
    let nothing = ProviderStatus::default();
    let seen = status.providers.get(id).unwrap_or(&nothing);
    let quality = seen.qualities.iter();
    let roots = status.roots.iter().filter(|root| root.provider == id);
    let none = ProviderUsage::default();
    let usage = usage.unwrap_or(&none);
    let columns = [
        ("provider", id.into()),
        ("state", state(is_switched_off, seen.sources > 0).into()),
        (
            "quality",
            quality.map(|of| json!({"id": of.as_str(), "description": of.describe()})).collect(),
        ),
        ("roots", roots.map(root).collect()),
        ("sources", seen.sources.into()),
        ("failing", seen.failing.into()),
        ("degraded", seen.degraded.into()),
        ("missing", seen.missing.into()),
        ("unread_bytes", seen.unread_bytes.into()),
        ("skips", skips_json(&seen.skips).into()),
        ("newest_ts", usage.newest_ts_ms.map(utc).into()),
        ("user_message_count", usage.user_message_count.into()),
    ];
    object(columns.into_iter().chain(figure_columns(&usage.figures))).into()
}

fn root(root: &RootStatus) -> Value {
    let state = match root.state {
        RootState::Present => FOUND,
        RootState::Awaited => AWAITED,
        RootState::Denied => DENIED,
    };
    json!({"path": root.place.display().to_string(), "state": state})
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Database, NOW_MS, Server, daemon};
    use super::*;
    use crate::live::Phase;

    /// What ingest says of two agents.
    fn see(status: &mut ingest::Status) {
        let seen = ProviderStatus {
            sources: 7,
            failing: 1,
            degraded: 2,
            missing: 3,
            unread_bytes: 4,
            qualities: [providers::Quality::Cumulative, providers::Quality::PerCall].into(),
            skips: usage::Skips([(usage::Skip::Malformed, 5)].into()),
            newest_event_ms: Some(NOW_MS),
        };
        status.providers.insert("codex", seen);
        let root = |provider, path: &str, state| RootStatus {
            provider,
            path: "/home/ada".into(),
            place: path.into(),
            state,
        };
        status.roots = vec![
            root("codex", "/home/ada/.codex", RootState::Present),
            root("codex", "/other", RootState::Denied),
            root("pi", "/home/ada/.pi", RootState::Awaited),
        ];
    }

    #[tokio::test]
    async fn an_agent_is_told_as_the_service_sees_it_and_with_all_that_was_counted() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "gpt-5"), ("2026-05-02", "no-such-model")]);
        let (parts, live) = daemon(database.data_dir());
        parts.phase.send_replace(Phase::Backfilling);
        parts.switched_off.send_replace(vec!["goose"]);
        parts.ingest.send_modify(see);
        let server = Server::start(live).await;
        let mut answer = server.get("/api/v1/providers").await.json();
        let rows = answer["rows"].take();
        let reading = answer["reading"].take();
        assert!(reading.as_str().unwrap().starts_with("reading logs: "), "{reading}");
        let epoch = database.reader().epoch().unwrap();
        assert_eq!(answer, json!({"watermark": 2, "epoch": epoch, "reading": null, "rows": null}));
        let of = |id: &str| {
            let mut all = rows.as_array().unwrap().iter();
            all.find(|row| row["provider"] == id).unwrap().clone()
        };
        let mut codex = of("codex");
        let cost = codex.as_object_mut().unwrap().remove("cost_nanousd").unwrap();
        let usd = codex.as_object_mut().unwrap().remove("cost_usd").unwrap();
        assert!(cost.as_i64() > Some(0) && usd.as_f64() > Some(0.0), "{cost} {usd}");
        assert_eq!(
            codex,
            json!({
                "provider": "codex",
                "state": "found",
                "quality": [
                    {"id": "per_call", "description": "per call"},
                    {"id": "cumulative", "description": "cumulative (sums of calls)"},
                ],
                "roots": [
                    {"path": "/home/ada/.codex", "state": "found"},
                    {"path": "/other", "state": "cannot be listed"},
                ],
                "sources": 7, "failing": 1, "degraded": 2, "missing": 3, "unread_bytes": 4,
                "skips": {"malformed": 5},
                "newest_ts": "2026-05-02T12:00:00.000Z",
                "user_message_count": 0,
                "message_count": 2,
                "input_tokens": 200, "output_tokens": 20,
                "cache_create_tokens": 0, "cache_read_tokens": 0, "total_tokens": 220,
                "unpriced_count": 1,
            })
        );
        let pi = of("pi");
        assert_eq!((&pi["state"], &pi["newest_ts"]), (&json!("not found"), &Value::Null));
        assert_eq!(pi["roots"], json!([{"path": "/home/ada/.pi", "state": "not there, awaited"}]));
        assert_eq!(of("goose")["state"], "switched off");
        assert_eq!(rows.as_array().unwrap().len(), providers::ALL.len());
        let refused = server.get("/api/v1/providers?provider=codex").await;
        assert_eq!(refused.refusal(), (400, "unknown_parameter".to_owned()));
        server.stop().await;
    }
}
