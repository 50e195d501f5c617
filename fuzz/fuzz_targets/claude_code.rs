//! A transcript of any bytes, read whole and in two steps.

#![no_main]

#[path = "../../crates/providers/tests/contract/reading.rs"]
mod reading;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let provider = providers::ALL.iter().find(|p| p.id() == "claude-code").unwrap();
    for path in reading::paths(*provider) {
        reading::check_input(*provider, path, data);
    }
});
