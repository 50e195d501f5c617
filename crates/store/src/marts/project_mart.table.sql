CREATE TABLE project_mart (
    project_id INTEGER NOT NULL PRIMARY KEY,
    path TEXT NOT NULL,
    display_name TEXT NOT NULL,
    first_ts_ms INTEGER NOT NULL,
    first_ts TEXT NOT NULL GENERATED ALWAYS AS (
        strftime('%Y-%m-%dT%H:%M:%S', first_ts_ms / 1000, 'unixepoch')
            || printf('.%03dZ', first_ts_ms % 1000)
    ) VIRTUAL,
    last_ts_ms INTEGER NOT NULL,
    last_ts TEXT NOT NULL GENERATED ALWAYS AS (
        strftime('%Y-%m-%dT%H:%M:%S', last_ts_ms / 1000, 'unixepoch')
            || printf('.%03dZ', last_ts_ms % 1000)
    ) VIRTUAL,
    session_count INTEGER NOT NULL,
    provider_count INTEGER NOT NULL,
    message_count INTEGER NOT NULL,
    user_message_count INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_create_tokens INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    cost_usd REAL GENERATED ALWAYS AS (cost_nanousd / 1e9) VIRTUAL,
    unpriced_count INTEGER NOT NULL
) STRICT, WITHOUT ROWID
