//! The systemd user unit: installed, removed, looked at.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use store::{DataDir, LockError};

use super::facts::{self, Facts};
use super::manager::{Manager, State, UNIT};
use super::{Logs, Steps, files, program, purge, refused, unit};
use crate::commands::status::{Verdict, verdict};
use crate::config::{Config, Flags, config_home};
use crate::output;

/// How long a service that is up may take until it says where it listens.
const PATIENCE: Duration = Duration::from_secs(5);

/// The files of an installed service.
struct Place {
    unit: PathBuf,
    strict: PathBuf,
}

impl Place {
    fn of(manager: &Manager, home: &Path, config_home: &Path) -> anyhow::Result<Self> {
        let folder = manager.folder(home, config_home)?;
        let strict = folder.join(format!("{UNIT}.d/strict.conf"));
        Ok(Self { unit: folder.join(UNIT), strict })
    }

    fn wanted_by(&self) -> PathBuf {
        self.unit.with_file_name("default.target.wants").join(UNIT)
    }
}

pub(super) fn install(facts: &Facts, strict: bool, steps: &mut Steps) -> anyhow::Result<()> {
    let config = &facts.config;
    let manager = Manager::reach()?;
    let place = Place::of(&manager, &config.env.home, &config_home(&config.env))?;
    let text = unit::unit(facts)?;
    let drop_in = if strict { Some(drop_in(config)?) } else { None };
    for file in [&place.unit, &place.strict] {
        files::refuse_foreign(file, "systemctl --user")?;
    }
    hold_off(config, &manager.state()?)?;

    let is_new = files::write(&place.unit, &text)?;
    if is_new {
        steps.tell(format!("wrote {}", place.unit.display()))?;
        for (name, value) in &facts.variables {
            steps.tell(format!("recorded {name}={value}"))?;
        }
    }
    let is_other_sandbox = sandbox(&place, drop_in.as_deref(), config, steps)?;
    let is_changed = is_new || is_other_sandbox;
    if is_changed || manager.state()?.needs_reload() {
        manager.must(&["daemon-reload"])?;
    }
    let was_enabled = manager.state()?.is_enabled();
    if !was_enabled {
        manager.must(&["enable", UNIT])?;
        steps.tell("enabled: it starts whenever you log in")?;
    }
    let begun = begin(&manager, is_changed, &facts.binary, strict, steps)?;
    if !is_changed && was_enabled && !begun {
        steps.tell(format!("unchanged: {}", place.unit.display()))?;
    }
    tell_where(config, steps)?;
    if let Some(warning) = facts::warning(&facts.binary) {
        steps.tell(warning)?;
    }
    steps.tell(lingering())?;
    steps.tell("next: `tallyd service status`, `tallyd report daily`")?;
    Ok(())
}

fn drop_in(config: &Config) -> anyhow::Result<String> {
    let dir = &config.data_dir;
    if ["/tmp", "/var/tmp"].iter().any(|private| dir.starts_with(private)) {
        return Err(refused(
            format!("{} is in a folder that the stricter sandbox replaces", dir.display()),
            "choose another data directory, or install without --strict",
        ));
    }
    unit::strict(dir)
}

/// Makes the data directory, as the sandbox needs it, and refuses to start a service beside
/// somebody who holds it.
fn hold_off(config: &Config, state: &State) -> anyhow::Result<()> {
    match DataDir::lock(&config.data_dir) {
        Ok(_) => Ok(()),
        Err(LockError::Held { holder, .. }) if state.is_process(&holder) => Ok(()),
        Err(e @ LockError::Held { .. }) => Err(anyhow::Error::from(e)
            .context("the service is not installed while something else counts")),
        Err(e) => Err(e.into()),
    }
}

/// Writes the drop-in, or removes that of an earlier install. Whether anything changed.
fn sandbox(
    place: &Place,
    drop_in: Option<&str>,
    config: &Config,
    steps: &mut Steps,
) -> anyhow::Result<bool> {
    let Some(text) = drop_in else {
        let is_gone = files::remove(&place.strict)?;
        if is_gone {
            purge::prune(place.strict.parent(), &config.env.home)?;
            steps.tell("removed the stricter sandbox: --strict keeps it")?;
        }
        return Ok(is_gone);
    };
    let is_new = files::write(&place.strict, text)?;
    if is_new {
        steps.tell(format!("wrote {}", place.strict.display()))?;
        let dir = config.data_dir.display();
        steps.tell(format!("sandbox: reads your home folder, writes {dir} only"))?;
    }
    Ok(is_new)
}

