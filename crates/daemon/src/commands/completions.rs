//! `tallyd completions`: what lets a shell complete commands and flags, made from the command line.

use std::process::ExitCode;

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::{Shell as Style, generate};

use crate::cli::Cli;
use crate::output;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// For ~/.local/share/bash-completion/completions/tallyd
    Bash,
    /// For ~/.config/fish/completions/tallyd.fish
    Fish,
    /// For a file _tallyd in a folder of $fpath
    Zsh,
}

pub(super) fn run(shell: Shell) -> anyhow::Result<ExitCode> {
    let style = match shell {
        Shell::Bash => Style::Bash,
        Shell::Fish => Style::Fish,
        Shell::Zsh => Style::Zsh,
    };
    let mut script = Vec::new();
    generate(style, &mut Cli::command(), "tallyd", &mut script);
    output::print(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}
