//! What people typed: the messages of sessions in which somebody does.

use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use usage::{Flags, Skip};

use super::{ID, MAX_ROWS, Turn, is_made_anew};
use crate::record::{Json, Read};
use crate::sqlite::{columns, count, text};
use crate::{DatabaseError, Parsed};

const TABLE: &str = "messages";

/// How much of a message is looked at, in characters: what tools returned may be megabytes.
const MAX_OPENING: u32 = 64 << 10;

/// The newest message that was read.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Cursor(i64);

impl Turn<'_> {
    pub(super) fn read_prompts(
        &mut self,
        cursor: &mut Cursor,
        out: &mut Parsed,
    ) -> Result<(), DatabaseError> {
        let db = self.db;
        let columns = columns(db, TABLE)?;
        let needed = ["id", "session_id", "role", "content_json", "created_timestamp"];
        if needed.iter().any(|name| !columns.contains(*name)) {
            return Ok(());
        }
        if is_made_anew(db, TABLE, cursor.0)? {
            *cursor = Cursor::default();
        }
        // The form that the agent gave to messages without one when it began to keep their ids.
        let own = "'msg_' || session_id || '_' || id";
        let message = match columns.contains("message_id") {
            true => format!("ifnull(message_id, {own})"),
            false => own.to_owned(),
        };
        let metadata = if columns.contains("metadata_json") { "metadata_json" } else { "NULL" };
        let query = format!(
            "SELECT id, {message}, session_id, created_timestamp, \
                CASE role WHEN 'user' THEN substr(content_json, 1, {MAX_OPENING}) END, \
                substr({metadata}, 1, {MAX_OPENING}) \
             FROM {TABLE} WHERE id > ?1 ORDER BY id LIMIT {MAX_ROWS}"
        );
        let mut query = db.prepare_cached(&query)?;
        let mut found = query.query([cursor.0])?;
        let mut rows = 0;
        while let Some(row) = found.next()? {
            rows += 1;
            cursor.0 = row.get(0)?;
            if !is_shown(row.get_ref(5)?) || !is_typed(row.get_ref(4)?) {
                continue;
            }
            let (Some(message), Some(id)) = (text(row.get_ref(1)?), text(row.get_ref(2)?)) else {
                out.skips.add(Skip::BadField);
                continue;
            };
            let session = self.sessions.get(&id)?;
            if session.is_typed && !session.is_told_elsewhere {
                let mut flags = Flags::default();
                let ts_ms = self.time_ms(count(row.get_ref(3)?), &mut flags);
                out.events.push(session.prompt(&format!("{ID}:prompt:{message}"), ts_ms, flags));
            }
        }
        self.rows += rows;
        self.more |= rows == MAX_ROWS;
        Ok(())
    }
}

/// Whether a message holds something that a person made, and nothing that a tool returned. It may be
/// cut off.
fn is_typed(content: ValueRef<'_>) -> bool {
    let ValueRef::Text(content) = content else { return false };
    let (mut is_made, mut is_returned) = (false, false);
    let read: Read<bool> = Json::new(content).array(|json| {
        json.object(|name, json| {
            if name == "type" {
                match json.text()?.as_deref() {
                    Some("text" | "image") => is_made = true,
                    Some("toolResponse") => is_returned = true,
                    _ => {}
                }
            }
            Ok(())
        })?;
        Ok(())
    });
    // What is cut off has said what it is by then.
    _ = read;
    is_made && !is_returned
}

/// Whether a message is shown to the person: what the agent tells its model by itself is not.
fn is_shown(metadata: ValueRef<'_>) -> bool {
    let ValueRef::Text(metadata) = metadata else { return true };
    let mut is_hidden = false;
    let read = Json::new(metadata).object(|name, json| {
        if name == "userVisible" {
            is_hidden = json.peek() == Some(b'f');
        }
        Ok(())
    });
    read.is_err() || !is_hidden
}
