-- The roll-ups that move with every event, and how far each mart has followed them.

CREATE TABLE usage_cells (
    day TEXT NOT NULL,
    provider TEXT NOT NULL,
    session_id TEXT NOT NULL,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    model TEXT NOT NULL,
    speed TEXT NOT NULL,
    message_count INTEGER NOT NULL,
    user_message_count INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_create_tokens INTEGER NOT NULL,
    cache_create_1h_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    web_search_requests INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    unpriced_count INTEGER NOT NULL,
    first_ts_ms INTEGER NOT NULL,
    last_ts_ms INTEGER NOT NULL,
    last_event_id INTEGER NOT NULL,
    PRIMARY KEY (day, provider, session_id, project_id, model, speed)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_cells_last_event_id ON usage_cells (last_event_id);
CREATE INDEX usage_cells_session ON usage_cells (provider, session_id);
CREATE INDEX usage_cells_project ON usage_cells (project_id, day);

CREATE TABLE project_cells (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    provider TEXT NOT NULL,
    message_count INTEGER NOT NULL,
    user_message_count INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_create_tokens INTEGER NOT NULL,
    cache_create_1h_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    web_search_requests INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    unpriced_count INTEGER NOT NULL,
    session_count INTEGER NOT NULL,
    last_event_id INTEGER NOT NULL,
    PRIMARY KEY (project_id, provider)
) STRICT, WITHOUT ROWID;

CREATE INDEX project_cells_last_event_id ON project_cells (last_event_id);

CREATE TABLE mart_watermark (
    mart_name TEXT PRIMARY KEY NOT NULL,
    last_event_id INTEGER NOT NULL,
    last_refresh_ts TEXT NOT NULL,
    definition_hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;
