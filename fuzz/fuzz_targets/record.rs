//! The JSON reader takes what serde_json takes, and reads the same from it.

#![no_main]

#[path = "../../crates/providers/src/record.rs"]
#[expect(dead_code, reason = "providers use the rest")]
mod record;

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use record::{Count, Json, Read, nanousd, time_ms};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let mut json = Json::new(data);
    let is_json = json.skip().is_ok() && json.peek().is_none();
    // serde_json refuses what is not UTF-8 and, but for this, deep nesting and huge numbers.
    let is_serde = serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
    assert!(is_json || !is_serde, "refused what is JSON");
    if std::str::from_utf8(data).is_ok() {
        assert_eq!(is_json, is_serde);
    }
    for read in [all_values, all_text] {
        let mut json = Json::new(data);
        let is_read = read(&mut json).is_ok() && json.peek().is_none();
        assert_eq!(is_read, is_json, "each way of reading knows the same grammar");
    }
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        compare(&mut Json::new(data), &value);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(nanousd(text).is_none_or(|cost| cost > 0));
        assert!(time_ms(text).is_none_or(|ms| ms >= 0));
    }
});

/// Goes into every object and array, as deep as a program's stack allows.
fn all_values(json: &mut Json<'_>) -> Read<()> {
    read_below(json, 100)
}

fn read_below(json: &mut Json<'_>, depth: usize) -> Read<()> {
    if depth == 0 {
        return json.skip();
    }
    match json.peek() {
        Some(b'{') => json.object(|_, json| read_below(json, depth - 1)).map(drop),
        Some(b'[') => json.array(|json| read_below(json, depth - 1)).map(drop),
        Some(b'"') => json.opening().map(drop),
        Some(b't' | b'f') => json.is_true().map(drop),
        Some(b'n') => json.number().map(drop),
        _ => json.count().map(drop),
    }
}

fn all_text(json: &mut Json<'_>) -> Read<()> {
    json.text().map(drop)
}

/// What serde_json built is what is read.
fn compare(json: &mut Json<'_>, value: &Value) {
    match value {
        Value::Object(fields) => {
            // Of a repeated field the last one stands.
            let mut last = std::collections::BTreeMap::new();
            let read = json.object(|name, json| {
                last.insert(name.to_owned(), *json);
                Ok(())
            });
            assert_eq!(read, Ok(true));
            assert!(last.keys().eq(fields.keys()));
            last.values_mut().zip(fields.values()).for_each(|(json, value)| compare(json, value));
        }
        Value::Array(values) => {
            let mut values = values.iter();
            let read = json.array(|json| {
                compare(json, values.next().unwrap());
                Ok(())
            });
            assert_eq!(read, Ok(true));
            assert!(values.next().is_none());
        }
        Value::String(expect) => match json.text().unwrap() {
            Some(text) => assert_eq!(text, Cow::Borrowed(expect)),
            None => assert!(expect.is_empty() || expect.len() > 600),
        },
        Value::Number(number) => match (json.count().unwrap(), number.as_i64()) {
            (Count::Is(n), Some(expect)) => assert_eq!(n, expect),
            (Count::Is(n), None) => assert_eq!(n as f64, number.as_f64().unwrap()),
            (count, expect) => assert_eq!((count, expect), (Count::Bad, None)),
        },
        Value::Bool(expect) => assert_eq!(json.is_true(), Ok(*expect)),
        Value::Null => assert_eq!(json.count(), Ok(Count::Absent)),
    }
}
