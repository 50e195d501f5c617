//! A home folder, the built binary, and what is in the database afterwards.

pub(crate) mod logs;
pub(crate) mod others;
pub(crate) mod whole;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

pub(crate) mod client;
pub(crate) mod exposition;
pub(crate) mod faults;

/// How long anything may take before a story fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A user's home folder with nothing in it.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    /// Commands run as this user.
    uid: Option<u32>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), uid: None }
    }

    /// A home that holds a copy of `other`'s files.
    pub(crate) fn copy_of(other: &Path) -> Self {
        let home = Self::new();
        copy_tree(other, home.path());
        home
    }

    /// A home that holds what several hold. Of a file that two of them had, one would be lost.
    pub(crate) fn merged(homes: &[PathBuf]) -> Self {
        let merged = Self::new();
        for home in homes {
            for file in files(home) {
                let file = file.strip_prefix(home).unwrap();
                assert!(!merged.path().join(file).exists(), "two homes hold {}", file.display());
            }
            copy_tree(home, merged.path());
        }
        merged
    }

    /// The home of somebody to whom something can be forbidden: nothing is to root.
    pub(crate) fn of_a_mortal() -> Self {
        const NOBODY: u32 = 65_534;
        let mut home = Self::new();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            home.uid = Some(NOBODY);
            // The checkout may lie where only root can go.
            home.copy_binary();
        }
        home
    }

    /// Puts a new copy of the binary in the home folder; commands run that one from now on.
    pub(crate) fn copy_binary(&self) -> PathBuf {
        let (new, binary) = (self.path().join("tallyd.new"), self.path().join("tallyd"));
        // Another process makes the copy: a child that a story forks meanwhile would inherit the
        // file open for writing, and a program that is being written cannot be started.
        let copy =
            Command::new("cp").args([Path::new(env!("CARGO_BIN_EXE_tallyd")), &new]).status();
        assert!(copy.unwrap().success());
        fs::rename(new, &binary).unwrap();
        binary
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join(".local/share/tallyd")
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if self.uid.is_some() {
            let below = |folder: &&Path| folder.starts_with(self.path());
            for place in path.ancestors().take_while(below) {
                std::os::unix::fs::chown(place, self.uid, self.uid).unwrap();
            }
        }
        path
    }

    pub(crate) fn append(&self, path: &str, text: impl AsRef<[u8]>) {
        append(&self.path().join(path), text.as_ref());
    }

    /// `tallyd` with this home, and nothing else of the environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let own = self.path().join("tallyd");
        let common = PathBuf::from(env!("CARGO_BIN_EXE_tallyd"));
        let mut command = Command::new(if own.exists() { own } else { common });
        command.args(args).env_clear().env("HOME", self.path()).env("TZ", "UTC");
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn tallyd(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "tallyd {args:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command with `--json`.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.tallyd(&args)).unwrap()
    }

    /// The database, once the service has made it.
    #[expect(clippy::disallowed_methods, reason = "reads as any other program would")]
    pub(crate) fn database(&self) -> Connection {
        let path = self.data_dir().join("tallyd.db");
        let mut open = None;
        wait("the database", || {
            open = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
                .and_then(|db| {
                    db.busy_timeout(Duration::from_secs(5))?;
                    db.prepare("SELECT * FROM session_mart").map(drop)?;
                    Ok(db)
                })
                .ok();
            open.is_some()
        });
        open.unwrap()
    }

    /// Everything that must be equal wherever the same logs were read, however.
    pub(crate) fn dump(&self) -> Dump {
        Dump::of(&self.database())
    }
}

/// Every command that the help shows, by its words, with its help.
pub(crate) fn commands(home: &Home) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut open = vec![vec![]];
    while let Some(words) = open.pop() {
        let args: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = home.tallyd(&args);
        let below = help.split_once("\nCommands:\n").map_or("", |(_, after)| after);
        let names = below.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
            line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split(' ').next()
        });
        let names: Vec<&str> = names.filter(|name| *name != "help").collect();
        for name in names.into_iter().rev() {
            open.push([&words[..], &[name.to_owned()]].concat());
        }
        let words = ["tallyd".to_owned()].into_iter().chain(words).collect::<Vec<_>>();
        all.push((words.join(" "), help));
    }
    all
}

/// A running service.
pub(crate) struct Service {
    child: Child,
    port: u16,
    log: mpsc::Receiver<String>,
}

impl Service {
    pub(crate) fn start(home: &Home) -> Self {
        Self::spawn(home.command(&["run", "--listen", "127.0.0.1:0", "--log-format", "json"]))
    }

