SELECT
    day,
    project_id,
    provider,
    model,
    speed,
    count(DISTINCT provider || char(31) || session_id),
    sum(message_count),
    sum(input_tokens),
    sum(output_tokens),
    sum(cache_read_tokens),
    sum(cache_create_tokens),
    sum(cost_nanousd),
    sum(unpriced_count)
FROM dirty
CROSS JOIN usage_cells INDEXED BY usage_cells_project
    USING (day, project_id, provider, model, speed)
WHERE message_count > 0
GROUP BY day, project_id, provider, model, speed
