//! A root on another machine: nobody tells of its changes, so it is looked at often.

use std::sync::Arc;
use std::time::Duration;

use ingest::{Mode, Options, Root, Status};
use tokio::sync::watch;

fn now_ms() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed();
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or_default()
}

#[tokio::test]
async fn h27_a_root_on_another_machine_is_looked_at_every_five_seconds() {
    let home = tempfile::tempdir().unwrap();
    let provider = *providers::ALL.first().unwrap();
    let options = Options {
        home: home.path().to_owned(),
        roots: vec![Root { provider, path: home.path().to_owned() }],
        checkpoints: Vec::new(),
        force: false,
        mode: Mode::Live,
        sweep_interval: Duration::from_secs(3_600),
        max_line: 1 << 20,
        is_remote: |_| true,
        canary: None,
        scratch: None,
        now_ms,
    };
    let (status, mut seen) = watch::channel(Status::default());
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(ingest::run(options, Arc::new(|_| true), status, stopped));
    let swept = seen.wait_for(|status| status.sweeps >= 2);
    let swept =
        tokio::time::timeout(Duration::from_secs(60), swept).await.unwrap().unwrap().clone();
    let why = swept.watch_refused.unwrap();
    assert!(why.contains("is on another machine"), "{why}");
    stop.send_replace(true);
    task.await.unwrap().unwrap();
}
