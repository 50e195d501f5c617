//! Runs the service manager's own commands.

use std::io;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::Context as _;

/// A command of the service manager, in words that do not depend on the user's language.
pub(super) fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("LC_ALL", "C").env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
    command
}

pub(super) fn run(program: &Path, args: &[&str]) -> io::Result<Output> {
    command(program, args).output()
}

/// Runs a command that must succeed; what it printed.
pub(super) fn must(program: &Path, args: &[&str]) -> anyhow::Result<String> {
    let said = spoken(program, args);
    let output = run(program, args).with_context(|| format!("cannot run `{said}`"))?;
    if !output.status.success() {
        anyhow::bail!("`{said}` failed: {}", complaint(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(super) fn spoken(program: &Path, args: &[&str]) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    format!("{name} {}", args.join(" "))
}

/// What a command said against it, in one line.
pub(super) fn complaint(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = error.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { output.status.to_string() } else { lines.join("; ") }
}
