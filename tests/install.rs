//! `tallyd service` with a stand-in for the service manager (`tests/systemctl.sh`): what is
//! written, what the manager is told, what is refused. And the unit that is written, looked at by
//! systemd's own tools. `tests/systemd/service` does the same with a real one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Home, Service, files, wait};

/// What `systemd-analyze security` may find at most, on a scale to 10.
const PLAIN: f64 = 6.2;
const STRICT: f64 = 1.5;
const SHARED: f64 = 1.0;

/// A user with a service manager.
struct User {
    home: Home,
    tools: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    data: Option<tempfile::TempDir>,
}

impl User {
    fn new() -> Self {
        let home = Home::of_a_mortal();
        home.copy_binary();
        let tools = tempfile::tempdir().unwrap();
        // The user notes down there what was asked for.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(tools.path(), open).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/systemctl.sh");
        for name in ["systemctl", "loginctl", "journalctl"] {
            let copied = Command::new("cp").arg(&script).arg(tools.path().join(name)).status();
            assert!(copied.unwrap().success());
        }
        let variables = vec![("TALLYD_LISTEN", "127.0.0.1:0".to_owned())];
        Self { home, tools, variables, data: None }
    }

    /// A user whose data directory may be sandboxed: in the folders that stories use it may not.
    fn with_data_elsewhere() -> Self {
        let mut user = Self::new();
        let data = tempfile::tempdir_in("/dev/shm").unwrap();
        let owner = user.home.path().metadata().unwrap();
        std::os::unix::fs::chown(data.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
        let place = data.path().join("tallyd").display().to_string();
        user.variables.push(("TALLYD_DATA_DIR", place));
        user.data = Some(data);
        user
    }

    fn data_dir(&self) -> PathBuf {
        self.data.as_ref().map_or_else(|| self.home.data_dir(), |data| data.path().join("tallyd"))
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.home.command(&[]);
        command.arg("service").args(args);
        let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", self.tools.path().display());
        command.env("PATH", path).env_remove("TZ").envs(self.variables.clone()).output().unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    fn must(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must be refused, with this exit code; why.
    #[track_caller]
    fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        error
    }

    /// What the manager was told since the last look, without what it was only asked.
    fn orders(&self) -> Vec<String> {
        let calls = self.tools.path().join("calls");
        let text = fs::read_to_string(&calls).unwrap_or_default();
        _ = fs::remove_file(calls);
        let orders = text.lines().filter(|line| !line.contains(" show"));
        orders.map(|line| line.trim_start_matches("systemctl --user ").to_owned()).collect()
    }

    fn unit(&self) -> PathBuf {
        self.home.path().join(".config/systemd/user/tallyd.service")
    }

    fn drop_in(&self) -> PathBuf {
        self.home.path().join(".config/systemd/user/tallyd.service.d/strict.conf")
    }

    /// What is in the home folder.
    fn files(&self) -> Vec<PathBuf> {
        files(self.home.path())
    }

    fn play(&self, name: &str, text: &str) {
        fs::write(self.tools.path().join(name), text).unwrap();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let Ok(pid) = fs::read_to_string(self.tools.path().join("pid")) else { return };
        _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
    }
}

const FIRST: [&str; 3] = ["daemon-reload", "enable tallyd.service", "start tallyd.service"];
const AGAIN: [&str; 2] = ["daemon-reload", "restart tallyd.service"];

#[test]
fn what_is_installed_once_is_started_once_and_again_only_if_something_changed() {
    let mut user = User::new();
    user.variables.push(("CODEX_HOME", "/w/codex".to_owned()));
    let said = user.must(&["install"]);
    assert_eq!(user.orders(), FIRST);
    for words in ["wrote", "recorded CODEX_HOME=/w/codex", "enabled", "started", "health pass"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.contains("running on http://127.0.0.1:"), "{said}");
    assert!(said.contains("loginctl enable-linger"), "{said}");

    user.play("linger", "yes");
    let said = user.must(&["install"]);
    assert_eq!(user.orders(), [""; 0]);
    assert!(said.contains("unchanged") && !said.contains("enable-linger"), "{said}");

    user.variables.pop();
    user.variables.push(("CLAUDE_CONFIG_DIR", "/w/claude".to_owned()));
    let status = user.must(&["status"]);
    assert!(status.contains("CODEX_HOME is not set here, the service has /w/codex"), "{status}");
    assert!(status.contains("CLAUDE_CONFIG_DIR is /w/claude here"), "{status}");
    user.must(&["install"]);
    assert_eq!(user.orders(), AGAIN);
    let text = fs::read_to_string(user.unit()).unwrap();
    assert!(text.contains("CLAUDE_CONFIG_DIR=/w/claude") && !text.contains("CODEX"), "{text}");

    // Another file at the same place.
    user.home.copy_binary();
    let status: serde_json::Value =
        serde_json::from_str(&user.must(&["status", "--json"])).unwrap();
    assert_eq!(status["stale"], true, "{status}");
    assert_eq!(status["drift"], serde_json::json!([]));
    user.must(&["install"]);
    assert_eq!(user.orders(), ["restart tallyd.service"]);
    let status = user.must(&["status"]);
    assert!(!status.contains("was replaced"), "{status}");
    user.orders();
}

#[test]
fn the_stricter_sandbox_comes_and_goes_with_its_flag() {
    let user = User::with_data_elsewhere();
    user.must(&["install"]);
    user.orders();
    user.must(&["install", "--strict"]);
    assert_eq!(user.orders(), AGAIN);
    let data = user.data_dir();
    let text = fs::read_to_string(user.drop_in()).unwrap();
    assert!(text.contains(&format!("ReadWritePaths={}\n", data.display())), "{text}");
    assert!(user.must(&["install"]).contains("removed the stricter sandbox"));
    assert!(!user.drop_in().parent().unwrap().exists());
}

#[test]
fn uninstalled_nothing_is_left_but_what_was_counted_and_that_goes_if_asked_for() {
    let user = User::with_data_elsewhere();
    assert!(user.must(&["uninstall"]).contains("not installed"));
    assert_eq!(user.orders(), [""; 0]);
    user.must(&["install", "--strict"]);
    user.orders();
    let said = user.must(&["uninstall"]);
    assert_eq!(user.orders(), ["disable --now tallyd.service", "daemon-reload"]);
    assert!(said.contains("what was counted stays in"), "{said}");
    assert!(user.data_dir().join("tallyd.db").exists());
    assert!(!user.home.path().join(".config").exists());
    user.must(&["uninstall", "--purge"]);
    assert!(!user.data_dir().exists());

    let user = User::new();
    let before = user.files();
    user.must(&["install"]);
    user.must(&["uninstall", "--purge"]);
    assert_eq!(user.files(), before);
    assert!(!user.home.path().join(".local").exists());
    assert!(user.must(&["uninstall", "--purge"]).contains("not installed"));
}

#[test]
fn what_others_put_there_is_left_as_it_is() {
    let user = User::new();
    let text = "[Service]\nExecStart=/usr/bin/true\n";
    user.home.write(".config/systemd/user/tallyd.service", text);
    for command in ["install", "uninstall"] {
        let error = user.refused(&[command], 1);
        assert!(error.contains("was not written by") && error.contains("hint:"), "{error}");
    }
    assert_eq!(fs::read_to_string(user.unit()).unwrap(), text);
    // Masked.
    fs::remove_file(user.unit()).unwrap();
    symlink("/dev/null", user.unit()).unwrap();
    let error = user.refused(&["install"], 1);
    assert!(error.contains("is a link to /dev/null"), "{error}");
    fs::remove_file(user.unit()).unwrap();
    assert_eq!(user.orders(), [""; 0]);
    // A drop-in of one's own outlives the service.
    let own = ".config/systemd/user/tallyd.service.d/own.conf";
    let own = user.home.write(own, "[Service]\nNice=1\n");
    user.must(&["install"]);
    assert!(user.must(&["uninstall"]).contains("is your own"));
    assert!(own.exists());
}

#[test]
fn beside_somebody_who_counts_in_the_foreground_nothing_is_installed() {
    let user = User::new();
    let service = Service::start(&user.home);
    service.wait_ready();
    let before = user.files();
    let error = user.refused(&["install"], 75);
    assert!(error.contains(&format!("tallyd run (process {})", service.pid())), "{error}");
    assert!(error.contains("hint: stop it first"), "{error}");
    assert_eq!(user.orders(), [""; 0]);
    assert_eq!(user.files(), before);
    assert!(user.refused(&["uninstall", "--purge"], 75).contains("in use"));
    assert_eq!(user.files(), before);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_wrong_configuration_is_refused_before_anything_is_written() {
    let user = User::new();
    user.home.write(".config/tallyd/config.toml", "nonsense = 1\n");
    let before = user.files();
    assert!(user.refused(&["install"], 78).contains("nonsense"));
    assert_eq!(user.files(), before);
    assert_eq!(user.orders(), [""; 0]);
    // It can be removed all the same.
    fs::remove_file(user.home.path().join(".config/tallyd/config.toml")).unwrap();
    user.must(&["install"]);
    user.home.write(".config/tallyd/config.toml", "nonsense = 1\n");
    assert!(user.must(&["uninstall"]).contains("nonsense"));
    assert!(!user.unit().exists());
}

#[test]
fn what_cannot_be_done_is_refused_with_what_can_be() {
    let user = User::new();
    user.play("no-manager", "");
    let error = user.refused(&["install"], 1);
    assert!(error.contains("hint:") && error.contains("systemd"), "{error}");
    assert!(!user.unit().exists());
    let mut alone = user.home.command(&["service", "install"]);
    let output = alone.env("PATH", "/nowhere").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("systemd does not run") && error.contains("`tallyd run`"), "{error}");

    let mut elsewhere = user.home.command(&["service", "install"]);
    let output = elsewhere.env("HOME", "/proc/1").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    if rustix::process::geteuid().is_root() {
        assert!(error.contains("belongs to user 0"), "{error}");
        let home = Home::new();
        let error = String::from_utf8(home.run(&["service", "install"]).stderr).unwrap();
        assert!(error.contains("root") && error.contains("tallyd@.service"), "{error}");
    } else {
        println!("skipped: root is refused, and the home of root for others, only as root");
    }

    let user = User::with_data_elsewhere();
    user.play("refuses", "226");
    let error = user.refused(&["install", "--strict"], 1);
    assert!(error.contains("226") && error.contains("without --strict"), "{error}");
    user.play("refuses", "1");
    let error = user.refused(&["install"], 1);
    assert!(error.contains("tallyd service logs"), "{error}");
    let mut odd = user;
    odd.variables.push(("CODEX_HOME", "/a\nb".to_owned()));
    assert!(odd.refused(&["install"], 1).contains("CODEX_HOME"));
    let tmp = ["install", "--strict", "--data-dir", "/tmp/x"];
    odd.variables.pop();
    assert!(odd.refused(&tmp, 1).contains("stricter sandbox"));
}

#[test]
fn status_and_logs_tell_what_there_is() {
    let user = User::new();
    let status = user.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("none installed") && text.contains("not running"), "{text}");
    user.must(&["install"]);
    let text = user.must(&["status"]);
    for words in ["enabled", "active (running)", "2 restarts", "health pass"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&user.must(&["status", "--json"])).unwrap();
    assert_eq!(json["installed"], true);
    assert_eq!(json["active"], true);
    assert_eq!(json["stale"], false);
    assert_eq!(json["restarts"], 2);
    assert!(json["memory_bytes"].is_null());
    assert_eq!(json["service"]["health"]["status"], "pass");
    let steps: serde_json::Value =
        serde_json::from_str(&user.must(&["install", "--json"])).unwrap();
    assert!(steps["steps"][0].as_str().unwrap().starts_with("unchanged"), "{steps}");

    assert!(user.refused(&["logs"], 1).contains("systemd-journal"));
    user.play("journal", "a line of the service\n");
    user.orders();
    let said = user.must(&["logs", "-f", "-n", "5", "--since", "-1h"]);
    assert!(said.contains("a line of the service"), "{said}");
    let asked = "journalctl --user --unit tallyd.service --lines 5 --no-pager --follow --since -1h";
    assert_eq!(user.orders(), [asked]);
}

/// What a tool of systemd says of a unit, or nothing where there is none.
fn analyze(args: &[&str], unit: &Path) -> Option<String> {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(args).arg(unit).env("XDG_RUNTIME_DIR", unit.parent()?).output();
    let Ok(output) = output else {
        println!("skipped: no systemd-analyze here");
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    Some(said)
}

/// Whether a unit is taken without complaint and is no more exposed than this.
fn check_unit(scope: &str, unit: &Path, most: f64) {
    let Some(said) = analyze(&["verify", "--man=no", scope], unit) else { return };
    assert!(!said.contains("tallyd"), "{said}");
    let Some(version) = analyze(&["--version"], unit) else { return };
    if !version.starts_with("systemd 252 ") {
        println!("skipped: scores are those of systemd 252, each release has its own");
        return;
    }
    let Some(said) = analyze(&["security", "--offline=true", scope], unit) else { return };
    let overall = said.split("Overall exposure level for ").nth(1).unwrap();
    let score: f64 = overall.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{}: exposure {score}, at most {most}", unit.display());
    assert!(score <= most, "{said}");
}

#[test]
fn the_units_are_accepted_and_no_more_exposed_than_they_must_be() {
    let mut user = User::with_data_elsewhere();
    user.variables.push(("CODEX_HOME", "/w/a b%c$d\"e\\f".to_owned()));
    // The stand-in cannot run a unit with quotes.
    user.play("refuses", "1");
    user.refused(&["install"], 1);
    check_unit("--user", &user.unit(), PLAIN);
    user.refused(&["install", "--strict"], 1);
    check_unit("--user", &user.unit(), STRICT);
    fs::remove_dir_all(user.drop_in().parent().unwrap()).unwrap();

    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/tallyd@.service");
    let text = fs::read_to_string(shared).unwrap();
    let binary = user.home.path().join("tallyd").display().to_string();
    let unit = user.tools.path().join("tallyd@ada.service");
    fs::write(&unit, text.replace("/usr/local/bin/tallyd", &binary)).unwrap();
    check_unit("--system", &unit, SHARED);
}

const DOCS: &str = include_str!("../docs/service.md");

#[test]
fn the_scores_of_the_documentation_are_those_that_are_held() {
    for (unit, score) in
        [("install`", PLAIN), ("install --strict`", STRICT), ("tallyd@.service", SHARED)]
    {
        let row = format!("{unit} | {score:.1} |");
        assert!(DOCS.lines().any(|line| line.starts_with("| ") && line.ends_with(&row)), "{row}");
    }
}

#[test]
fn the_commands_of_the_documentation_work() {
    let user = User::with_data_elsewhere();
    user.play("journal", "a line of the service\n");
    let lines = DOCS.lines().filter_map(|line| line.strip_prefix("    tallyd service "));
    let commands: Vec<&str> = lines.map(|line| line.split("   ").next().unwrap()).collect();
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        user.must(&command.split(' ').collect::<Vec<_>>());
        // Each is read as if it were the first.
        user.must(&["install"]);
    }
}

#[test]
fn the_service_and_the_commands_share_a_database() {
    let mut user = User::new();
    let codex = user.home.path().join("work/codex");
    user.variables.push(("CODEX_HOME", codex.display().to_string()));
    user.home.write(
        "work/codex/sessions/2026/09/20/rollout-2026-09-20T08-00-00-0199aaaa-0000-7000-8000-000000000001.jsonl",
        r#"{"timestamp":"2026-09-20T08:00:00.000Z","type":"session_meta","payload":{"id":"T","cwd":"/w"}}
{"timestamp":"2026-09-20T08:00:01.000Z","type":"turn_context","payload":{"cwd":"/w","model":"gpt-5.5"}}
{"timestamp":"2026-09-20T08:00:02.000Z","type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":5,"output_tokens":1},"last_token_usage":null}}}
"#,
    );
    user.must(&["install"]);
    wait("the call", || user.home.tallyd(&["report", "daily"]).contains("2026-09-20"));
    user.must(&["uninstall"]);
    user.home.tallyd(&["check"]);
}
