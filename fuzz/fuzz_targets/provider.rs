//! A source of any bytes, of the provider that `TALLYD_FUZZ` names, read whole and in two steps:
//! lines with or without a parent, documents, databases.

#![no_main]

#[path = "../../crates/providers/tests/contract/reading.rs"]
mod reading;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use providers::Provider;

static FUZZED: LazyLock<(&'static dyn Provider, Vec<PathBuf>)> = LazyLock::new(|| {
    let id = std::env::var("TALLYD_FUZZ").expect("TALLYD_FUZZ is a provider's id");
    let provider = *providers::ALL.iter().find(|provider| provider.id() == id).unwrap();
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/providers/testdata");
    (provider, reading::paths(provider, &testdata))
});

fuzz_target!(|data: &[u8]| {
    let (provider, paths) = &*FUZZED;
    for path in paths {
        reading::check_input(*provider, path, data);
    }
});
