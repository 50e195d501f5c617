-- The project is that of the session's earliest event; a project without a folder has no cwd.
SELECT
    provider,
    session_id,
    earliest_project_id,
    CASE WHEN substr(path, 1, length(provider) + 1) <> provider || ':' THEN path END,
    primary_model,
    first_ts_ms,
    last_ts_ms,
    message_count,
    user_message_count,
    user_message_count = 1 AND message_count > 0,
    input_tokens,
    output_tokens,
    cache_read_tokens,
    cache_create_tokens,
    cost_nanousd,
    unpriced_count
FROM (
    SELECT
        provider,
        session_id,
        (
            SELECT projects.id
            FROM usage_cells INDEXED BY usage_cells_session
            CROSS JOIN projects ON projects.id = project_id
            WHERE provider = dirty.provider
                AND session_id = dirty.session_id
                AND message_count + user_message_count > 0
            ORDER BY first_ts_ms, path
            LIMIT 1
        ) AS earliest_project_id,
        (
            SELECT model
            FROM usage_cells INDEXED BY usage_cells_session
            WHERE provider = dirty.provider
                AND session_id = dirty.session_id
                AND message_count > 0
            GROUP BY model
            ORDER BY
                sum(message_count) DESC,
                sum(input_tokens + output_tokens + cache_read_tokens + cache_create_tokens) DESC,
                model
            LIMIT 1
        ) AS primary_model,
        min(first_ts_ms) AS first_ts_ms,
        max(last_ts_ms) AS last_ts_ms,
        sum(message_count) AS message_count,
        sum(user_message_count) AS user_message_count,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        sum(cache_read_tokens) AS cache_read_tokens,
        sum(cache_create_tokens) AS cache_create_tokens,
        sum(cost_nanousd) AS cost_nanousd,
        sum(unpriced_count) AS unpriced_count
    FROM dirty
    CROSS JOIN usage_cells INDEXED BY usage_cells_session USING (provider, session_id)
    WHERE message_count + user_message_count > 0
    GROUP BY provider, session_id
)
CROSS JOIN projects ON projects.id = earliest_project_id
