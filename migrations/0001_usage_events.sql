-- The log of calls, and what it refers to. The columns of usage_events are public and stable.

CREATE TABLE meta (
    key TEXT PRIMARY KEY NOT NULL,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('epoch', 1);

CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL
) STRICT;

-- AUTOINCREMENT: an id that was given once is never given again, also when the newest row went.
-- The seconds are formatted as an integer and the milliseconds beside them: no float rounds a time.
-- What nearly every row says is not stored in each: the columns from day_number on hold the short
-- forms, and null for the usual value, of columns that are generated from them.
CREATE TABLE usage_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_key TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    account TEXT,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    session_id TEXT NOT NULL,
    ts_ms INTEGER NOT NULL,
    ts TEXT GENERATED ALWAYS AS (
        strftime('%Y-%m-%dT%H:%M:%S', ts_ms / 1000, 'unixepoch') || printf('.%03dZ', ts_ms % 1000)
    ) VIRTUAL,
    day TEXT GENERATED ALWAYS AS (date(day_number * 86400, 'unixepoch')) VIRTUAL,
    role TEXT GENERATED ALWAYS AS (coalesce(other_role, 'assistant')) VIRTUAL,
    model TEXT NOT NULL,
    speed TEXT GENERATED ALWAYS AS (coalesce(other_speed, 'standard')) VIRTUAL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_create_tokens INTEGER NOT NULL,
    cache_create_1h_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    web_search_requests INTEGER NOT NULL,
    cost_nanousd INTEGER,
    cost_usd REAL GENERATED ALWAYS AS (cost_nanousd / 1e9) VIRTUAL,
    cost_source TEXT GENERATED ALWAYS AS (coalesce(other_cost_source, 'rate_card')) VIRTUAL,
    is_sidechain INTEGER NOT NULL,
    copy_rank INTEGER NOT NULL,
    source_id INTEGER NOT NULL,
    parser_version INTEGER NOT NULL,
    raw_extras TEXT GENERATED ALWAYS AS (
        iif(price_version IS NULL, extras,
            '{"price_version":' || iif(typeof(price_version) = 'integer',
                '"' || date(price_version * 86400, 'unixepoch') || '"', json_quote(price_version))
            || iif(extras IS NULL, '}', ',' || substr(extras, 2)))
    ) VIRTUAL,
    day_number INTEGER NOT NULL,
    other_role TEXT,
    other_speed TEXT,
    other_cost_source TEXT,
    -- Days since 1970 where it is a date.
    price_version ANY,
    extras TEXT
) STRICT;

CREATE INDEX usage_events_ts_ms ON usage_events (ts_ms);

-- Keys that a later record has proved wrong, and the parser that said so. A copy of a log that ends
-- before that record must not bring its row back.
CREATE TABLE retracted_keys (
    event_key TEXT PRIMARY KEY NOT NULL,
    parser_version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
