SELECT
    day,
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
CROSS JOIN usage_cells INDEXED BY sqlite_autoindex_usage_cells_1
    USING (day, model, speed)
WHERE message_count > 0
GROUP BY day, model, speed
