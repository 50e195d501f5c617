//! Statements of what a session has used so far, instead of what one call has.
//!
//! Some agents keep a counter for each session and nothing else. Who reads one for the first time, or
//! after the checkpoint was lost, cannot know which part of it is stored already; here it is known.

use rusqlite::Connection;
use usage::{Flags, Tokens, Usage, UsageEvent};

use crate::cells::{Measures, Moves, of_session};
use crate::row;

/// What of a session's usage so far is not stored yet, as the statement of one call; `None` if that
/// is nothing. A row that the statement has become before keeps what it holds: nothing new is said by
/// counters that stand as they stood then, but that they add up several requests.
///
/// The cells must know of all rows: `moves` are applied.
pub(crate) fn rest(
    db: &Connection,
    moves: &mut Moves,
    statement: &UsageEvent,
) -> rusqlite::Result<Option<UsageEvent>> {
    let mut rest = statement.clone();
    if let Some(stored) = row::find_by_key(db, &statement.key)? {
        rest.usage = stored.event.usage;
        if statement.usage.flags.contains(Flags::SUM) {
            rest.usage.flags.insert(Flags::SUM);
        }
        return Ok(Some(rest));
    }
    std::mem::take(moves).flush(db)?;
    let stored = of_session(db, &statement.provider, &statement.owner.session_id)?;
    take_off(&mut rest.usage, &stored);
    let Usage { tokens, web_search_requests, logged_cost_nanousd, .. } = &rest.usage;
    let is_nothing = tokens.total() == 0
        && *web_search_requests == 0
        && logged_cost_nanousd.is_none_or(|cost| cost == 0);
    Ok((!is_nothing).then_some(rest))
}

/// No count falls below zero: where more is stored than is stated, the session's counters began anew.
fn take_off(usage: &mut Usage, stored: &Measures) {
    let [_, _, counts @ .., cost_nanousd, _] = stored.0;
    let Tokens { input, output, cache_read, cache_create, cache_create_1h, reasoning } =
        &mut usage.tokens;
    let searches = &mut usage.web_search_requests;
    let stated = [input, output, cache_read, cache_create, cache_create_1h, reasoning, searches];
    for (count, stored) in stated.into_iter().zip(counts) {
        *count = count.saturating_sub_signed(stored);
    }
    let tokens = &mut usage.tokens;
    tokens.cache_create_1h = tokens.cache_create_1h.min(tokens.cache_create);
    tokens.reasoning = tokens.reasoning.min(tokens.output);
    usage.logged_cost_nanousd = usage.logged_cost_nanousd.map(|cost| (cost - cost_nanousd).max(0));
    usage.flags.remove(Flags::SESSION_SO_FAR);
}