    /// Starts `run` and waits until it listens.
    pub(crate) fn spawn(command: Command) -> Self {
        let mut service = Self::launch(command);
        service.wait_listening();
        service
    }

    /// Starts `run` and waits for nothing.
    pub(crate) fn launch(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, port: 0, log }
    }

    pub(crate) fn wait_listening(&mut self) {
        let line = self.wait_for_log("listening on http://127.0.0.1:");
        let after = line.split("http://127.0.0.1:").nth(1).unwrap();
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        self.port = digits.parse().unwrap();
    }

    pub(crate) fn wait_for_log(&self, needle: &str) -> String {
        let mut seen = Vec::new();
        let end = Instant::now() + DEADLINE;
        while let Ok(line) = self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(needle) {
                return line;
            }
            seen.push(line);
        }
        panic!("no log line says {needle:?}; seen:\n{}", seen.join("\n"));
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// `GET` on the service: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.port, path)
    }

    pub(crate) fn wait_ready(&self) {
        wait("the service to be ready", || self.get("/readyz").0 == 200);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops with TERM and waits for the end; the exit code.
    pub(crate) fn stop(self) -> i32 {
        self.signal("-TERM");
        self.wait()
    }

    /// Waits for the end; the exit code.
    pub(crate) fn wait(mut self) -> i32 {
        let mut code = None;
        wait("the service to stop", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().unwrap_or(-1)
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A story that failed leaves its service behind; one that was stopped is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub(crate) fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status, body)
}

/// Waits until `done`, at most [`DEADLINE`].
pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits until a count has come as far as `target`, however long that takes a busy machine: at most
/// [`DEADLINE`] in which it does not grow.
pub(crate) fn wait_for_count(what: &str, target: i64, mut count: impl FnMut() -> i64) {
    let mut seen = count();
    while seen < target {
        let before = seen;
        wait(what, || {
            seen = count();
            seen > before
        });
    }
}

/// Rows as text, in an order of their own, by table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dump(pub(crate) BTreeMap<&'static str, Vec<String>>);

impl Dump {
    pub(crate) const MARTS: [&'static str; 5] =
        ["daily_mart", "model_day_mart", "project_mart", "provider_day_mart", "session_mart"];

    /// All columns of events and marts, except ids; projects by their path.
    pub(crate) fn of(db: &Connection) -> Self {
        let mut tables = BTreeMap::new();
        for table in ["usage_events"].into_iter().chain(Self::MARTS) {
            tables.insert(table, Self::rows(db, table, &["id"]));
        }
        Self(tables)
    }

    /// The rows of a table without some of its columns.
    pub(crate) fn rows(db: &Connection, table: &str, except: &[&str]) -> Vec<String> {
        let columns: Vec<String> = db
            .prepare(&format!("SELECT name FROM pragma_table_xinfo('{table}')"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .filter(|name: &String| !except.contains(&&**name))
            .map(|name| {
                if name == "project_id" {
                    format!("(SELECT path FROM projects p WHERE p.id = {table}.project_id)")
                } else {
                    format!("\"{name}\"")
                }
            })
            .map(|column| format!("quote({column})"))
            .collect();
        assert!(columns.len() > 3, "{table} has columns");
        strings(db, &format!("SELECT {} FROM {table} ORDER BY 1", columns.join("||'|'||")))
    }

    /// Fails with the first differing rows.
    #[track_caller]
    pub(crate) fn assert_same(&self, expect: &Self, context: &str) {
        for (table, rows) in &expect.0 {
            let got = &self.0[table];
            if got != rows {
                let missing: Vec<_> = rows.iter().filter(|r| !got.contains(r)).take(3).collect();
                let extra: Vec<_> = got.iter().filter(|r| !rows.contains(r)).take(3).collect();
                panic!(
                    "{context}: {table} has {} rows, expected {}\nmissing: {missing:#?}\nextra: {extra:#?}",
                    got.len(),
                    rows.len()
                );
            }
        }
    }
}

pub(crate) fn strings(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

pub(crate) fn integer(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

pub(crate) fn append(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

/// Homes with real logs, if they stand beside this checkout.
pub(crate) fn corpus_homes() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let mut homes: Vec<PathBuf> = fs::read_dir(&corpus)
        .map(|entries| entries.map(|e| e.unwrap().path()).collect())
        .unwrap_or_default();
    homes.retain(|home| home.is_dir());
    homes.sort();
    if homes.is_empty() {
        println!("skipped: no corpus of real logs at {}", corpus.display());
    }
    homes
}

/// Random numbers that are the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
