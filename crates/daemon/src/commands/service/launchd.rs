//! The launchd agent of a Mac: installed, removed, looked at. What launchd is told is tested with a
//! stand-in; none of it was run on a Mac.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use store::{DataDir, LockError};

use super::facts::{self, Facts};
use super::{Logs, Steps, files, plist, program, refused};
use crate::commands::status::verdict;
use crate::config::Flags;
use crate::output;

const LABEL: &str = "dev.tallyd";

pub(super) struct Agent {
    launchctl: PathBuf,
    plist: PathBuf,
    log: PathBuf,
    /// The login session of the user, and the agent in it.
    domain: String,
    target: String,
    /// How long the service may take until it answers: launchd does not wait for it.
    patience: Duration,
}

impl Agent {
    pub(super) fn of(home: &Path) -> Self {
        let domain = format!("gui/{}", rustix::process::getuid().as_raw());
        Self {
            launchctl: PathBuf::from("launchctl"),
            plist: home.join(format!("Library/LaunchAgents/{LABEL}.plist")),
            log: home.join("Library/Logs/tallyd.log"),
            target: format!("{domain}/{LABEL}"),
            domain,
            patience: Duration::from_secs(10),
        }
    }

    pub(super) fn install(&self, facts: &Facts, steps: &mut Steps) -> anyhow::Result<()> {
        self.reach()?;
        let text = plist::agent(facts, &self.log.to_string_lossy())?;
        files::refuse_foreign(&self.plist, "launchctl")?;
        let loaded = self.loaded();
        match DataDir::lock(&facts.config.data_dir) {
            Ok(_) => {}
            Err(LockError::Held { holder, .. }) if is_process(loaded.as_deref(), &holder) => {}
            Err(e) => return Err(e.into()),
        }
        let is_new = files::write(&self.plist, &text)?;
        if is_new {
            steps.tell(format!("wrote {}", self.plist.display()))?;
            for (name, value) in &facts.variables {
                steps.tell(format!("recorded {name}={value}"))?;
            }
        }
        let plist = self.plist.to_string_lossy();
        match loaded {
            Some(_) if !is_new => {
                // It cannot be told whether the binary is another one now.
                self.must(&["kickstart", "-k", &self.target])?;
                steps.tell("restarted, to run the binary that is there now")?;
            }
            loaded => {
                if loaded.is_some() {
                    self.must(&["bootout", &self.target])?;
                }
                self.must(&["enable", &self.target])?;
                self.must(&["bootstrap", &self.domain, &plist])?;
                steps.tell("started, and from now on whenever you log in")?;
            }
        }
        let end = Instant::now() + self.patience;
        let told = loop {
            let verdict = verdict(&facts.config);
            if verdict.is_known() || Instant::now() > end {
                break verdict.text;
            }
            thread::park_timeout(Duration::from_millis(50));
        };
        steps.tell(told.trim_end())?;
        if let Some(warning) = facts::warning(&facts.binary) {
            steps.tell(warning)?;
        }
        steps.tell("next: `tallyd service status`, `tallyd report daily`")?;
        Ok(())
    }

    fn uninstall(&self, home: &Path, steps: &mut Steps) -> anyhow::Result<()> {
        files::refuse_foreign(&self.plist, "launchctl")?;
        if self.loaded().is_some() {
            self.must(&["bootout", &self.target])?;
            steps.tell("stopped")?;
        }
        let mut is_gone = false;
        for file in [&self.plist, &self.log] {
            if files::remove(file)? {
                is_gone = true;
                steps.tell(format!("removed {}", file.display()))?;
            }
        }
        super::purge::prune(self.plist.parent(), home)?;
        if !is_gone {
            steps.tell("not installed: there is no agent to remove")?;
        }
        Ok(())
    }

    /// What launchd says of the agent, if it knows it.
    fn loaded(&self) -> Option<String> {
        program::must(&self.launchctl, &["print", &self.target]).ok()
    }