/// Starts the unit, or starts it again if what runs is not what is installed. Whether it did.
fn begin(
    manager: &Manager,
    is_changed: bool,
    binary: &Path,
    strict: bool,
    steps: &mut Steps,
) -> anyhow::Result<bool> {
    let state = manager.state()?;
    let verb = if !state.is_active() {
        if state.has_failed() {
            manager.must(&["reset-failed", UNIT])?;
        }
        "start"
    } else if is_changed || is_replaced(&state, binary) == Some(true) {
        "restart"
    } else {
        return Ok(false);
    };
    // Returns once the service says that it is ready.
    if let Err(e) = manager.must(&[verb, UNIT]) {
        let how = manager.state()?.how_it_ended();
        let hint = if strict && how.contains("226") {
            "unprivileged user namespaces are switched off here, or this is a container: install \
             without --strict"
        } else {
            "`tallyd service logs -n 20` shows what it said"
        };
        return Err(refused(format!("{e} ({how})"), hint));
    }
    steps.tell(if verb == "start" {
        "started"
    } else {
        "restarted, to run what is installed now"
    })?;
    Ok(true)
}

/// Whether another file stands where the running binary was started from. `None`: cannot be told.
fn is_replaced(state: &State, binary: &Path) -> Option<bool> {
    let running = fs::metadata(format!("/proc/{}/exe", state.pid()?)).ok()?;
    let Ok(installed) = fs::metadata(binary) else { return Some(true) };
    Some((running.dev(), running.ino()) != (installed.dev(), installed.ino()))
}

fn tell_where(config: &Config, steps: &mut Steps) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let verdict = verdict(config);
        if verdict.is_known() || Instant::now() > end {
            steps.tell(verdict.text.trim_end())?;
            return Ok(());
        }
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// Whether the service outlives the last session, and what to do if not.
fn lingering() -> String {
    const HOW: &str =
        "`loginctl enable-linger` keeps it running from boot on, without you logged in";
    let uid = rustix::process::getuid().as_raw().to_string();
    let args = ["show-user", uid.as_str(), "--property=Linger"];
    match program::must(Path::new("loginctl"), &args) {
        Ok(said) if said.trim() == "Linger=yes" => {
            "lingering is on: it runs from boot on and does not end with your last session"
                .to_owned()
        }
        Ok(_) => format!("it ends with your last session: {HOW}"),
        Err(_) => format!("without lingering it ends with your last session: {HOW}"),
    }
}

pub(super) fn uninstall(
    vars: BTreeMap<String, String>,
    flags: &Flags,
    purge: bool,
    steps: &mut Steps,
) -> anyhow::Result<()> {
    let home = files::home(&vars)?;
    let manager = Manager::reach()?;
    let place = Place::of(&manager, &home, &files::config_home(&vars, &home))?;
    for file in [&place.unit, &place.strict] {
        files::refuse_foreign(file, "systemctl --user")?;
    }
    let text = files::read(&place.unit)?;
    let config = facts::of_service(vars, flags, text.as_deref().map(unit::recorded));
    if let Ok(config) = &config {
        files::refuse_holder(config, purge, |holder| Ok(manager.state()?.is_process(holder)))?;
    }
    let state = manager.state()?;
    if text.is_some() {
        manager.must(&["disable", "--now", UNIT])?;
        steps.tell("stopped and disabled")?;
    } else if state.is_active() && state.file() == Some(&place.unit) {
        manager.must(&["stop", UNIT])?;
        steps.tell("stopped")?;
    }
    let mut is_gone = false;
    for file in [place.unit.clone(), place.strict.clone(), place.wanted_by()] {
        if files::remove(&file)? {
            is_gone = true;
            steps.tell(format!("removed {}", file.display()))?;
        }
        purge::prune(file.parent(), &home)?;
    }
    if is_gone {
        manager.must(&["daemon-reload"])?;
        if manager.state()?.has_failed() {
            manager.must(&["reset-failed", UNIT])?;
        }
    } else if let Some(file) = state.file().filter(|file| file.exists()) {
        let how = "`systemctl --user disable --now tallyd` switches it off";
        steps.tell(format!("kept {}, which a package brought: {how}", file.display()))?;
    } else {
        steps.tell("not installed: there is no unit to remove")?;
    }
    if let Some(folder) = place.strict.parent().filter(|folder| folder.exists()) {
        steps.tell(format!("kept {}: what is in it is your own", folder.display()))?;
    }
    files::leave_or_purge(config, purge, steps)
}

