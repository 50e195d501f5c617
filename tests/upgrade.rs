//! From every schema there was to the newest, and not back; and from a parser to a newer one.
//!
//! `tests/golden/` holds a database of each schema as SQL, made of the logs in `tests/golden/home`
//! by the program of its time, or, where none was released, by its migrations. One of a new schema
//! is added with `dump.py` there.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::support::whole::{database, look};
use crate::support::{Dump, Home, Service, copy_tree, integer, strings, wait};

const NEWEST: i64 = 3;
const GOLDEN: [&str; 3] = [
    include_str!("golden/schema-1.sql"),
    include_str!("golden/schema-2.sql"),
    include_str!("golden/schema-3.sql"),
];

#[expect(clippy::disallowed_methods, reason = "changes the database as another program would")]
fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::default()).unwrap()
}

/// A home with the logs that the golden databases were made from.
fn with_logs() -> Home {
    let home = Home::new();
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/home");
    copy_tree(&logs, home.path());
    home
}

/// The same, with the database of a schema.
fn of_schema(version: i64) -> Home {
    let home = with_logs();
    let sql = GOLDEN[usize::try_from(version).unwrap() - 1];
    let sql = sql.replace("/home/ada", home.path().to_str().unwrap());
    fs::create_dir_all(home.data_dir()).unwrap();
    open(&database(&home)).execute_batch(&sql).unwrap();
    home
}

/// What must be equal whichever prices were known: these change without a schema.
fn counted(home: &Home) -> Dump {
    let db = home.database();
    let mut dump = Dump::of(&db);
    let prices = ["price_version", "raw_extras"];
    let rows = Dump::rows(&db, "usage_events", &[&["id"][..], &prices].concat());
    dump.0.insert("usage_events", rows);
    for cells in ["usage_cells", "project_cells"] {
        dump.0.insert(cells, Dump::rows(&db, cells, &["last_event_id"]));
    }
    dump
}

/// Everything, to the last position and time.
fn all_of_it(db: &Connection) -> Vec<String> {
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let rows = |table: String| {
        let columns = strings(db, &format!("SELECT name FROM pragma_table_xinfo('{table}')"));
        let columns: Vec<_> = columns.iter().map(|name| format!("quote(\"{name}\")")).collect();
        strings(db, &format!("SELECT '{table}' || {} FROM {table}", columns.join("||'|'||")))
    };
    strings(db, tables).into_iter().flat_map(rows).collect()
}

fn version(db: &Connection) -> i64 {
    integer(db, "PRAGMA user_version")
}

#[test]
fn h44_a_database_of_every_schema_becomes_what_a_fresh_one_would_be() {
    let fresh = with_logs();
    fresh.tallyd(&["backfill"]);
    let expect = counted(&fresh);
    assert!(expect.0["usage_events"].len() > 10, "{expect:?}");
    assert_eq!(version(&fresh.database()), NEWEST, "a new schema needs a golden database");
    for schema in 1..=NEWEST {
        let home = of_schema(schema);
        let rows = Dump::rows(&look(&database(&home)).unwrap(), "usage_events", &[]);
        // Whatever opens it to write migrates it.
        home.tallyd(&["rebuild", "daily"]);
        assert_eq!(version(&home.database()), NEWEST, "from {schema}");
        home.tallyd(&["check"]);
        assert_eq!(Dump::rows(&home.database(), "usage_events", &[]), rows, "from {schema}");
        let backup = home.data_dir().join(format!("tallyd.db.before-v{NEWEST}"));
        assert_eq!(backup.exists(), schema < NEWEST, "from {schema}");
        if schema < NEWEST {
            let db = look(&backup).unwrap();
            assert_eq!(strings(&db, "PRAGMA integrity_check"), ["ok"]);
            assert_eq!(version(&db), schema);
            assert_eq!(Dump::rows(&db, "usage_events", &[]), rows);
        }
        home.tallyd(&["backfill"]);
        let first = all_of_it(&home.database());
        home.tallyd(&["backfill"]);
        assert_eq!(all_of_it(&home.database()), first, "a second start, from {schema}");
        home.tallyd(&["reprice"]);
        home.tallyd(&["check"]);
        counted(&home).assert_same(&expect, &format!("from schema {schema}"));
        home.tallyd(&["rebuild", "--all"]);
        counted(&home).assert_same(&expect, &format!("from schema {schema}, rebuilt"));
    }
}

#[test]
fn h44_the_running_service_migrates_and_shows_what_was_counted_before() {
    let home = of_schema(1);
    // The agent has deleted its logs since.
    fs::remove_dir_all(home.path().join(".claude")).unwrap();
    fs::remove_dir_all(home.path().join(".codex")).unwrap();
    let service = Service::start(&home);
    service.wait_ready();
    let (status, body) = service.get("/api/v1/marts/model_day?limit=100");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("gpt-5.5") && body.contains("claude-opus-5"), "{body}");
    assert_eq!(service.stop(), 0);
    home.tallyd(&["check"]);
    assert_eq!(integer(&home.database(), "SELECT sum(message_count) FROM daily_mart"), 10);
}

