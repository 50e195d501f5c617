//! The arrows between the crates: each keeps one thing out.

use std::path::Path;

/// Crates of this workspace that a crate depends on, and all others.
fn dependencies(name: &str) -> (Vec<String>, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let names = manifest["dependencies"].as_table().unwrap().keys().cloned();
    names.partition(|name| ["daemon", "ingest", "providers", "store", "usage"].contains(&&**name))
}

#[test]
fn crates_depend_on_each_other_in_one_direction_only() {
    let own = |name| dependencies(name).0;
    assert_eq!(own("usage"), [""; 0]);
    assert_eq!(own("providers"), ["usage"]);
    assert_eq!(own("ingest"), ["providers", "usage"]);
    assert_eq!(own("store"), ["usage"]);
    assert_eq!(own("daemon"), ["ingest", "providers", "store", "usage"]);
}

#[test]
fn a_crate_cannot_do_what_it_must_not() {
    let others = |name| dependencies(name).1;
    for io in ["rusqlite", "tokio", "rustix", "notify", "hyper"] {
        assert!(!others("usage").contains(&io.to_owned()), "usage does no I/O");
        assert!(!others("providers").contains(&io.to_owned()), "providers do no I/O");
    }
    assert!(!others("ingest").contains(&"tokio-rusqlite".to_owned()), "ingest writes no database");
    for database in ["rusqlite", "tokio-rusqlite"] {
        assert!(!others("daemon").contains(&database.to_owned()), "daemon asks the store");
    }
}
