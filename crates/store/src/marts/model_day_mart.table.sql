CREATE TABLE model_day_mart (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    speed TEXT NOT NULL,
    session_count INTEGER NOT NULL,
    message_count INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_create_tokens INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    cost_usd REAL GENERATED ALWAYS AS (cost_nanousd / 1e9) VIRTUAL,
    unpriced_count INTEGER NOT NULL,
    PRIMARY KEY (day, model, speed)
) STRICT, WITHOUT ROWID