    fn reach(&self) -> anyhow::Result<()> {
        match self.must(&["print", &self.domain]) {
            Ok(_) => Ok(()),
            Err(e) => Err(refused(
                format!("your login session cannot be reached: {e:#}"),
                "log in on the screen of this Mac: agents belong to such a session",
            )),
        }
    }

    fn must(&self, args: &[&str]) -> anyhow::Result<String> {
        program::must(&self.launchctl, args)
    }
}

/// A property in what launchd says of an agent: `pid = 123`.
fn property<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let pairs = said.lines().filter_map(|line| line.trim().split_once(" = "));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn is_process(said: Option<&str>, holder: &str) -> bool {
    let pid = said.and_then(|said| property(said, "pid"));
    pid.is_some_and(|pid| holder == format!("tallyd run (process {pid})"))
}

pub(super) fn uninstall(
    vars: BTreeMap<String, String>,
    flags: &Flags,
    purge: bool,
    steps: &mut Steps,
) -> anyhow::Result<()> {
    let home = files::home(&vars)?;
    let agent = Agent::of(&home);
    let config =
        facts::of_service(vars, flags, files::read(&agent.plist)?.as_deref().map(plist::recorded));
    if let Ok(config) = &config {
        let loaded = agent.loaded();
        files::refuse_holder(config, purge, |holder| Ok(is_process(loaded.as_deref(), holder)))?;
    }
    agent.uninstall(&home, steps)?;
    files::leave_or_purge(config, purge, steps)
}

