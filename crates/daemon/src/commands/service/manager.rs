//! The user's systemd: whether it can be reached, and what it says of the unit.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{program, refused};
use crate::text;

pub(super) const UNIT: &str = "tallyd.service";

const SYSTEMCTL: &str = "systemctl";
/// There while systemd runs the machine.
const BOOTED: &str = "/run/systemd/system";
const PROPERTIES: &str = "--property=ActiveState,SubState,UnitFileState,FragmentPath,MainPID,\
     NRestarts,MemoryCurrent,ActiveEnterTimestamp,NeedDaemonReload,Result,ExecMainStatus";

pub(super) struct Manager {
    /// Where it looks for units.
    unit_path: String,
}

impl Manager {
    pub(super) fn reach() -> anyhow::Result<Self> {
        let args = ["--user", "show", "--property=UnitPath"];
        let output = match program::run(Path::new(SYSTEMCTL), &args) {
            Ok(output) => output,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(no_systemd()),
            Err(e) => return Err(anyhow::Error::from(e).context("cannot run systemctl")),
        };
        if output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let unit_path = said.trim().strip_prefix("UnitPath=").unwrap_or_default().to_owned();
            return Ok(Self { unit_path });
        }
        let complaint = program::complaint(&output);
        Err(if Path::new(BOOTED).is_dir() { no_manager(&complaint) } else { no_systemd() })
    }

    /// The folder for the user's own units: `systemd/user` in that of configuration, if it is one
    /// of those that the manager looks into. It may have been started with another environment.
    pub(super) fn folder(&self, home: &Path, config_home: &Path) -> anyhow::Result<PathBuf> {
        let known = format!(" {} ", self.unit_path);
        for config in [config_home, &home.join(".config")] {
            let folder = config.join("systemd/user");
            if known.contains(&format!(" {} ", folder.display())) {
                return Ok(folder);
            }
        }
        Err(refused(
            format!(
                "your service manager does not look for units below {}: it was started with \
                 another home folder",
                home.display()
            ),
            "log in as the user, or use `machinectl shell USER@`, so that HOME is that of the user",
        ))
    }

    /// Gives the manager an order that it must be able to carry out.
    pub(super) fn must(&self, args: &[&str]) -> anyhow::Result<String> {
        let args: Vec<&str> = ["--user"].into_iter().chain(args.iter().copied()).collect();
        program::must(Path::new(SYSTEMCTL), &args)
    }

    pub(super) fn state(&self) -> anyhow::Result<State> {
        let said = self.must(&["show", UNIT, PROPERTIES])?;
        let pairs = said.lines().filter_map(|line| line.split_once('='));
        Ok(State(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

fn no_systemd() -> anyhow::Error {
    refused(
        "systemd does not run this machine",
        "have `tallyd run` started by whatever does (runit, OpenRC, s6, supervisord, a container): \
         it stays in the foreground, logs to standard error, ends cleanly on SIGTERM; exit codes \
         75 and 78 mean that starting it again does not help",
    )
}

fn no_manager(complaint: &str) -> anyhow::Error {
    let uid = rustix::process::getuid().as_raw();
    refused(
        format!("no service manager of yours can be reached: {complaint}"),
        format!(
            "in a shell of `su` or `sudo` there is none: log in as the user, or use `machinectl \
             shell USER@`; where the user never logs in, `sudo loginctl enable-linger USER` starts \
             one, and `export XDG_RUNTIME_DIR=/run/user/{uid}` reaches it"
        ),
    )
}

/// What the manager says of the unit.
pub(super) struct State(BTreeMap<String, String>);

impl State {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }

    pub(super) fn active(&self) -> &str {
        self.get("ActiveState")
    }

    pub(super) fn is_active(&self) -> bool {
        ["active", "reloading"].contains(&self.active())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.active() == "failed"
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.get("UnitFileState") == "enabled"
    }

    pub(super) fn needs_reload(&self) -> bool {
        self.get("NeedDaemonReload") == "yes"
    }

    /// The file that the unit was loaded from: a package may bring one, too.
    pub(super) fn file(&self) -> Option<&Path> {
        Some(self.get("FragmentPath")).filter(|path| !path.is_empty()).map(Path::new)
    }

    pub(super) fn pid(&self) -> Option<u64> {
        self.number("MainPID").filter(|pid| *pid > 0)
    }

    /// Whether a holder of the data directory is the unit's own process.
    pub(super) fn is_process(&self, holder: &str) -> bool {
        self.pid().is_some_and(|pid| holder == format!("tallyd run (process {pid})"))
    }

    pub(super) fn restarts(&self) -> Option<u64> {
        self.number("NRestarts")
    }

    /// `None` where the manager does not account for it.
    pub(super) fn memory(&self) -> Option<u64> {
        self.number("MemoryCurrent").filter(|bytes| *bytes < u64::MAX)
    }

    pub(super) fn since(&self) -> Option<&str> {
        Some(self.get("ActiveEnterTimestamp")).filter(|since| !since.is_empty())
    }

    /// Why it does not run.
    pub(super) fn how_it_ended(&self) -> String {
        format!("{}, status {}", self.get("Result"), self.get("ExecMainStatus"))
    }

    pub(super) fn describe(&self) -> String {
        let mut text = format!("{} ({})", self.active(), self.get("SubState"));
        if !self.is_active() {
            if self.has_failed() {
                text.push_str(&format!(": {}", self.how_it_ended()));
            }
            return text;
        }
        if let Some(since) = self.since() {
            text.push_str(&format!(" since {since}"));
        }
        if let Some(pid) = self.pid() {
            text.push_str(&format!(", process {pid}"));
        }
        if let Some(restarts) = self.restarts() {
            text.push_str(&format!(", {}", text::counted(restarts, "restart")));
        }
        if let Some(bytes) = self.memory() {
            text.push_str(&format!(", {}", text::bytes(bytes)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_go_where_the_manager_looks() {
        let manager = |unit_path: &str| Manager { unit_path: unit_path.to_owned() };
        let folder = |manager: &Manager, config: &str| {
            manager.folder(Path::new("/home/a b"), Path::new(config)).map_err(|e| e.to_string())
        };
        let usual = manager("/x /home/a b/.config/systemd/user /usr/lib/systemd/user");
        assert_eq!(
            folder(&usual, "/home/a b/.config").unwrap(),
            Path::new("/home/a b/.config/systemd/user")
        );
        assert_eq!(
            folder(&usual, "/elsewhere").unwrap(),
            Path::new("/home/a b/.config/systemd/user")
        );
        let moved = manager("/elsewhere/systemd/user /home/a b/.config/systemd/user");
        assert_eq!(folder(&moved, "/elsewhere").unwrap(), Path::new("/elsewhere/systemd/user"));
        let strange = manager("/root/.config/systemd/user");
        assert!(folder(&strange, "/home/a b/.config").unwrap_err().contains("another home folder"));
    }

    #[test]
    fn who_is_not_reached_learns_how_it_would_be() {
        assert!(no_systemd().to_string().contains("`tallyd run`"));
        let shell = no_manager("Failed to connect to bus: No medium found").to_string();
        for word in ["No medium found", "machinectl shell", "enable-linger", "XDG_RUNTIME_DIR"] {
            assert!(shell.contains(word), "{shell}");
        }
    }
}
