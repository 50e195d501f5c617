//! The owner of a database: another process, which does what it is told on its standard input.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::types::Value;

/// The variable that makes a process the owner of the database it names.
pub(crate) const ROLE: &str = "TALLYD_MODEL_OWNER";

/// Begins an answer; other lines are the test program's own.
const ANSWER: &str = "@ ";

/// An owner waits so long for a lock before it gives up.
const BUSY: Duration = Duration::from_secs(10);

/// Serves until its input ends. The connection is opened when it is needed.
pub(crate) fn serve(path: &Path) {
    let mut db = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let answer = match line.as_str() {
            "close" => {
                db = None;
                Ok(String::new())
            }
            sql => run(&mut db, path, sql),
        };
        let answer = answer.unwrap_or_else(|e| format!("error: {e}"));
        // In one piece, on a line of its own.
        std::io::stdout().write_all(format!("\n{ANSWER}{answer}\n").as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the owner of a foreign database")]
fn run(db: &mut Option<Connection>, path: &Path, sql: &str) -> rusqlite::Result<String> {
    let open = match db.take() {
        Some(open) => open,
        None => Connection::open(path)?,
    };
    open.busy_timeout(BUSY)?;
    let db = db.insert(open);
    let mut last = String::new();
    for part in sql.split(';').filter(|part| !part.trim().is_empty()) {
        let mut statement = db.prepare(part)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            last = match row.get(0)? {
                Value::Integer(n) => n.to_string(),
                Value::Text(text) => text,
                _ => String::new(),
            };
        }
    }
    Ok(last)
}

/// A handle on such a process. It is killed when this goes.
pub(crate) struct Owner {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Owner {
    pub(crate) fn of(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["owner_of_a_database", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    /// Has it run some statements; their last value. That it had to wait long is an error, too.
    pub(crate) fn run(&mut self, sql: &str) -> Result<String, String> {
        let begun = Instant::now();
        writeln!(self.input, "{sql}").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return Err("the owner has ended".to_owned());
            }
            if let Some(answer) = line.trim_end().strip_prefix(ANSWER.trim_end()) {
                let answer = answer.trim_start();
                if answer.starts_with("error: ") {
                    return Err(format!("{sql}: {answer} after {:?}", begun.elapsed()));
                }
                return Ok(answer.to_owned());
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It may have ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
