//! The one place that reads the wall clock; everybody else is handed this function.

/// UTC milliseconds.
#[expect(clippy::disallowed_methods, reason = "the clock is read here and handed to all others")]
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_millis()).ok()).unwrap_or(0)
}
