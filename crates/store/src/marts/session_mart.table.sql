CREATE TABLE session_mart (
    provider TEXT NOT NULL,
    session_id TEXT NOT NULL,
    project_id INTEGER NOT NULL,
    cwd TEXT,
    primary_model TEXT,
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
    message_count INTEGER NOT NULL,
    assistant_message_count INTEGER NOT NULL GENERATED ALWAYS AS (message_count) VIRTUAL,
    user_message_count INTEGER NOT NULL,
    is_one_shot INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_create_tokens INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    cost_usd REAL GENERATED ALWAYS AS (cost_nanousd / 1e9) VIRTUAL,
    unpriced_count INTEGER NOT NULL,
    PRIMARY KEY (provider, session_id)
) STRICT, WITHOUT ROWID;

-- By time, with all that sessions are narrowed down by, so that only the rows of a page are read.
CREATE INDEX session_mart_last_ts ON session_mart (
    last_ts_ms, provider, session_id, first_ts_ms, project_id, primary_model, message_count
)
