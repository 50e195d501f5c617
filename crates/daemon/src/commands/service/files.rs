//! The files of an installed service, under systemd and launchd alike: written whole, known by
//! their first lines, removed without following links.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use providers::Env;
use store::DataDir;

use super::{Steps, program, purge, refused};
use crate::config::{Config, ConfigError};
use crate::output;

/// What a file of ours has in its first lines.
pub(super) const OURS: &str = "Written by `tallyd service install`";

pub(super) fn home(vars: &BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    let home = vars.get("HOME").filter(|home| !home.is_empty());
    Ok(home.map(PathBuf::from).ok_or(ConfigError::NoHome(None))?)
}

/// The same as a whole configuration has, which may be wrong just now.
pub(super) fn config_home(vars: &BTreeMap<String, String>, home: &Path) -> PathBuf {
    crate::config::config_home(&Env { home: home.to_owned(), vars: vars.clone() })
}

pub(super) fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Refuses to touch a file that `install` did not write.
pub(super) fn refuse_foreign(path: &Path, manager: &str) -> anyhow::Result<()> {
    let Ok(data) = fs::symlink_metadata(path) else { return Ok(()) };
    let what = if data.is_symlink() {
        let to = fs::read_link(path).unwrap_or_default();
        format!("is a link to {}", to.display())
    } else if read(path)?.is_some_and(|text| text.lines().take(5).any(|line| line.contains(OURS))) {
        return Ok(());
    } else {
        "was not written by `tallyd service install`".to_owned()
    };
    Err(refused(
        format!("{} {what}: it is left as it is", path.display()),
        format!("look at it, and move it away or undo it with `{manager}`"),
    ))
}

/// Writes a file whole or not at all. Whether it says something else than before.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<bool> {
    if read(path)?.as_deref() == Some(text) {
        return Ok(false);
    }
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Whether there was something to remove.
pub(super) fn remove(path: &Path) -> anyhow::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Before anything is taken away: what cannot be purged, or is held by another than the service.
pub(super) fn refuse_holder(
    config: &Config,
    purge: bool,
    is_service: impl Fn(&str) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    if !purge {
        return Ok(());
    }
    purge::refuse(config)?;
    match DataDir::holder(&config.data_dir) {
        Some(holder) if !is_service(&holder)? => {
            Err(store::LockError::Held { path: config.data_dir.clone(), holder }.into())
        }
        _ => Ok(()),
    }
}

/// The end of an uninstall: what was counted stays where it is, or goes.
pub(super) fn leave_or_purge(
    config: anyhow::Result<Config>,
    purge: bool,
    steps: &mut Steps,
) -> anyhow::Result<()> {
    if purge {
        return purge::purge(&config?, steps);
    }
    match config {
        Ok(config) if config.data_dir.exists() => {
            let dir = config.data_dir.display();
            steps.tell(format!(
                "what was counted stays in {dir}: `tallyd service uninstall --purge` removes it"
            ))?;
        }
        Ok(_) => {}
        Err(e) => steps.tell(format!("what was counted stays; where cannot be told: {e:#}"))?,
    }
    Ok(())
}

/// Runs a command whose output is the user's. Its exit code, and what it said on standard error,
/// which is passed on, too.
pub(super) fn passed_on(path: &Path, args: &[&str]) -> io::Result<(u8, String)> {
    let mut child = program::command(path, args).stderr(Stdio::piped()).spawn()?;
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line? + "\n";
            output::say(line.clone());
            said.push_str(&line);
        }
    }
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok((code.unwrap_or(1), said))
}
