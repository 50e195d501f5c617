-- How far each source was read. A path that is not UTF-8 is kept as the bytes it is.
-- oldest_parser_version: rows of this source may still be those of this parser; it moves up once a
-- newer parser has read the source whole.

CREATE TABLE source_checkpoint (
    source_id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    path ANY NOT NULL,
    dev INTEGER NOT NULL,
    ino INTEGER NOT NULL,
    btime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    marker_len INTEGER NOT NULL,
    marker_hash INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    skip_to_newline INTEGER NOT NULL,
    state TEXT NOT NULL,
    parser_version INTEGER NOT NULL,
    oldest_parser_version INTEGER NOT NULL,
    skips TEXT NOT NULL,
    lines INTEGER NOT NULL,
    last_event_ms INTEGER,
    last_error TEXT,
    missing_since_ms INTEGER
) STRICT;
