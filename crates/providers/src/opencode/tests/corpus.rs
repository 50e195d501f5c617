//! Real logs, where they are at hand.

use super::*;

/// The real files, as they are found on disk.
struct Disk;

impl Surroundings for Disk {
    fn file(&self, path: &Path) -> Option<Vec<u8>> {
        fs::read(path).ok()
    }

    fn files_in(&self, folder: &Path) -> Vec<PathBuf> {
        entries(folder, Path::is_file)
    }

    fn folders_in(&self, folder: &Path) -> Vec<PathBuf> {
        entries(folder, Path::is_dir)
    }
}

fn entries(folder: &Path, is_wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| is_wanted(path)).collect()
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder, Path::is_dir)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn id_of(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The same messages as the agent would have them in its database.
fn database_of(storage: &Path) -> World {
    let world = World::new();
    for project in folders_in(&storage.join("session")) {
        for path in Disk.files_in(&project) {
            let session = json_of(&path);
            let sql = "INSERT INTO session VALUES (?1, 'prj', ?2, ?3, ?4, ?5)";
            let text = |name: &str| session[name].as_str().map(str::to_owned);
            let created_ms = session["time"]["created"].as_i64();
            let row = (id_of(&path), text("parentID"), text("directory"), text("path"), created_ms);
            world.db.execute(sql, row).unwrap();
        }
    }
    for session in folders_in(&storage.join("message")) {
        for path in Disk.files_in(&session) {
            world.message(&id_of(&path), &id_of(&session), &json_of(&path));
            for part in Disk.files_in(&storage.join("part").join(id_of(&path))) {
                world.part(&id_of(&part), &id_of(&path), &json_of(&part));
            }
        }
    }
    world
}

#[test]
fn the_corpus_adds_up_to_what_was_counted_without_this_code() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/home-d");
    if !home.is_dir() {
        println!("no corpus: not checked");
        return;
    }
    let env = Env { home, ..Env::default() };
    let [root] = &OpenCode.roots(&env)[..] else { panic!("one root") };
    let mut events = Vec::new();
    let mut skips = Skips::default();
    let messages = root.join("storage/message");
    for path in folders_in(&messages).iter().flat_map(|session| Disk.files_in(session)) {
        assert!(
            OpenCode.is_source(root, &path) && OpenCode.looks_into(root, path.parent().unwrap())
        );
        let bytes = fs::read(&path).unwrap();
        let source = Source { path, root: root.clone(), ..source("") };
        let mut out = Parsed::default();
        OpenCode.parse(&source, &bytes, &Disk, "", &mut out).unwrap();
        assert!(out.retracted.is_empty());
        events.append(&mut out.events);
        skips.merge(&out.skips);
    }
    let tree = merged(&events);
    let mut database = database_of(&root.join("storage"));
    database.read();
    for (rows, skips) in [(&tree, &skips), (&database.rows, &database.skips)] {
        let sum = |count: fn(&usage::Tokens) -> u64| {
            rows.values().map(|row| count(&row.usage.tokens)).sum::<u64>()
        };
        let calls = rows.values().filter(|row| row.role == Role::Assistant).count();
        assert_eq!((calls, rows.len() - calls), (106, 6));
        assert_eq!(sum(|tokens| tokens.input), 968_247);
        assert_eq!(sum(|tokens| tokens.output), 22_018 + 5_841);
        assert_eq!(sum(|tokens| tokens.reasoning), 5_841);
        assert_eq!(sum(|tokens| tokens.cache_read), 4_494_533);
        assert_eq!(sum(|tokens| tokens.cache_create), 0);
        assert!(rows.values().all(|row| row.usage.logged_cost_nanousd.is_none()));
        assert_eq!(skips.0, [(Skip::NoUsage, 1)].into());
    }
    let keys = |rows: &BTreeMap<EventKey, UsageEvent>| rows.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&tree), keys(&database.rows), "a migrated message is the same");
}