pub(super) fn status(
    vars: BTreeMap<String, String>,
    flags: &Flags,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let home = files::home(&vars)?;
    let agent = Agent::of(&home);
    let text = files::read(&agent.plist)?;
    let loaded = agent.loaded();
    let find = |name| loaded.as_deref().and_then(|said| property(said, name));
    let (state, pid) = (find("state").unwrap_or("not loaded"), find("pid"));
    let env = providers::Env { home, vars: vars.clone() };
    let shell = facts::variables(&env, flags)?;
    let recorded = text.as_deref().map(plist::recorded);
    let drift = recorded.map(|recorded| facts::drift(&recorded, &shell)).unwrap_or_default();
    let verdict = verdict(&facts::of_service(vars, flags, text.as_deref().map(plist::recorded))?);
    if json {
        output::print_json(&json!({
            "installed": text.is_some(),
            "agent": agent.plist,
            "active": state == "running",
            "state": state,
            "pid": pid,
            "last_exit_code": find("last exit code"),
            "drift": drift,
            "service": verdict.json,
        }))?;
    } else {
        let mut told = match text {
            None => "agent     none installed (`tallyd service install`)\n".to_owned(),
            Some(_) => format!("agent     {}\n", agent.plist.display()),
        };
        told.push_str(&format!("state     {state}\n"));
        for drift in &drift {
            told.push_str(&format!("variable  {drift}: `tallyd service install` records it\n"));
        }
        output::print(&(told + &verdict.text))?;
    }
    Ok(if state == "running" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn logs(vars: &BTreeMap<String, String>, logs: &Logs) -> anyhow::Result<ExitCode> {
    let log = Agent::of(&files::home(vars)?).log;
    if logs.since.is_some() {
        return Err(refused(
            format!("{} is read by lines, not by times", log.display()),
            "say how many with --lines",
        ));
    }
    if !log.exists() {
        return Err(refused(
            format!("there is no {} yet", log.display()),
            "`tallyd service install` starts a service that writes it",
        ));
    }
    let (lines, log) = (logs.lines.to_string(), log.to_string_lossy().into_owned());
    let mut args = vec!["-n", &lines];
    if logs.follow {
        args.push("-F");
    }
    args.push(&log);
    let (code, _) = files::passed_on(Path::new("tail"), &args)?;
    Ok(ExitCode::from(code))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;
    use crate::config::Config;

    /// An agent whose launchd is a script that keeps its state in files.
    struct Mac {
        home: tempfile::TempDir,
        agent: Agent,
    }

    impl Mac {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let mut agent = Agent::of(home.path());
            agent.patience = Duration::ZERO;
            agent.launchctl = home.path().join("launchctl");
            let script = r#"#!/bin/sh
cd "$(dirname "$0")"
echo "$*" >>calls
case $1 in
    print) case $2 in */*/*) [ -e loaded ] && printf '\tstate = running\n\tpid = 7\n' ;; esac ;;
    bootstrap) touch loaded ;;
    bootout) rm loaded ;;
esac
"#;
            // Written by another process: no child of a test beside this one has it open meanwhile.
            let made = Command::new("sh")
                .args(["-c", "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", script])
                .arg(&agent.launchctl)
                .status();
            assert!(made.unwrap().success());
            assert!(agent.launchctl.metadata().unwrap().permissions().mode() & 0o111 != 0);
            Self { home, agent }
        }

        fn install(&self, codex: &str) -> anyhow::Result<Vec<String>> {
            let vars = BTreeMap::from([
                ("HOME".to_owned(), self.home.path().display().to_string()),
                ("CODEX_HOME".to_owned(), codex.to_owned()),
            ]);
            let config = Config::load(vars, &Flags::default())?;
            let facts = Facts::gather(config, &Flags::default())?;
            let mut steps = Steps { json: true, told: Vec::new() };
            self.agent.install(&facts, &mut steps)?;
            Ok(steps.told)
        }

        /// The orders since the last look, without questions.
        fn orders(&self) -> Vec<String> {
            let calls = self.home.path().join("calls");
            let text = fs::read_to_string(&calls).unwrap();
            fs::remove_file(calls).unwrap();
            let orders = text.lines().filter(|line| !line.starts_with("print"));
            orders.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
        }
    }

    #[test]
    fn an_agent_is_started_once_anew_if_it_changed_and_gone_afterwards() {
        let mac = Mac::new();
        mac.install("/w/one").unwrap();
        assert_eq!(mac.orders(), ["enable", "bootstrap"]);
        let text = fs::read_to_string(&mac.agent.plist).unwrap();
        assert_eq!(plist::recorded(&text)["CODEX_HOME"], "/w/one");
        mac.install("/w/one").unwrap();
        assert_eq!(mac.orders(), ["kickstart"]);
        mac.install("/w/two").unwrap();
        assert_eq!(mac.orders(), ["bootout", "enable", "bootstrap"]);
        let mut steps = Steps { json: true, told: Vec::new() };
        mac.agent.uninstall(mac.home.path(), &mut steps).unwrap();
        assert_eq!(mac.orders(), ["bootout"]);
        assert!(!mac.agent.plist.exists() && !mac.home.path().join("Library").exists());
        mac.agent.uninstall(mac.home.path(), &mut steps).unwrap();
        assert_eq!(mac.orders(), [""; 0]);
        assert!(steps.told.last().unwrap().contains("not installed"), "{:?}", steps.told);
    }

    #[test]
    fn an_agent_of_somebody_else_is_left_as_it_is() {
        let mac = Mac::new();
        fs::create_dir_all(mac.agent.plist.parent().unwrap()).unwrap();
        fs::write(&mac.agent.plist, "<plist/>").unwrap();
        let refused = mac.install("/w").unwrap_err().to_string();
        assert!(refused.contains("left as it is"), "{refused}");
        assert_eq!(fs::read_to_string(&mac.agent.plist).unwrap(), "<plist/>");
        assert_eq!(mac.orders(), [""; 0]);
    }

    #[test]
    fn what_launchd_says_is_read_by_name() {
        let said =
            "gui/501/dev.tallyd = {\n\tstate = running\n\tpid = 12\n\tlast exit code = 0\n}\n";
        assert_eq!(property(said, "pid"), Some("12"));
        assert_eq!(property(said, "last exit code"), Some("0"));
        assert!(is_process(Some(said), "tallyd run (process 12)"));
        assert!(!is_process(Some(said), "tallyd run (process 1)"));
    }
}
