//! What stories of faults need: commands inside other commands, health, and the end of a service.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Dump, Home, Service, copy_tree, wait};

/// `command` run by another one, such as `strace -f`: the words of `by` go before it.
pub(crate) fn run_by(by: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(by[0]);
    outer.args(&by[1..]).arg(command.get_program()).args(command.get_args());
    outer.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer
}

/// Whether a command can be used here; says so if it cannot.
pub(crate) fn works(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let works = output.is_ok_and(|output| output.status.success());
    if !works {
        println!("skipped: {command:?} does not work here");
    }
    works
}

/// One call of an agent, a line of its log; equal numbers are the same call.
pub(crate) fn call(n: usize) -> String {
    format!(
        r#"{{"type":"assistant","uuid":"u{n}","sessionId":"s{}","cwd":"/w/{}","requestId":"req_{n}","timestamp":"2026-09-{:02}T10:00:00.000Z","message":{{"id":"msg_01AAAAAAAAAAAA{n:08}","model":"claude-opus-5","usage":{{"input_tokens":10,"output_tokens":{}}}}}}}
"#,
        n % 7,
        n % 3,
        1 + n % 28,
        1 + n % 100,
    )
}

pub(crate) fn calls(numbers: std::ops::Range<usize>) -> String {
    numbers.map(call).collect()
}

/// What an uninterrupted run makes of the logs in this home.
pub(crate) fn undisturbed(home: &Home) -> Dump {
    let other = Home::new();
    let logs = other.path().join(".claude");
    std::fs::create_dir_all(&logs).unwrap();
    copy_tree(&home.path().join(".claude"), &logs);
    other.tallyd(&["backfill"]);
    other.dump()
}

/// Fails unless the home's database is sound and holds what an uninterrupted run would hold.
#[track_caller]
pub(crate) fn assert_nothing_lost(home: &Home, context: &str) {
    home.tallyd(&["check"]);
    home.dump().assert_same(&undisturbed(home), context);
}

/// The verdict of one check, and what it says.
pub(crate) fn check_of(health: &Value, name: &str) -> (String, String) {
    let check = &health["checks"][name][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&check["status"]), text(&check["output"]))
}

/// Waits until the service is healthy in every respect.
pub(crate) fn wait_healthy(service: &Service) {
    wait("the service to be healthy", || service.health()["status"] == "pass");
}

impl Service {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `/health`, whose status code must agree with its verdict.
    pub(crate) fn health(&self) -> Value {
        let (status, body) = self.get("/health");
        let health: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status == 503, health["status"] == "fail", "{status}: {health}");
        health
    }

    /// Waits until a check has this verdict and says this.
    pub(crate) fn wait_for_check(&self, name: &str, verdict: &str, says: &str) -> Value {
        let mut last = Value::Null;
        wait(&format!("{name} to be {verdict} and say {says:?}"), || {
            last = self.health();
            let (found, output) = check_of(&last, name);
            found == verdict && output.contains(says)
        });
        assert!(last["status"] != "pass" || verdict == "pass", "{last}");
        last
    }

    /// Waits until the service ends by itself: its exit code, and what it logged.
    pub(crate) fn ended(mut self) -> (i32, String) {
        let mut status = None;
        wait("the service to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let log: Vec<String> = self.log.iter().collect();
        (status.unwrap().code().unwrap_or(-1), log.join("\n"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// Takes all space of a filesystem; it comes back when the file is removed.
pub(crate) fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    for size in [1 << 16, 1 << 12, 1 << 8, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
}

/// Errors that system calls of a running process give while this lives.
pub(crate) struct Injection(std::process::Child);

impl Injection {
    /// `faults` are expressions of `strace -e inject=`, on files below `paths` or, if empty, on all.
    /// `None` where strace may not attach to the service.
    pub(crate) fn into(service: &Service, faults: &[&str], paths: &[&Path]) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-p", &service.pid().to_string()]);
        for fault in faults {
            strace.args(["-e", &format!("inject={fault}")]);
        }
        for path in paths {
            strace.args([OsStr::new("-P"), path.as_os_str()]);
        }
        let mut strace = strace.stderr(std::process::Stdio::piped()).spawn().ok()?;
        let mut said = std::io::BufReader::new(strace.stderr.take()?);
        let mut line = String::new();
        while std::io::BufRead::read_line(&mut said, &mut line).is_ok_and(|n| n > 0) {
            if line.contains("attached") {
                // Whatever else it says must not fill the pipe.
                std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
                return Some(Self(strace));
            }
        }
        println!("skipped: strace may not attach here: {line}");
        strace.wait().unwrap();
        None
    }

    /// Lets the process go; it runs on without faults.
    pub(crate) fn end(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // A story that failed lets go of the service, too.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
