PRAGMA application_id = 1952541817;
PRAGMA user_version = 1;
BEGIN;
CREATE TABLE meta (
    key TEXT PRIMARY KEY NOT NULL,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta ("key", "value") VALUES ('created_at', 1795673852299);
INSERT INTO meta ("key", "value") VALUES ('epoch', 2);
INSERT INTO meta ("key", "value") VALUES ('time_zone', 'UTC');
CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL
) STRICT;
INSERT INTO projects ("id", "path", "display_name") VALUES (1, '/w/engine', 'engine');
INSERT INTO projects ("id", "path", "display_name") VALUES (2, '/w/compiler', 'compiler');
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
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (1, 'claude:prompt:p-1', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788307080000, '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 135644136076730, 1, 20697, 'user', NULL, NULL, NULL, '{"client":"2.1.260"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (2, 'claude:msg_010000000000000000000001', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788307090100, 'claude-opus-5', 12, 159, 40000, 1500, 0, 0, 0, 33410000, 0, 0, 135644136076730, 1, 20697, NULL, NULL, NULL, 20783, '{"client":"2.1.260"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (3, 'claude:msg_010000000000000000000002', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788307290250, 'claude-opus-5', 3, 420, 41512, 0, 0, 0, 0, 31271000, 0, 0, 135644136076730, 1, 20698, NULL, NULL, NULL, 20783, '{"client":"2.1.260"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (4, 'claude:prompt:p-2', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788336000000, '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 135644136076730, 1, 20698, 'user', NULL, NULL, NULL, '{"client":"2.1.260"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (5, 'claude:msg_010000000000000000000003', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788336009000, 'claude-haiku-4-5', 900, 77, 0, 0, 0, 0, 0, 1285000, 0, 0, 135644136076730, 1, 20698, NULL, NULL, NULL, 20783, '{"client":"2.1.260"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (6, 'claude:msg_010000000000000000000004', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788336019999, 'house-model', 50, 5, 0, 0, 0, 0, 0, NULL, 0, 0, 135644136076730, 1, 20698, NULL, NULL, 'unknown', NULL, '{"client":"2.1.260"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (7, 'codex:prompt:0197#MYfB8TLtWwLRpH_pmGUtDA', 'codex', NULL, 2, '0197a000-0000-7000-8000-00000000c0de', 1788339601500, '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32117842673073, 1, 20698, 'user', NULL, NULL, NULL, '{"client":"0.98.0"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (8, 'codex:tc:0197a000#cZWLyKuwIvTyAjxVJiM6TA', 'codex', NULL, 2, '0197a000-0000-7000-8000-00000000c0de', 1788339660000, 'gpt-5.5', 1000, 300, 1000, 0, 0, 150, 0, 14500000, 0, 0, 32117842673073, 1, 20698, NULL, NULL, NULL, 20783, '{"client":"0.98.0"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (9, 'codex:tc:0197a000#MvQRtwD5Gx1ENaMFGUoVID', 'codex', NULL, 2, '0197a000-0000-7000-8000-00000000c0de', 1788339720000, 'gpt-5.5', 1000, 40, 4000, 0, 0, 20, 0, 8200000, 0, 0, 32117842673073, 1, 20698, NULL, NULL, NULL, 20783, '{"client":"0.98.0"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (10, 'codex:tc:0197a000#Tg-kYng-544CktrS3bEjeA', 'codex', NULL, 2, '0197a000-0000-7000-8000-00000000c0de', 1788339780000, 'gpt-5.5', 500, 900, 5500, 0, 0, 450, 0, 32250000, 0, 0, 32117842673073, 1, 20698, NULL, NULL, NULL, 20783, '{"client":"0.98.0"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (11, 'claude:msg_010000000000000000000010', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788336060000, 'claude-haiku-4-5', 100, 20, 0, 0, 0, 0, 0, 200000, 1, 0, 136815717024819, 1, 20698, NULL, NULL, NULL, 20783, '{"agent":"a1","client":"2.1.260"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (12, 'claude:msg_010000000000000000000011', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788336061000, 'claude-haiku-4-5', 101, 21, 0, 0, 0, 0, 0, 206000, 1, 0, 136815717024819, 1, 20698, NULL, NULL, NULL, 20783, '{"agent":"a1","client":"2.1.260"}');
INSERT INTO usage_events ("id", "event_key", "provider", "account", "project_id", "session_id", "ts_ms", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests", "cost_nanousd", "is_sidechain", "copy_rank", "source_id", "parser_version", "day_number", "other_role", "other_speed", "other_cost_source", "price_version", "extras") VALUES (13, 'claude:msg_010000000000000000000012', 'claude-code', NULL, 1, '5e550000-0000-4000-8000-00000000a0da', 1788336062000, 'claude-haiku-4-5', 102, 22, 0, 0, 0, 0, 0, 212000, 1, 0, 136815717024819, 1, 20698, NULL, NULL, NULL, 20783, '{"agent":"a1","client":"2.1.260"}');
CREATE INDEX usage_events_ts_ms ON usage_events (ts_ms);
CREATE TABLE retracted_keys (
    event_key TEXT PRIMARY KEY NOT NULL,
    parser_version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq) VALUES ('usage_events', 13);
COMMIT;
