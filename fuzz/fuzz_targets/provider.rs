//! A source of any bytes, of the provider that the target is named after, read whole and in two
//! steps: lines with or without a parent, documents, databases.

#![no_main]

#[path = "../../crates/providers/tests/contract/reading.rs"]
mod reading;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let id = env!("CARGO_BIN_NAME").replace('_', "-");
    let provider = providers::ALL.iter().find(|provider| provider.id() == id).unwrap();
    for path in reading::paths(*provider) {
        reading::check_input(*provider, path, data);
    }
});
