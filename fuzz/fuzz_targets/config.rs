//! A configuration file of any bytes is an error with a message, or settings within their limits.

#![no_main]

#[path = "../../crates/daemon/src/budgets.rs"]
#[expect(dead_code, reason = "the daemon uses the rest")]
mod budgets;
#[path = "../../crates/daemon/src/clock.rs"]
mod clock;
#[path = "../../crates/daemon/src/config.rs"]
#[expect(dead_code, reason = "the daemon uses the rest")]
mod config;
#[path = "../../crates/daemon/src/text.rs"]
#[expect(dead_code, reason = "the daemon uses the rest")]
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use config::{Config, Flags};
use libfuzzer_sys::fuzz_target;

/// Where the file is written: in memory if possible.
static HOME: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).unwrap()
});

fuzz_target!(|data: &[u8]| {
    let file = HOME.path().join("config.toml");
    std::fs::write(&file, data).unwrap();
    let vars = BTreeMap::from([("HOME".to_owned(), HOME.path().to_str().unwrap().to_owned())]);
    let flags = Flags { config: Some(file), ..Flags::default() };
    match Config::load(vars, &flags) {
        Ok(config) => {
            assert!(config.data_dir.is_absolute());
            assert!(config.listen.ip().is_loopback());
            assert!((1 << 20..=1 << 30).contains(&config.max_line));
            assert!(config.sweep_interval >= Duration::from_secs(1));
            assert!(config.roots().iter().all(|root| root.path.is_absolute()));
            assert!(config.budgets.iter().all(|budget| budget.nanousd > 0));
            assert!(config.shown.iter().all(|shown| !shown.key.is_empty()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
