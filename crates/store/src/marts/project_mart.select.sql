SELECT
    project_id,
    path,
    display_name,
    (
        -- The first live day holds the first time; it is found without reading the others.
        SELECT min(first_ts_ms)
        FROM usage_cells INDEXED BY usage_cells_project
        WHERE project_id = dirty.project_id
            AND message_count + user_message_count > 0
            AND day = (
                SELECT day
                FROM usage_cells INDEXED BY usage_cells_project
                WHERE project_id = dirty.project_id AND message_count + user_message_count > 0
                ORDER BY day
                LIMIT 1
            )
    ),
    (
        SELECT max(last_ts_ms)
        FROM usage_cells INDEXED BY usage_cells_project
        WHERE project_id = dirty.project_id
            AND message_count + user_message_count > 0
            AND day = (
                SELECT day
                FROM usage_cells INDEXED BY usage_cells_project
                WHERE project_id = dirty.project_id AND message_count + user_message_count > 0
                ORDER BY day DESC
                LIMIT 1
            )
    ),
    sum(session_count),
    count(*),
    sum(message_count),
    sum(user_message_count),
    sum(input_tokens),
    sum(output_tokens),
    sum(cache_read_tokens),
    sum(cache_create_tokens),
    sum(cost_nanousd),
    sum(unpriced_count)
FROM dirty
CROSS JOIN project_cells INDEXED BY sqlite_autoindex_project_cells_1 USING (project_id)
CROSS JOIN projects ON projects.id = project_id
WHERE message_count + user_message_count > 0
GROUP BY project_id