pub(super) fn status(
    vars: BTreeMap<String, String>,
    flags: &Flags,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let home = files::home(&vars)?;
    let manager = Manager::reach()?;
    let place = Place::of(&manager, &home, &files::config_home(&vars, &home))?;
    let state = manager.state()?;
    let mine = Some(place.unit.as_path()).filter(|unit| unit.exists());
    let file = mine.or(state.file()).map(Path::to_owned);
    let text = file.as_deref().map(files::read).transpose()?.flatten();
    let env = providers::Env { home, vars: vars.clone() };
    let shell = facts::variables(&env, flags)?;
    let recorded = text.as_deref().map(unit::recorded);
    let drift = recorded.map(|recorded| facts::drift(&recorded, &shell)).unwrap_or_default();
    let binary = text.as_deref().and_then(unit::binary).map(PathBuf::from);
    let is_stale = binary.as_deref().and_then(|binary| is_replaced(&state, binary));
    let config = facts::of_service(vars, flags, text.as_deref().map(unit::recorded));
    let shown = Shown {
        file: file.filter(|_| text.is_some()),
        strict: place.strict.exists(),
        state,
        drift,
        binary,
        is_stale,
        health: config.map(|config| verdict(&config)),
    };
    if json {
        output::print_json(&shown.as_json())?;
    } else {
        output::print(&shown.as_text())?;
    }
    let is_running = shown.state.is_active();
    Ok(if is_running { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Shown {
    file: Option<PathBuf>,
    strict: bool,
    state: State,
    drift: Vec<String>,
    binary: Option<PathBuf>,
    is_stale: Option<bool>,
    health: anyhow::Result<Verdict>,
}

impl Shown {
    fn as_json(&self) -> Value {
        let state = &self.state;
        json!({
            "installed": self.file.is_some(),
            "unit": self.file,
            "strict": self.strict,
            "enabled": state.is_enabled(),
            "active": state.is_active(),
            "state": state.active(),
            "since": state.since(),
            "pid": state.pid(),
            "restarts": state.restarts(),
            "memory_bytes": state.memory(),
            "binary": self.binary,
            "stale": self.is_stale,
            "drift": self.drift,
            "service": self.health.as_ref().ok().map(|verdict| &verdict.json),
            "configuration_error": self.health.as_ref().err().map(ToString::to_string),
        })
    }

    fn as_text(&self) -> String {
        let mut text = match &self.file {
            None => "unit      none installed (`tallyd service install`)\n".to_owned(),
            Some(file) => {
                let enabled = if self.state.is_enabled() { "enabled" } else { "not enabled" };
                let sandbox = if self.strict { ", with the stricter sandbox" } else { "" };
                format!("unit      {}, {enabled}{sandbox}\n", file.display())
            }
        };
        text.push_str(&format!("state     {}\n", self.state.describe()));
        if let (Some(binary), Some(true)) = (&self.binary, self.is_stale) {
            let what = if binary.exists() { "was replaced" } else { "is gone" };
            text.push_str(&format!(
                "binary    {} {what} since the start: `tallyd service install` runs the new one\n",
                binary.display()
            ));
        }
        for drift in &self.drift {
            text.push_str(&format!("variable  {drift}: `tallyd service install` records it\n"));
        }
        match &self.health {
            Ok(verdict) => text.push_str(&verdict.text),
            Err(e) => text.push_str(&format!("settings  {e:#}\n")),
        }
        text
    }
}

pub(super) fn logs(logs: &Logs) -> anyhow::Result<ExitCode> {
    let lines = logs.lines.to_string();
    let mut args = vec!["--user", "--unit", UNIT, "--lines", &lines, "--no-pager"];
    if logs.follow {
        args.push("--follow");
    }
    if let Some(since) = &logs.since {
        args.extend(["--since", since]);
    }
    let journal = files::passed_on(Path::new("journalctl"), &args);
    let (code, said) = match journal {
        Ok(ended) => ended,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(refused(
                "there is no journalctl here",
                "without systemd, logs are where whatever runs `tallyd run` puts standard error",
            ));
        }
        Err(e) => return Err(e).context("cannot run journalctl"),
    };
    if said.contains("No journal files") || said.contains("insufficient permissions") {
        return Err(refused(
            "you have no access to a journal",
            "where it is kept in memory only, users see their part of it as members of the group \
             systemd-journal; `Storage=persistent` in journald.conf gives each user an own file",
        ));
    }
    Ok(ExitCode::from(code))
}