#[test]
fn h43_a_downgrade_is_refused_with_both_versions_and_the_way_back_which_works() {
    let home = of_schema(NEWEST);
    home.tallyd(&["backfill"]);
    let expect = counted(&home);
    // A newer program has migrated it, after a backup, and written since.
    let (path, newer) = (database(&home), NEWEST + 1);
    let backup = home.data_dir().join(format!("tallyd.db.before-v{newer}"));
    home.tallyd(&["backup", backup.to_str().unwrap()]);
    let db = open(&path);
    db.execute_batch("ALTER TABLE usage_events ADD COLUMN mood TEXT").unwrap();
    db.pragma_update(None, "user_version", newer).unwrap();
    db.close().unwrap();
    let before = fs::read(&path).unwrap();
    for command in [&["run"][..], &["backfill"], &["rebuild", "--all"], &["report", "daily"]] {
        let output = home.run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{command:?}: {said}");
        let versions = [format!("schema {newer}"), format!("up to {NEWEST}")];
        assert!(versions.iter().all(|words| said.contains(words)), "{said}");
        assert!(said.contains("hint: install the newer tallyd"), "{said}");
        assert!(said.contains(&format!("tallyd restore {}`", backup.display())), "{said}");
        assert_eq!(fs::read(&path).unwrap(), before, "{command:?}");
    }
    home.tallyd(&["restore", backup.to_str().unwrap()]);
    home.tallyd(&["backfill"]);
    home.tallyd(&["check"]);
    counted(&home).assert_same(&expect, "after going back");
}

#[test]
fn what_an_older_parser_has_counted_wrong_is_corrected_and_nothing_is_doubled() {
    const SESSION: &str = ".claude/projects/-w-engine/5e550000-0000-4000-8000-00000000a0da.jsonl";
    let fresh = with_logs();
    fresh.tallyd(&["backfill"]);
    let expect = counted(&fresh);
    let home = with_logs();
    let gone = ".claude/projects/-w-gone/5e550000-0000-4000-8000-00000000dead.jsonl";
    let log = fs::read_to_string(home.path().join(SESSION)).unwrap();
    let other = log.replace("a0da", "dead").replace("msg_010", "msg_019").replace("\"p-", "\"q-");
    home.write(gone, other.replace("/w/engine", "/w/gone"));
    home.tallyd(&["backfill"]);
    fs::remove_file(home.path().join(gone)).unwrap();
    // What an older one made of the same lines: other figures, and a call that is none.
    let db = open(&database(&home));
    db.execute_batch(
        "UPDATE source_checkpoint SET parser_version = 0, oldest_parser_version = 0;
         UPDATE usage_events SET parser_version = 0;
         UPDATE usage_events SET output_tokens = output_tokens / 2 + 7,
             cost_nanousd = cost_nanousd * 3, model = model || '-old'
         WHERE model <> '';
         INSERT INTO usage_events (event_key, provider, project_id, session_id, ts_ms, model,
             input_tokens, output_tokens, cache_read_tokens, cache_create_tokens,
             cache_create_1h_tokens, reasoning_tokens, web_search_requests, is_sidechain, copy_rank,
             source_id, parser_version, day_number)
         SELECT 'claude:none', provider, project_id, session_id, ts_ms, model, 1000, 1000, 0, 0, 0,
             0, 0, 0, 0, source_id, 0, day_number
         FROM usage_events WHERE model <> '' AND project_id =
             (SELECT id FROM projects WHERE path = '/w/engine') LIMIT 1;",
    )
    .unwrap();
    db.close().unwrap();
    home.tallyd(&["rebuild", "--all"]);
    let of_gone = "SELECT event_key || output_tokens || model FROM usage_events WHERE project_id =
        (SELECT id FROM projects WHERE path = '/w/gone') ORDER BY 1";
    let kept = strings(&home.database(), of_gone);
    assert!(kept.len() > 4 && kept.iter().any(|row| row.contains("-old")), "{kept:?}");
    let rows = integer(&home.database(), "SELECT count(*) FROM usage_events");
    // In the background, by the running service.
    let service = Service::start(&home);
    service.wait_ready();
    wait("all sources to be read by the newer parser", || {
        let old = "SELECT count(*) FROM source_checkpoint
            WHERE oldest_parser_version = 0 AND path NOT LIKE '%-w-gone%'";
        integer(&home.database(), old) == 0
    });
    assert_eq!(service.stop(), 0);
    home.tallyd(&["check"]);
    assert_eq!(strings(&home.database(), of_gone), kept, "what cannot be read again stays");
    assert_eq!(integer(&home.database(), "SELECT count(*) FROM usage_events"), rows - 1);
    let there = |dump: &Dump| -> Vec<String> {
        let rows = dump.0["usage_events"].iter();
        rows.filter(|row| !row.contains("/w/gone")).cloned().collect()
    };
    assert_eq!(there(&counted(&home)), there(&expect));
}
